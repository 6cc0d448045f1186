"""Files written whole or not at all, held by one process, cleared of what a kill left behind."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import re
import secrets
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows: nothing is held there
    fcntl = None

OLD_SECONDS = 86_400.0  # after a day another machine's partial file is nobody's
_TOKENS = re.compile(r"(?:(\d+)-([0-9a-f]{8})-)?[0-9a-f]{8}\.part")
SEAL = b"\nkdediff_jax sha256 "
AnyPath = str | os.PathLike[str]


def replace(path: AnyPath, *parts: bytes | memoryview) -> Path:
    """Put `parts` in the place of the file, in one step, and onto the disk before that.

    A reader meets the old file or the new one, also after a power cut; a full disk leaves the old
    one. A link stays a link: the file that it names is replaced.

    Args:
        path: The file; its folder must exist.
        *parts: All of its content. A library that writes to the disk by itself can fail half-way
            in ways of its own (HDF5 on a full disk ends the process), so it writes to memory.

    Returns:
        The path as it was given.

    Raises:
        OSError: If it cannot be written; nothing is left behind then.
    """
    target = Path(os.path.realpath(path))
    clear_abandoned(target)
    name = f".{target.name}.{os.getpid()}-{_machine()}-{secrets.token_hex(4)}.part"
    partial = target.with_name(name)
    try:
        with open(partial, "xb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
        _sync_folder(target.parent)
    except OSError as error:
        error.filename = error.filename or str(path)  # "no space left on device" alone says little
        raise
    finally:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()
    return Path(path)


def seal(content: bytes | memoryview) -> bytes:
    """Return what goes behind the bytes of a file: their SHA-256."""
    return SEAL + hashlib.sha256(content).hexdigest().encode()


def is_broken(path: Path) -> bool:
    """Return whether a file's bytes are others than when it was sealed; False without a seal."""
    length = len(seal(b""))
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        if size < length:
            return False
        file.seek(size - length)
        found = file.read()
        if not found.startswith(SEAL):
            return False
        file.seek(0)
        digest, left = hashlib.sha256(), size - length
        while left and (part := file.read(min(left, 1 << 22))):
            digest.update(part)
            left -= len(part)
    return found != SEAL + digest.hexdigest().encode()


def is_sealed(path: Path) -> bool:
    """Return whether a seal stands at the end of a file, a broken one included."""
    length = len(seal(b""))
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(max(size - length, 0))
        return size >= length and file.read().startswith(SEAL)


def clear_abandoned(path: AnyPath) -> None:
    """Remove the partial files that killed processes left beside `path`.

    Another process of this machine that is alive, and another machine for a day, keep theirs.
    """
    target = Path(os.path.realpath(path))
    start = f".{target.name}."
    with contextlib.suppress(OSError):
        for found in target.parent.iterdir():
            tokens = _TOKENS.fullmatch(found.name[len(start) :])
            if found.name.startswith(start) and tokens and _is_abandoned(found, *tokens.groups()):
                found.unlink(missing_ok=True)


@contextlib.contextmanager
def held(path: AnyPath) -> Iterator[None]:
    """Keep other processes from producing the same file; a kill lets it go.

    Args:
        path: The file that will be written, in a folder that exists.

    Raises:
        BlockingIOError: If another process holds it.
    """
    target = Path(os.path.realpath(path))
    lock = target.with_name(f".{target.name}.lock")
    descriptor = _locked(lock, target)
    try:
        yield
    finally:
        if descriptor is not None:
            lock.unlink(missing_ok=True)  # while it is held, so that nobody's newer one goes
            os.close(descriptor)


def _locked(lock: Path, target: Path) -> int | None:
    """Return the descriptor of the locked file; None where the file system knows no locks."""
    while fcntl is not None:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with contextlib.suppress(FileNotFoundError):
                # its last holder may have removed it between the opening and the locking
                if os.path.samestat(os.fstat(descriptor), lock.stat()):
                    return descriptor
        except BlockingIOError as error:
            os.close(descriptor)
            raise BlockingIOError(f"another process is at work on {target}") from error
        except OSError:
            os.close(descriptor)
            return None
        os.close(descriptor)
    return None


def _is_abandoned(partial: Path, pid: str | None, machine: str | None) -> bool:
    if pid is not None and machine == _machine():
        return int(pid) != os.getpid() and not _is_alive(int(pid))
    return time.time() - partial.stat().st_mtime > OLD_SECONDS


def _is_alive(pid: int) -> bool:
    if os.name != "posix":  # pragma: no cover - signal 0 would end the process on Windows
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


@functools.cache
def _machine() -> str:
    """Return a name of the machine: within it, or its container, process numbers are unique."""
    with contextlib.suppress(OSError):
        return f"{zlib.crc32((platform.node() + os.readlink('/proc/self/ns/pid')).encode()):08x}"
    return f"{zlib.crc32(platform.node().encode()):08x}"


def _sync_folder(folder: Path) -> None:
    """Bring a renaming onto the disk, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
