"""The house rules of the package: who may import whom, and how long a module may be."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import kdediff_jax

# A module imports only from rows above its own, or from the module named first in its own row.
# A package's name stands for its modules that are not listed themselves.
ROWS = (
    ("_typing", "_checks"),
    ("_linalg",),
    (
        *("pairwise", "schedules", "latents", "metrics", "sweeping", "tuning", "plots"),
        "dynamics.integrators",
    ),
    (
        *("dynamics.base", "dynamics", "fused", "kde", "observations"),
        *("analysis.resampling", "analysis.inflation", "analysis.localisation"),
    ),
    (
        *(
            "bandwidths",
            "leave_one_out",
            "kalman",
            "samplers.exponential",
            "samplers.first_step",
            "heavy_tails",
        ),
        *("analysis.noise", "analysis.gains", "analysis.sites"),
    ),
    (
        *("samplers.base", "samplers", "analysis.covariance_kernel"),
        *("analysis.transform", "analysis.marginal", "analysis.modes"),
    ),
    (
        *("analysis.shares", "analysis.innovations", "analysis.weighted_kernel"),
        *("analysis.rotation", "samplers.sharded"),
    ),
    ("analysis.bridge",),
    ("analysis.local_bridge",),
    ("analysis.base", "analysis", "analysis.product_kernel", "twin"),
    ("analysis.kde_diffusion",),
    ("assimilation", "results"),
    ("experiments", ""),  # "": the top module, which loads names lazily and has no imports
    ("cli", "__main__"),
)
HOUSES = ("metrics", "plots", "sweeping", "results", "experiments", "cli")  # free inside
ARRAYS_ONLY = ("metrics", "plots")

ROOT = Path(kdediff_jax.__file__).parent
UNITS = {unit: number for number, row in enumerate(ROWS) for unit in row}


def name_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}
MODULES = sorted(set(FILES) - {""})


def unit_of(module):
    """Return the table's entry for a module: itself, or the nearest package that is listed."""
    while module and module not in UNITS:
        module = module.rpartition(".")[0]
    return module


def imports(module, source, *, package):
    """Return the modules of kdediff_jax that a source imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [a.name.split(".", 1) for a in node.names]
            found |= {"".join(rest) for top, *rest in names if top == "kdediff_jax"}
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")
            parts = parts[: len(parts) - node.level + package] if node.level else []
            absolute = (node.module or "").split(".") if node.module else []
            if not node.level:
                if absolute[0] != "kdediff_jax":
                    continue
                absolute = absolute[1:]
            base = ".".join([*parts, *absolute])
            for alias in node.names:
                inner = f"{base}.{alias.name}".lstrip(".")
                found.add(
                    inner if inner in FILES else base or kdediff_jax._HOME.get(alias.name, "")
                )
    return found


def violations(module, source, *, package=False):
    """Return the imports of a module that its place in the table does not allow."""
    row = UNITS[unit_of(module)]
    allowed = {unit for unit, number in UNITS.items() if number < row} | {ROWS[row][0]}
    bad = []
    for target in imports(module, source, package=package) - {module}:
        same_house = unit_of(module) in HOUSES and unit_of(target) == unit_of(module)
        own_child = package and target.startswith(f"{module}.")
        if not (same_house or own_child or unit_of(target) in allowed):
            bad.append(target)
    return bad


@pytest.mark.parametrize("module", MODULES)
def test_module_keeps_to_the_table(module):
    assert unit_of(module), f"{module}: add it to ROWS and to the design"
    package = FILES[module].name == "__init__.py"
    assert violations(module, FILES[module].read_text(), package=package) == []


@pytest.mark.parametrize(
    ("module", "source", "target"),
    [
        ("kde", "from . import bandwidths", "bandwidths"),
        ("kde", "from .samplers import ProbabilityFlow", "samplers"),
        ("kde", "def f():\n    from .samplers.base import transport", "samplers.base"),
        ("metrics.scoring", "from ..kde import score", "kde"),
        ("metrics.scoring", "from .. import kde", "kde"),
        ("schedules", "from .latents import draw", "latents"),
        ("analysis.enkf", "from .sir import SIR", "analysis.sir"),
        ("samplers.exact_mixture", "import kdediff_jax.analysis.base as b", "analysis.base"),
        ("dynamics.lorenz63", "from kdediff_jax import assimilate", "assimilation"),
        ("dynamics.lorenz63", "import kdediff_jax", ""),
        ("observations", "from kdediff_jax.dynamics.lorenz63 import Lorenz63", "dynamics.lorenz63"),
    ],
)
def test_violation_is_caught(module, source, target):
    assert violations(module, source) == [target]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("kde", "import jax\nfrom os import path\nfrom . import pairwise"),
        ("kde", "from ._checks import vector"),
        ("metrics.scoring", "from ..pairwise import mean_distance\nfrom . import _inputs"),
        ("analysis.enkf", "from .base import guard\nfrom ..samplers import ProbabilityFlow"),
        ("experiments.toy", "from .base import Experiment\nfrom kdediff_jax import assimilate"),
    ],
)
def test_allowed_import_passes(module, source):
    assert violations(module, source) == []


@pytest.mark.parametrize("module", [m for m in MODULES if unit_of(m) in ARRAYS_ONLY])
def test_scores_and_plots_take_arrays_only(module):
    package = FILES[module].name == "__init__.py"
    targets = imports(module, FILES[module].read_text(), package=package)
    own = {t for t in targets if unit_of(t) == unit_of(module)}
    assert targets - own <= {"_checks", "_typing", "pairwise"}


def test_assimilation_knows_no_concrete_scheme():
    targets = imports("assimilation", FILES["assimilation"].read_text(), package=False)
    assert {t for t in targets if t.startswith("analysis")} == {"analysis.base"}


@pytest.mark.parametrize("module", FILES)
def test_no_module_over_350_lines(module):
    assert len(FILES[module].read_text().splitlines()) <= 350


@pytest.mark.parametrize("module", [m for m in MODULES if m != "_linalg"])
def test_lapack_is_called_in_one_place(module):
    """Anything else can wait for itself on the CPU, see `_linalg`."""
    names = ("eigh", "cholesky", "solve", "solve_triangular", "cho_solve", "inv", "svd", "qr", "lu")
    used = [
        ast.unparse(node)
        for node in ast.walk(ast.parse(FILES[module].read_text()))
        if isinstance(node, ast.Attribute) and node.attr in names
    ]
    assert not used
