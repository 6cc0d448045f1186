"""Where the other packages are not installed, the adapters say what to install."""

from __future__ import annotations

import pytest

import kdediff_jax as kd
from kdediff_jax.interop.package import module_of


def test_a_package_that_is_not_installed_is_named():
    with pytest.raises(ImportError, match="here needs no-such-package: pip install no-such"):
        module_of("no-such-package", "no_such_package.part", "here")


def test_the_adapters_import_nothing_beforehand():
    assert callable(kd.interop.dapper_method) and callable(kd.interop.cuthbert_filter)
