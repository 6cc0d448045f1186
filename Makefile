# Everything runs in .venv, made on first use with uv where it is on PATH and with venv and pip where not.
# Stamp files in it follow pyproject.toml, so a second run installs nothing.

# An interpreter given as `make PYTHON=...` is the only one tried.
ifeq ($(origin PYTHON),undefined)
PYTHON := python3 python3.13 python3.12 python3.11
endif
UV := $(shell command -v uv 2>/dev/null)
VENV := .venv
PY := $(VENV)/bin/python
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

# Each worker compiles its own JAX programs, so more workers than cores only cost memory.
WORKERS ?= 2
# Threads of OpenBLAS's own in each worker fight over the cores: on busy ones some decompositions take 60 times as long.
export OPENBLAS_NUM_THREADS ?= 1
PYTEST := $(PY) -m pytest -n auto --maxprocesses $(WORKERS) --dist worksteal
PYTEST_ARGS ?=
# Most of a quick test's time is compiling: without LLVM's optimiser, and without the fusion emitters
# that jaxlib before 0.11 can do without, it is a third. Slow tests and the demo run optimised.
PLAIN := import jaxlib.version as v; print("--xla_cpu_use_fusion_emitters=false" * (v.__version__ < "0.11"))
QUICK = XLA_FLAGS="$(XLA_FLAGS) --xla_backend_optimization_level=0 $$($(PY) -c '$(PLAIN)')"
DEMO_ARGS ?= run lorenz63-z --output demo-results --force
BENCH_ARGS ?=
NOTEBOOKS_ARGS ?=
DOCS_ARGS ?=

ifneq ($(UV),)
CREATE = "$(UV)" venv --quiet --python "$$found" $(VENV)
INSTALL = "$(UV)" pip install --quiet --python $(PY)
else
CREATE = "$$found" -m venv $(VENV)
INSTALL = $(PY) -m pip install --quiet --disable-pip-version-check
endif

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test slow notebooks docs lint format bench clean distclean

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.stamp-all  ## run the lorenz63-z experiment into demo-results/
	$(VENV)/bin/kdediff $(DEMO_ARGS)

test: $(VENV)/.stamp-test  ## run the quick tests (PYTEST_ARGS=... is passed on, WORKERS=2)
	$(QUICK) $(PYTEST) $(PYTEST_ARGS)

slow: $(VENV)/.stamp-test  ## run the literature runs and many cases, minutes each
	$(PYTEST) -m slow $(PYTEST_ARGS)

notebooks: $(VENV)/.stamp-dev  ## execute the notebooks at small size (NOTEBOOKS_ARGS=... is passed on)
	$(QUICK) $(PY) notebooks/run.py $(NOTEBOOKS_ARGS)

docs: $(VENV)/.stamp-docs  ## build the site into site/, running its code (DOCS_ARGS=... is passed on)
	$(QUICK) NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --config-file docs/mkdocs.yml $(DOCS_ARGS)

lint: $(VENV)/.stamp-dev  ## check style, formatting and types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m pyright --pythonpath $(PY)

format: $(VENV)/.stamp-dev  ## format the code and apply the safe lint fixes
	$(PY) -m ruff check --fix-only .
	$(PY) -m ruff format .

# Some shells have a NAME of their own: only one on the command line of make counts.
bench: $(VENV)/.stamp-all  ## list the benchmarks, or run one: NAME=kernel_weights (BENCH_ARGS=...)
	$(PY) benchmarks/index.py $(if $(filter command,$(origin NAME)),$(NAME)) $(BENCH_ARGS)

clean:  ## remove build outputs, the site, caches and the demo's results
	rm -rf build dist site *.egg-info demo-results .hypothesis .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean  ## clean, and remove .venv
	rm -rf $(VENV)

# A .venv that is already there is kept if its interpreter works.
$(VENV)/.stamp-venv:
	@found=; \
	if ! $(PY) -c '$(SUPPORTED)' 2>/dev/null; then \
	  for candidate in $(PYTHON); do \
	    if "$$candidate" -c '$(SUPPORTED)' 2>/dev/null; then \
	      found=$$("$$candidate" -c 'import sys; print(sys.executable)'); \
	      break; \
	    fi; \
	  done; \
	  if [ -z "$$found" ]; then \
	    echo 'kdediff_jax needs Python 3.11, 3.12 or 3.13; none of these is one: $(PYTHON)' >&2; \
	    for candidate in $(PYTHON); do \
	      echo "  $$candidate: $$("$$candidate" --version 2>/dev/null || echo not found)" >&2; \
	    done; \
	    echo 'Name one with: make PYTHON=/path/to/python3.12 ...' >&2; \
	    exit 1; \
	  fi; \
	  echo "Making $(VENV) with $$("$$found" --version)"; \
	  rm -rf $(VENV); \
	  $(CREATE); \
	fi
	@touch $@

# test and docs contain all, and dev contains test.
$(VENV)/.stamp-all: pyproject.toml $(VENV)/.stamp-venv
	$(call install,all)
	@touch $@

$(VENV)/.stamp-test: pyproject.toml $(VENV)/.stamp-venv
	$(call install,test)
	@touch $@ $(VENV)/.stamp-all

$(VENV)/.stamp-dev: pyproject.toml $(VENV)/.stamp-venv
	$(call install,dev)
	@touch $@ $(VENV)/.stamp-test $(VENV)/.stamp-all

$(VENV)/.stamp-docs: pyproject.toml $(VENV)/.stamp-venv
	$(call install,docs)
	@touch $@ $(VENV)/.stamp-all

# An environment made by uv has no pip of its own.
define install
@echo 'Installing .[$(1)] into $(VENV) (a minute or two the first time)'
@$(if $(UV),,$(PY) -m pip --version >/dev/null 2>&1 || $(PY) -m ensurepip >/dev/null)
@$(INSTALL) -e '.[$(1)]'
endef
