r"""What a run's own reports say of its health, in words: on the host, after the run.

A filter that has lost the truth is as sure of itself as any other; its innovations are not. Where
forecast and noise know their error, the normalised innovation of a cycle (`AnalysisInfo`) is 1 on
average: larger means under-dispersed, smaller over-dispersed.
"""

from .checks import diagnose, failure
from .report import Diagnosis, Finding

__all__ = ["Diagnosis", "Finding", "diagnose", "failure"]
