"""The command line as its users meet it: output, files, and what it says to bad input."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import equinox as eqx
import jax
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from kdediff_jax import _files, results
from kdediff_jax.cli import interrupts
from kdediff_jax.cli.app import app
from kdediff_jax.cli.messages import reported
from kdediff_jax.experiments import CATALOGUE, FILTERS
from kdediff_jax.experiments import run as running

QUICK = ["--cycles", "4", "-n", "20"]


@pytest.fixture
def invoke(monkeypatch):
    """Run a command in this process; a wide terminal keeps the tables on one line."""
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(autouse=True)
def small_reference(monkeypatch):
    """A reference posterior of 2,000 particles: the tests look at the plumbing."""
    from kdediff_jax import experiments

    load = experiments.load

    def small(name):
        import dataclasses

        experiment = load(name)
        few = min(experiment.reference_particles, 2000)
        return dataclasses.replace(experiment, reference_particles=few)

    monkeypatch.setattr(experiments, "load", small)


def test_help_needs_no_jax():
    code = (
        "import sys; sys.argv = ['kdediff', '--help']\n"
        "from kdediff_jax.cli import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code\n"
        "assert 'jax' not in sys.modules and 'matplotlib' not in sys.modules"
    )
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "run" in done.stdout and "list" in done.stdout
    assert time.perf_counter() - begin < 10  # about half a second alone on a machine


def test_list_names_everything(invoke):
    shown = invoke("list")
    assert shown.exit_code == 0
    assert all(name in shown.output for name in (*CATALOGUE, *FILTERS))
    lines = [line for line in shown.output.splitlines() if line.strip()]
    filters = lines[[line.split()[0] for line in lines].index("filter") + 1 :]
    assert [line.split()[0] for line in filters] == list(FILTERS)
    assert ["recommended" in line for line in filters[:3]] == [True, True, False]


@pytest.mark.parametrize("name", ["toy-bimodal", "linear-gaussian"])
def test_run_writes_result_and_picture(invoke, tmp_path, name):
    shown = invoke("run", name, *QUICK, "-o", tmp_path, "--seed", 3)
    assert shown.exit_code == 0, shown.output
    assert all(column in shown.output for column in ("W2", "energy", "compile s", "run s"))
    data = results.read(tmp_path / f"{name}.nc")
    assert list(data["filter"].values) == ["enkpf", "kde", "enkf", "sir"]
    assert data["analysis"].shape[:3] == (4, 4, 20)
    assert np.isfinite(data["analysis"]).all() and np.isfinite(data["score_w2"]).all()
    for score in ("w2", "energy_score", "crps", "rmse", "spread"):
        assert data[score].dims == ("filter", "cycle")
        np.testing.assert_allclose(data[score].mean("cycle"), data[f"score_{score}"], rtol=1e-5)
    assert "takes about" in shown.output and "W2: Wasserstein distance" in shown.output
    assert "sir: filtering 4/4 cycles" in shown.output  # in lines, for output is no terminal
    assert (data["ok"] == 1).all() and (data["num_gross_errors"] == 0).all()
    assert data["normalised_innovation"].shape == (4, 4)
    lines = [line for line in shown.output.splitlines() if "; effective sample size" in line]
    assert [line.partition(":")[0] for line in lines] == list(data["filter"].values)
    assert data.attrs["seed"] == 3 and data.attrs["x64"] == 0
    for word in ("state_bandwidth", "obs_bandwidth", "stepsize_controller", "tau_max"):
        assert word in data.attrs["settings"]
    picture = (tmp_path / f"{name}.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and len(picture) > 20_000
    assert not [p for p in tmp_path.iterdir() if p.suffix not in (".nc", ".png")]


def test_localised_experiments_run_the_localised_filters(invoke, tmp_path):
    shown = invoke("run", "bao2024", "--cycles", 2, "-n", 10, "-o", tmp_path)
    assert shown.exit_code == 0, shown.output
    data = results.read(tmp_path / "bao2024.nc")
    assert list(data["filter"].values) == ["lenkpf", "kde", "letkf", "sir"]
    assert "rotation_angle" in data.attrs["settings"]


def test_an_option_goes_to_the_filters_that_use_it(invoke, tmp_path):
    chosen = ("-f", "enkpf", "-f", "enkf", "-f", "sir")
    options = ("--kernel-width", 0.4, "--inflation", 1.25, "--jitter", 0.75)
    shown = invoke("run", "toy-bimodal", *QUICK, *chosen, *options, "-o", tmp_path)
    assert shown.exit_code == 0, shown.output
    settings = results.read(tmp_path / "toy-bimodal.nc").attrs["settings"]
    for part in ('"kernel_width": 0.4', '"inflation": 1.25', '"jitter": 0.75'):
        assert part in settings


def test_same_seed_same_numbers(invoke, tmp_path):
    ensembles = []
    for folder in ("a", "b"):
        assert (
            invoke("run", "toy-bimodal", *QUICK, "-f", "kde", "-o", tmp_path / folder).exit_code
            == 0
        )
        ensembles.append(results.read(tmp_path / folder / "toy-bimodal.nc")["analysis"].values)
    np.testing.assert_array_equal(*ensembles)


def test_options_reach_the_filter(invoke, tmp_path):
    arguments = [
        "--state-bandwidth",
        0.07,
        "--obs-bandwidth",
        0.3,
        "--tau-max",
        12,
        "--start",
        "prior",
    ]
    shown = invoke(
        "run", "toy-bimodal", *QUICK, "-f", "kde", *arguments, "--tolerance", 1e-4, "-o", tmp_path
    )
    assert shown.exit_code == 0, shown.output
    settings = results.read(tmp_path / "toy-bimodal.nc").attrs["settings"]
    for part in (
        '"state_bandwidth": 0.07',
        '"tau_max": 12.0',
        '"start": "prior"',
        '"tolerance": 0.0001',
    ):
        assert part in settings


def test_x64_runs_in_float64(tmp_path):
    command = [sys.executable, "-m", "kdediff_jax", "run", "linear-gaussian", *QUICK]
    done = subprocess.run(
        [*command, "-f", "enkf", "--x64", "-o", str(tmp_path)], capture_output=True, timeout=300
    )
    assert done.returncode == 0, done.stderr.decode()
    data = results.read(tmp_path / "linear-gaussian.nc")
    assert data["analysis"].dtype == np.float64 and data.attrs["x64"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "lorenz63z"], "Did you mean lorenz63-z?"),
        (["run", "toy-bimodal", "-f", "enfk"], "Did you mean enkf?"),
        (["run", "toy-bimodal", "-f", "kde", "-f", "kde"], "each filter once"),
        (["run", "toy-bimodal", "--state-bandwidth", "0"], "state_bandwidth: expected"),
        (["run", "toy-bimodal", "--obs-bandwidth", "-1"], "obs_bandwidth: expected"),
        (["run", "toy-bimodal", "--jitter", "-1"], "jitter: expected"),
        (["run", "toy-bimodal", "--inflation", "nan"], "inflation: expected"),
        (["run", "toy-bimodal", "--tau-max", "0"], "tau_max: expected"),
        (["run", "toy-bimodal", "-n", "20", "--tau-max", "0.01"], "tau_max: expected more than"),
        (["run", "toy-bimodal", "--tolerance", "2"], "tolerance: expected"),
        (["run", "toy-bimodal", "--start", "priory"], "Did you mean prior?"),
        (["run", "toy-bimodal", "--kernel-width", "0"], "kernel_width: expected"),
        (["run", "toy-bimodal", "-f", "lenkpf"], "needs an experiment with a localisation"),
        (
            ["run", "toy-bimodal", "-f", "kde", "--jitter", "1"],
            "--jitter is not used by kde: kde has --state-",
        ),
        (["run", "toy-bimodal", "-f", "sir", "--tau-max", "9"], "sir: sir has --jitter"),
        (["run", "toy-bimodal", "-f", "sir", "--start", "prior"], "--start is not used by sir"),
        (
            ["run", "toy-bimodal", "-f", "sir", "-f", "kde-mixture", "--start", "matched"],
            "used by none of the filters sir and kde-mixture: sir has --jitter; kde-mixture has",
        ),
        (["run", "toy-bimodal", "-n", "-5"], "--members"),
        (["run", "toy-bimodal", "-n", "1000000000"], "GiB of memory"),
        (["run", "lorenz63-z", "-f", "kde", "-n", "3000000"], "GiB of memory"),
    ],
)
def test_bad_options_are_named_and_write_nothing(invoke, tmp_path, arguments, message):
    shown = invoke(*arguments, "-o", tmp_path)
    assert shown.exit_code == 2
    assert message in shown.output
    assert not list(tmp_path.iterdir())


def test_unwritable_folder_is_said_before_the_run(invoke, tmp_path, monkeypatch):
    from kdediff_jax.cli import app as module

    (tmp_path / "file").write_text("")
    monkeypatch.setitem(sys.modules, "kdediff_jax.cli.run", None)  # importing it would fail
    shown = invoke("run", "toy-bimodal", "-o", tmp_path / "file" / "below")
    assert shown.exit_code == 2 and "is not a folder" in shown.output
    assert module.app is app


def test_existing_results_need_force(invoke, tmp_path):
    (tmp_path / "toy-bimodal.nc").write_bytes(b"precious")
    shown = invoke("run", "toy-bimodal", *QUICK, "-f", "enkf", "-o", tmp_path)
    assert shown.exit_code == 2 and "--force" in shown.output
    assert (tmp_path / "toy-bimodal.nc").read_bytes() == b"precious"
    shown = invoke("run", "toy-bimodal", *QUICK, "-f", "enkf", "-o", tmp_path, "--force")
    assert shown.exit_code == 0, shown.output
    assert results.read(tmp_path / "toy-bimodal.nc").sizes["cycle"] == 4


def test_names_are_printed_as_they_are(invoke, tmp_path):
    """Brackets are rich's markup, and colons its emoji."""
    folder = tmp_path / "run[old] :smile: [bold]"
    shown = invoke("run", "toy-bimodal", *QUICK, "-f", "enkf", "-o", folder)
    assert shown.exit_code == 0, shown.output
    assert f"results  {folder / 'toy-bimodal.nc'}" in shown.output
    assert f"picture  {folder / 'toy-bimodal.png'}" in shown.output
    (tmp_path / "a[").write_text("")
    shown = invoke("run", "toy-bimodal", "-o", tmp_path / "a[" / "b]")
    assert shown.exit_code == 2 and f"{tmp_path}/a[ is not a folder" in shown.output
    for arguments in (["run", "a[/b]"], ["run", "toy-bimodal", "-f", "a[/b]"]):
        shown = invoke(*arguments, "-o", tmp_path / "none")
        assert shown.exit_code == 2 and "'a[/b]'" in shown.output


def test_seeds_that_jax_would_repeat_are_refused(invoke, tmp_path):
    for seed in (2**32, 2**64, -1):
        shown = invoke("run", "toy-bimodal", "--seed", seed, "-o", tmp_path)
        assert shown.exit_code == 2 and "--seed" in shown.output
    assert not list(tmp_path.iterdir())
    shown = invoke("run", "toy-bimodal", *QUICK, "-f", "enkf", "--seed", 2**32 - 1, "-o", tmp_path)
    assert shown.exit_code == 0, shown.output


def test_the_option_alone_decides_the_precision(invoke, tmp_path):
    """JAX_ENABLE_X64=1 would draw another truth for the same seed."""
    command = ("run", "lorenz63-full", *QUICK, "-f", "enkf", "-o")
    assert invoke(*command, tmp_path / "a").exit_code == 0
    jax.config.update("jax_enable_x64", True)  # what the variable does
    try:
        assert invoke(*command, tmp_path / "b").exit_code == 0
    finally:
        jax.config.update("jax_enable_x64", False)
    first, second = (results.read(tmp_path / folder / "lorenz63-full.nc") for folder in "ab")
    for name in ("truth", "measurement", "analysis"):
        np.testing.assert_array_equal(first[name], second[name])
    assert second.attrs["x64"] == 0


@pytest.mark.parametrize(("failed", "status"), [(0, 0), (4, 0), (5, 1), (33, 1)])
def test_many_failed_cycles_end_in_a_status(invoke, tmp_path, monkeypatch, failed, status):
    whole = running.run_filter

    def failing(*args, **kwargs):
        run = whole(*args, **kwargs)
        ok = np.arange(40) >= failed
        return run._replace(result=eqx.tree_at(lambda result: result.info.ok, run.result, ok))

    monkeypatch.setattr(running, "run_filter", failing)
    command = ("run", "linear-gaussian", "--cycles", 40, "-n", 20, "-f", "enkf", "-o", tmp_path)
    shown = invoke(*command)
    assert shown.exit_code == status, shown.output
    assert (f"error: of 40 cycles failed enkf in {failed}; the" in shown.output) == (status == 1)
    said = f"{failed} of 40 cycles failed; the first, cycle 0: the analysis is not finite"
    assert (said in shown.output) == (failed > 0)
    data = results.read(tmp_path / "linear-gaussian.nc")
    assert int((data["ok"] == 0).sum()) == failed and (tmp_path / "linear-gaussian.png").exists()


def test_two_runs_of_one_name_are_noticed_at_once(invoke, tmp_path, monkeypatch):
    with _files.held(tmp_path / "toy-bimodal.nc"):
        shown = invoke("run", "toy-bimodal", *QUICK, "-o", tmp_path)
        assert shown.exit_code == 1 and "another process is at work on" in shown.output
        assert "cycles, " not in shown.output  # nothing had begun
        assert invoke("run", "linear-gaussian", *QUICK, "-f", "enkf", "-o", tmp_path).exit_code == 0


def kdediff(*arguments, before="", **options):
    """Start the command in a process of its own, without the cache of programs."""
    code = (
        f"{before}\nimport sys; from kdediff_jax.cli import main; sys.argv[0] = 'kdediff'; main()"
    )
    environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false", "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **options,
    )  # fmt: skip


@pytest.mark.skipif(os.name != "posix", reason="needs a limit on the size of files")
def test_a_full_disk_is_one_line_and_the_old_file_stays(tmp_path):
    (tmp_path / "toy-bimodal.nc").write_bytes(b"precious")
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))"
    command = ("run", "toy-bimodal", "--cycles", 50, "-n", 50, "-f", "enkf", "--force")
    with kdediff(*command, "-o", tmp_path, before=limit) as process:
        _, said = process.communicate()
    assert process.returncode == 1
    assert said.startswith("error: ") and said.count("\n") == 1 and "toy-bimodal.nc" in said
    assert (tmp_path / "toy-bimodal.nc").read_bytes() == b"precious"
    assert [path.name for path in tmp_path.iterdir()] == ["toy-bimodal.nc"]


@pytest.mark.parametrize("seconds", [0.0, 1.0, 3.0])
def test_an_interrupt_ends_with_130_and_no_crash(tmp_path, seconds):
    """While programs compile and run: after the first line that the run prints."""
    with kdediff("run", "lorenz63-z", "-n", 100, "-o", tmp_path) as process:
        assert "lorenz63-z" in process.stdout.readline()
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said == "interrupted; nothing was written\n"
    assert not list(tmp_path.iterdir())


def test_resume_goes_on_to_the_result_of_an_uninterrupted_run(invoke, tmp_path, monkeypatch):
    run = "run", "toy-bimodal", "-n", 20, "--cycles", 20, "-f", "sir"
    assert invoke(*run, "-o", tmp_path / "whole").exit_code == 0
    folder, told = tmp_path / "part", []

    def advances(progress):
        def report(done, total):
            told.append(done)
            if len(told) == 13:  # of the reference posterior ten
                raise KeyboardInterrupt

        return report

    with monkeypatch.context() as patched:
        patched.setattr(running, "_advances", advances)
        stopped = invoke(*run, "-o", folder, "--resume")
    assert stopped.exit_code == 130 and "interrupted; the same command goes on" in stopped.stderr
    assert os.listdir(folder) == ["toy-bimodal.checkpoints"]
    other = invoke(*run, "--seed", 1, "-o", folder, "--resume")
    assert other.exit_code == 2 and "belongs to another run" in other.stderr.replace("\n", " ")
    done = invoke(*run, "-o", folder, "--resume")
    assert done.exit_code == 0, done.output
    assert sorted(os.listdir(folder)) == ["toy-bimodal.nc", "toy-bimodal.png"]
    whole, part = (results.read(p / "toy-bimodal.nc") for p in (tmp_path / "whole", folder))
    for name in set(whole.variables) - {"compile_seconds", "run_seconds"}:
        np.testing.assert_array_equal(part[name].values, whole[name].values)


def test_errors_after_an_interrupt_are_the_interrupt(monkeypatch, capsys):
    monkeypatch.setattr(interrupts, "came", lambda: True)
    with pytest.raises(typer.Exit) as stop, reported():
        raise RuntimeError("INTERNAL: CpuCallback error: KeyboardInterrupt")
    assert stop.value.exit_code == 130
    assert capsys.readouterr().err == "interrupted; nothing was written\n"


def test_quick_is_small_and_options_have_the_last_word(invoke, tmp_path):
    shown = invoke("run", "lorenz63-full", "--quick", "-f", "enkf", "-o", tmp_path)
    assert shown.exit_code == 0, shown.output
    data = results.read(tmp_path / "lorenz63-full.nc")
    assert (data.sizes["cycle"], data.sizes["member"]) == (20, 50)
    asked = ("--quick", "-n", 10, "--cycles", 3, "-f", "enkf", "--force")
    assert invoke("run", "lorenz63-full", *asked, "-o", tmp_path).exit_code == 0
    data = results.read(tmp_path / "lorenz63-full.nc")
    assert (data.sizes["cycle"], data.sizes["member"]) == (3, 10)
