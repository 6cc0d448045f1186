"""Execute the notebooks.

    python notebooks/run.py                    at small size; the files stay as they are
    python notebooks/run.py --write            at full size, outputs stored in place
    python notebooks/run.py 01_quickstart ...  only these

A notebook fails if a cell raises or writes to stderr (a warning).
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

HERE = Path(__file__).resolve().parent
SECONDS_PER_CELL = 1800
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def execute(path: Path) -> nbformat.NotebookNode:
    """Return the notebook with fresh outputs, its metadata stripped of what changes."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    NotebookClient(
        notebook,
        timeout=SECONDS_PER_CELL,
        kernel_name="python3",
        resources={"metadata": {"path": str(HERE)}},
        coalesce_streams=True,
        extra_arguments=["--IPKernelApp.log_level=40"],  # errors; cells' warnings still count
        record_timing=False,
    ).execute()
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata = nbformat.NotebookNode()
        for output in cell.get("outputs", []):
            if output.output_type in ("display_data", "execute_result"):
                output.metadata = nbformat.NotebookNode()
    nbformat.validate(notebook)
    return notebook


def complaints(notebook: nbformat.NotebookNode) -> str:
    """Return what the cells wrote to stderr."""
    return "".join(
        output.text
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.output_type == "stream" and output.name == "stderr"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Execute the notebooks.")
    parser.add_argument("names", nargs="*", help="such as 01_quickstart; all by default")
    parser.add_argument(
        "--write", action="store_true", help="run at full size and store the outputs"
    )
    arguments = parser.parse_args()
    known = {path.stem: path for path in sorted(HERE.glob("*.ipynb"))}
    wanted = [Path(name).stem for name in arguments.names] or list(known)
    if unknown := [name for name in wanted if name not in known]:
        parser.error(f"expected notebooks of {list(known)}, got {unknown}")
    # The kernels inherit all this. The checkout comes first, installed or not.
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")])
    )
    # XLA's alarm of a slow compilation says that the machine is busy, not that a cell is at fault.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if arguments.write:
        os.environ.pop("KDEDIFF_SMALL", None)
    else:
        os.environ["KDEDIFF_SMALL"] = "1"
        # At this size compiling is nearly all of the time; unoptimised it takes a fraction.
        os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    failed = False
    for name in wanted:
        begin = time.perf_counter()
        try:
            notebook = execute(known[name])
            trouble = complaints(notebook)
        except CellExecutionError as error:
            notebook, trouble = None, str(error)
        seconds = time.perf_counter() - begin
        print(f"{name}: {'FAILED' if trouble else 'ok'} in {seconds:.0f} s", flush=True)
        if trouble:
            print(trouble, file=sys.stderr)
            failed = True
        elif arguments.write and notebook is not None:
            nbformat.write(notebook, known[name])
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
