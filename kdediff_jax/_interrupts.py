"""Ctrl-C: heard also where Python can only ignore it, kept from where it does harm."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")

AGAIN_SECONDS = 0.1


@contextlib.contextmanager
def heard() -> Iterator[None]:
    """Send a Ctrl-C again that fell into a callback which cannot pass it on.

    Python raises KeyboardInterrupt in whatever runs. In a callback of the garbage collector (JAX
    has one) or of C++ nobody can catch it: Python says "exception ignored", and a long computation
    would run on as if nothing had been asked. Does nothing outside the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = sys.unraisablehook

    def unraisable(about: Any) -> None:
        if not issubclass(about.exc_type, KeyboardInterrupt):
            return before(about)
        again = threading.Timer(AGAIN_SECONDS, os.kill, (os.getpid(), signal.SIGINT))
        again.daemon = True
        again.start()

    sys.unraisablehook = unraisable
    try:
        yield
    finally:
        sys.unraisablehook = before


def undisturbed(call: Callable[[], T]) -> T:
    """Return what a call gives, made in a thread of its own, which no Ctrl-C reaches.

    For compilations: on Ctrl-C XLA stops waiting for its compiler, which works on, and the process
    ends in a segmentation fault if it ends meanwhile. So the waiting is done here. A Ctrl-C comes
    through at once all the same; Python joins the thread before it ends.
    """
    if threading.current_thread() is not threading.main_thread():
        return call()  # signals go to the main thread
    worker = ThreadPoolExecutor(1)
    try:
        return worker.submit(call).result()
    finally:
        worker.shutdown(wait=False)
