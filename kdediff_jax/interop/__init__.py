"""Filters of this package inside other packages, which are imported where they are used."""

from .cuthbert import CuthbertState as CuthbertState
from .cuthbert import cuthbert_filter as cuthbert_filter
from .dapper import dapper_method as dapper_method

__all__ = ["CuthbertState", "cuthbert_filter", "dapper_method"]
