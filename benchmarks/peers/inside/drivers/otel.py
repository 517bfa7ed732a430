"""
The OpenTelemetry SDK with its batch processor and OTLP over HTTP: names and times only.
"""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

tracer = trace.get_tracer("peers")


def setup(endpoint: str) -> None:
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: "peers"}))
    exporter = OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)


def recorded(work):
    return tracer.start_as_current_span("work")(work)


async def start():
    span = tracer.start_as_current_span("session")
    span.__enter__()
    return span


async def end(session) -> None:
    session.__exit__(None, None, None)


async def flush() -> None:
    trace.get_tracer_provider().force_flush()


def shutdown() -> None:
    trace.get_tracer_provider().shutdown()
