"""The house rules of the package: who may import whom, how long things may be, what is done where.

One test reads every module by `ast` and reports all violations at once.
"""

from __future__ import annotations

import ast
from pathlib import Path

import kdediff_jax

# A module imports only from rows above its own, and freely inside its own unit. A unit is an entry
# of this table: a package's name stands for those of its modules that are not listed themselves.
ROWS = (
    ("_typing", "_words", "_printing"),
    (
        "_checks",
        "_compilation",
        "_files",
        "_fingerprints",
        "_interrupts",
        "_progress",
        "_remote",
        "numerics",
        "_tracing",
    ),
    ("_archives",),
    ("clock",),
    ("pairwise", "latents", "schedules", "dynamics", "sweeping", "tuning", "transforms"),
    ("fused", "metrics"),
    ("kde", "observations", "kalman"),
    ("bandwidths",),
    ("leave_one_out", "ensemble"),
    ("samplers", "augmentation", "fields"),
    ("analysis.members", "analysis.outcome", "results"),
    ("analysis.pairs", "analysis.safeguards"),
    ("analysis.predict",),
    ("analysis.units", "analysis.decorrelation"),
    ("analysis.base", "diagnosis", "recovery"),
    (
        *("analysis", "analysis.enkf", "analysis.etkf", "analysis.letkf", "analysis.sir"),
        *("analysis.kde_diffusion", "analysis.enkpf", "analysis.liu_west"),
    ),
    ("runs",),
    ("long_runs", "state_files"),
    ("filter_cycle",),
    ("simulators",),
    ("twin", "assimilation"),
    ("forecasting", "interop", "plots"),
    ("experiments", ""),  # "": the top module, which loads names lazily and has no imports
    ("cli",),
    ("__main__",),
)
# units that may import less than their row allows, and what (inside themselves freely)
ONLY = {
    "metrics": {"_checks", "_typing", "_words", "numerics", "pairwise"},  # arrays, no filters
    "plots": {  # arrays, reports and files, no filters
        *("_checks", "_files", "_typing", "_words", "kde"),
        *("analysis.outcome", "diagnosis", "results"),
    },
    "results": {"_checks", "_files", "_typing", "_words", "fields"},
}
SCHEMES_KNOWN = {  # of all of `analysis`
    "assimilation": {"analysis.base"},
    "filter_cycle": {"analysis.base"},
    "simulators": {"analysis.members", "analysis.safeguards"},
}
MODULE_LINES, FUNCTION_LINES = 350, 60
# anything else can wait for itself on the CPU, see `numerics.linalg`
LAPACK = {"eigh", "cholesky", "solve", "solve_triangular", "cho_solve", "inv", "svd", "qr", "lu"}
PRODUCTS = {"matmul", "tensordot", "inner", "vdot"}  # `numerics.dot` has the precision

ROOT = Path(kdediff_jax.__file__).parent
PLACE = {unit: row for row, units in enumerate(ROWS) for unit in units}


def name_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}


def unit_of(module):
    """Return the table's entry for a module: itself, or the nearest package that is listed."""
    while module and module not in PLACE:
        module = module.rpartition(".")[0]
    return module


def imported(module, node, package):
    """Return the modules of kdediff_jax that one statement imports."""
    if isinstance(node, ast.Import):
        names = [alias.name.split(".", 1) for alias in node.names]
        return {"".join(rest) for top, *rest in names if top == "kdediff_jax"}
    if not isinstance(node, ast.ImportFrom):
        return set()
    absolute = node.module.split(".") if node.module else []
    if node.level:
        parts = module.split(".")
        absolute = [*parts[: len(parts) - node.level + package], *absolute]
    elif absolute[0] == "kdediff_jax":
        absolute = absolute[1:]
    else:
        return set()
    base = ".".join(absolute)
    names = [(f"{base}.{alias.name}".lstrip("."), alias.name) for alias in node.names]
    return {
        inner if inner in FILES else base or kdediff_jax._HOME.get(name, "")
        for inner, name in names
    }


def for_types_only(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imports(module, tree, package=False):
    """Return all that a module imports, anywhere in it."""
    return set().union(*(imported(module, node, package) for node in ast.walk(tree)))


def imports_at_once(module, tree, package=False):
    """Return what a module imports when it is loaded itself."""
    found, left = set(), [tree]
    while left:
        node = left.pop()
        found |= imported(module, node, package)
        if not (for_types_only(node) or isinstance(node, (ast.FunctionDef, ast.Lambda))):
            left += ast.iter_child_nodes(node)
    return found


def forbidden(module, targets):
    """Return the imports of a module that its place in the table does not allow."""
    unit = unit_of(module)
    bad = []
    for target in sorted(targets - {module}):
        there = unit_of(target)
        if there == unit or (module in FILES and target.startswith(f"{module}.")):
            continue
        allowed = PLACE[there] < PLACE[unit] and there in ONLY.get(unit, PLACE)
        if there.partition(".")[0] == "analysis" and unit in SCHEMES_KNOWN:
            allowed = there in SCHEMES_KNOWN[unit]
        if not allowed:
            bad.append(f"{module}: imports {target or 'kdediff_jax'}")
    return bad


def circles(graph):
    """Return the circles of imports, each once, as long as there are any."""
    done, found = set(), []

    def visit(module, path):
        if module in path:
            found.append(" -> ".join([*path[path.index(module) :], module]))
        elif module not in done:
            for target in sorted(graph[module]):
                visit(target, [*path, module])
            done.add(module)

    for module in sorted(graph):
        visit(module, [])
    return [f"circular imports: {circle}" for circle in found]


def loads(module, targets):
    """Return what is loaded with a module: its imports, and the packages that they lie in."""
    packages = {".".join(t.split(".")[:k]) for t in targets for k in range(1, t.count(".") + 1)}
    own = {".".join(module.split(".")[:k]) for k in range(module.count(".") + 1)}  # under way
    return (targets | packages) - own - {module, ""}


def too_long(module, source, tree):
    bad = []
    lines = len(source.splitlines())
    if lines > MODULE_LINES:
        bad.append(f"{module}: {lines} lines, more than {MODULE_LINES}")
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines = node.end_lineno - node.lineno + 1
            if ast.get_docstring(node) is not None:
                lines -= node.body[0].end_lineno - node.body[0].lineno + 1
            if lines > FUNCTION_LINES:
                bad.append(
                    f"{module}.{node.name}: {lines} lines without its docstring, "
                    f"more than {FUNCTION_LINES}"
                )
    return bad


def misplaced(module, tree):
    """Return decompositions and matrix products that are not made in `numerics`."""
    if unit_of(module) == "numerics":
        return []
    used = [ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.Attribute)]
    bad = [name for name in used if name.rpartition(".")[2] in LAPACK]
    bad += [n for n in used if n == "jnp.dot" or n.rpartition(".")[2] in PRODUCTS]
    return [f"{module}: {name}, which is done in numerics" for name in sorted(bad)]


def test_the_house_rules():
    bad, graph = [], {}
    for module, path in FILES.items():
        source = path.read_text(encoding="utf-8")
        tree, package = ast.parse(source), path.name == "__init__.py"
        if not unit_of(module) and module:
            bad.append(f"{module}: add it to ROWS and to the design")
            continue
        bad += too_long(module, source, tree) + misplaced(module, tree)
        if module:
            bad += forbidden(module, imports(module, tree, package))
            graph[module] = loads(module, imports_at_once(module, tree, package))
    bad += circles(graph)
    assert not bad, "\n" + "\n".join(bad)


CAUGHT = [
    ("kde", "from . import bandwidths", "bandwidths"),
    ("kde", "from .samplers import ProbabilityFlow", "samplers"),
    ("kde", "def f():\n    from .samplers.base import transport", "samplers.base"),
    ("metrics.scoring", "from ..kde import score", "kde"),
    ("metrics.scoring", "from .. import latents", "latents"),
    ("plots.style", "from ..analysis.base import AnalysisInfo", "analysis.base"),
    ("analysis.enkf", "from .sir import SIR", "analysis.sir"),
    ("analysis.etkf", "from .enkpf import mixture", "analysis.enkpf.mixture"),
    ("analysis.predict", "from .base import guard", "analysis.base"),
    ("ensemble.gains", "from ..analysis.predict import Predicted", "analysis.predict"),
    ("ensemble.rotation", "from ..samplers import ExactMixture", "samplers"),
    ("samplers.exact_mixture", "import kdediff_jax.analysis.base as b", "analysis.base"),
    ("assimilation", "from .analysis.predict import predict", "analysis.predict"),
    ("assimilation", "from .analysis.enkf import EnKF", "analysis.enkf"),
    ("dynamics.lorenz63", "from kdediff_jax import assimilate", "assimilation"),
    ("dynamics.lorenz63", "import kdediff_jax", "kdediff_jax"),
    ("observations.base", "from kdediff_jax.dynamics.lorenz63 import Lorenz63", None),
    ("kde", "import jax\nfrom os import path\nfrom . import pairwise", None),
    ("metrics.scoring", "from ..pairwise import mean_distance\nfrom . import _inputs", None),
    ("analysis.enkpf.pipeline", "from ..base import guard\nfrom .mixture import weigh", None),
    ("experiments.sweeps", "from .run import reference\nfrom kdediff_jax import assimilate", None),
]


def test_the_rules_see_what_breaks_them():
    for module, source, target in CAUGHT:
        found = forbidden(module, imports(module, ast.parse(source)))
        assert found == ([] if target is None else [f"{module}: imports {target}"]), source
    code = ast.parse("def f():\n    return jnp.linalg.solve(jnp.matmul(a, b), c)")
    assert len(misplaced("kde", code)) == 2 and not misplaced("numerics.linalg", code)
    function = "def f():\n" + "    x = 1\n" * 60
    assert len(too_long("kde", function, ast.parse(function))) == 1
    documented = function.replace("\n", '\n    """A.\n\n    B.\n    """\n', 1).rstrip()[:-9]
    assert not too_long("kde", documented, ast.parse(documented))
    assert len(too_long("kde", "\n" * 351, ast.parse(""))) == 1
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["circular imports: b -> c -> b"]
    late = "if TYPE_CHECKING:\n    from . import kde\ndef f():\n    from . import fused"
    assert imports_at_once("pairwise", ast.parse(late)) == set()
