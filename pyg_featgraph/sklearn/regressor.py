r"""The regressor."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import RegressorMixin
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.validation import check_consistent_length

from pyg_featgraph.sklearn.base import (
    FeatGraphEstimator,
    Numbers,
    drop_unweighted,
)
from pyg_featgraph.sklearn.rows import read_table
from pyg_featgraph.training import predict


class FeatGraphRegressor(RegressorMixin, FeatGraphEstimator):
    r"""A regressor of scikit-learn with the models of this package.

    .. code-block:: python

        model = FeatGraphRegressor('deepfm').fit(df, y)
        model.predict(new_df)
        model.feature_importances_

    Its loss is the squared error;
    :obj:`model_options={"head": "poisson"}` is for counts.

    Args:
        model (str or type, optional): The model: the name of one of
            :mod:`pyg_featgraph.nn.models` in any case, such as
            :obj:`"graphfm"`, :obj:`"fives"`, :obj:`"fignn"`, :obj:`"aim"`,
            :obj:`"featnet"` or :obj:`"deepfm"`, or a class.
            (default: :obj:`"deepfm"`)
        members (int, optional): The number of its members, which predict
            together, see :class:`~pyg_featgraph.nn.FieldModel`.
            (default: :obj:`8`)
        model_options (dict, optional): Further arguments of the model, *e.g.*,
            :obj:`{"embedding_dim": 8, "dropout": .1}`. (default: none)
        max_epochs (int, optional): The highest number of epochs.
            (default: that of :func:`~pyg_featgraph.training.fit`)
        lr (float, optional): The learning rate. (default: that of
            :class:`~pyg_featgraph.training.TrainingOptions`)
        batch_size (int, optional): The number of rows of a batch.
            (default: likewise)
        training_options (dict, optional): Further arguments of
            :func:`~pyg_featgraph.training.fit`: options of the training and
            arguments of Lightning's trainer, *e.g.*, :obj:`{"patience": 5,
            "embedding_l2": 3., "gradient_clip_val": 1.}`. (default: none)
        schema (FieldSchema, optional): The fields, whose label, weight and task
            play no part. (default: as
            :meth:`~pyg_featgraph.data.FieldSchema.infer` reads them from the
            training rows)
        schema_options (dict, optional): Further arguments of that method,
            *e.g.*, :obj:`{"min_count": 5}`. (default: none)
        validation_fraction (float, optional): The share of rows that
            decide when the training ends and which epoch is the best,
            the same of low and high labels. (default: :obj:`.1`)
        random_state (int, optional): The seed of weights, batches and
            validation rows. (default: :obj:`0`)
        device (str, optional): What the model is trained on, as the
            accelerators of Lightning are named: :obj:`"cpu"`, :obj:`"cuda"`,
            ... It predicts on the CPU, unless :obj:`model_` is moved.
            (default: :obj:`"auto"`)
        directory (str, optional): Where the record of the training and its
            checkpoints go, and stay. (default: a temporary one)
        verbose (bool, optional): Whether to show the progress.
            (default: :obj:`False`)

    Its attributes are those of
    :class:`~pyg_featgraph.sklearn.base.FeatGraphEstimator`.
    """

    _are_classes = False

    def fit(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        eval_set: tuple[Any, ArrayLike] | None = None,
    ) -> Self:
        r"""Trains the model and restores its best epoch.

        Args:
            X (table): The rows: a table of pandas, polars, Arrow or PyTorch
                Frame, or an array.
            y (array): The numbers to be predicted.
            sample_weight (array, optional): How much each row counts; those
                that do not are left out. (default: all are alike)
            eval_set (tuple, optional): Validation rows and their labels, in
                place of a part of the rows. (default: :obj:`None`)

        Raises:
            DataError: If rows, labels or weights are none that can be trained
                on.
        """
        frame = read_table(self, X, reset=True)
        labels = self._encode_labels(y)
        check_consistent_length(frame, labels)
        frame, labels, weight = drop_unweighted(frame, labels, sample_weight)
        return self._fit(
            frame, labels, weight, eval_set, 'regression', 'regression'
        )

    def predict(self, X: Any) -> Numbers:
        r"""What the labels are expected to be, with shape :math:`(R)`.

        Args:
            X (table): The rows.
        """
        table = self._table(X)
        return np.asarray(predict(self.model_, table).double().numpy())

    def _encode_labels(self, y: ArrayLike) -> Numbers:
        if y is None:
            raise ValueError(
                f'{self.__class__.__name__} requires y to be passed, but the '
                'target y is None'
            )
        labels = column_or_1d(y, warn=True)
        numbers = check_array(
            labels, ensure_2d=False, dtype=np.float64, input_name='y'
        )
        return np.asarray(numbers)
