"""Compiled programs on disk, from one process to the next. JAX is imported only when it is asked.

The command line keeps them without being asked, a script after `compilation_cache()`.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

AnyPath = str | os.PathLike[str]
VARIABLE = "JAX_COMPILATION_CACHE_DIR"
SECONDS = 0.2  # programs that compile faster are not worth a file


def default_folder() -> Path | None:
    """Return where programs are kept, below `XDG_CACHE_HOME` or `~/.cache`; None without a home."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kdediff"
    except RuntimeError:
        return None


def can_be_written(folder: Path) -> bool:
    """Say whether a folder, or the nearest that there is above it, can be written."""
    try:
        there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    except (OSError, StopIteration):
        return False
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def keep_programs() -> None:
    """Let a process that has not imported JAX keep its programs; as `compilation_cache` does.

    JAX's own variables have the last word: `JAX_COMPILATION_CACHE_DIR` says where, and
    `JAX_ENABLE_COMPILATION_CACHE=false` switches it off. It reads them when it is imported. Where
    there is no home, or none that can be written, nothing is kept.
    """
    folder = default_folder()
    _bear_failures()
    if folder is not None and can_be_written(folder):
        os.environ.setdefault(VARIABLE, str(folder))
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", str(SECONDS))


def compilation_cache(path: AnyPath | None = None) -> Path:
    """Keep compiled programs on disk, so that the next process need not compile them again.

    Call it once, before the first run; what is compiled later is looked for there, and written
    there where that took more than 0.2 seconds. A program is found again for the same code, shapes,
    versions and kind of device. The folder grows until you remove it; keep it where nobody else
    writes, for JAX runs what it finds there.

    Args:
        path: the folder, made where it is missing. By default the one that JAX has already been
            told (`JAX_COMPILATION_CACHE_DIR`), else that of the command line, `~/.cache/kdediff`.

    Returns:
        The folder. With `JAX_ENABLE_COMPILATION_CACHE=false` JAX keeps nothing all the same.

    Raises:
        OSError: the folder cannot be written, or there is no home to have one.
        TypeError: something other than a path.
    """
    import jax
    from jax.experimental.compilation_cache import compilation_cache as cache

    if path is not None and not isinstance(path, str | os.PathLike):
        raise TypeError(f"path: expected a path or None, got {path!r}")
    told = os.environ.get(VARIABLE) or jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    chosen = path if path is not None else told or default_folder()
    if chosen is None:
        raise OSError("path: expected one where there is no home folder, got None")
    folder = Path(chosen).absolute()
    if not can_be_written(folder):
        raise OSError(f"path: expected a folder that can be written, got {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    _bear_failures()
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", SECONDS)
    cache.reset_cache()  # JAX asks once, at its first compilation, whether there is one
    return folder


def _bear_failures() -> None:
    """Say nothing of programs that cannot be written: it costs time, and nothing else."""
    warnings.filterwarnings("ignore", message="Error writing persistent compilation cache")
