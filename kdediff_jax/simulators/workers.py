"""Calls one after the other, or in threads; see `processes` for processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .._remote import attempt


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
