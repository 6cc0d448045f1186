"""Results as files: one NetCDF file per run, which says how it was made.

A run calls `prepare_output` before it starts (so that hours of work cannot end at a folder that is
not there), builds its data set by `dataset` with the attributes of `provenance`, and ends in
`write`. `read` takes back only such files. Needs xarray, h5netcdf and h5py: ``pip install
"kdediff_jax[results]"``.
"""

from .fields import field_dataset
from .filter_runs import run_dataset
from .netcdf import dataset, prepare_output, read, write
from .origin import provenance
from .sweeps import sweep_dataset

__all__ = [
    "dataset",
    "field_dataset",
    "prepare_output",
    "provenance",
    "read",
    "run_dataset",
    "sweep_dataset",
    "write",
]
