"""
The errors asyncops raises.

AsyncopsError
 + ConfigurationError (ValueError)
 + SessionError
 |   - BudgetExceeded
 |   - SessionActiveError
 |   - NoSessionError (LookupError)
 |   - SessionStateError (RuntimeError)
 + ExportError
 |   - CollectorUnavailableError
 |   - BatchRejectedError
 + DecodeError (ValueError)
 + StoreError
     - SessionNotFoundError (LookupError)

Only misuse raises into a program that records, and a budget that it set and used up. Trouble with
delivery is logged and counted instead, so an ExportError is seen by whoever writes or calls an
exporter, not by whoever records.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._budgets import Budget, Spending

__all__ = [
    "AsyncopsError",
    "BatchRejectedError",
    "BudgetExceeded",
    "BudgetStop",
    "CollectorUnavailableError",
    "ConfigurationError",
    "DecodeError",
    "ExportError",
    "NoSessionError",
    "SessionActiveError",
    "SessionError",
    "SessionNotFoundError",
    "SessionStateError",
    "StoreError",
]


class AsyncopsError(Exception):
    """
    The base of everything asyncops raises.
    """


class ConfigurationError(AsyncopsError, ValueError):
    """
    An option has a value that cannot work; the message names the option and says what fits.
    """


class SessionError(AsyncopsError):
    """
    A session was used in a way its life does not allow.
    """


class BudgetExceeded(SessionError):  # noqa: N818 - as a budget is, in every language
    """
    The block of a session was stopped, because its budget is used up. It is raised from what left
    the block when it was stopped.

    Attributes:
        limit: The limit that was exceeded: "usd", "tokens", "llm_calls" or "seconds".
        budget: The budget.
        spending: What was spent.
    """

    def __init__(self, limit: str, budget: Budget, spending: Spending) -> None:
        self.limit = limit
        self.budget = budget
        self.spending = spending
        value = getattr(budget, limit)
        said = (
            f"{value:g}" if isinstance(value, float) else f"{value:f}" if limit == "usd" else value
        )
        super().__init__(f"{limit}={said} is used up: {spending}")

    def __reduce__(self) -> tuple[type[BudgetExceeded], tuple[str, Budget, Spending]]:
        return type(self), (self.limit, self.budget, self.spending)


class SessionActiveError(SessionError):
    """
    A session was started while another is active; names the one that is.

    Attributes:
        session_id: The id of the session that is active.
    """

    def __init__(self, session_id: str, name: str | None = None) -> None:
        self.session_id = session_id
        self.name = name
        called = f" ({name!r})" if name else ""
        super().__init__(
            f"session {session_id}{called} is still active and only one may be at a time:"
            " end it first with `await asyncops.end_session(...)` or by leaving its block,"
            ' or allow one per context with Configuration(scope="context")'
        )

    def __reduce__(self) -> tuple[type[SessionActiveError], tuple[str, str | None]]:
        return type(self), (self.session_id, self.name)


class NoSessionError(SessionError, LookupError):
    """
    The current session was asked for while none is active.
    """

    def __init__(self) -> None:
        super().__init__(
            "no session is active: open one with `async with asyncops.session():`,"
            " `asyncops.init()` or `await asyncops.start_session()`"
        )


class SessionStateError(SessionError, RuntimeError):
    """
    A session was started twice, ended before it started, or ended with a state that does not exist.
    """


class ExportError(AsyncopsError):
    """
    A batch of records did not reach the collector.
    """


class CollectorUnavailableError(ExportError):
    """
    The collector could not take the batch now (network, timeout, 408, 429, 5xx); it is sent again.

    Attributes:
        retry_after: Seconds the collector asked us to wait, or None.
        status_code: The HTTP status, or None when there was no answer.
    """

    def __init__(
        self, message: str, *, retry_after: float | None = None, status_code: int | None = None
    ) -> None:
        self.retry_after = retry_after
        self.status_code = status_code
        super().__init__(message)


class BatchRejectedError(ExportError):
    """
    The collector refused the batch for what it is (a 4xx other than 408 and 429).

    Attributes:
        status_code: The HTTP status.
    """

    def __init__(self, message: str, *, status_code: int) -> None:
        self.status_code = status_code
        super().__init__(message)


class DecodeError(AsyncopsError, ValueError):
    """
    A line is not a record; the message says where and why.
    """


class StoreError(AsyncopsError):
    """
    The collector's store cannot do what was asked.
    """


class SessionNotFoundError(StoreError, LookupError):
    """
    The store holds no session with that id in that project.
    """

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        super().__init__(f"no session {session_id!r}")


class BudgetStop(BaseException):
    """
    Not an error but a way out, like `asyncio.CancelledError`, where there is no task to cancel: a
    call of a model is refused, because a session's budget is used up. Clients that try again
    whatever goes wrong let it pass. It becomes `BudgetExceeded` where the session's block is left.
    """
