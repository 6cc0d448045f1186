"""Where a result comes from: settings, versions and the commit of the checkout, if it is one."""

import dataclasses
import json
import shutil
import subprocess
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdediff_jax import results
from kdediff_jax.results import origin

pytest.importorskip("xarray")
pytest.importorskip("h5netcdf")


@dataclasses.dataclass
class Scheme:
    bandwidth: object
    rule: object


def test_provenance_says_how_it_was_made(tmp_path):
    settings = {
        "members": 50,
        "scheme": Scheme(jnp.asarray([0.5, 1.0]), np.linalg.norm),
        "path": Path("/tmp/x"),
        "grid": (1, 2),
        "none": None,
    }
    attrs = results.provenance(settings, seed=3)
    assert {"kdediff_jax", "commit", "created", "command", "diffrax", "equinox"} <= set(attrs)
    assert attrs["jax"] == jax.__version__ and attrs["numpy"] == np.__version__
    assert attrs["seed"] == 3 and attrs["device_count"] == len(jax.devices())
    assert attrs["platform"] == jax.devices()[0].platform
    assert attrs["x64"] == int(jax.config.jax_enable_x64)
    stored = json.loads(attrs["settings"])
    assert stored["scheme"]["type"] == "Scheme" and stored["scheme"]["bandwidth"] == [0.5, 1.0]
    assert stored["scheme"]["rule"].endswith("norm") and stored["path"] == "/tmp/x"
    back = results.read(results.write(results.dataset({}, attrs), tmp_path / "p.nc"))
    assert {key: back.attrs[key] for key in attrs} == attrs
    with jax.enable_x64(True):
        assert results.provenance({}, seed=0)["x64"] == 1


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_commit_of_the_checkout_that_tracks_the_package(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        done = subprocess.run(
            ["git", "-C", tmp_path, *identity, *arguments], check=True, capture_output=True
        )
        return done.stdout.decode().strip()

    source, table = tmp_path / "package" / "results.py", tmp_path / "table.csv"
    source.parent.mkdir()
    source.write_text("a = 1\n")
    table.write_text("1\n")
    assert origin._commit(source) == "unknown"
    git("init", "-q")
    assert origin._commit(source) == "unknown"  # there, but not tracked
    git("add", ".")
    git("commit", "-q", "-m", "first")
    head = git("rev-parse", "HEAD")
    assert origin._commit(source) == head
    table.write_text("2\n")
    assert origin._commit(source) == head
    source.write_text("a = 2\n")
    assert origin._commit(source) == f"{head}-dirty"
