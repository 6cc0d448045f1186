"""The loop over the chunks of a long run: the one place where a run meets the host."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from .._checks import count, traced
from .._files import AnyPath
from .._interrupts import heard
from .._progress import Report, reporting
from ..runs import FilterResult
from .record import recorded
from .series import Series, chunk_of, pieces


def wanted(
    checkpoint: AnyPath | None, progress: bool | Report | None, chunk: int | None, given: Any
) -> bool:
    """Say whether a run is to go in chunks.

    Args:
        checkpoint: see `assimilate`.
        progress: see there.
        chunk: see there.
        given: all that the run is given.

    Raises:
        TypeError: a checkpoint of a run inside `jit`, `vmap` or `grad`; arguments of a wrong kind.
        ValueError: a chunk without the others.
    """
    if chunk is not None:
        count("chunk", chunk)
    if checkpoint is not None and not isinstance(checkpoint, str | os.PathLike):
        raise TypeError(f"checkpoint: expected a path, got {checkpoint!r}")
    if not (progress is None or isinstance(progress, bool) or callable(progress)):
        raise TypeError(f"progress: expected True or a function (done, total), got {progress!r}")
    if checkpoint is None and not progress:
        if chunk is not None:
            raise ValueError(f"chunk: expected a checkpoint or progress beside it, got {chunk}")
        return False
    inside = traced(given)
    if inside and checkpoint is not None:
        raise TypeError(
            "checkpoint: expected a run outside of `jit`, `vmap` and `grad`, got traced arguments: "
            "inside them all cycles are one program, and nothing can be written in between"
        )
    if inside:
        warnings.warn(
            "progress: inside `jit`, `vmap` and `grad` all cycles are one program, which is silent",
            stacklevel=4,
        )
    return not inside and given[2].shape[0] > 0


@heard()
def run(
    series: Series,
    *,
    checkpoint: AnyPath | None = None,
    progress: bool | Report | None = None,
    chunk: int | None = None,
) -> FilterResult:
    """Filter a series chunk by chunk; the numbers are those of one program for all of it.

    Args:
        series: the run, of at least one measurement.
        checkpoint: see `assimilate`.
        progress: see there.
        chunk: see there.

    Returns:
        The result; what was saved, and the reports, are NumPy arrays, mapped from the checkpoint's
        file of outputs where there is one.

    Raises:
        BlockingIOError, OSError, TypeError, ValueError: see `assimilate`.
    """
    series = series.on_host()
    total = len(series.ys)
    programs: dict[int, Callable[..., FilterResult]] = {}
    with reporting(progress) as report, recorded(checkpoint, series) as record:
        if record.position.finished:
            report(record.position.finished, total)
        for start, end in pieces(record.position.finished, total, chunk_of(chunk, total)):
            state = record.position.state
            if end - start not in programs:
                programs[end - start] = series.compiled(state, start, end)
            result = programs[end - start](*series.arguments(state, start, end))
            record.add(_on_host((result.saved, result.info)), result.state)
            report(end, total)
    saved, info = record.outputs()
    return FilterResult(saved, info, record.position.state)


def _on_host(outputs: Any) -> Any:
    """Return arrays of a device as NumPy's."""
    return jax.tree.map(np.asarray, jax.block_until_ready(outputs))
