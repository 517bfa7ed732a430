"""
What goes wrong: few things, again and again, as it is everywhere.
"""

from __future__ import annotations

import attrs

from ..._events import Failure
from .texts import Texts

__all__ = ["FAILURES", "failure"]


def _frame(file: str, line: int, function: str, code: str) -> str:
    return f'  File "{file}", line {line}, in {function}\n    {code}\n'


_CALL = _frame("agents/loop.py", 88, "step", "answer = await self.model.ask(messages)")
_TOOL = _frame("agents/loop.py", 112, "step", "result = await tool(**call.arguments)")

FAILURES = {
    "timeout": Failure(
        type="httpx.ReadTimeout",
        message="no answer within 30 s",
        traceback=_CALL + _frame("agents/model.py", 41, "ask", "response = await self.http.post("),
        causes=(Failure(type="TimeoutError", relation="cause"),),
    ),
    "rate": Failure(
        type="openai.RateLimitError",
        message="Error code: 429 - rate limit reached, try again in {number} ms",
        traceback=_CALL + _frame("agents/model.py", 47, "ask", "raise self._error(response)"),
    ),
    "overloaded": Failure(
        type="anthropic.InternalServerError",
        message="Error code: 529 - overloaded_error, request req_{code}",
        traceback=_CALL + _frame("agents/model.py", 47, "ask", "raise self._error(response)"),
    ),
    "arguments": Failure(
        type="json.decoder.JSONDecodeError",
        message="Expecting ',' delimiter: line 1 column {number} (char {number})",
        traceback=_frame("agents/loop.py", 104, "step", "arguments = json.loads(call.arguments)"),
    ),
    "no_order": Failure(
        type="shop.OrderError",
        message="no order {number}",
        traceback=_TOOL + _frame("shop/orders.py", 63, "get_order", "raise OrderError(order)"),
        causes=(
            Failure(
                type="KeyError",
                message="{number}",
                traceback=_frame("shop/orders.py", 61, "get_order", "return self.rows[order]"),
                relation="cause",
            ),
        ),
    ),
    "invoice": Failure(
        type="pydantic_core.ValidationError",
        message="1 validation error for Invoice\ntotal\n  Input should be a valid decimal"
        " [type=decimal_parsing, input_value='{number},00 EUR']",
        traceback=_TOOL + _frame("invoices/read.py", 29, "extract", "return Invoice(**fields)"),
    ),
    "locked": Failure(
        type="sqlite3.OperationalError",
        message="database is locked",
        traceback=_TOOL + _frame("warehouse/query.py", 18, "run_query", "rows = db.execute(sql)"),
    ),
    "column": Failure(
        type="warehouse.QueryError",
        message="the query of {column} cannot be run",
        traceback=_TOOL + _frame("warehouse/query.py", 22, "run_query", "raise QueryError(sql)"),
        causes=(
            Failure(
                type="sqlite3.OperationalError",
                message="no such column: {column}",
                traceback=_frame("warehouse/query.py", 18, "run_query", "rows = db.execute(sql)"),
                relation="cause",
            ),
        ),
    ),
    "tests": Failure(
        type="AssertionError",
        message="{number} of {number} tests failed",
        traceback=_TOOL + _frame("review/tests.py", 55, "run_tests", "assert not failed, summary"),
    ),
    "page": Failure(
        type="httpx.HTTPStatusError",
        message="Client error '404 Not Found' for url 'https://papers.example/{code}'",
        traceback=_TOOL + _frame("research/web.py", 33, "fetch_page", "page.raise_for_status()"),
    ),
    "group": Failure(
        type="ExceptionGroup",
        message="unhandled errors in a TaskGroup (2 sub-exceptions)",
        traceback=_frame("research/team.py", 71, "research", "async with TaskGroup() as tasks:"),
        causes=(
            Failure(
                type="httpx.ReadTimeout",
                message="no answer within 30 s",
                traceback=_CALL,
                relation="member",
            ),
            Failure(
                type="ValueError",
                message="no source says anything of {topic}",
                traceback=_frame("research/team.py", 94, "judge", "raise ValueError(question)"),
                relation="member",
            ),
        ),
    ),
}
"""By the names that programs call them."""


def failure(name: str, texts: Texts) -> Failure:
    """
    One of `FAILURES` with this time's words in it.
    """
    return _filled(FAILURES[name], texts)


def _filled(pattern: Failure, texts: Texts) -> Failure:
    return attrs.evolve(
        pattern,
        message=texts.fill(pattern.message),
        causes=tuple(_filled(cause, texts) for cause in pattern.causes),
    )
