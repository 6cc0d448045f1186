"""Ctrl-C on the command line: noted, and a way out that does not tear down running threads."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from typing import Any, NoReturn

STATUS = 130
_came = threading.Event()


def listen() -> None:
    """Note every Ctrl-C from now on, unless the shell has it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _note)


def _note(number: int, frame: Any) -> None:
    _came.set()
    signal.default_int_handler(number, frame)


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
