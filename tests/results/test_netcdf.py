"""Result files: what goes in comes out, nothing is overwritten by accident or left half-written."""

import os
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from kdediff_jax import results
from kdediff_jax.results import netcdf

xr = pytest.importorskip("xarray")
pytest.importorskip("h5netcdf")
pytest.importorskip("h5py")


def example(value=1.0):
    rng = np.random.default_rng(0)
    rmse = rng.normal(size=(4, 3)).astype(np.float32)
    rmse[1, 2] = np.nan
    return results.dataset(
        {
            "rmse": (("cycle", "filter"), rmse, {"units": "1", "long_name": "error"}),
            "w2": (("cycle",), jnp.full((4,), value), {}),
            "ok": (("cycle",), np.array([True, False, True, True]), {}),
            "steps": ((), np.int32(7), {"units": "days"}),
        },
        {"experiment": "lorenz63-z", "members": 50, "tau_max": 30.0},
        coords={
            "cycle": (("cycle",), np.arange(4, dtype=np.float64), {"units": "days"}),
            "filter": (("filter",), ["KDE", "EnKF", "SIR"], {}),
        },
    )


def test_round_trip_keeps_values_dtypes_and_attributes(tmp_path):
    ds = example()
    path = results.write(ds, tmp_path / "deep" / "run.nc")
    back = results.read(path)
    xr.testing.assert_identical(back, ds)
    for name in ("rmse", "w2", "ok", "steps", "cycle"):
        assert back[name].dtype == ds[name].dtype
    assert all(type(back.attrs[key]) is type(value) for key, value in ds.attrs.items())
    assert os.listdir(path.parent) == ["run.nc"]
    path.unlink()  # read() has let go of the file


def test_large_arrays_are_compressed(tmp_path):
    ds = results.dataset({"x": (("n",), np.zeros(100_000), {})}, {})
    assert results.write(ds, tmp_path / "x.nc").stat().st_size < 40_000


def test_existing_file_needs_force(tmp_path):
    path = results.write(example(1.0), tmp_path / "run.nc")
    for call in (
        lambda: results.prepare_output(path, force=False),
        lambda: results.write(example(2.0), path),
    ):
        with pytest.raises(FileExistsError, match=r"run\.nc.*--force"):
            call()
    assert results.read(path)["w2"][0] == 1.0
    assert results.prepare_output(path, force=True) == path
    assert results.read(path)["w2"][0] == 1.0  # preparing destroys nothing
    results.write(example(2.0), path, force=True)
    assert results.read(path)["w2"][0] == 2.0


def test_prepare_output_creates_the_folder_and_leaves_nothing_in_it(tmp_path):
    path = results.prepare_output(str(tmp_path / "a" / "b" / "run.nc"), force=False)
    assert isinstance(path, Path) and os.listdir(path.parent) == []


def test_unwritable_places_are_named(tmp_path, monkeypatch):
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(NotADirectoryError, match="file is not a folder"):
        results.prepare_output(blocker / "sub" / "run.nc", force=False)
    with pytest.raises(IsADirectoryError, match="it is a folder"):
        results.prepare_output(tmp_path, force=True)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(PermissionError, match=r"run\.nc.*no write permission"):
        results.prepare_output(tmp_path / "run.nc", force=False)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that root cannot write")
def test_a_folder_that_even_root_cannot_write():
    with pytest.raises(PermissionError, match="cannot write /proc"):
        results.prepare_output("/proc/kdediff/run.nc", force=False)


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
@pytest.mark.parametrize("older", [False, True])
def test_interrupted_write_leaves_no_trace(tmp_path, monkeypatch, error, older):
    path = tmp_path / "run.nc"
    if older:
        results.write(example(1.0), path)

    def half_way(descriptor):
        raise error

    monkeypatch.setattr(os, "fsync", half_way)
    with pytest.raises(type(error)):
        results.write(example(2.0), path, force=True)
    assert os.listdir(tmp_path) == (["run.nc"] if older else [])
    if older:
        assert results.read(path)["w2"][0] == 1.0


@pytest.mark.parametrize(
    "attribute",
    [
        {"missing_value": 2.0},
        {"_FillValue": 2},
        {"scale_factor": 2.0, "add_offset": 1.0},
        {"_Unsigned": "true"},
        {"units": "days since 2000-01-01", "calendar": "noleap"},
    ],
)
@pytest.mark.parametrize("dtype", ["float64", "float32", "int8"])
def test_attributes_of_other_conventions_change_no_value(tmp_path, attribute, dtype):
    ds = results.dataset({"x": (("n",), np.arange(-4, 4).astype(dtype), attribute)}, {})
    back = results.read(results.write(ds, tmp_path / "x.nc"))
    xr.testing.assert_identical(back, ds)
    assert back["x"].dtype == dtype and back["x"].attrs == attribute


@pytest.mark.parametrize(
    ("given", "stored"),
    [("float16", "float32"), (jnp.bfloat16, "float32"), (jnp.int4, "int8"), (">f4", "float32")],
)
def test_types_that_other_readers_do_not_know_are_widened(tmp_path, given, stored):
    values = np.array([0.5, -1.5, 6.0]).astype(given)
    ds = results.dataset({"x": (("n",), values, {})}, {})
    back = results.read(results.write(ds, tmp_path / "x.nc"))["x"]
    assert back.dtype == np.dtype(stored) and back.dtype.isnative
    np.testing.assert_array_equal(back.values, values.astype("float64"))


@pytest.mark.parametrize("dtype", ["complex64", "longdouble", "datetime64[ns]", "S3", object])
def test_values_that_netcdf_does_not_hold_are_refused(tmp_path, dtype):
    values = np.arange(3).astype(dtype)
    with pytest.raises(TypeError, match="x: expected booleans, real numbers"):
        results.dataset({"x": (("n",), values, {})}, {})
    sneaked_in = results.dataset({}, {}).assign(x=("n", np.ones(3, np.float16)))
    with pytest.raises(TypeError, match=r"x: expected .* got dtype float16"):
        results.write(sneaked_in, tmp_path / "x.nc")


@pytest.mark.parametrize(
    ("name", "attribute"),
    [
        ("x", {"coordinates": "x"}),
        ("x", {"dtype": "bool"}),
        ("x", {"_Encoding": "utf-8"}),
        ("x", {"CLASS": "mine"}),
        ("x", {"note": "a\0b"}),
        ("a/b", {}),
        ("a\0", {}),
    ],
)
def test_what_netcdf_would_not_give_back_is_not_written(tmp_path, name, attribute):
    ds = results.dataset({name: (("n",), np.arange(4.0), attribute)}, {})
    with pytest.raises(ValueError, match="ds: expected what NetCDF"):
        results.write(ds, tmp_path / "x.nc")
    assert os.listdir(tmp_path) == []


def test_a_flipped_bit_anywhere_is_found_before_hdf5_reads_it(tmp_path):
    path = results.write(example(), tmp_path / "run.nc")
    content, draws = path.read_bytes(), np.random.default_rng(0)
    for where in draws.choice(len(content) - len(b"\nkdediff_jax sha256 ") - 64, 200):
        flipped = bytearray(content)
        flipped[where] ^= 1 << draws.integers(8)
        path.write_bytes(flipped)
        with pytest.raises(ValueError, match=r"run\.nc is damaged"):
            results.read(path)


def test_a_copy_by_another_program_is_read_and_what_it_changed_is_named(tmp_path):
    path = results.write(example(), tmp_path / "run.nc")
    copied = xr.load_dataset(path, engine="h5netcdf", decode_times=False)
    copied.to_netcdf(tmp_path / "copy.nc", engine="h5netcdf", encoding={"rmse": {"zlib": False}})
    xr.testing.assert_equal(results.read(tmp_path / "copy.nc"), results.read(path))
    for changed, name in (
        (copied.assign(w2=copied["w2"] * (1 + 1e-7)), "'w2'"),
        (copied.assign(steps=copied["steps"].assign_attrs(units="hours")), "'steps'"),
        (copied.assign_attrs(members=51), "the file's attributes"),
        (copied.drop_vars("ok"), "'ok'"),
    ):
        changed.to_netcdf(tmp_path / "changed.nc", engine="h5netcdf")
        with pytest.raises(ValueError, match=f"another program changed it: {name}"):
            results.read(tmp_path / "changed.nc")


def test_files_without_checksums_of_an_older_release_are_read(tmp_path):
    older = example().assign_attrs(format_version=1)
    older.to_netcdf(tmp_path / "older.nc", engine="h5netcdf")
    xr.testing.assert_equal(results.read(tmp_path / "older.nc"), example())
    older.assign_attrs(format_version=2).to_netcdf(tmp_path / "stripped.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match="the list of checksums differs"):
        results.read(tmp_path / "stripped.nc")


FULL_DISK = """
import resource, signal, sys
import numpy as np
from kdediff_jax import results
ds = results.dataset({"x": (("n",), np.random.default_rng(0).normal(size=100_000), {})}, {})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    results.write(ds, sys.argv[1], force=True)
except OSError as error:
    print(error)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs a limit on the size of files")
def test_a_full_disk_is_one_error_and_the_old_file_stays(tmp_path):
    path = results.write(example(), tmp_path / "run.nc")
    before = path.read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, path], capture_output=True, text=True, check=True
    )
    assert str(path) in done.stdout and not done.stderr
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["run.nc"]


def test_foreign_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such result file"):
        results.read(tmp_path / "absent.nc")
    text, foreign, newer = (tmp_path / name for name in ("text.nc", "foreign.nc", "newer.nc"))
    text.write_text("not a result")
    with pytest.raises(ValueError, match=r"text\.nc is not a NetCDF"):
        results.read(text)
    xr.Dataset({"x": ("n", np.ones(3))}).to_netcdf(foreign, engine="h5netcdf")
    with pytest.raises(ValueError, match=r"foreign\.nc is a NetCDF file, but not"):
        results.read(foreign)
    results.write(example().assign_attrs(format_version=netcdf.FORMAT_VERSION + 1), newer)
    with pytest.raises(ValueError, match="format version"):
        results.read(newer)
    with pytest.raises(ValueError, match="expected a data set made by"):
        results.write(xr.Dataset({"x": ("n", np.ones(3))}), tmp_path / "x.nc")


def test_dataset_names_what_is_wrong():
    with pytest.raises(ValueError, match=r"w2: expected the dimensions.*\(4, 2\)"):
        results.dataset({"w2": (("cycle",), np.zeros((4, 2)), {})}, {})
    with pytest.raises(TypeError, match="'settings' of attrs"):
        results.dataset({}, {"settings": {"a": 1}})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match="'flag' of w2"):
        results.dataset({"w2": (("cycle",), np.zeros(4), {"flag": True})}, {})


def test_import_needs_neither_xarray_nor_a_backend():
    code = (
        "import sys, kdediff_jax.results\n"
        "assert 'xarray' not in sys.modules and 'h5netcdf' not in sys.modules\n"
        "bridge = sys.modules.get('jax._src.xla_bridge')\n"
        "assert bridge is None or not bridge._backends\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_missing_extra_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "h5netcdf", None)
    with pytest.raises(ImportError, match=r"kdediff_jax\[results\]"):
        results.dataset({}, {})
