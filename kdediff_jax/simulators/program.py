"""External programs: one process per member, in a working folder of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import numpy as np

from .._checks import count, positive
from .._remote import generator_of
from . import files
from .base import AbstractSimulator, Answer, Request, as_row, collected
from .files import ProgramCall
from .workers import in_turn_or_threads

TAIL = 400  # characters of what a failed program said last


class ProgramError(RuntimeError):
    """A program that ended with an error, took too long, or wrote no result."""


def _words(command: Any) -> tuple[str, ...]:
    if isinstance(command, (str, bytes)) or not isinstance(command, Sequence) or not command:
        raise TypeError(
            "command: expected a list, the program and its arguments, such as "
            f'["./model", "{{t}}"], got {command!r}'
        )
    return tuple(os.fspath(word) for word in command)


class ProgramSimulator(AbstractSimulator):
    """An external program that simulates one member.

    For each member it is started in a folder of its own, which holds the member's state; it writes
    its result there and ends with status 0. In the words of `command`, `{t}`, `{interval}`,
    `{seed}` and `{member}` stand for the model time, the time to cover, an integer below 2^31 that
    belongs to member and cycle, and the member's number.

        >>> import sys, jax, numpy as np, kdediff_jax as kd
        >>> code = '''
        ... import sys, numpy as np
        ... x, interval = np.loadtxt("state.txt"), float(sys.argv[1])
        ... rng = np.random.default_rng(int(sys.argv[2]))
        ... np.savetxt("result.txt", np.exp(-0.3 * interval) * x + 0.1 * rng.normal(size=2))
        ... '''
        >>> program = kd.ProgramSimulator(
        ...     [sys.executable, "-c", code, "{interval}", "{seed}"],
        ...     write="state.txt", read="result.txt", timeout=60, workers=2,
        ... )
        >>> dynamics = kd.HostDynamics(program, interval=1.0)
        >>> observation = kd.GaussianObservation(kd.Select([0]), std=0.2)
        >>> ensemble = np.random.default_rng(0).normal(size=(6, 2)).astype("float32")
        >>> ys = np.array([[0.5]], "float32")
        >>> result = kd.assimilate(
        ...     jax.random.key(0), dynamics, observation, kd.EnKF(), ensemble, ys
        ... )
        >>> result.mean.shape, result.failures
        ((1, 2), ())

    Args:
        command: the program and its arguments, one string each; no shell reads them. A program that
            is not on the PATH is named by an absolute path.
        write: the file that gets the state: a name (`.npy`, else text, one number a line, all
            digits), or a function `write(folder, call)` that makes the files itself, see
            `ProgramCall`.
        read: the file that the program writes, a name likewise, or `read(folder) -> array`.
        timeout: seconds after which the program, and what it has started, is killed; None: never.
        workers: programs that run at the same time.
        folder: where the working folders are kept, as `cycle-000000/step-0/member-0000`, with what
            the program printed; those of an earlier run are replaced. None: a temporary one, which
            is removed.

    Raises:
        TypeError: a command that is no list, names of files that are no names or functions.
        ValueError: a timeout that is not positive, fewer than one worker, the same file to write
            and to read.
    """

    command: tuple[str, ...] = eqx.field(static=True, converter=_words)
    write: str | Callable[[Path, ProgramCall], Any] = eqx.field(
        static=True, default="state.npy", kw_only=True
    )
    read: str | Callable[[Path], Any] = eqx.field(static=True, default="result.npy", kw_only=True)
    timeout: float | None = eqx.field(static=True, default=None, kw_only=True)
    workers: int = eqx.field(static=True, default=1, kw_only=True)
    folder: str | os.PathLike[str] | None = eqx.field(static=True, default=None, kw_only=True)

    def __check_init__(self) -> None:
        """Check the options."""
        count("workers", self.workers)
        if self.timeout is not None:
            positive("timeout", self.timeout)
        for name in ("write", "read"):
            files.check(name, getattr(self, name))
        if isinstance(self.write, str) and self.write == self.read:
            raise ValueError(
                f"read: expected another file than `write`, got {self.read!r} for both: a program "
                "that writes nothing would go unnoticed"
            )

    def run(self, request: Request) -> Answer:
        """Start the program for every row."""
        running = _Running()

        def call(row: Request) -> np.ndarray:
            with _working_folder(self.folder, row) as folder:
                return self._run_one(folder, row, running)

        stop = running.stop
        return collected(in_turn_or_threads(call, request.rows(), self.workers, stop), request)

    def _run_one(self, folder: Path, row: Request, running: _Running) -> np.ndarray:
        """Write the state, start the program, wait for it, read its result."""
        call = _call_of(row)
        files.write(self.write, folder, call)
        command = [call.fill(word) for word in self.command]
        said = folder / "stderr.txt"
        with open(folder / "stdout.txt", "wb") as out, open(said, "wb") as err:
            # a session of its own: what it starts can be killed with it
            try:
                process = subprocess.Popen(
                    command, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                    start_new_session=True,
                )  # fmt: skip
            except FileNotFoundError as error:
                why = "no such program (it starts in a folder of its own: give an absolute path)"
                raise FileNotFoundError(error.errno, why, command[0]) from error
            running.add(process)
            try:
                status = process.wait(self.timeout)
            except subprocess.TimeoutExpired:
                raise ProgramError(f"not done after {self.timeout:g} s{_tail(said)}") from None
            finally:
                _kill(process)
                running.remove(process)
        if status != 0:
            how = f"ended with status {status}" if status > 0 else f"killed by signal {-status}"
            raise ProgramError(f"{how}{_tail(said)}")
        try:
            value = files.read(self.read, folder)
        except FileNotFoundError as error:
            there = ", ".join(sorted(path.name for path in folder.iterdir()))
            raise ProgramError(
                f"expected the program to write {Path(error.filename or '').name}, found {there}"
                f"{_tail(said)}"
            ) from error
        return as_row(value, row)


class _Running:
    """The processes under way, to be ended where nobody waits for them any more."""

    def __init__(self) -> None:
        self.lock, self.stopped = threading.Lock(), False
        self.processes: set[subprocess.Popen] = set()

    def add(self, process: subprocess.Popen) -> None:
        with self.lock:
            self.processes.add(process)
            stopped = self.stopped
        if stopped:
            _kill(process)

    def remove(self, process: subprocess.Popen) -> None:
        with self.lock:
            self.processes.discard(process)

    def stop(self) -> None:
        with self.lock:
            self.stopped = True
            processes = list(self.processes)
        for process in processes:
            _kill(process)


def _call_of(row: Request) -> ProgramCall:
    """Return what one program is told."""
    seed = None if row.seeds is None else int(generator_of(row.seeds).integers(2**31))
    return ProgramCall(row.states[0].copy(), row.t, row.interval, seed, row.members[0])


@contextlib.contextmanager
def _working_folder(kept: str | os.PathLike[str] | None, row: Request) -> Iterator[Path]:
    """Give an empty folder for one program."""
    if kept is None:
        with tempfile.TemporaryDirectory(prefix="kdediff-", ignore_cleanup_errors=True) as name:
            yield Path(name)
        return
    part = row.part if row.draws[0] == 0 else f"{row.part}-{row.draws[0]}"
    place = Path(kept).absolute() / f"cycle-{row.cycle:06d}" / part
    place = place / f"member-{row.members[0]:04d}"
    shutil.rmtree(place, ignore_errors=True)  # an old result would pass for a new one
    place.mkdir(parents=True)
    yield place


def _kill(process: subprocess.Popen) -> None:
    """End a process, and what it started and left running."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:  # pragma: no cover - Windows knows no groups
            process.kill()
    process.wait()


def _tail(said: Path) -> str:
    """Return the end of what a program wrote to its standard error."""
    with contextlib.suppress(OSError):
        with open(said, "rb") as file:
            file.seek(max(0, said.stat().st_size - TAIL))
            text = file.read().decode(errors="replace").strip()
        return f"; it said: {text}" if text else ""
    return ""
