"""
Failures and costs as data.
"""

from __future__ import annotations

from decimal import Decimal

import pytest

from asyncops import Cost, Failure
from asyncops._events import MAX_FAILURES, MAX_TRACEBACK_FRAMES


def caught(function: object, *args: object) -> BaseException:
    with pytest.raises(BaseException) as raised:  # noqa: PT011 - any
        function(*args)  # type: ignore[operator]
    return raised.value


def lookup() -> None:
    try:
        {}["x"]
    except KeyError as error:
        raise ValueError("no x") from error


def test_cause_chain() -> None:
    """
    What an exception was raised from is told with it, each with its own traceback.
    """
    failure = Failure.from_exception(caught(lookup))
    (cause,) = failure.causes

    assert ("ValueError", "no x", "") == (failure.type, failure.message, failure.relation)
    assert ("KeyError", "'x'", "cause") == (cause.type, cause.message, cause.relation)
    assert 'raise ValueError("no x") from error' in failure.traceback
    assert '{}["x"]' in cause.traceback
    assert "ValueError: no x" == failure.summary()


def test_context() -> None:
    """
    What was being handled when an exception arose is told as its context, unless that was denied.
    """

    def clumsy() -> None:
        try:
            {}["x"]
        except KeyError:
            raise TypeError("oops")  # noqa: B904 - that is the point

    def discreet() -> None:
        try:
            {}["x"]
        except KeyError:
            raise TypeError("oops") from None

    assert ["context"] == [c.relation for c in Failure.from_exception(caught(clumsy)).causes]
    assert () == Failure.from_exception(caught(discreet)).causes


def test_group() -> None:
    """
    The members of an exception group are told, nested ones too.
    """
    group = ExceptionGroup("both", [OSError("a"), ExceptionGroup("inner", [ValueError("b")])])
    failure = Failure.from_exception(group)

    assert ["OSError", "ExceptionGroup"] == [member.type for member in failure.causes]
    assert {"member"} == {member.relation for member in failure.causes}
    assert "ValueError" == failure.causes[1].causes[0].type


def test_endless_chain() -> None:
    """
    A chain that goes round in a circle, or on and on, ends.
    """
    first, second = ValueError("1"), ValueError("2")
    first.__cause__, second.__cause__ = second, first
    many = ExceptionGroup("many", [ValueError(str(n)) for n in range(100)])

    assert () == Failure.from_exception(first).causes[0].causes
    assert MAX_FAILURES - 1 == len(Failure.from_exception(many).causes)


def test_deep_traceback() -> None:
    """
    Of a very deep traceback both ends are kept.
    """

    def deep(n: int) -> None:
        if n == 0:
            raise RecursionError("bottom")
        deep(n - 1)

    told = Failure.from_exception(caught(deep, 300)).traceback

    assert MAX_TRACEBACK_FRAMES >= told.count("\n  File ")
    assert "frames left out" in told
    assert 'raise RecursionError("bottom")' in told


def test_exception_that_cannot_be_told() -> None:
    """
    An exception whose text cannot be had is still told by its type.
    """

    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    failure = Failure.from_exception(Mute())

    assert failure.type.endswith("Mute")
    assert "<str() raised RuntimeError>" == failure.message


def test_notes() -> None:
    """
    Notes added to an exception are part of its message.
    """
    error = ValueError("no")
    error.add_note("try the other door")

    assert "no\ntry the other door" == Failure.from_exception(error).message


@pytest.mark.parametrize(
    ("said", "amount"), [(0.1, "0.1"), ("0.000000001", "1E-9"), (3, "3"), (Decimal("1.5"), "1.5")]
)
def test_cost(said: float | str | Decimal, amount: str) -> None:
    """
    A cost is exact, whatever kind of number it was said in.
    """
    assert Decimal(amount) == Cost(said).amount  # type: ignore[arg-type]


@pytest.mark.parametrize("said", [-1, "1e400", "nan", "a lot", float("inf")])
def test_no_cost(said: float | str) -> None:
    """
    What cannot be a cost is refused.
    """
    with pytest.raises(ValueError, match="a cost is a number"):
        Cost(said)  # type: ignore[arg-type]
