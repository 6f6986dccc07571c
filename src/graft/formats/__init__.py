"""Bayesian and Markov networks from and to files: BIF and UAI, plain or gzip."""

from graft.formats.evidence import read_evidence as read_evidence
from graft.formats.reading import read as read
from graft.formats.results import Result as Result
from graft.formats.results import read_result as read_result
from graft.formats.results import write_result as write_result
from graft.formats.writing import write as write

__all__ = ["Result", "read", "read_evidence", "read_result", "write", "write_result"]
