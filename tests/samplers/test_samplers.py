"""All samplers against the exact law of the mixture, and their common rules."""

import functools

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdediff_jax import ExactMixture, ProbabilityFlow, ReverseSDE, VarianceExploding, metrics

N = 4000
RNG = np.random.default_rng(3)
CENTRES = 1.5 * RNG.normal(size=(6, 2))
WEIGHTS = np.array([0.05, 0.2, 0.08, 0.31, 0.14, 0.22])
SCALAR, VECTOR = np.array(0.3), np.array([0.2, 0.6])
SDE = {
    "EulerHeun": ReverseSDE(),
    "SRA1": ReverseSDE(solver=diffrax.SRA1(), num_steps=50),
    "ShARK": ReverseSDE(solver=diffrax.ShARK(), num_steps=50),
}
SAMPLERS = {
    "flow": ProbabilityFlow(latents="independent"),
    **SDE,
    "systematic": ExactMixture(),
    "multinomial": ExactMixture(draws="multinomial"),
}


@eqx.filter_jit
def draw(sampler, key, n, *args):
    return sampler(key, n, *args)


def arrays(dtype, bandwidth=SCALAR, centres=CENTRES):
    return tuple(jnp.asarray(a, dtype) for a in (centres, np.log(WEIGHTS), bandwidth))


def exact_draws(rng, n, bandwidth):
    return CENTRES[rng.choice(6, n, p=WEIGHTS)] + bandwidth * rng.normal(size=(n, 2))


def sliced(a, b):
    clouds = (jnp.asarray(x, jnp.float32) for x in (a, b))
    return float(metrics.sliced_wasserstein2(jax.random.key(0), *clouds, 32))


# --- the law ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "bandwidth"),
    [
        ("flow", SCALAR),
        ("flow", VECTOR),
        ("EulerHeun", VECTOR),
        ("SRA1", SCALAR),
        ("ShARK", VECTOR),
        ("systematic", SCALAR),
        ("multinomial", VECTOR),
    ],
    ids=lambda v: v if isinstance(v, str) else ("vector" if v.ndim else "scalar"),
)
def test_samples_follow_the_exact_mixture(key, name, bandwidth):
    x, stats = draw(SAMPLERS[name], key, N, *arrays("float32", bandwidth))
    assert bool(stats.ok) and x.shape == (N, 2) and x.dtype == jnp.float32
    x = np.asarray(x, np.float64)
    mean = WEIGHTS @ CENTRES
    cloud = CENTRES - mean
    covariance = (WEIGHTS[:, None] * cloud).T @ cloud + np.diag(np.broadcast_to(bandwidth**2, 2))
    # standard errors of independent draws; fourth moments from a large exact sample
    rng = np.random.default_rng(0)
    far = exact_draws(rng, 200_000, bandwidth) - mean
    mean_error = np.sqrt(np.diag(covariance) / N)
    covariance_error = np.sqrt(np.var(far[:, :, None] * far[:, None], axis=0) / N)
    assert np.all(np.abs(x.mean(axis=0) - mean) < 5 * mean_error)
    assert np.all(np.abs(np.cov(x.T) - covariance) < 5 * covariance_error)
    # the level: distances between two independent exact samples of the same size
    pairs = [[exact_draws(rng, N, bandwidth) for _ in range(2)] for _ in range(6)]
    level = max(sliced(*pair) for pair in pairs)
    # equal laws: one more distance is rarely half as large again as the largest of six
    assert sliced(x, pairs[0][0]) < 1.5 * level


def test_systematic_draws_take_each_component_in_proportion(key):
    # components 20 apart are told apart without doubt
    centres = 20.0 * np.arange(6)[:, None]
    x, stats = draw(ExactMixture(), key, 100, *arrays("float32", centres=centres))
    counts = np.bincount(np.round(np.asarray(x)[:, 0] / 20).astype(int), minlength=6)
    assert np.all(np.abs(counts - 100 * WEIGHTS) < 1)
    assert int(stats.num_steps) == int(stats.num_rejected) == 0


@functools.cache
def flow_from_the_first_half_of(key_seed):
    """The flow's samples from the latents that `ReverseSDE` starts with, to 1e-8."""
    start_key, _ = jax.random.split(jax.random.key(key_seed))
    tight = diffrax.PIDController(rtol=1e-8, atol=1e-8)
    flow = ProbabilityFlow(solver=diffrax.Tsit5(), stepsize_controller=tight)
    x, stats = eqx.filter_jit(flow.sample)(jax.random.normal(start_key, (50, 2)), *arrays(float))
    assert bool(stats.ok)
    return np.asarray(x)


@pytest.mark.parametrize(("name", "order"), [("EulerHeun", 1), ("SRA1", 2)])
def test_without_noise_the_sde_is_the_flow(x64, name, order):
    solver, wanted = SDE[name].solver, flow_from_the_first_half_of(0)
    error = []
    for num_steps in (50, 100):
        sde = ReverseSDE(solver=solver, num_steps=num_steps, noise=0.0)
        x, stats = draw(sde, jax.random.key(0), 50, *arrays(x64))
        assert bool(stats.ok) and int(stats.num_steps) == num_steps
        # the median: a member on a watershed between centres may take another one
        error.append(np.median(np.abs(np.asarray(x) - wanted)))
    # the drift is integrated to this order: halving the step divides the error by 2 or 4
    assert error[1] < (4e-2 if order == 1 else 1e-3)
    assert error[0] / error[1] > 0.8 * 2**order


# --- common rules ----------------------------------------------------------------------------

EACH = ["flow", "SRA1", "systematic"]


@pytest.mark.parametrize("name", EACH)
def test_far_origins_and_masked_members_cost_no_digits(key, name):
    centres, log_weights, h = arrays("float32")
    far = centres + 1e4  # rounded once: subtracting again is exact
    near, _ = draw(SAMPLERS[name], key, 40, far - 1e4, log_weights, h)
    x, _ = draw(SAMPLERS[name], key, 40, far, log_weights, h)
    # results near 1e4 are spaced by 2^-10
    np.testing.assert_allclose(x - 1e4, near, atol=3 * 2.0**-10)
    masked = log_weights.at[2].set(-jnp.inf)
    one, _ = draw(SAMPLERS[name], key, 40, centres, masked, h)
    other, _ = draw(SAMPLERS[name], key, 40, centres.at[2].set(1e8), masked, h)
    np.testing.assert_allclose(other, one, atol=1e-4)


@pytest.mark.parametrize(("name", "n"), [("matched", 1), ("matched", 3), ("SRA1", 7), ("flow", 7)])
def test_any_number_of_samples_in_the_dtype_of_the_centres(key, dtype, name, n):
    # matched latents have special cases: n = 1 and n < 2 (d + 1)
    sampler = ProbabilityFlow(latents="stratified-matched") if name == "matched" else SAMPLERS[name]
    args = arrays(dtype)
    out, stats = jax.eval_shape(lambda k: sampler(k, n, *args), key)
    assert out.shape == (n, 2) and out.dtype == dtype
    assert stats.ok.dtype == bool and jnp.issubdtype(stats.num_steps.dtype, jnp.integer)
    if name == "matched" and dtype == np.float32:
        x, stats = draw(sampler, key, n, *args)
        assert bool(stats.ok) and np.isfinite(x).all()


@pytest.mark.parametrize("name", ["flow", "SRA1"])
@pytest.mark.parametrize("spacing", ["log", "linear"])
def test_bad_traced_numbers_end_in_a_status(key, name, spacing):
    centres, log_weights, _ = arrays("float32")

    @jax.jit
    def ok(tau_max, bandwidth):
        schedule = VarianceExploding(tau_max=tau_max, spacing=spacing)
        sampler = eqx.tree_at(lambda s: s.schedule, SAMPLERS[name], schedule)
        return sampler(key, 5, centres, log_weights, bandwidth)[1].ok

    nan = float("nan")
    assert bool(ok(5.0, 0.3))
    for bad in [(0.1, 0.3), (0.3, 0.3), (5.0, -0.3), (5.0, 0.0), (nan, 0.3), (5.0, nan)]:
        assert not bool(ok(*bad)), bad


@pytest.mark.parametrize("name", EACH)
def test_bad_mixtures_name_the_argument(key, name):
    centres, log_weights, h = arrays("float32")
    for args, error, argument in [
        ((centres[0], log_weights, h), ValueError, "centres: "),
        ((centres[:0], log_weights[:0], h), ValueError, "centres: "),
        ((centres.astype(int), log_weights, h), TypeError, "centres: "),
        ((centres, log_weights[:4], h), ValueError, "log_weights: "),
        ((centres, log_weights, 0.0), ValueError, "bandwidth: "),
        ((centres, log_weights, -0.3), ValueError, "bandwidth: "),
        ((centres, log_weights, np.ones(3)), ValueError, "bandwidth: "),
    ]:
        with pytest.raises(error, match=f"^{argument}"):
            SAMPLERS[name](key, 5, *args)


@pytest.mark.parametrize("sampler", [ProbabilityFlow, ReverseSDE])
def test_a_known_tau_max_below_the_bandwidth_is_named(key, sampler):
    narrow = sampler(schedule=VarianceExploding(tau_max=0.2))
    with pytest.raises(ValueError, match=r"^tau_max: .*bandwidth"):
        narrow(key, 5, *arrays("float32"))


@pytest.mark.parametrize(
    ("build", "error", "name"),
    [
        (lambda: ProbabilityFlow(start="priors"), ValueError, "start: .*did you mean 'prior'"),
        (lambda: ProbabilityFlow(latents="sobol"), ValueError, "latents: "),
        (lambda: ProbabilityFlow(max_steps=0), ValueError, "max_steps: "),
        (lambda: ReverseSDE(start="mean"), ValueError, "start: "),
        (lambda: ReverseSDE(num_steps=0), ValueError, "num_steps: "),
        (lambda: ReverseSDE(num_steps=10.0), TypeError, "num_steps: "),
        (lambda: ReverseSDE(noise=-1.0), ValueError, "noise: "),
        (lambda: ExactMixture(draws="random"), ValueError, "draws: "),
        (lambda: ExactMixture(latents="normal"), ValueError, "latents: "),
        (lambda: VarianceExploding(tau_max=0.0), ValueError, "tau_max: "),
        (lambda: VarianceExploding(tau_max=1.0, relative=True), ValueError, "tau_max: "),
        (lambda: VarianceExploding(spacing="cosine"), ValueError, "spacing: "),
    ],
)
def test_bad_options_are_named_when_they_are_set(build, error, name):
    with pytest.raises(error, match=f"^{name}"):
        build()


def test_latents_of_another_dimension_are_named():
    with pytest.raises(ValueError, match=r"^latents: .*2 coordinates"):
        ProbabilityFlow().sample(jnp.zeros((5, 3)), *arrays("float32"))
