"""Ctrl-C: heard wherever it falls, and a way out that does not tear down running threads."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from typing import Any, NoReturn

STATUS = 130
AGAIN_SECONDS = 0.1
_came = threading.Event()


def listen() -> None:
    """Note every Ctrl-C, and send it again where Python could only ignore it.

    Python raises KeyboardInterrupt in whatever runs. In a callback of the garbage collector or of
    XLA nobody can catch it: Python says "exception ignored", and the program would run on.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    before = sys.unraisablehook

    def note(number: int, frame: Any) -> None:
        _came.set()
        signal.default_int_handler(number, frame)

    def unraisable(about: Any) -> None:
        if issubclass(about.exc_type, KeyboardInterrupt):
            again = threading.Timer(AGAIN_SECONDS, os.kill, (os.getpid(), signal.SIGINT))
            again.daemon = True
            again.start()
        else:
            before(about)

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where it is ignored
        signal.signal(signal.SIGINT, note)
    sys.unraisablehook = unraisable


def came() -> bool:
    """Return whether a Ctrl-C came since `listen`."""
    return _came.is_set()


def leave() -> NoReturn:
    """End the process with status 130, at once.

    A compilation or a computation may go on in XLA's threads, and Python's own end would take away
    what they use: a segmentation fault. All files are whole by now, see `_files`.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(STATUS)
