r"""Estimators of scikit-learn: a table goes in, predictions come out."""

from pyg_featgraph.sklearn.classifier import FeatGraphClassifier
from pyg_featgraph.sklearn.regressor import FeatGraphRegressor

__all__ = ['FeatGraphClassifier', 'FeatGraphRegressor']
