"""One XLA program per run: no call to the host, one trace for every number, imports stay light."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params
from schemes import SCHEMES, data, problem

import kdediff_jax as kd


def kde(sampler, bandwidth=0.4):
    return kd.KDEDiffusion(bandwidth, 0.5, sampler=sampler)


def lowered(name, cycles):
    """Return the text of the program of a whole run; nothing is compiled."""
    own, (forecast, y) = problem(name), data(name)
    modules = kd.RandomWalk(0.1), own.observation, SCHEMES[name].build(own)

    def run(key, ensemble, ys):
        return kd.assimilate(key, *modules, ensemble, ys)

    arguments = jax.random.key(0), forecast, np.tile(y, (cycles, 1))
    return jax.jit(run).lower(*arguments).as_text()


HOST = re.compile(r"callback|python|infeed|outfeed", re.IGNORECASE)


@pytest.mark.parametrize("name", SCHEMES)
def test_whole_run_is_one_program_without_the_host(name):
    short, long = (lowered(name, cycles) for cycles in (50, 500))
    assert len(re.findall(r"func\.func public", short)) == 1
    assert not HOST.search(short)
    # the number of cycles is a trip count and a shape, never a length of the program
    assert re.sub(r"\d+", "0", short) == re.sub(r"\d+", "0", long)


def test_a_callback_would_be_found():
    def run(x):
        jax.debug.callback(lambda x: None, x)
        return jax.pure_callback(np.sin, x, x)

    assert HOST.search(jax.jit(run).lower(1.0).as_text())


def test_ten_bandwidths_are_one_trace_and_one_batch(caplog):
    traces = []

    class Counted(kd.AbstractDynamics):
        interval: float = 0.1

        def step(self, key, x, t):
            traces.append(None)
            return 0.9 * x

    def run(bandwidth):
        analysis = kde(kd.ProbabilityFlow(latents="independent"), bandwidth)
        args = Counted(), kd.GaussianObservation(kd.Select((0,)), 1.0), analysis, ensemble, ys
        return kd.assimilate(jax.random.key(1), *args).mean

    ensemble, ys = jax.random.normal(jax.random.key(0), (10, 2)), jnp.full((2, 1), 0.3)
    bandwidths = np.linspace(0.2, 0.9, 10, dtype="float32")
    with jax.log_compiles():
        loop = [run(bandwidths[0])]
    compiled = [r.getMessage() for r in caplog.records if "Compiling jit(_scan)" in r.getMessage()]
    assert len(compiled) == 1
    once = len(traces)
    loop += [run(h) for h in bandwidths[1:]]
    assert len(traces) == once
    batch = jax.jit(jax.vmap(run))(jnp.asarray(bandwidths))
    assert len(traces) <= 2 * once
    # the same steps, up to rounding
    np.testing.assert_allclose(batch, np.stack(loop), rtol=1e-4, atol=1e-4)
    assert np.ptp(batch[:, -1, 0]) > 1e-2


CALLS = {
    "flow": lambda key, x, y, h: kde(kd.ProbabilityFlow(), h)(key, x, y, FIRST),
    "sir": lambda key, x, y, h: kd.SIR(jitter=h)(key, x, y, FIRST, t=h),
    "enkf": lambda key, x, y, h: kd.EnKF(inflation=1 + h)(key, x, y, FIRST),
    "enkpf": lambda key, x, y, h: kd.EnKPF(kernel_width=h)(key, x, y, FIRST),
    "update": lambda key, x, y, h: kde(kd.ExactMixture(), h).update(key, x, x[:, :1] + h, y),
}
FIRST = kd.GaussianObservation(kd.Select((0,)), 1.0)


@pytest.mark.parametrize("name", CALLS)
def test_a_call_outside_of_jit_is_one_program_for_every_number(name, caplog):
    x = jax.random.normal(jax.random.key(0), (10, 2))

    def compiled(seed, y, h):
        caplog.clear()
        with jax.log_compiles():
            out, info = CALLS[name](jax.random.key(seed), x, jnp.array([y]), h)
        assert info.ok
        found = [r.getMessage() for r in caplog.records if "Compiling" in r.getMessage()]
        return out, [m for m in found if re.search(r"_guarded|_update|while|scan|cond", m)], found

    first, own, _ = compiled(1, 0.3, 0.4)
    assert len(own) == 1  # the rest are keys and conversions
    second, _, every = compiled(2, 0.7, 0.6)
    assert not every
    assert np.abs(second - first).max() > 1e-3


def python(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    ).stdout.strip()


NEVER = ("matplotlib", "xarray", "ot", "netCDF4", "h5netcdf", "pandas")


def test_import_alone_does_not_load_jax():
    modules = ["kdediff_jax"]
    modules += ["kdediff_jax.cli"] if importlib.util.find_spec("kdediff_jax.cli") else []
    loaded = python(
        f"import sys, importlib\nfor m in {modules}: importlib.import_module(m)\n"
        f"print(sorted(set(sys.modules) & {{'jax', 'equinox', 'diffrax', *{NEVER}}}))"
    )
    assert loaded == "[]"


def test_public_names_resolve_and_start_no_backend():
    loaded = python(
        "import sys, kdediff_jax as kd\n"
        "for name in kd.__all__: getattr(kd, name)\n"
        "assert set(kd.__all__) <= set(dir(kd))\n"
        "from jax._src import xla_bridge\n"
        f"print(dict(xla_bridge._backends), sorted(set(sys.modules) & set({NEVER})))"
    )
    assert loaded == "{} []"


def test_unknown_public_name():
    with pytest.raises(AttributeError, match="has no attribute 'Enkf'"):
        _ = kd.Enkf


def test_importing_everything_starts_no_backend():
    """Arrays at module level would: then `use_every_core` comes too late."""
    code = """
import importlib, pkgutil, jax, kdediff_jax
for module in pkgutil.walk_packages(kdediff_jax.__path__, "kdediff_jax."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
        jax.config.update("jax_num_cpu_devices", 2)  # raises once a backend has started
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def spectrum(x):
    """Measure the real parts of the waves."""
    return jnp.fft.rfft(x).real[:6]


class Spectral(kd.AbstractObservation):
    """The same as a black box."""

    def sample(self, key, x, t):
        return jnp.fft.irfft(jnp.fft.rfft(x), x.shape[0])[:6] + jax.random.normal(key, (6,))


@pytest.mark.parametrize("observation", [kd.GaussianObservation(spectrum, 1.0), Spectral()])
def test_simulators_that_transform_run_in_batches(observation):
    """Fourier transforms in a batch of runs: on jaxlib 0.11 their layout was not its own."""
    model = kd.dynamics.KuramotoSivashinsky(length=22.0)

    def run(seed):
        ensemble = jax.random.normal(jax.random.key(seed), (6, 16))
        key, ys = jax.random.key(seed), jnp.zeros((2, 6))
        return kd.assimilate(key, model, observation, kd.EnKF(), ensemble, ys).mean

    together = jax.jit(jax.vmap(run))(jnp.arange(3))
    np.testing.assert_allclose(together[2], run(2), rtol=1e-3, atol=1e-3)


def sorts(jaxpr):
    """Count the sorts that are not in the body of a `while`."""
    count = 0
    for equation in jaxpr.eqns:
        count += equation.primitive.name == "sort"
        if equation.primitive.name != "while":
            count += sum(map(sorts, jaxprs_in_params(equation.params)))
    return count


@pytest.mark.parametrize("name", ["enkf", "etkf", "letkf"])
def test_a_batch_of_sound_runs_sorts_nothing(name):
    """Far members are found by sorting, in a loop of no rounds where all look near."""
    own, (forecast, y) = problem(name), data(name)
    scheme = SCHEMES[name].build(own)

    def one(seed):
        key = jax.random.key(seed)
        modules = kd.RandomWalk(0.1), own.observation, scheme
        return kd.assimilate(key, *modules, forecast, jnp.asarray(y)[None]).mean

    assert sorts(jax.make_jaxpr(jax.vmap(one))(jnp.arange(3)).jaxpr) == 0
