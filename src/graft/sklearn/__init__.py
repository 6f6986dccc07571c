"""Faces that users of scikit-learn, hmmlearn, CRFsuite and pytorch-crf know."""

from graft.sklearn.crf import CRF as CRF
from graft.sklearn.gmm import GMM as GMM
from graft.sklearn.hmm_categorical import CategoricalHMM as CategoricalHMM
from graft.sklearn.hmm_gaussian import GaussianHMM as GaussianHMM
from graft.sklearn.hmm_mixture import GMMHMM as GMMHMM
from graft.sklearn.layer import CRFLayer as CRFLayer

__all__ = ["CRF", "GMM", "GMMHMM", "CRFLayer", "CategoricalHMM", "GaussianHMM"]
