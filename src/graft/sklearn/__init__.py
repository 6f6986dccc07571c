"""Faces that users of scikit-learn, CRFsuite and pytorch-crf know: `CRF` and `CRFLayer`."""

from graft.sklearn.crf import CRF as CRF
from graft.sklearn.layer import CRFLayer as CRFLayer

__all__ = ["CRF", "CRFLayer"]
