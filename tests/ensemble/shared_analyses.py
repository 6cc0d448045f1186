"""Analyses and runs on four virtual CPU devices and on one, compared; prints JSON."""

import json
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import kdediff_jax as kd

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

DEVICES = np.array(jax.devices())
MESH = Mesh(DEVICES, ("coordinates",))
BOTH = Mesh(DEVICES.reshape(2, 2), ("copies", "coordinates"))
RING = np.arange(48.0)
PLANE = np.stack(np.meshgrid(np.arange(8.0), np.arange(12.0)), axis=-1).reshape(-1, 2)
SCATTERED = np.random.default_rng(0).uniform(0, 20, (50, 2))
SCATTERED = SCATTERED[np.argsort(SCATTERED[:, 0])]  # in order along one axis, so that halos differ
CASES = [
    # filter, dtype, positions of the state, which are measured, localisation, mesh
    (kd.LETKF, "float32", RING, 1, {"radius": 1.0, "period": 48.0}, {"mesh": MESH}),
    (
        kd.LETKF, "float64", PLANE, 2, {"radius": 0.7, "period": (8.0, None), "placeless": [0.7]},
        {"mesh": jax.make_mesh((4,), ("coordinates",))},
    ),
    (kd.LETKF, "float64", SCATTERED, 3, {"radius": 9.0}, {"mesh": MESH}),  # lists of nearly all
    (kd.LEnKPF, "float32", PLANE, 1, {"radius": 0.6}, {"mesh": BOTH, "axis": "coordinates"}),
    (kd.LEnKPF, "float64", RING, 1, {"radius": 1.0, "period": 48.0}, {"mesh": MESH}),
    (kd.LEnKPF, "float32", SCATTERED, 1, {"radius": 1.2}, {"mesh": MESH}),  # 50 is not divided by 4
]  # fmt: skip


def problem(dtype, places, every, extra):
    """Return members, an observation and a measurement with a missing component."""
    d = len(places) + extra
    x = jax.random.normal(jax.random.key(0), (8, d), dtype)
    if every == 1 and not extra:
        observation = kd.GaussianObservation(kd.Identity(), 0.5)
    else:
        indices = tuple(range(0, len(places), every))
        observation = kd.GaussianObservation(kd.Select(indices), 0.5)
    y = observation.sample(jax.random.key(1), x[0], jnp.zeros((), dtype)).at[2].set(jnp.nan)
    return x, observation, y


def compared(make, dtype, places, every, where, devices):
    """Analyse on one device and on several."""
    x, observation, y = problem(dtype, places, every, len(where.get("placeless", ())))
    found = []
    for extra in ({}, devices):
        localisation = kd.Localisation(places, places[::every], **where, **extra)
        scheme = make(localisation, rotation_angle=0.5)
        assert (scheme.localisation.lists is not None) or not extra
        lost = y if make is kd.LETKF else y.at[10:15].add(12)  # the filter is lost there
        found.append(scheme(jax.random.key(2), x, lost, observation))
    (one, info), (several, shared) = found
    counts = [[int(i.num_unreached), int(i.num_gross_errors)] for i in (info, shared)]
    moments = jnp.max(jnp.abs(info.mean - shared.mean)), jnp.abs(info.ess - shared.ess)
    return {
        "difference": float(max(jnp.max(jnp.abs(one - several)), *moments)),
        "moved": float(jnp.max(jnp.abs(several - x))),
        "ok": bool(info.ok & shared.ok),
        "same counts": counts[0] == counts[1],
    }


def rarely_run(line):
    """Return whether an instruction belongs to what an analysis seldom needs, `numerics.rarely`."""
    return re.search(r"_guarded\)/while/body", line) is not None


def ran():
    """Filter on one device and on four, and look at what the program passes on."""
    model, observation = kd.Lorenz96(interval=0.05), kd.GaussianObservation(kd.Identity(), 1.0)
    d = len(RING)
    members = 8 + np.asarray(jax.random.normal(jax.random.key(0), (6, d), "float64"))
    ys = 8 + np.asarray(jax.random.normal(jax.random.key(1), (3, d), "float64"))
    found = []
    for mesh in (None, MESH):
        scheme = kd.LETKF(kd.Localisation(RING, RING, 1.9, period=48.0, mesh=mesh))
        arrays, static = eqx.partition(scheme, eqx.is_array)

        def run(arrays, members, static=static):
            modules = model, observation, eqx.combine(arrays, static)
            return kd.assimilate(jax.random.key(2), *modules, members, ys)

        start = members
        if mesh is not None:
            start = jax.device_put(members, NamedSharding(mesh, PartitionSpec(None, "coordinates")))
        program = jax.jit(run).lower(arrays, start).compile()
        found.append(program(arrays, start))
    lines = [line for line in program.as_text().splitlines() if not rarely_run(line)]
    passed = re.findall(r"= f64\[6,(\d+)\]\S* collective-permute", "\n".join(lines))
    return {
        "difference": float(jnp.max(jnp.abs(found[0].mean - found[1].mean))),
        "split": found[1].state.ensemble.sharding.spec == PartitionSpec(None, "coordinates"),
        "ok": bool(jnp.all(found[1].info.ok)),
        "halo": [scheme.localisation.lists.halo.size],
        "columns passed on by the model": max(map(int, passed)),
        "gathered": [x for x in lines if re.search(r" (all-gather|all-to-all)(-start)?\(", x)],
    }


def slope(devices):
    """Return the derivative of an analysis by the noise's standard deviation."""
    x, _, y = problem("float64", RING, 1, 0)
    scheme = kd.LETKF(kd.Localisation(RING, RING, 1.0, period=48.0, **devices))

    def loss(std):
        out, _ = scheme(jax.random.key(2), x, y, kd.GaussianObservation(kd.Identity(), std))
        return jnp.sum(out**2)

    return float(jax.jit(jax.grad(loss))(jnp.asarray(0.5, "float64")))


def main():
    """Compare everything."""
    found = {}
    for make, dtype, *rest in CASES:
        with jax.enable_x64(dtype == "float64"):
            found[f"{make.__name__} {dtype} {len(found)}"] = compared(make, dtype, *rest)
    with jax.enable_x64(True):
        gradient = abs(slope({"mesh": MESH}) / slope({}) - 1)
        print(json.dumps({"analyses": found, "run": ran(), "gradient": gradient}))


main()
