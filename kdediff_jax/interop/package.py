"""The import of a package that is no dependency."""

from __future__ import annotations

import importlib
from typing import Any


def module_of(package: str, name: str, user: str) -> Any:
    """Return a module of a package that need not be installed.

    Args:
        package: as it is called where packages are installed from.
        name: of the module.
        user: what needs it, for the error.

    Raises:
        ImportError: it is not installed, or cannot be imported.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"{user} needs {package}: pip install {package}") from error
