"""Rules for the error model: what each name stands for, the same in every Kalman scheme."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdediff_jax as kd
from kdediff_jax.analysis.base import Outcome
from kdediff_jax.numerics import variances
from kdediff_jax.observations import error_model
from kdediff_jax.observations.noise import RULES, as_noise
from kdediff_jax.observations.simulated_density import SimulatedDensity

X = jnp.asarray(np.random.default_rng(0).normal(size=(8, 3)), jnp.float32)
T = jnp.zeros(())
PLACE = kd.Localisation(np.arange(3), np.arange(2), 1.0)
SCHEMES = {
    kd.EnKF: lambda noise: kd.EnKF(noise=noise),
    kd.ETKF: lambda noise: kd.ETKF(noise=noise),
    kd.LETKF: lambda noise: kd.LETKF(PLACE, noise=noise),
    kd.EnKPF: lambda noise: kd.EnKPF(noise=noise),
    kd.LEnKPF: lambda noise: kd.LEnKPF(PLACE, noise=noise),
}
DENSITY = SimulatedDensity()
STATED = kd.GaussianObservation(kd.Select((0, 2)), [0.5, 1.0])


class Simulator(kd.AbstractObservation):
    """Known by its draws alone."""

    def sample(self, key, x, t):
        """Draw y."""
        return x[:2] * jnp.exp(0.3 * jax.random.normal(key, (2,), x.dtype))


class Density(Simulator, kd.AbstractLikelihood):
    """The same with a density."""

    def log_likelihood(self, y, x, t):
        """Return the log-density up to a constant."""
        return -jnp.nansum((jnp.log(y / x[:2]) / 0.3) ** 2) / 2


def model_of(simulated):
    return simulated.model(X, jnp.isfinite(simulated.values))


def assert_same(simulated, wanted):
    np.testing.assert_array_equal(simulated.values, wanted.values)
    assert simulated.noisy == wanted.noisy
    assert_same_model(model_of(simulated), model_of(wanted))


def assert_same_model(model, wanted):
    np.testing.assert_array_equal(model.predict(X + 1), wanted.predict(X + 1))
    np.testing.assert_allclose(model.covariance, wanted.covariance, rtol=1e-6)


def test_each_name_is_one_estimate_of_h_and_r(key):
    stated = error_model.stated(STATED, X, T)
    replicated = error_model.replicated(STATED, key, X, T, 8, DENSITY)
    paired = error_model.paired(kd.observations.sample_ensemble(STATED, key, X, T), DENSITY)
    models = {"auto": stated, "known": stated, "sampled": replicated, "pairs": paired}
    assert set(models) == set(RULES)
    for name, wanted in models.items():
        found = as_noise(name)(STATED, key, X, T)
        assert_same(found, wanted)
        assert model_of(found).log_likelihood is None


def test_auto_takes_what_there_is(key):
    auto = as_noise("auto")
    replicated = error_model.replicated(Simulator(), key, X, T, 8, DENSITY)
    assert_same(auto(Simulator(), key, X, T), replicated)
    assert model_of(replicated).log_likelihood is None
    simulated = auto(Density(), key, X, T)
    assert_same(simulated, replicated)
    model = model_of(simulated)
    y = jnp.array([0.5, jnp.nan])
    wanted = [Density().log_likelihood(y, x, T) for x in X]
    np.testing.assert_allclose(model.log_likelihood(y, X), wanted, rtol=1e-5)


@pytest.mark.parametrize("name", RULES)
def test_a_name_means_the_same_in_every_scheme(key, monkeypatch, name):
    seen = []

    def condition(self, key, forecast):
        seen.append((type(self), forecast))
        return Outcome(forecast.members, forecast.members[0], T, forecast.alive)

    for kind, build in SCHEMES.items():
        monkeypatch.setattr(kind, "condition", condition)
        build(name).analyse(key, X, jnp.ones(8, bool), jnp.ones(2), STATED, T)
    assert [kind for kind, _ in seen] == list(SCHEMES)
    first = seen[0][1]
    for kind, forecast in seen[1:]:
        np.testing.assert_array_equal(forecast.predictions, first.predictions)
        wanted = first.error_model
        if kind.independent:  # the diagonal of R is enough for these
            wanted = wanted._replace(covariance=variances(wanted.covariance))
        assert_same_model(forecast.error_model, wanted)


def test_the_default_is_auto_and_a_rule_stays_as_it_is():
    rule = kd.SampledNoise(3)
    for kind, build in SCHEMES.items():
        default = kind(PLACE) if kind in (kd.LETKF, kd.LEnKPF) else kind()
        assert default.noise == kd.AutoNoise()
        assert build(rule).noise is rule


@pytest.mark.parametrize("build", SCHEMES.values(), ids=lambda b: type(b("auto")).__name__)
def test_an_unknown_name_is_named(build):
    with pytest.raises(ValueError, match=r"noise: expected one of .* did you mean 'known'"):
        build("knwon")


def test_bad_input_is_named(key):
    with pytest.raises(ValueError, match="replicates: expected at least 2, got 1"):
        kd.SampledNoise(1)
    with pytest.raises(ValueError, match="replicates: expected at least 2"):
        kd.AutoNoise(0)
    with pytest.raises(TypeError, match="noise='known', got Simulator"):
        kd.KnownNoise()(Simulator(), key, X, T)
