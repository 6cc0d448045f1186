"""Filters of cuthbert and of DAPPER on our problems, as they are timed beside ours."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from cuthbert import filter as run_theirs
from cuthbert.ensemble_kalman import ensemble_kalman_filter
from cuthbert.smc import particle_filter
from cuthbertlib.resampling import systematic
from dapper.da_methods.ensemble import local_analyses, post_process
from dapper.tools.localization import nd_Id_localization
from dapper.tools.randvars import GaussRV

START = 0.0  # the models are autonomous: any time


def _dynamics(dynamics):
    return lambda x, key: dynamics.step(key, x, jnp.float32(START))


def cuthbert_enkf(dynamics, observation, members, factor=1.0):
    """Return (key, initial members, measurements) -> members of every cycle.

    Fewer members than measurements: by its option for that, with R as a diagonal.

    Args:
        dynamics: our model.
        observation: ours.
        members: how many.
        factor: of the anomalies; cuthbert inflates the forecast.
    """

    def run(key, ensemble, ys):
        std = jnp.broadcast_to(jnp.asarray(observation.std, ys.dtype), ys.shape[1:])
        few = members < ys.shape[1]
        root = std if few else jnp.diag(std)
        found = ensemble_kalman_filter.build_filter(
            init_sample=lambda key: ensemble[0],
            get_dynamics=lambda y: _dynamics(dynamics),
            get_observations=lambda y: (observation.operator, root, y),
            n_particles=members,
            inflation=factor - 1,
            ensemble_subspace=few,
        )
        state = found.init_prepare(key=key)._replace(ensemble=ensemble)
        return run_theirs(found, ys, state, key=key).ensemble[1:]

    return run


def cuthbert_particles(dynamics, observation, members):
    """Return the same of a bootstrap filter that resamples systematically; and log-weights.

    Particles are resampled at the start of the next cycle, ours at the end of their own.
    """

    def run(key, ensemble, ys):
        found = particle_filter.build_filter(
            init_sample=lambda key: ensemble[0],
            propagate_sample=lambda key, x, y: _dynamics(dynamics)(x, key),
            log_potential=lambda before, x, y: observation.log_likelihood(y, x, jnp.float32(START)),
            n_filter_particles=members,
            resampling_fn=systematic.resampling,
        )
        state = found.init_prepare(key=key)._replace(particles=ensemble)
        states = run_theirs(found, ys, state, key=key)
        return states.particles[1:], states.log_weights[1:]

    return run


class DapperLETKF:
    """The loop of DAPPER's `LETKF`, without its statistics: its functions, our model.

    Its table of distances, which its own loop makes anew in every cycle, is made here once. DAPPER
    computes in float64, by one thread of BLAS.

    Args:
        dynamics: our model, which steps all members as one compiled program.
        d: sites of the ring, all measured with unit error.
        radius: of the taper, as in `kd.Localisation`.
        factor: of the analysis anomalies.
        block: neighbouring coordinates that share an analysis.
    """

    def __init__(self, dynamics, d, radius, factor, block=1):
        move = jax.vmap(lambda x: dynamics.step(jax.random.key(0), x, jnp.float32(START)))
        self.compiled, self.factor = jax.jit(move), factor
        self.covariance = GaussRV(C=1, M=d).C
        # both tapers are Gaspari and Cohn's, of half-width 1.82 of the radius there, sqrt(10 / 3)
        # of it here; DAPPER leaves out weights below 0.001
        theirs = radius * (10 / 3) ** 0.5 / 1.82
        localizer = nd_Id_localization((d,), (block,), np.arange(d))
        self.batches, self.taper = localizer(theirs, "x2y", "GC")

    def forecast(self, members):
        """Return the members one interval later."""
        return np.asarray(self.compiled(members.astype(np.float32)), float)

    def analysis(self, members, y):
        """Return the analysis members; the array of the forecast is written into."""
        args = members, members, self.covariance, y, self.batches, self.taper
        return post_process(local_analyses(*args)[0], self.factor, False)

    def __call__(self, key, members, ys):
        """Return the means of all cycles; nothing is drawn."""
        members, means = np.asarray(members, float), []
        for y in np.asarray(ys, float):
            members = self.analysis(self.forecast(members), y)
            means.append(members.mean(axis=0))
        return np.array(means)

    def model_alone(self, members, cycles):
        """Step the members on, without any measurement."""
        members = np.asarray(members, float)
        for _ in range(cycles):
            members = self.forecast(members)
        return members
