"""Signatures for classes of equinox, whose fields are the arguments of their constructor.

`eqx.Module` makes a dataclass of each subclass without a decorator, so griffe does not see it.
"""

from __future__ import annotations

import ast
from typing import Any

from griffe import Attribute, Class, Expr, Extension, Function, Parameter, ParameterKind, Parameters

KEYWORD = ParameterKind.keyword_only
ANYWHERE = ParameterKind.positional_or_keyword


class EquinoxFields(Extension):
    """Give every class of fields without an `__init__` of its own one made of them."""

    def on_class(self, *, cls: Class, **kwargs: Any) -> None:
        """Collect own fields; those of bases are described at the bases."""
        if "__init__" in cls.members or not any(
            "Module" in str(b) or "Abstract" in str(b) for b in cls.bases
        ):
            return
        fields = [m for m in cls.members.values() if isinstance(m, Attribute) and m.annotation]
        parameters = [
            _parameter(field) for field in fields if "AbstractVar" not in str(field.annotation)
        ]
        if not parameters:
            return
        ordered = sorted(parameters, key=lambda p: p.kind is KEYWORD)
        init = Function("__init__", parameters=Parameters(*ordered), parent=cls)
        cls.set_member("__init__", init)


def _parameter(field: Attribute) -> Parameter:
    text = str(field.value) if field.value is not None else ""
    kind = KEYWORD if "kw_only=True" in text else ANYWHERE
    return Parameter(field.name, annotation=field.annotation, kind=kind, default=_default(text))


def _default(text: str) -> str | Expr | None:
    """Return the default that a field's value states."""
    if not text:
        return None
    if not text.startswith(("eqx.field(", "tunable(")):
        return text
    call = ast.parse(text, mode="eval").body
    assert isinstance(call, ast.Call)
    named = {k.arg: ast.unparse(k.value) for k in call.keywords}
    if text.startswith("tunable("):
        return ast.unparse(call.args[0]) if call.args else named.get("default")
    if "default_factory" in named:
        factory = named["default_factory"]
        return "..." if factory.startswith("_") else f"{factory}()"
    return named.get("default")
