"""What a process beside this one does for a simulator: call a function, and no longer than it may.

It loads NumPy alone, so that such a process starts at once and is small.
"""

from __future__ import annotations

import contextlib
import pickle
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np


class Call(NamedTuple):
    """What a user's function is called with.

    Attributes:
        words: of the random key of its generator; None where nothing is random.
        arguments: those behind the generator.
    """

    words: np.ndarray | None
    arguments: tuple[Any, ...]

    def made(self, function: Callable[..., Any]) -> Any:
        """Return what the function gives; the arrays are its own to change."""
        copies = (each.copy() if isinstance(each, np.ndarray) else each for each in self.arguments)
        if self.words is None:
            return function(*copies)
        return function(generator_of(self.words), *copies)


class _Late(BaseException):
    """Raised in a call that takes too long, past every `except Exception`."""


def generator_of(words: np.ndarray) -> np.random.Generator:
    """Return the random numbers of a key's words: the same wherever and whenever they are drawn."""
    return np.random.default_rng(np.asarray(words, np.uint32).ravel().tolist())


def attempt(call: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a call gives, or the exception that it raises; `sys.exit` is a failure too."""
    try:
        return call(*arguments)
    except Exception as error:
        return error
    except SystemExit as error:
        return RuntimeError(f"SystemExit: it called sys.exit({error.code!r})")


def too_late(timeout: float) -> TimeoutError:
    """Return the error of a call that took too long."""
    return TimeoutError(f"not done after {timeout:g} s")


def attempt_all(
    function: Callable[..., Any], calls: Sequence[Call], timeout: float | None
) -> list[Any]:
    """Return the outcomes of some calls, one after the other."""
    return [_attempt_here(function, call, timeout) for call in calls]


def _attempt_here(function: Callable[..., Any], call: Call, timeout: float | None) -> Any:
    """Return the outcome of a call; a traceback does not travel, its text does."""
    try:
        with _alarm(timeout):
            outcome = attempt(call.made, function)
    except _Late:
        return too_late(timeout or 0.0)
    if isinstance(outcome, Exception):
        outcome.add_note("".join(traceback.format_exception(outcome)))
        return _sendable(outcome)
    return outcome


@contextlib.contextmanager
def _alarm(timeout: float | None) -> Iterator[None]:
    """Raise `_Late` here after some time, where the system has alarms."""
    if timeout is None or not hasattr(signal, "setitimer"):
        yield
        return

    def late(*_: Any) -> None:
        raise _Late

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, timeout)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _sendable(error: Exception) -> Exception:
    """Return an exception that can be pickled."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError("".join(traceback.format_exception_only(error)).strip())
    return error
