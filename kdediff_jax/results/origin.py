"""Where a result came from: versions, commit, device, settings."""

import dataclasses
import datetime
import importlib.metadata
import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

_PACKAGES = ("jax", "jaxlib", "diffrax", "equinox", "numpy")


def provenance(settings: Mapping[str, object], *, seed: int) -> dict[str, str | int | float]:
    """Everything needed to run the same thing again, as flat attributes that NetCDF can hold.

    Starts the JAX backend, because it names the device.

    Args:
        settings: The run's settings; kept as one JSON string. Arrays become lists, dataclasses (so
            equinox modules too) their class name and fields, functions their qualified name.
        seed: Seed of the run's random key.

    Returns:
        Versions, commit, device, precision, time (UTC), command line, seed and settings. The commit
        ends in "-dirty" if a Python or TOML file of the checkout differs from it, and is "unknown"
        for an installed package.
    """
    import jax

    devices = jax.devices()
    return {
        "kdediff_jax": package_version("kdediff_jax"),
        "commit": _commit(Path(__file__).resolve()),
        "python": platform.python_version(),
        **{name: package_version(name) for name in _PACKAGES},
        "platform": devices[0].platform,
        "device": devices[0].device_kind,
        "device_count": len(devices),
        "x64": int(jax.dtypes.canonicalize_dtype(float) == np.float64),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv),
        "seed": int(seed),
        "settings": json.dumps(dict(settings), default=_jsonable, sort_keys=True),
    }


def package_version(name: str) -> str:
    """Return the version of an installed package."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _commit(source: Path) -> str:
    """Commit of the checkout that tracks ``source``; "unknown" if none does."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(source.parent), *arguments],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
        return done.stdout.strip()

    try:
        # An installed package may lie below someone's checkout without being part of it.
        git("ls-files", "--error-unmatch", source.name)
        # Only what could change a result: runs may rewrite tracked figures and tables as they go.
        changed = git("status", "--porcelain", "--", ":(top)*.py", ":(top)*.toml")
        return git("rev-parse", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _jsonable(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {
            field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)
        }
        return {"type": type(value).__qualname__, **fields}
    if hasattr(value, "tolist"):
        return value.tolist()  # pyright: ignore[reportAttributeAccessIssue]
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"  # pyright: ignore
    return str(value)
