"""Calls one after the other, in threads, or in processes."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def attempt(call: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a call gives, or the exception that it raises."""
    try:
        return call(*arguments)
    except Exception as error:
        return error


def in_turn_or_threads(
    call: Callable[[Any], Any], items: Sequence[Any], workers: int, stop: Callable[[], None]
) -> list[Any]:
    """Return the outcomes of all calls, up to `workers` at a time.

    Args:
        call: of one item.
        items: what to call it with.
        workers: number of threads; with one there is none.
        stop: ends calls under way, when the caller is interrupted.
    """
    if workers == 1 or len(items) < 2:
        return [attempt(call, item) for item in items]
    pool = ThreadPoolExecutor(min(workers, len(items)))
    try:
        outcomes = list(pool.map(lambda item: attempt(call, item), items))
    except BaseException:  # Ctrl-C, which no thread but this one hears
        pool.shutdown(wait=False, cancel_futures=True)
        stop()
        raise
    pool.shutdown()
    return outcomes


def in_processes(call: Callable[[Any], Any], items: Sequence[Any], workers: int) -> list[Any]:
    """Return the outcomes of all calls, made in other processes.

    A process that dies takes only the call with it that killed it.

    Raises:
        ImportError: joblib is not installed.
    """
    joblib = _joblib()
    # at least two: joblib makes a single worker's calls in this process
    run = joblib.Parallel(n_jobs=max(2, workers))
    try:
        return run(joblib.delayed(_attempt_elsewhere)(call, item) for item in items)
    except Exception as error:  # a worker died, or a call could not be sent
        if len(items) == 1:
            return [error]
    # who killed it? Each by itself
    return [in_processes(call, [item], workers)[0] for item in items]


def _attempt_elsewhere(call: Callable[[Any], Any], item: Any) -> Any:
    """Return the outcome; a traceback does not travel, its text does."""
    outcome = attempt(call, item)
    if isinstance(outcome, Exception):
        outcome.add_note("".join(traceback.format_exception(outcome)))
        return _sendable(outcome)
    return outcome


def _sendable(error: Exception) -> Exception:
    """Return an exception that can be pickled."""
    import pickle

    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError("".join(traceback.format_exception_only(error)).strip())
    return error


def _joblib() -> Any:
    try:
        import joblib  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError(
            'processes: expected joblib, which the extra "simulators" brings: '
            'pip install "kdediff_jax[simulators]"'
        ) from error
    return joblib
