"""Filters of this package as methods of DAPPER, against DAPPER's own on its own settings."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import kdediff_jax as kd
from kdediff_jax.interop import dapper_method

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its dependencies
    dapper = pytest.importorskip("dapper")

pytestmark = pytest.mark.filterwarnings("default")


def setting(cycles, burn_in=10, name="Lorenz63.sakov2012"):
    import importlib

    HMM = importlib.import_module(f"dapper.mods.{name}").HMM.copy()
    HMM.tseq.Ko, HMM.tseq.BurnIn = cycles, burn_in
    return HMM


def scores(HMM, methods, seeds):
    """Return the RMSE of the analysis, a row per seed: the same truth and data for all."""
    rows = []
    for seed in seeds:
        dapper.set_seed(3000 + seed)
        twin = HMM.simulate()
        row = []
        for method in methods:
            method.assimilate(HMM, *twin)
            method.stats.average_in_time()
            row.append(method.avrgs.err.rms.a.val)
        rows.append(row)
    return np.array(rows)


def same_within_error(pairs):
    """Say whether the difference of two columns is within what seeds explain."""
    gap = pairs[:, 0] - pairs[:, 1]
    return abs(gap.mean()) < 3 * gap.std(ddof=1) / len(gap) ** 0.5 + 0.01 * pairs.mean()


@pytest.mark.slow
def test_lorenz63_as_good_as_dappers_own():
    from dapper.da_methods import EnKF

    methods = [
        EnKF("PertObs", N=50, infl=1.02),
        dapper_method(kd.EnKF(inflation=1.02), N=50),
        EnKF("Sqrt", N=20, infl=1.02),
        dapper_method(kd.ETKF(inflation=1.02), N=20),
        dapper_method(kd.EnKPF(), N=50),
    ]
    found = scores(setting(150), methods, range(6))
    assert same_within_error(found[:, :2]), found
    assert same_within_error(found[:, 2:4]), found
    # forecasts over .25 are far from Gaussian there: the particle part counts
    assert found[:, 4].mean() < 0.9 * found[:, 0].mean()
    assert all(method.stats.failed_cycles == 0 for method in methods[1::2])


@pytest.mark.slow
def test_lorenz96_as_good_as_dappers_own():
    from dapper.da_methods import EnKF

    methods = [
        EnKF("Sqrt", N=30, infl=1.02),
        dapper_method(kd.ETKF(inflation=1.02), N=30),
    ]
    found = scores(setting(150, 2.5, "Lorenz96.sakov2008"), methods, range(3))
    assert same_within_error(found), found
    assert found.mean() < 0.3


def linear(noise, model_noise=0.1):
    """Return a linear model of two unknowns, of which one is measured."""
    from dapper import mods

    matrix = np.array([[0.9, 0.3], [-0.3, 0.9]])
    Dyn = {"M": 2, "model": lambda x, t, dt: x @ matrix.T, "noise": model_noise}
    Obs = {"M": 1, "model": lambda x: x[..., :1], "noise": noise}
    tseq = mods.Chronology(1.0, dko=2, Ko=30, BurnIn=4)
    return mods.HiddenMarkovModel(Dyn, Obs, tseq, mods.GaussRV(C=1.0, mu=np.zeros(2)))


def test_a_run_is_repeated_by_dappers_seed_and_its_table_names_the_filter():
    first, second = (dapper_method(kd.ETKF(), N=n, remark=f"of {n}") for n in (40, 20))
    rows = [scores(linear(0.25), [first, second], [1]) for _ in range(2)]
    assert (rows[0] == rows[1]).all()
    methods = dapper.xpList()
    methods += first
    methods += second
    assert first.da_method == "ETKF"
    table = methods.tabulate_avrgs(["err.rms.a"], colorize=False)
    for word in ("40", "20", "of 40", "of 20"):
        assert word in table, table


def test_the_times_between_measurements_are_seen():
    HMM = linear(0.25)
    method = dapper_method(kd.ETKF(), N=60)
    method.assimilate(HMM, *HMM.simulate(), store_u=True)
    series = method.stats.err.rms.u
    assert np.isfinite(series).all() and len(series) == HMM.tseq.K + 1


def test_noise_that_is_not_gaussian_is_simulated():
    from dapper.mods import RV
    from dapper.tools.seeding import rng

    skewed = RV(M=1, func=lambda n: 0.5 * (rng.exponential(size=(n, 1)) - 1))
    gaussian, simulated = dapper_method(kd.EnKF(), N=60), dapper_method(kd.EnKF(), N=60)
    found = scores(linear(skewed), [simulated], range(2))
    assert (found < 1.5 * scores(linear(0.25), [gaussian], range(2))).all()
    sir = dapper_method(kd.SIR(), N=60)
    with pytest.raises(TypeError, match="observation"):
        scores(linear(skewed), [sir], [1])


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="N: expected at least 2, got 1"):
        dapper_method(kd.EnKF(), N=1)
    with pytest.raises(TypeError, match="analysis: expected an object with `analyse`"):
        dapper_method(kd.EnKF, N=10)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"HMM\.Obs\.noise: expected a covariance"):
        scores(linear(0), [dapper_method(kd.EnKF(), N=10)], [1])


def test_members_that_fail_are_replaced():
    HMM = linear(0.25)
    model, calls = HMM.Dyn.model, []

    def failing(x, t, dt):
        calls.append(len(x))
        x = model(x, t, dt)
        return np.where(np.arange(len(x))[:, None] == 3, np.nan, x) if x.ndim == 2 else x

    method = dapper_method(kd.ETKF(), N=60)
    dapper.set_seed(5)
    twin = HMM.simulate()
    HMM.Dyn.model = failing
    method.assimilate(HMM, *twin)
    method.stats.average_in_time()
    assert np.isfinite(method.avrgs.err.rms.a.val) and method.stats.failed_cycles == 0
    assert len(calls) == 62
