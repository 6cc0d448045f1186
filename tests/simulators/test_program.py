"""External programs: files, status, time, folders, workers, what they leave behind."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from pathlib import Path

import host_lorenz63 as numpy_model
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdediff_jax as kd

SCRIPT = Path(numpy_model.__file__)
OBSERVATION = kd.GaussianObservation(kd.Identity(), 1.0)
MEMBERS = np.array([1.0, 3.0, 20.0]) + np.random.default_rng(0).normal(size=(6, 3))
MEMBERS = MEMBERS.astype("float32")


def python(code, *words, **options):
    return kd.ProgramSimulator([sys.executable, "-S", "-c", code, *words], **options)


def run(program, cycles=1, members=MEMBERS, **options):
    ys = jnp.full((cycles, 3), jnp.array([1.0, 3.0, 20.0]))
    arguments = kd.HostDynamics(program, 0.5), OBSERVATION, kd.EnKF(), jnp.asarray(members), ys
    return kd.assimilate(jax.random.key(0), *arguments, save=forecast_of, **options)


def forecast_of(output):
    return output.forecast


COPY = """
import sys
lines = open("in.txt").read().split()
open("out.txt", "w").write("\\n".join([*lines[:2], sys.argv[1]]))
"""


@pytest.mark.parametrize("word, value", [("{t}", 0.0), ("{interval}", 0.5), ("{member}", None)])
def test_text_files_and_words(word, value):
    result = run(python(COPY, word, write="in.txt", read="out.txt"))
    np.testing.assert_array_equal(result.saved[0][:, :2], MEMBERS[:, :2])  # every digit
    expected = np.arange(6.0) if value is None else np.full(6, value)
    np.testing.assert_array_equal(result.saved[0][:, 2], expected)


def test_seeds_differ_between_members_and_cycles_and_come_again():
    runs = [
        run(python(COPY, "{seed}", write="in.txt", read="out.txt", workers=w), 3).saved
        for w in (1, 3)
    ]
    runs = [np.asarray(each)[..., 2].astype(float) for each in runs]
    np.testing.assert_array_equal(*runs)
    assert np.unique(runs[0]).size == 18 and runs[0].min() >= 0 and runs[0].max() <= 2**31


def test_files_of_your_own_and_kept_folders(tmp_path):
    def write(folder, call):
        assert call.t == 0.0 and call.interval == 0.5
        (folder / "namelist.txt").write_text(f"member = {call.member}\n")
        np.savetxt(folder / "x.dat", call.x)

    def read(folder):
        return np.loadtxt(folder / "y.dat") + 1

    code = 'import os; print("hello"); os.rename("x.dat", "y.dat")'
    program = python(code, write=write, read=read, folder=tmp_path / "runs")
    result = run(program)
    np.testing.assert_allclose(result.saved[0], MEMBERS + 1, rtol=1e-6)
    place = tmp_path / "runs" / "cycle-000000" / "step-0" / "member-0004"
    assert (place / "namelist.txt").read_text() == "member = 4\n"
    assert (place / "stdout.txt").read_text() == "hello\n"
    # again, over the old ones: an old result must not pass for a new one
    broken = python("pass", write="x.npy", read="y.dat", folder=tmp_path / "runs")
    with pytest.raises(kd.ProgramError, match=r"to write y\.dat, found stderr\.txt"):
        run(broken)


def test_temporary_folders_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    run(python(COPY, "0", write="in.txt", read="out.txt"))
    assert list(tmp_path.iterdir()) == []


def test_measurements_and_operators_of_a_program(tmp_path):
    code = 'v = open("in.txt").read().split()[2]; open("out.txt", "w").write(v)'
    program = python(code, write="in.txt", read="out.txt", folder=tmp_path)
    still = kd.RandomWalk()
    for observation in (
        kd.HostObservation(program),
        kd.GaussianObservation(kd.HostOperator(program), 1.0),
    ):
        arguments = still, observation, kd.EnKF(noise="pairs"), jnp.asarray(MEMBERS)
        result = kd.assimilate(jax.random.key(0), *arguments, jnp.array([[20.0]]))
        assert result.info.ok.all() and result.failures == ()
    assert (tmp_path / "cycle-000000" / "measurement" / "member-0005" / "out.txt").exists()
    arguments = still, kd.HostObservation(program), kd.EnKF(), jnp.asarray(MEMBERS)
    kd.assimilate(jax.random.key(0), *arguments, jnp.array([[20.0]]))
    assert (tmp_path / "cycle-000000" / "measurement-7" / "member-0005" / "out.txt").exists()


WRONG = {
    "status": ("import sys; sys.exit('no mesh')", {}, r"ended with status 1; it said: no mesh"),
    "signal": ("import os; os.kill(os.getpid(), 9)", {}, "killed by signal 9"),
    "time": ("import time; time.sleep(60)", {"timeout": 0.3}, "not done after 0.3 s"),
    "nothing written": ("pass", {}, r"to write result\.npy, found .*state\.npy"),
    "garbage": ('open("result.npy", "w").write("x")', {}, None),
    "half": ('open("out.txt", "w").write("1 2")', {"read": "out.txt"}, r"\(3,\), got \(2,\)"),
    "words": ('open("out.txt", "w").write("a b c")', {"read": "out.txt"}, "could not convert"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_a_program_does_wrong(name):
    code, options, text = WRONG[name]
    began = time.perf_counter()
    with pytest.raises((kd.ProgramError, ValueError), match=text) as caught:
        run(python(code, workers=3, **options))
    assert time.perf_counter() - began < 30
    assert "cycle 0, the first of this run" in caught.value.__notes__[-1]


def test_a_missing_program():
    message = r"no such program .*: give an absolute path\): '/no-such-model'"
    with pytest.raises(FileNotFoundError, match=message):
        run(kd.ProgramSimulator(["/no-such-model"]))


def test_a_timeout_kills_what_the_program_has_started(tmp_path):
    mark = tmp_path / "pid"
    code = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        f"open({str(mark)!r}, 'a').write(f'{{child.pid}}\\n')\n"
        "time.sleep(60)"
    )
    with pytest.raises(kd.ProgramError, match="not done"):
        run(python(code, timeout=1.5), members=MEMBERS[:2])
    for pid in mark.read_text().split():
        for _ in range(50):  # a killed orphan waits for whoever reaps it
            state = Path(f"/proc/{pid}/stat")
            if not state.exists() or state.read_text().split(") ")[1][0] == "Z":
                break
            time.sleep(0.1)
        else:
            pytest.fail(f"process {pid} is still there")


BAD = {
    "a string": (lambda: kd.ProgramSimulator("ls -l"), TypeError, "command: expected a list"),
    "empty": (lambda: kd.ProgramSimulator([]), TypeError, "command"),
    "timeout": (lambda: kd.ProgramSimulator(["ls"], timeout=0), ValueError, "timeout"),
    "workers": (lambda: kd.ProgramSimulator(["ls"], workers=1.5), TypeError, "workers"),
    "outside": (lambda: kd.ProgramSimulator(["ls"], write="../x"), ValueError, "write"),
    "absolute": (lambda: kd.ProgramSimulator(["ls"], read="/x"), ValueError, "read"),
    "one file": (
        lambda: kd.ProgramSimulator(["ls"], write="x.npy", read="x.npy"), ValueError, "another",
    ),
    "no name": (lambda: kd.ProgramSimulator(["ls"], read=3), TypeError, "read"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_settings(name):
    make, kind, text = BAD[name]
    with pytest.raises(kind, match=text):
        make()


@pytest.mark.slow
def test_a_program_with_faults_is_nearly_as_good_as_a_sound_one():
    """Exceptions, statuses, hangs, NaN and 1e30, in 5 % of the members per cycle."""
    n, cycles = 40, 15
    start = jnp.array([1.0, 3.0, 20.0])
    model = kd.Lorenz63(interval=0.1)
    truth, ys = kd.twin_experiment(jax.random.key(0), model, OBSERVATION, start, cycles)
    members = start[None] + jax.random.normal(jax.random.key(2), (n, 3))
    words = [sys.executable, str(SCRIPT), "{interval}", "0.05", "{seed}"]
    program = kd.ProgramSimulator(words, timeout=5.0, workers=3)
    arguments = OBSERVATION, kd.EnKF(inflation=1.02), members, ys

    def rmse(result):
        return np.sqrt(np.mean((np.asarray(result.mean) - np.asarray(truth))[3:] ** 2))

    clean = kd.assimilate(jax.random.key(1), kd.HostDynamics(numpy_model.step, 0.1), *arguments)
    result = kd.assimilate(jax.random.key(1), kd.HostDynamics(program, 0.1), *arguments)
    masked = np.asarray(result.info.num_masked)
    assert np.asarray(result.info.ok).all()
    assert abs(masked.sum() - 0.05 * n * cycles) < 4 * (0.05 * n * cycles) ** 0.5
    counts = Counter(failure.cycle for failure in result.failures)
    np.testing.assert_array_equal([counts[k] for k in range(cycles)], masked)
    reasons = " ".join(failure.reason for failure in result.failures)
    for each in ("status 1", "status 7", "not done after 5 s", "not finite", "far_member"):
        assert each in reasons
    print(rmse(clean), rmse(result))
    assert rmse(result) < 1.2 * rmse(clean)


def test_no_process_is_left_running():
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    if not children.exists():
        pytest.skip("no /proc")
    before = set(children.read_text().split())
    with pytest.raises(kd.ProgramError):
        run(python("import time; time.sleep(60)", timeout=0.2, workers=2), members=MEMBERS[:3])
    assert set(children.read_text().split()) <= before
