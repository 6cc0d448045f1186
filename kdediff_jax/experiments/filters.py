"""The filters of the command line: a small builder each.

The keyword arguments of a builder are the settings that its filter uses. One that is not given is
the experiment's own or, where the experiment has none, the filter's default.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from .._checks import choice
from .._typing import Array
from ..analysis.base import AbstractAnalysis
from ..analysis.enkf import EnKF
from ..analysis.enkpf.localised import LEnKPF
from ..analysis.enkpf.pipeline import EnKPF
from ..analysis.etkf import ETKF
from ..analysis.kde_diffusion import KDEDiffusion
from ..analysis.letkf import LETKF
from ..analysis.sir import SIR
from ..bandwidths import AbstractBandwidth, AbstractBandwidthPair
from ..ensemble.inflation import AbstractInflation, SamplingInflation
from ..ensemble.localisation import Localisation
from ..samplers import AbstractSampler, ExactMixture, ProbabilityFlow, ReverseSDE

if TYPE_CHECKING:
    from .experiment import Experiment

Real: TypeAlias = float | Array
Bandwidth: TypeAlias = Real | AbstractBandwidth
Inflation: TypeAlias = Real | AbstractInflation
Setting: TypeAlias = Bandwidth | AbstractBandwidthPair | Inflation | AbstractSampler
Builder: TypeAlias = Callable[..., AbstractAnalysis]


def _enkpf(
    experiment: Experiment, members: int, *, kernel_width: Real | None = None
) -> AbstractAnalysis:
    return EnKPF(kernel_width=kernel_width)


def _lenkpf(
    experiment: Experiment,
    members: int,
    *,
    kernel_width: Real | None = None,
    rotation_angle: Real | None = None,
) -> AbstractAnalysis:
    where = _localisation(experiment, "lenkpf")
    if rotation_angle is None:
        return LEnKPF(where, kernel_width=kernel_width)
    return LEnKPF(where, kernel_width=kernel_width, rotation_angle=rotation_angle)


def _kde_by(default_sampler: Callable[[], AbstractSampler]) -> Builder:
    """Return the builder of the paper's method with a sampler of its own."""

    def builder(
        experiment: Experiment,
        members: int,
        *,
        state_bandwidth: Bandwidth | AbstractBandwidthPair | None = None,
        obs_bandwidth: Bandwidth | None = None,
        sampler: AbstractSampler | None = None,
    ) -> AbstractAnalysis:
        h_x, h_y = experiment.bandwidths_for(members)
        if obs_bandwidth is None and not isinstance(state_bandwidth, AbstractBandwidthPair):
            obs_bandwidth = h_y
        return KDEDiffusion(
            h_x if state_bandwidth is None else state_bandwidth,
            obs_bandwidth,
            sampler=default_sampler() if sampler is None else sampler,
        )

    return builder


def _enkf(
    experiment: Experiment, members: int, *, inflation: Inflation | None = None
) -> AbstractAnalysis:
    return EnKF(inflation=experiment.inflation if inflation is None else inflation)


def _enkf_pairs(
    experiment: Experiment, members: int, *, inflation: Inflation | None = None
) -> AbstractAnalysis:
    factor = experiment.inflation if inflation is None else inflation
    return EnKF(inflation=factor, noise="pairs")


def _etkf(
    experiment: Experiment,
    members: int,
    *,
    inflation: Inflation | None = None,
    rotation_angle: Real = 0.0,
) -> AbstractAnalysis:
    factor = SamplingInflation() if inflation is None else inflation
    return ETKF(inflation=factor, rotation_angle=rotation_angle)


def _letkf(
    experiment: Experiment,
    members: int,
    *,
    inflation: Inflation | None = None,
    rotation_angle: Real = 0.0,
) -> AbstractAnalysis:
    factor = SamplingInflation() if inflation is None else inflation
    where = _localisation(experiment, "letkf")
    return LETKF(where, inflation=factor, rotation_angle=rotation_angle)


def _sir(experiment: Experiment, members: int, *, jitter: Real | None = None) -> AbstractAnalysis:
    chosen = experiment.jitter if jitter is None else jitter
    return SIR(jitter=chosen, resampling=experiment.sir_resampling)


BUILDERS: dict[str, Builder] = {
    "enkpf": _enkpf,
    "lenkpf": _lenkpf,
    "kde": _kde_by(ProbabilityFlow),
    "kde-sde": _kde_by(ReverseSDE),
    "kde-mixture": _kde_by(ExactMixture),
    "enkf": _enkf,
    "enkf-pairs": _enkf_pairs,
    "etkf": _etkf,
    "letkf": _letkf,
    "sir": _sir,
}


def _localisation(experiment: Experiment, name: str) -> Localisation:
    if experiment.localisation is None:
        raise ValueError(
            f"filter: {name} needs an experiment with a localisation, which {experiment.name!r} "
            f"does not have; {name.removeprefix('l')} is its global counterpart"
        )
    return experiment.localisation


def settings_of(name: str) -> tuple[str, ...]:
    """Return the names of the settings that a filter uses."""
    parameters = inspect.signature(BUILDERS[name]).parameters.values()
    return tuple(each.name for each in parameters if each.kind is each.KEYWORD_ONLY)


def build(
    experiment: Experiment, name: str, members: int, settings: Mapping[str, Setting | None]
) -> AbstractAnalysis:
    """Return a filter with an experiment's settings, see `Experiment.filter`."""
    choice("filter", name, BUILDERS)
    given = {setting: value for setting, value in settings.items() if value is not None}
    used = settings_of(name)
    for setting in given:
        if setting not in used:
            near = difflib.get_close_matches(setting, used, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{setting}: {name} does not use it; it has {', '.join(used)}{hint}")
    return BUILDERS[name](experiment, members, **given)
