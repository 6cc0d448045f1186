"""Stages of an analysis, called alone."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp

import kdediff_jax as kd
from kdediff_jax.analysis.enkpf.kalman_moves import kalman_moves, surrogate
from kdediff_jax.analysis.predict import predict
from kdediff_jax.observations.noise import as_noise

UNDOUBTED = kd.SpreadCorrection(0.0, jnp.inf)  # the forecast's spread is right
CERTAIN = kd.FieldSpreadCorrection(log_spread_std=0.0)  # that of a whole field


def predicted(observation, members, y, *, noise="auto", alive=None, seed=0):
    """Return a forecast with its predictions, as the predict stage hands it on."""
    members = jnp.asarray(members)
    alive = jnp.ones(members.shape[0], bool) if alive is None else alive
    y, t = jnp.asarray(y, members.dtype), jnp.zeros((), members.dtype)
    far_member = kd.Safeguards().far_member
    return predict(
        jax.random.key(seed), members, alive, y, observation, t, as_noise(noise), far_member
    )


def posteriors_of(scheme, forecast, seed=0):
    """Return an EnKPF's posterior under every candidate share, and the one that it takes."""
    measurement = surrogate(forecast, scheme.gaussian_surrogate)
    shares = jnp.asarray(scheme.kalman_share.shares, forecast.members.dtype)
    moved = kalman_moves(jax.random.key(seed), forecast, measurement, shares, scheme.gain)
    candidates = scheme._weigh(forecast, moved, shares)
    return candidates, scheme._choose(candidates, forecast)


def share_of(scheme, forecast):
    """Return the Kalman share that an EnKPF takes."""
    candidates, chosen = posteriors_of(scheme, forecast)
    gaps = jnp.sum((candidates.means - chosen.means[None]) ** 2, axis=(1, 2))
    return jnp.asarray(scheme.kalman_share.shares)[jnp.argmin(gaps)]


def with_two_long_axes(program, m):
    """Return the shapes in a program (its text will do) that have two axes of m and more."""
    shapes = set(re.findall(r"\[(\d+(?:,\d+)+)\]", str(program)))
    return {shape for shape in shapes if sum(int(size) >= m for size in shape.split(",")) > 1}
