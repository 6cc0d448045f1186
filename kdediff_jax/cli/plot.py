"""`kdediff plot`: pictures of a result file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .. import plots, results
from .messages import console, say


def plot_file(
    file: Path,
    kinds: Sequence[str],
    output: Path | None,
    *,
    cycle: int | None,
    variables: Sequence[str],
    filter_name: str | None,
    force: bool,
) -> None:
    """Draw the kinds asked for, or all that the file has what it takes for; print their names.

    Args:
        file: the result.
        kinds: of figures; none for all.
        output: folder, or for a single kind a name that ends in .png; beside the file if None.
        cycle: as of `plots.draw`.
        variables: likewise.
        filter_name: likewise.
        force: whether pictures that are there may be replaced.

    Raises:
        ValueError: what cannot be drawn, of a kind that was asked for, or of every kind.
        OSError: a picture is there, or cannot be written.
    """
    data = _titled(file)
    names = tuple(dict.fromkeys(kinds)) or plots.kinds(data)
    targets = _targets(file, names, output)
    for target in targets.values():
        results.prepare_output(target, force=force)
    drawn, left_out = 0, {}
    for kind, target in targets.items():
        try:
            figure = plots.draw(
                data, kind, cycle=cycle, variable=variables or None, filter=filter_name
            )
        except ValueError as error:
            if kinds:
                raise
            left_out[kind] = error
            continue
        plots.save(figure, target, force=force)
        say(f"{kind:<12} {target}", console())
        drawn += 1
    if left_out and not drawn:
        raise next(iter(left_out.values()))
    for kind, error in left_out.items():
        say(f"{kind:<12} left out: {error}", console())


def _titled(file: Path):
    """Return the data set of a file, with the file's name as its headline."""
    if file.read_bytes()[:2] == b"PK":
        raise ValueError(
            f"{file} is a checkpoint, a state or a sweep's finished points, and no result: the "
            "command that made it goes on from there and writes one"
        )
    return results.read(file).assign_attrs(title=file.stem)


def _targets(file: Path, kinds: Sequence[str], output: Path | None) -> dict[str, Path]:
    """Return where the picture of every kind goes."""
    if output is not None and output.suffix.lower() == ".png":
        if len(kinds) > 1:
            raise ValueError(f"--output: expected a folder for {len(kinds)} kinds, got {output}")
        return {kind: output for kind in kinds}
    if output is not None and output.suffix and not output.is_dir():
        raise ValueError(f"--output: expected a folder or a name that ends in .png, got {output}")
    folder = file.parent if output is None else output
    return {kind: folder / f"{file.stem}-{kind}.png" for kind in kinds}
