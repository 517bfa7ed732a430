"""
What the vendors write, in the words of their public documentation: one answer that says something,
one that asks for tools, each whole and as a stream, and what they say when they refuse.

The texts have characters of two, three and four bytes, so that a chunk can end within one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

__all__ = ["ARGUMENTS", "SILENT_FRAMES", "TEXT", "TOOL", "Format", "format_of"]

PIECES = ("Grüße", " aus", " 東京", ": ", "🗼", " is", " 333", " m", " high.")

TEXT = "".join(PIECES)
"""What the model says."""

TOOL = "get_weather"

ARGUMENTS = ({"city": "Zürich", "days": 2}, {"city": "東京", "days": 1})
"""The model asks for the tool twice."""

CREATED = 1_763_700_000


def _dump(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def sse(data: Any, event: str | None = None, end: bytes = b"\n") -> bytes:
    """
    A server-sent event.
    """
    name = b"event: %b%b" % (event.encode(), end) if event else b""
    return name + b"data: %b%b%b" % (_dump(data), end, end)


SILENT_FRAMES = (b"data: [DONE]\n\n", sse({"type": "ping"}, "ping"))
"""Of these a client tells nobody."""


def halves(text: str) -> tuple[str, str]:
    return text[: len(text) // 2], text[len(text) // 2 :]


def calls() -> Iterator[tuple[int, str, str]]:
    """
    Number, id and arguments of each tool call.
    """
    for number, arguments in enumerate(ARGUMENTS):
        yield number, f"call_{number}", json.dumps(arguments, ensure_ascii=False)


class Format:
    """
    How a vendor writes.

    Attributes:
        paths: How the paths end that belong to it.
        request_id_header: The header that tells the vendor's id of a request.
        stream_type: The content type of a stream.
        first_token: How many frames of a stream come before the first token.
    """

    paths: ClassVar[tuple[str, ...]]
    request_id_header: ClassVar[str | None] = "x-request-id"
    stream_type: ClassVar[str] = "text/event-stream"
    first_token: ClassVar[int] = 1

    def streams(self, target: str, asked: Any) -> bool:
        return bool(asked.get("stream"))

    def model(self, target: str, asked: Any) -> str:
        """
        The model that answers.
        """
        name: str = asked["model"]
        return name

    def body(self, model: str) -> Any:
        raise NotImplementedError

    def frames(self, model: str, asked: Any) -> list[bytes]:
        raise NotImplementedError

    def tools_body(self, model: str) -> Any:
        raise NotImplementedError

    def tools_frames(self, model: str, asked: Any) -> list[bytes]:
        raise NotImplementedError

    def error(self, status: int) -> bytes:
        raise NotImplementedError

    def error_frame(self) -> bytes:
        raise NotImplementedError

    def broken_frame(self) -> bytes:
        """
        What no JSON parser reads.
        """
        return b'data: {"id": \n\n'


REFUSALS = {
    400: ("invalid_request_error", "temperature: must be at most 2 (größer geht nicht)"),
    401: ("authentication_error", "Incorrect API key provided: sk-***."),
    429: ("rate_limit_error", "Rate limit reached for requests."),
    500: ("server_error", "The server had an error while processing your request."),
}


class OpenAIChat(Format):
    """
    https://platform.openai.com/docs/api-reference/chat
    """

    paths = ("/chat/completions",)

    usage: ClassVar[dict[str, Any]] = {
        "prompt_tokens": 2006,
        "completion_tokens": 300,
        "total_tokens": 2306,
        "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 128,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }

    def model(self, target: str, asked: Any) -> str:
        return {"gpt-4o-mini": "gpt-4o-mini-2024-07-18"}.get(asked["model"], asked["model"])

    def body(self, model: str) -> Any:
        return self.whole(model, {"role": "assistant", "content": TEXT, "refusal": None}, "stop")

    def tools_body(self, model: str) -> Any:
        asked = [
            {"id": id_, "type": "function", "function": {"name": TOOL, "arguments": arguments}}
            for _, id_, arguments in calls()
        ]
        message = {"role": "assistant", "content": None, "tool_calls": asked, "refusal": None}
        return self.whole(model, message, "tool_calls")

    def whole(self, model: str, message: Any, reason: str) -> Any:
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
        return {
            "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
            "object": "chat.completion",
            "created": CREATED,
            "model": model,
            "choices": [choice],
            "usage": self.usage,
            "service_tier": "default",
            "system_fingerprint": "fp_50cad350e4",
        }

    def frames(self, model: str, asked: Any) -> list[bytes]:
        deltas: list[Any] = [{"role": "assistant", "content": "", "refusal": None}]
        deltas += [{"content": piece} for piece in PIECES]
        return self.stream(model, asked, deltas, "stop")

    def tools_frames(self, model: str, asked: Any) -> list[bytes]:
        deltas: list[Any] = [{"role": "assistant", "content": None}]
        for number, id_, arguments in calls():
            function = {"name": TOOL, "arguments": ""}
            first = {"index": number, "id": id_, "type": "function", "function": function}
            deltas.append({"tool_calls": [first]})
            deltas += [
                {"tool_calls": [{"index": number, "function": {"arguments": half}}]}
                for half in halves(arguments)
            ]
        return self.stream(model, asked, deltas, "tool_calls")

    def stream(self, model: str, asked: Any, deltas: Sequence[Any], reason: str) -> list[bytes]:
        counted = bool((asked.get("stream_options") or {}).get("include_usage"))

        def chunk(choices: list[Any], usage: Any = None) -> bytes:
            told = {
                "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
                "object": "chat.completion.chunk",
                "created": CREATED,
                "model": model,
                "service_tier": "default",
                "system_fingerprint": "fp_50cad350e4",
                "choices": choices,
            }
            return sse({**told, "usage": usage} if counted else told)

        def choice(delta: Any, reason: str | None = None) -> Any:
            return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}

        frames = [chunk([choice(delta)]) for delta in deltas]
        frames.append(chunk([choice({}, reason)]))
        if counted:
            frames.append(chunk([], self.usage))
        return [*frames, b"data: [DONE]\n\n"]

    def error(self, status: int) -> bytes:
        kind, message = REFUSALS[status]
        return _dump({"error": {"message": message, "type": kind, "param": None, "code": None}})

    def error_frame(self) -> bytes:
        kind, message = REFUSALS[500]
        return sse({"error": {"message": message, "type": kind, "param": None, "code": None}})


class Groq(OpenAIChat):
    """
    https://console.groq.com/docs/api-reference: usage of a stream comes unasked, in `x_groq`.
    """

    paths = ("/openai/v1/chat/completions",)

    usage: ClassVar[dict[str, Any]] = {
        "queue_time": 0.037493756,
        "prompt_tokens": 18,
        "prompt_time": 0.000680594,
        "completion_tokens": 156,
        "completion_time": 0.567,
        "total_tokens": 174,
        "total_time": 0.568680594,
    }

    def whole(self, model: str, message: Any, reason: str) -> Any:
        message = {name: value for name, value in message.items() if name != "refusal"}
        told = super().whole(model, message, reason)
        return {**told, "x_groq": {"id": "req_01jbd6g2qdfw2adyrt2az8hz4w"}}

    def stream(self, model: str, asked: Any, deltas: Sequence[Any], reason: str) -> list[bytes]:
        frames = []
        choices = [(delta, None) for delta in deltas] + [({}, reason)]
        for number, (delta, ended) in enumerate(choices):
            told = {
                "id": "chatcmpl-f51b2cd2-bef7-417e-964e-a08f0b513c22",
                "object": "chat.completion.chunk",
                "created": CREATED,
                "model": model,
                "system_fingerprint": "fp_179b0f92c9",
                "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": ended}],
            }
            if number == 0:
                told["x_groq"] = {"id": "req_01jbd6g2qdfw2adyrt2az8hz4w"}
            if ended:
                told["x_groq"] = {"id": "req_01jbd6g2qdfw2adyrt2az8hz4w", "usage": self.usage}
            frames.append(sse(told))
        return [*frames, b"data: [DONE]\n\n"]


class Mistral(OpenAIChat):
    """
    https://docs.mistral.ai/api: usage comes with the last chunk, unasked.
    """

    request_id_header = "mistral-correlation-id"

    usage: ClassVar[dict[str, Any]] = {
        "prompt_tokens": 16,
        "completion_tokens": 34,
        "total_tokens": 50,
    }

    def whole(self, model: str, message: Any, reason: str) -> Any:
        message = {"tool_calls": None, **message}
        message = {name: message[name] for name in ("role", "content", "tool_calls")}
        return {
            "id": "cmpl-e5cc70bb28c444948073e77776eb30ef",
            "object": "chat.completion",
            "created": CREATED,
            "model": model,
            "choices": [{"index": 0, "message": message, "finish_reason": reason}],
            "usage": self.usage,
        }

    def tools_frames(self, model: str, asked: Any) -> list[bytes]:
        called = [
            {"index": number, "id": id_, "function": {"name": TOOL, "arguments": arguments}}
            for number, id_, arguments in calls()
        ]
        deltas = [{"role": "assistant", "content": ""}, {"content": "", "tool_calls": called}]
        return self.stream(model, asked, deltas, "tool_calls")

    def stream(self, model: str, asked: Any, deltas: Sequence[Any], reason: str) -> list[bytes]:
        frames = []
        for number, delta in enumerate(deltas):
            last = number == len(deltas) - 1
            delta = {name: value for name, value in delta.items() if name != "refusal"}
            told = {
                "id": "cmpl-e5cc70bb28c444948073e77776eb30ef",
                "object": "chat.completion.chunk",
                "created": CREATED,
                "model": model,
                "choices": [
                    {"index": 0, "delta": delta, "finish_reason": reason if last else None}
                ],
            }
            frames.append(sse({**told, "usage": self.usage} if last else told))
        return [*frames, b"data: [DONE]\n\n"]

    def error(self, status: int) -> bytes:
        kind, message = REFUSALS[status]
        return _dump(
            {"object": "error", "message": message, "type": kind, "param": None, "code": "1500"}
        )


class OpenAIResponses(Format):
    """
    https://platform.openai.com/docs/api-reference/responses
    """

    paths = ("/responses",)
    first_token = 4

    usage: ClassVar[dict[str, Any]] = {
        "input_tokens": 2006,
        "input_tokens_details": {"cached_tokens": 1920},
        "output_tokens": 300,
        "output_tokens_details": {"reasoning_tokens": 128},
        "total_tokens": 2306,
    }

    def model(self, target: str, asked: Any) -> str:
        return {"gpt-4o-mini": "gpt-4o-mini-2024-07-18"}.get(asked["model"], asked["model"])

    def body(self, model: str) -> Any:
        return self.whole(model, [self.message(TEXT)])

    def tools_body(self, model: str) -> Any:
        return self.whole(model, [self.function(*call) for call in calls()])

    def whole(self, model: str, output: list[Any], status: str = "completed") -> Any:
        return {
            "id": "resp_67ccd2bed1ec8190b14f964abc0542670bb6a6b452d3795b",
            "object": "response",
            "created_at": CREATED,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "max_output_tokens": None,
            "model": model,
            "output": output,
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "store": True,
            "temperature": 1.0,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "truncation": "disabled",
            "usage": self.usage if status == "completed" else None,
            "user": None,
            "metadata": {},
        }

    def message(self, text: str | None, status: str = "completed") -> Any:
        content = [] if text is None else [self.part(text)]
        return {"id": "msg_67ccd2bf", "type": "message", "status": status, "content": content,
                "role": "assistant"}  # fmt: skip

    def part(self, text: str) -> Any:
        return {"type": "output_text", "text": text, "annotations": []}

    def function(self, number: int, id_: str, arguments: str, status: str = "completed") -> Any:
        return {"id": f"fc_{number}", "type": "function_call", "status": status,
                "arguments": arguments, "call_id": id_, "name": TOOL}  # fmt: skip

    def frames(self, model: str, asked: Any) -> list[bytes]:
        where = {"item_id": "msg_67ccd2bf", "output_index": 0, "content_index": 0}
        events: list[tuple[str, Any]] = [
            ("output_item.added", {"output_index": 0, "item": self.message(None, "in_progress")}),
            ("content_part.added", {**where, "part": self.part("")}),
        ]
        events += [("output_text.delta", {**where, "delta": piece}) for piece in PIECES]
        events += [
            ("output_text.done", {**where, "text": TEXT}),
            ("content_part.done", {**where, "part": self.part(TEXT)}),
            ("output_item.done", {"output_index": 0, "item": self.message(TEXT)}),
        ]
        return self.stream(model, events, [self.message(TEXT)])

    def tools_frames(self, model: str, asked: Any) -> list[bytes]:
        events: list[tuple[str, Any]] = []
        for number, id_, arguments in calls():
            item = self.function(number, id_, "", "in_progress")
            where = {"item_id": f"fc_{number}", "output_index": number}
            events.append(("output_item.added", {"output_index": number, "item": item}))
            events += [
                ("function_call_arguments.delta", {**where, "delta": half})
                for half in halves(arguments)
            ]
            events.append(("function_call_arguments.done", {**where, "arguments": arguments}))
            item = self.function(number, id_, arguments)
            events.append(("output_item.done", {"output_index": number, "item": item}))
        return self.stream(model, events, [self.function(*call) for call in calls()])

    def stream(self, model: str, events: Sequence[tuple[str, Any]], output: Any) -> list[bytes]:
        begun = self.whole(model, [], "in_progress")
        done = ("completed", {"response": self.whole(model, output)})
        every = [("created", {"response": begun}), ("in_progress", {"response": begun}), *events]
        return [
            sse({"type": f"response.{kind}", "sequence_number": number, **data}, f"response.{kind}")
            for number, (kind, data) in enumerate([*every, done])
        ]

    def error(self, status: int) -> bytes:
        kind, message = REFUSALS[status]
        return _dump({"error": {"message": message, "type": kind, "param": None, "code": None}})

    def error_frame(self) -> bytes:
        code, message = REFUSALS[500]
        told = {"type": "error", "code": code, "message": message, "param": None}
        return sse({**told, "sequence_number": 7}, "error")


class OpenAIEmbeddings(Format):
    """
    https://platform.openai.com/docs/api-reference/embeddings
    """

    paths = ("/embeddings",)

    def streams(self, target: str, asked: Any) -> bool:
        return False

    def body(self, model: str) -> Any:
        vector = {"object": "embedding", "index": 0, "embedding": [0.0023064255, -0.009327292, 0.5]}
        usage = {"prompt_tokens": 8, "total_tokens": 8}
        return {"object": "list", "data": [vector], "model": model, "usage": usage}

    def error(self, status: int) -> bytes:
        return OpenAIChat().error(status)


class Anthropic(Format):
    """
    https://docs.anthropic.com/en/api/messages
    """

    paths = ("/v1/messages",)
    request_id_header = "request-id"
    first_token = 3

    usage: ClassVar[dict[str, Any]] = {
        "input_tokens": 25,
        "cache_creation_input_tokens": 100,
        "cache_read_input_tokens": 2000,
        "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 0},
        "output_tokens": 150,
        "service_tier": "standard",
    }

    def body(self, model: str) -> Any:
        return self.whole(model, [{"type": "text", "text": TEXT}], "end_turn")

    def tools_body(self, model: str) -> Any:
        used: list[Any] = [{"type": "text", "text": "Let me look."}]
        used += [
            {"type": "tool_use", "id": id_, "name": TOOL, "input": json.loads(arguments)}
            for _, id_, arguments in calls()
        ]
        return self.whole(model, used, "tool_use")

    def whole(self, model: str, content: list[Any], reason: str | None) -> Any:
        usage = self.usage if reason else {**self.usage, "output_tokens": 1}
        return {
            "id": "msg_013Zva2CMHLNnXjNJJKqJ2EF",
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": content,
            "stop_reason": reason,
            "stop_sequence": None,
            "usage": usage,
        }

    def frames(self, model: str, asked: Any) -> list[bytes]:
        return self.stream(model, [self.text(0, PIECES)], "end_turn")

    def tools_frames(self, model: str, asked: Any) -> list[bytes]:
        blocks = [self.text(0, ("Let me", " look."))]
        for number, id_, arguments in calls():
            start = {"type": "tool_use", "id": id_, "name": TOOL, "input": {}}
            pieces = [{"type": "input_json_delta", "partial_json": part}
                      for part in ("", *halves(arguments))]  # fmt: skip
            blocks.append(self.block(number + 1, start, pieces))
        return self.stream(model, blocks, "tool_use")

    def text(self, index: int, pieces: Sequence[str]) -> list[Any]:
        deltas = [{"type": "text_delta", "text": piece} for piece in pieces]
        return self.block(index, {"type": "text", "text": ""}, deltas)

    def block(self, index: int, start: Any, deltas: Sequence[Any]) -> list[Any]:
        return [
            {"type": "content_block_start", "index": index, "content_block": start},
            *({"type": "content_block_delta", "index": index, "delta": each} for each in deltas),
            {"type": "content_block_stop", "index": index},
        ]

    def stream(self, model: str, blocks: Sequence[list[Any]], reason: str) -> list[bytes]:
        first, *rest = [event for block in blocks for event in block]
        events = [
            {"type": "message_start", "message": self.whole(model, [], None)},
            first,
            {"type": "ping"},
            *rest,
            {
                "type": "message_delta",
                "delta": {"stop_reason": reason, "stop_sequence": None},
                "usage": {"output_tokens": self.usage["output_tokens"]},
            },
            {"type": "message_stop"},
        ]
        return [sse(event, event["type"]) for event in events]

    def error(self, status: int) -> bytes:
        kind, message = REFUSALS[status]
        kind = "api_error" if status == 500 else kind
        told = {"type": kind, "message": message}
        return _dump({"type": "error", "error": told, "request_id": "req_0123"})

    def error_frame(self) -> bytes:
        told = {"type": "overloaded_error", "message": "Overloaded"}
        return sse({"type": "error", "error": told}, "error")

    def broken_frame(self) -> bytes:
        return b'event: content_block_delta\ndata: {"type": \n\n'


class Gemini(Format):
    """
    https://ai.google.dev/api/generate-content
    """

    paths = (":generateContent", ":streamGenerateContent")
    request_id_header = None
    first_token = 0

    usage: ClassVar[dict[str, Any]] = {
        "promptTokenCount": 2006,
        "candidatesTokenCount": 172,
        "totalTokenCount": 2306,
        "cachedContentTokenCount": 1024,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 2006}],
        "thoughtsTokenCount": 128,
    }

    def streams(self, target: str, asked: Any) -> bool:
        return ":streamGenerateContent" in target

    def model(self, target: str, asked: Any) -> str:
        return target.rpartition("/models/")[2].partition(":")[0]

    def body(self, model: str) -> Any:
        return self.whole(model, [{"text": TEXT}], "STOP", self.usage)

    def tools_body(self, model: str) -> Any:
        return self.whole(model, self.functions(), "STOP", self.usage)

    def functions(self) -> list[Any]:
        return [
            {"functionCall": {"id": id_, "name": TOOL, "args": json.loads(arguments)}}
            for _, id_, arguments in calls()
        ]

    def whole(self, model: str, parts: list[Any], reason: str | None, usage: Any) -> Any:
        candidate = {"content": {"parts": parts, "role": "model"}, "index": 0}
        if reason is not None:
            candidate["finishReason"] = reason
        return {
            "candidates": [candidate],
            "usageMetadata": usage,
            "modelVersion": model,
            "responseId": "mAitaLmkHPPlz7IPvtfUqQ4",
        }

    def frames(self, model: str, asked: Any) -> list[bytes]:
        return self.stream(model, [[{"text": piece}] for piece in PIECES])

    def tools_frames(self, model: str, asked: Any) -> list[bytes]:
        return self.stream(model, [[part] for part in self.functions()])

    def stream(self, model: str, parts: list[list[Any]]) -> list[bytes]:
        begun = {"promptTokenCount": 2006, "totalTokenCount": 2006}
        told = [self.whole(model, each, None, begun) for each in parts[:-1]]
        told.append(self.whole(model, parts[-1], "STOP", self.usage))
        return [sse(each, end=b"\r\n") for each in told]

    def error(self, status: int) -> bytes:
        kind = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 429: "RESOURCE_EXHAUSTED",
                500: "INTERNAL"}[status]  # fmt: skip
        return _dump({"error": {"code": status, "message": REFUSALS[status][1], "status": kind}})

    def error_frame(self) -> bytes:
        told = {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}
        return sse({"error": told}, end=b"\r\n")

    def broken_frame(self) -> bytes:
        return b'data: {"candidates": \r\n\r\n'


class Cohere(Format):
    """
    https://docs.cohere.com/reference/chat
    """

    paths = ("/v2/chat",)
    request_id_header = None
    first_token = 2

    usage: ClassVar[dict[str, Any]] = {
        "billed_units": {"input_tokens": 5, "output_tokens": 418},
        "tokens": {"input_tokens": 71, "output_tokens": 418},
    }

    def body(self, model: str) -> Any:
        content = [{"type": "text", "text": TEXT}]
        return self.whole({"role": "assistant", "content": content}, "COMPLETE")

    def tools_body(self, model: str) -> Any:
        asked = [
            {"id": id_, "type": "function", "function": {"name": TOOL, "arguments": arguments}}
            for _, id_, arguments in calls()
        ]
        message = {"role": "assistant", "tool_plan": "I will look.", "tool_calls": asked}
        return self.whole(message, "TOOL_CALL")

    def whole(self, message: Any, reason: str) -> Any:
        id_ = "c14c80c3-18eb-4519-9460-6c92edd8cfb4"
        return {"id": id_, "finish_reason": reason, "message": message, "usage": self.usage}

    def frames(self, model: str, asked: Any) -> list[bytes]:
        def delta(kind: str, **content: str) -> Any:
            return {"type": kind, "index": 0, "delta": {"message": {"content": content}}}

        return self.stream(
            [
                delta("content-start", type="text", text=""),
                *(delta("content-delta", text=piece) for piece in PIECES),
                {"type": "content-end", "index": 0},
            ],
            "COMPLETE",
        )

    def tools_frames(self, model: str, asked: Any) -> list[bytes]:
        events: list[Any] = [
            {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": piece}}}
            for piece in ("I will", " look.")
        ]
        for number, id_, arguments in calls():
            function = {"name": TOOL, "arguments": ""}
            call: Any = {"id": id_, "type": "function", "function": function}
            start = {"message": {"tool_calls": call}}
            events.append({"type": "tool-call-start", "index": number, "delta": start})
            for half in halves(arguments):
                more = {"message": {"tool_calls": {"function": {"arguments": half}}}}
                events.append({"type": "tool-call-delta", "index": number, "delta": more})
            events.append({"type": "tool-call-end", "index": number})
        return self.stream(events, "TOOL_CALL")

    def stream(self, events: Sequence[Any], reason: str) -> list[bytes]:
        message = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [],
                   "citations": []}  # fmt: skip
        start = {
            "id": "29f14a5a-11de-4cae-9800-25e4747408ea",
            "type": "message-start",
            "delta": {"message": message},
        }
        end = {"type": "message-end", "delta": {"finish_reason": reason, "usage": self.usage}}
        return [sse(event, event["type"]) for event in (start, *events, end)]

    def error(self, status: int) -> bytes:
        return _dump({"id": "6c1b1dcc", "message": REFUSALS[status][1]})

    def error_frame(self) -> bytes:
        delta = {"finish_reason": "ERROR", "error": "The model is overloaded."}
        return sse({"type": "message-end", "delta": delta}, "message-end")


class OllamaChat(Format):
    """
    https://github.com/ollama/ollama/blob/main/docs/api.md
    """

    paths = ("/api/chat",)
    request_id_header = None
    stream_type = "application/x-ndjson"
    first_token = 0

    usage: ClassVar[dict[str, Any]] = {
        "total_duration": 5191566416,
        "load_duration": 2154458,
        "prompt_eval_count": 26,
        "prompt_eval_duration": 383809000,
        "eval_count": 298,
        "eval_duration": 4799921000,
    }

    def streams(self, target: str, asked: Any) -> bool:
        return bool(asked.get("stream", True))

    def body(self, model: str) -> Any:
        return self.line(model, self.said(TEXT), last=True)

    def tools_body(self, model: str) -> Any:
        return self.line(model, self.called(), last=True)

    def frames(self, model: str, asked: Any) -> list[bytes]:
        return self.stream([self.line(model, self.said(piece)) for piece in PIECES], model)

    def tools_frames(self, model: str, asked: Any) -> list[bytes]:
        return self.stream([self.line(model, self.called())], model)

    def stream(self, lines: list[Any], model: str) -> list[bytes]:
        return [
            _dump(each) + b"\n" for each in (*lines, self.line(model, self.said(""), last=True))
        ]

    def said(self, text: str) -> Any:
        return {"message": {"role": "assistant", "content": text}}

    def called(self) -> Any:
        used = [{"function": {"name": TOOL, "arguments": each}} for each in ARGUMENTS]
        return {"message": {"role": "assistant", "content": "", "tool_calls": used}}

    def line(self, model: str, said: Any, *, last: bool = False) -> Any:
        begun = {"model": model, "created_at": "2025-11-21T14:13:43.416799Z", **said}
        if not last:
            return {**begun, "done": False}
        return {**begun, "done": True, "done_reason": "stop", **self.usage}

    def error(self, status: int) -> bytes:
        return _dump({"error": REFUSALS[status][1]})

    def error_frame(self) -> bytes:
        return _dump({"error": "an error was encountered while running the model"}) + b"\n"

    def broken_frame(self) -> bytes:
        return b'{"model": \n'


class OllamaGenerate(OllamaChat):
    """
    The same, for a prompt without roles.
    """

    paths = ("/api/generate",)

    def said(self, text: str) -> Any:
        return {"response": text}


FORMATS: tuple[Format, ...] = (
    Groq(), OpenAIChat(), OpenAIResponses(), OpenAIEmbeddings(), Anthropic(), Gemini(), Cohere(),
    OllamaChat(), OllamaGenerate(),
)  # fmt: skip

MISTRAL = Mistral()


def format_of(path: str, model: str) -> Format:
    """
    Who is spoken to at *path*. Mistral has OpenAI's paths: there the model tells.
    """
    found = next(each for each in FORMATS if path.endswith(each.paths))
    mistral = type(found) is OpenAIChat and model.startswith("mistral")
    return MISTRAL if mistral else found
