"""Filters by name: what each takes, what it refuses, and the one to start with."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import kdediff_jax as kd
from kdediff_jax import experiments
from kdediff_jax.experiments.filters import BUILDERS, settings_of
from kdediff_jax.experiments.sweeps import AXES
from kdediff_jax.observations import AutoNoise, PairedNoise

GLOBAL, LOCAL = "lorenz63-z", "sakov2008"  # without and with a localisation
SETTINGS = {
    "enkpf": ("kernel_width",),
    "lenkpf": ("kernel_width", "rotation_angle"),
    "kde": ("state_bandwidth", "obs_bandwidth", "sampler"),
    "kde-sde": ("state_bandwidth", "obs_bandwidth", "sampler"),
    "kde-mixture": ("state_bandwidth", "obs_bandwidth", "sampler"),
    "enkf": ("inflation",),
    "enkf-pairs": ("inflation",),
    "etkf": ("inflation", "rotation_angle"),
    "letkf": ("inflation", "rotation_angle"),
    "sir": ("jitter",),
}
KINDS = {
    "enkpf": kd.EnKPF,
    "lenkpf": kd.LEnKPF,
    "kde": kd.KDEDiffusion,
    "kde-sde": kd.KDEDiffusion,
    "kde-mixture": kd.KDEDiffusion,
    "enkf": kd.EnKF,
    "enkf-pairs": kd.EnKF,
    "etkf": kd.ETKF,
    "letkf": kd.LETKF,
    "sir": kd.SIR,
}


def test_every_filter_of_the_list_can_be_had():
    assert list(experiments.FILTERS) == list(BUILDERS) == list(SETTINGS)
    for name, expected in SETTINGS.items():
        assert settings_of(name) == expected
        assert type(experiments.load(LOCAL).filter(name, 20)) is KINDS[name]


@pytest.mark.parametrize("name", experiments.CATALOGUE)
def test_the_recommended_filter_comes_first(name):
    experiment = experiments.load(name)
    local = experiment.localisation is not None
    recommended = "lenkpf" if local else "enkpf"
    assert experiment.recommended == recommended
    assert recommended in experiments.RECOMMENDED
    assert experiment.default_filters == (recommended, "kde", "letkf" if local else "enkf", "sir")
    assert list(experiments.FILTERS)[:2] == ["enkpf", "lenkpf"]


@pytest.mark.parametrize(("name", "counterpart"), [("lenkpf", "enkpf"), ("letkf", "etkf")])
def test_localised_filters_need_a_localisation(name, counterpart):
    with pytest.raises(ValueError, match=f"{name} needs an experiment with a localisation") as said:
        experiments.load(GLOBAL).filter(name, 20)
    assert counterpart in str(said.value) and GLOBAL in str(said.value)


@pytest.mark.parametrize(
    ("name", "setting", "message"),
    [
        ("enkf", "jitter", "jitter: enkf does not use it; it has inflation"),
        ("kde", "inflation", "inflation: kde does not use it; it has state_bandwidth, obs_"),
        ("sir", "kernel_width", "kernel_width: sir does not use it"),
        ("enkpf", "rotation_angle", "rotation_angle: enkpf does not use it"),
        ("etkf", "sampler", "sampler: etkf does not use it"),
        ("kde-sde", "state_bandwith", "state_bandwith: .*; did you mean 'state_bandwidth'"),
        ("letkf", "rotation", "rotation: .*; did you mean 'rotation_angle'"),
    ],
)
def test_a_setting_that_is_not_used_is_refused(name, setting, message):
    experiment = experiments.load(LOCAL)
    with pytest.raises(ValueError, match=message):
        experiment.filter(name, 20, **{setting: 0.5})


def test_none_is_not_given():
    experiment = experiments.load(LOCAL)
    nothing = dict.fromkeys({s for settings in SETTINGS.values() for s in settings})
    for name in SETTINGS:
        experiment.filter(name, 20, **nothing)
    assert float(experiment.filter("sir", 20, jitter=None).jitter) == experiment.jitter
    assert float(experiment.filter("sir", 20, jitter=0.0).jitter) == 0.0


def test_settings_reach_the_filter():
    experiment = experiments.load(LOCAL)
    mixture = kd.ExactMixture()
    kde = experiment.filter("kde", 20, state_bandwidth=0.3, obs_bandwidth=0.7, sampler=mixture)
    found = float(kde.bandwidths.state.value), float(kde.bandwidths.obs.value)
    assert found == pytest.approx((0.3, 0.7))
    assert kde.sampler is mixture
    for name in ("etkf", "letkf", "lenkpf"):
        assert float(experiment.filter(name, 20, rotation_angle=0.4).rotation_angle) == (
            pytest.approx(0.4)
        )
    for name in ("enkpf", "lenkpf"):
        kernel = experiment.filter(name, 20, kernel_width=0.3).kernel_width
        assert float(kernel.value) == pytest.approx(0.3)
    assert isinstance(experiment.filter("enkf-pairs", 20).noise, PairedNoise)
    assert isinstance(experiment.filter("enkf", 20).noise, AutoNoise)
    for name in ("lenkpf", "letkf"):
        assert experiment.filter(name, 20).localisation is experiment.localisation
    traced = experiment.filter("sir", 20, jitter=jnp.asarray(0.25))
    np.testing.assert_array_equal(traced.jitter, 0.25)


def test_a_rule_may_set_both_bandwidths():
    rule = kd.ConditionalLeaveOneOut()
    kde = experiments.load(GLOBAL).filter("kde-mixture", 20, state_bandwidth=rule)
    assert kde.bandwidths is rule
    fixed = experiments.load(GLOBAL).filter("kde", 20, state_bandwidth=kd.LeaveOneOut())
    assert float(fixed.bandwidths.obs.value) == experiments.load(GLOBAL).bandwidths_for(20)[1]


def test_inflation_is_a_number_or_a_rule():
    experiment = experiments.load(LOCAL)
    rule = kd.SamplingInflation()
    for name in ("enkf", "enkf-pairs", "etkf", "letkf"):
        assert experiment.filter(name, 20, inflation=rule).inflation is rule
        number = experiment.filter(name, 20, inflation=1.3).inflation
        assert isinstance(number, kd.ConstantInflation)
        assert float(number.factor) == pytest.approx(1.3)
    assert float(experiment.filter("enkf", 20).inflation.factor) == pytest.approx(1.06)
    assert isinstance(experiment.filter("letkf", 20).inflation, kd.SamplingInflation)


def test_axes_of_a_sweep_are_the_numbers_that_a_filter_uses():
    for name, settings in SETTINGS.items():
        numbers = {setting for setting in settings if setting != "sampler"}
        assert set(AXES[name]) - {"tau_max"} == numbers
    assert [name for name, axes in AXES.items() if "tau_max" in axes] == ["kde"]
