r"""The classifier."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from pandas.api.extensions import ExtensionDtype
from sklearn.base import ClassifierMixin
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length

from pyg_featgraph.data import FieldSchema
from pyg_featgraph.errors import DataError
from pyg_featgraph.nn import FieldModel, Head, MulticlassHead
from pyg_featgraph.nn.logits import logits_of
from pyg_featgraph.sklearn.base import (
    FeatGraphEstimator,
    Numbers,
    drop_unweighted,
)
from pyg_featgraph.sklearn.rows import read_table


class FeatGraphClassifier(ClassifierMixin, FeatGraphEstimator):
    r"""A classifier of scikit-learn with the models of this package, for two
    classes or several, of any names.

    .. code-block:: python

        model = FeatGraphClassifier('graphfm').fit(df, y)
        model.predict_proba(new_df)
        model.interactions(top=10)

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
        class_weight (dict or str, optional): What the weights of rows are
            multiplied with in training, by their class; :obj:`"balanced"`
            gives all classes the same total. (default: :obj:`None`)
        validation_fraction (float, optional): The share of rows that
            decide when the training ends and which epoch is the best,
            the same of each class. (default: :obj:`.1`)
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

    Beside the attributes of
    :class:`~pyg_featgraph.sklearn.base.FeatGraphEstimator`:

    Attributes:
        classes_ (numpy.ndarray): The classes.
    """

    _are_classes = True

    def __init__(
        self,
        model: str | type[FieldModel] = 'deepfm',
        members: int = 8,
        model_options: Mapping[str, Any] | None = None,
        max_epochs: int | None = None,
        lr: float | None = None,
        batch_size: int | None = None,
        training_options: Mapping[str, Any] | None = None,
        schema: FieldSchema | None = None,
        schema_options: Mapping[str, Any] | None = None,
        class_weight: Mapping[Any, float] | str | None = None,
        validation_fraction: float = 0.1,
        random_state: int | np.random.RandomState | None = 0,
        device: str = 'auto',
        directory: str | os.PathLike[str] | None = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            model=model,
            members=members,
            model_options=model_options,
            max_epochs=max_epochs,
            lr=lr,
            batch_size=batch_size,
            training_options=training_options,
            schema=schema,
            schema_options=schema_options,
            validation_fraction=validation_fraction,
            random_state=random_state,
            device=device,
            directory=directory,
            verbose=verbose,
        )
        self.class_weight = class_weight

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
            y (array): The classes of the rows, of any type.
            sample_weight (array, optional): How much each row counts; those
                that do not are left out. (default: all are alike)
            eval_set (tuple, optional): Validation rows and their labels, in
                place of a part of the rows. (default: :obj:`None`)

        Raises:
            DataError: If rows, labels or weights are none that can be trained
                on.
        """
        frame = read_table(self, X, reset=True)
        labels = self._read_labels(y)
        check_consistent_length(frame, labels)
        frame, labels, weight = drop_unweighted(frame, labels, sample_weight)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise DataError(
                f'A classifier needs two classes (got 1 class: '
                f'{self.classes_.tolist()[0]!r})'
            )
        is_binary = len(self.classes_) == 2
        task = 'binary' if is_binary else 'multiclass'
        head: str | Head = (
            task if is_binary else MulticlassHead(len(self.classes_))
        )
        return self._fit(
            frame,
            codes.astype(np.float64),
            weight,
            eval_set,
            task,
            head,
            class_weight=self._class_weights(),
        )

    def decision_function(self, X: Any) -> Numbers:
        r"""The logits, with shape :math:`(R)` of the second of two classes, or
        :math:`(R, C)` of several.

        Args:
            X (table): The rows.
        """
        table = self._table(X)
        out = logits_of(self.model_, table).cpu().double()
        return np.asarray(out.numpy())

    def predict_proba(self, X: Any) -> Numbers:
        r"""The probabilities of the classes, with shape :math:`(R, C)`.

        Args:
            X (table): The rows.
        """
        logits = torch.from_numpy(self.decision_function(X))
        p = np.asarray(self.model_.head.predict(logits).numpy())
        return np.column_stack([1 - p, p]) if p.ndim == 1 else p

    def predict(self, X: Any) -> NDArray[Any]:
        r"""The classes, with shape :math:`(R)`.

        Args:
            X (table): The rows.
        """
        out = self.decision_function(X)
        at = out.argmax(axis=1) if out.ndim == 2 else (out > 0).astype(int)
        return np.asarray(self.classes_[at])

    def _read_labels(self, y: ArrayLike) -> NDArray[Any]:
        if y is None:
            raise ValueError(
                f'{self.__class__.__name__} requires y to be passed, but the '
                'target y is None'
            )
        if (
            isinstance(y, pd.Series)
            and isinstance(y.dtype, ExtensionDtype)
            and not y.hasnans
        ):
            # Integers and truth values of pandas stay what they are:
            y = np.array(y.tolist())
        labels = column_or_1d(y, warn=True)
        missing = np.flatnonzero(pd.isna(labels))
        if len(missing):
            raise DataError(
                f'Input y contains NaN: row {missing[0]} has no label '
                f'({len(missing)} such of {len(labels)} rows). Drop these rows'
            )
        check_classification_targets(labels)
        return np.asarray(labels)

    def _encode_labels(self, y: ArrayLike) -> Numbers:
        labels = self._read_labels(y)
        codes = pd.Index(self.classes_).get_indexer(pd.Index(labels))
        if (codes < 0).any():
            at = int(np.flatnonzero(codes < 0)[0])
            raise DataError(
                f"'y', row {at}: {labels.tolist()[at]!r} is none of the "
                f'classes of fit(), which are {self.classes_.tolist()[:8]}'
            )
        return np.asarray(codes, np.float64)

    def _class_weights(self) -> Mapping[int, float] | str | None:
        chosen = self.class_weight
        if chosen is None or isinstance(chosen, str):
            return chosen
        classes = self.classes_.tolist()
        found = {i: chosen[c] for i, c in enumerate(classes) if c in chosen}
        # A class of one fold may be absent from another:
        if len(found) < min(len(chosen), len(classes)):
            raise ValueError(
                f"'class_weight' has the classes {[*chosen][:8]}, but those of "
                f'the labels are {classes[:8]}'
            )
        return found
