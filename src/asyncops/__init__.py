"""
The flight recorder for async Python agents.

General layout, from what everything stands on to what users call; a module imports only from those
above it:

    _version _exceptions _clock _ids _events _content _prices _redaction       values, no I/O
    _wire _endings _configuration
    _log _locks _giving_way _directory _frames _limit _journal _file_journal   delivery: lines in,
    _survey _adoption _background _exporter _http                              lines out
    _active _budgets _host _signals _recovery _client _spans _session          sessions
    capture                                                                    LLM calls over HTTP
    _instrumentation _api _run testing cli                                     the surface
    collector                                                                  the server; imports
                                                                               values only
"""

from ._api import (
    add_tags,
    current_session,
    end_session,
    flush,
    init,
    record,
    session,
    set_tags,
    set_video,
    start_session,
)
from ._budgets import Budget, Spending
from ._client import Client
from ._configuration import Configuration
from ._events import (
    ActionEvent,
    AgentEvent,
    Cost,
    EndState,
    ErrorEvent,
    Event,
    Failure,
    LLMEvent,
    ToolEvent,
)
from ._exceptions import (
    AsyncopsError,
    BatchRejectedError,
    BudgetExceeded,
    CollectorUnavailableError,
    ConfigurationError,
    DecodeError,
    ExportError,
    NoSessionError,
    SessionActiveError,
    SessionError,
    SessionNotFoundError,
    SessionStateError,
    StoreError,
)
from ._exporter import Answer, Exporter, RejectedRecord
from ._http import HTTPExporter
from ._instrumentation import instrument, uninstrument
from ._session import Session
from ._spans import LLMSpan, Span, action, agent, current_span, llm, tool
from ._version import __version__

__all__ = [
    "ActionEvent",
    "AgentEvent",
    "Answer",
    "AsyncopsError",
    "BatchRejectedError",
    "Budget",
    "BudgetExceeded",
    "Client",
    "CollectorUnavailableError",
    "Configuration",
    "ConfigurationError",
    "Cost",
    "DecodeError",
    "EndState",
    "ErrorEvent",
    "Event",
    "ExportError",
    "Exporter",
    "Failure",
    "HTTPExporter",
    "LLMEvent",
    "LLMSpan",
    "NoSessionError",
    "RejectedRecord",
    "Session",
    "SessionActiveError",
    "SessionError",
    "SessionNotFoundError",
    "SessionStateError",
    "Span",
    "Spending",
    "StoreError",
    "ToolEvent",
    "__version__",
    "action",
    "add_tags",
    "agent",
    "current_session",
    "current_span",
    "end_session",
    "flush",
    "init",
    "instrument",
    "llm",
    "record",
    "session",
    "set_tags",
    "set_video",
    "start_session",
    "tool",
    "uninstrument",
]
