r"""What classifier and regressor share."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import (
    _check_sample_weight,
    check_consistent_length,
    check_is_fitted,
)

from pyg_featgraph.data import FieldEncoder, FieldSchema, FieldTable
from pyg_featgraph.errors import DataError
from pyg_featgraph.interactions import InteractionSet
from pyg_featgraph.nn import FieldModel, Head, field_importance, models
from pyg_featgraph.sklearn.folder import read_folder, write_folder
from pyg_featgraph.sklearn.rows import read_table, split_rows
from pyg_featgraph.training import fit

#: How many validation rows are kept, to measure interactions on.
NUM_KEPT = 2048

# What a folder holds beside model, encoder and rows:
_STATE = (
    'classes_',
    'columns_',
    'feature_names_in_',
    'history_',
    'metrics_',
    'n_features_in_',
    'n_iter_',
)

Numbers = NDArray[np.float64]


class FeatGraphEstimator(BaseEstimator):
    r"""Base class of the estimators. What is the same in both:

    Attributes:
        model_ (FieldModel): The trained model, with its best epoch.
        encoder_ (FieldEncoder): What turns tables into field graphs.
        history_ (list of dict): The figures of each epoch, see
            :class:`~pyg_featgraph.training.FitResult`; for a table of them,
            :obj:`pandas.DataFrame(history_)`.
        metrics_ (dict): The figures of the best epoch.
        n_iter_ (int): The number of epochs that were run.
        n_features_in_ (int): The number of columns.
        feature_names_in_ (numpy.ndarray): Their names, if they had some.
        validation_rows_ (FieldTable): Up to 2,048 encoded rows that were not
            trained on, on which interactions are measured.
    """

    _are_classes: bool

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
        validation_fraction: float = 0.1,
        random_state: int | np.random.RandomState | None = 0,
        device: str = 'auto',
        directory: str | os.PathLike[str] | None = None,
        verbose: bool = False,
    ) -> None:
        self.model = model
        self.members = members
        self.model_options = model_options
        self.max_epochs = max_epochs
        self.lr = lr
        self.batch_size = batch_size
        self.training_options = training_options
        self.schema = schema
        self.schema_options = schema_options
        self.validation_fraction = validation_fraction
        self.random_state = random_state
        self.device = device
        self.directory = directory
        self.verbose = verbose

    def interactions(
        self,
        X: Any = None,
        y: ArrayLike | None = None,
        top: int | None = None,
        **kwargs: Any,
    ) -> InteractionSet:
        r"""The interactions that the model has learned, ranked by what they do
        to its output, with intervals. It warns if the model predicts the
        labels of these rows no better than chance.

        Args:
            X (table, optional): The rows to measure on.
                (default: validation rows)
            y (array, optional): Their labels. (default: :obj:`None`)
            top (int, optional): How many to return. (default: all)
            **kwargs (optional): Further arguments of
                :meth:`~pyg_featgraph.nn.FieldModel.interactions`, such as
                :obj:`by` and :obj:`candidates`.
        """
        check_is_fitted(self)
        table = self.validation_rows_
        if X is not None:
            frame = read_table(self, X)
            if y is not None:
                check_consistent_length(frame, y)
                frame = self._add_labels(frame, self._encode_labels(y))
            table = self.encoder_.transform(frame)
        return self.model_.interactions(table, top, **kwargs)

    @property
    def feature_importances_(self) -> Numbers:
        r"""The importance of each column of :obj:`X`, with a sum of one, from
        the `"Importance measures in global sensitivity analysis of nonlinear
        models" <https://doi.org/10.1016/0951-8320(96)00002-6>`_ paper: how much
        of the variance of the outputs (logits of classes) lies in terms that
        contain the column, estimated by exchanging it between validation rows,
        see :func:`~pyg_featgraph.nn.field_importance`. What several columns do
        together counts for each of them. The parts of a date are summed up; a
        column that is no field has none.
        """
        check_is_fitted(self)
        found = field_importance(self.model_, self.validation_rows_, 512)
        columns = {x.name: x.column for x in self.encoder_.schema}
        variance = found['score'] ** 2
        parts = variance.groupby(found['field'].map(columns)).sum()
        out = parts.reindex(self.columns_, fill_value=0.0).to_numpy()
        return np.asarray(out / max(out.sum(), 1e-300))

    def save(self, folder: str | os.PathLike[str]) -> None:
        r"""Writes the fitted estimator as a folder of safe formats, which
        carry no code: the model (safetensors), its encoder (Parquet), its
        parameters and what else it knows (JSON), and :attr:`validation_rows_`,
        encoded and with their labels (safetensors).

        Args:
            folder (str): The folder, which is made if there is none.

        Raises:
            TypeError: If a parameter, such as a function, is nothing that JSON
                can hold.
        """
        check_is_fitted(self)
        own = {k: v for k, v in vars(self).items() if k in _STATE}
        fitted = self.model_, self.encoder_, self.validation_rows_
        name = self.__class__.__name__
        write_folder(folder, name, self.get_params(deep=False), own, fitted)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        r"""Reads an estimator that :meth:`save` has written; the module of a
        model of your own is to be imported before.

        Args:
            folder (str): The folder.

        Raises:
            DataError: If a file is damaged or missing, or holds something
                else.
        """
        params, state, fitted = read_folder(folder, cls.__name__)
        out = cls(**params)
        out.__dict__.update(state)
        out.model_, out.encoder_, out.validation_rows_ = fitted
        out.model_.eval()
        return out

    def _fit(
        self,
        frame: pd.DataFrame,
        y: Numbers,
        sample_weight: Numbers | None,
        eval_set: tuple[Any, ArrayLike] | None,
        task: str,
        head: str | Head,
        **options: Any,
    ) -> Self:
        seed = self._seed()
        rows = self._add_labels(frame, y)
        weight = None
        if sample_weight is not None:
            weight = _free_name('weight', rows)
            rows[weight] = sample_weight
        if eval_set is None:
            parts = split_rows(
                y, self.validation_fraction, seed, self._are_classes
            )
            train, valid = (rows.iloc[part] for part in parts)
        else:
            train, valid = rows, self._read_eval_set(eval_set)
        encoder = FieldEncoder(self._make_schema(train, weight, task))
        train_table = encoder.fit_transform(train)
        valid_table = encoder.transform(valid)
        model = self._make_model(encoder, head, seed)
        options = {
            'accelerator': self.device,
            'enable_progress_bar': self.verbose,
            'seed': seed,
            **options,
            **{
                name: getattr(self, name)
                for name in ('max_epochs', 'lr', 'batch_size')
                if getattr(self, name) is not None
            },
            **(self.training_options or {}),
        }
        with ExitStack() as stack:
            directory = self.directory or stack.enter_context(
                TemporaryDirectory(prefix='featgraph-')
            )
            result = fit(
                model, train_table, valid_table, directory=directory, **options
            )
        self.encoder_, self.model_ = encoder, model.eval()
        self.history_, self.n_iter_ = result.history, result.num_epochs
        self.metrics_ = result.metrics
        drawn = np.random.default_rng(seed).permutation(len(valid))[:NUM_KEPT]
        self.validation_rows_ = valid_table.subset(torch.from_numpy(drawn))
        return self

    def _table(self, X: Any) -> FieldTable:
        check_is_fitted(self)
        return self.encoder_.transform(read_table(self, X))

    def _seed(self) -> int:
        if isinstance(self.random_state, int | np.integer):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _read_eval_set(self, eval_set: tuple[Any, ArrayLike]) -> pd.DataFrame:
        if not isinstance(eval_set, tuple) or len(eval_set) != 2:
            raise ValueError(
                "'eval_set' must be a tuple (X, y) of validation rows"
            )
        frame = read_table(self, eval_set[0])
        check_consistent_length(frame, eval_set[1])
        return self._add_labels(frame, self._encode_labels(eval_set[1]))

    def _encode_labels(self, y: ArrayLike) -> Numbers:
        raise NotImplementedError

    def _add_labels(self, frame: pd.DataFrame, y: Numbers) -> pd.DataFrame:
        return frame.assign(**{_free_name('label', frame): y})

    def _make_schema(
        self, frame: pd.DataFrame, weight: str | None, task: str
    ) -> FieldSchema:
        label = _free_name('label', frame[self.columns_])
        if self.schema is None:
            options = self.schema_options or {}
            return FieldSchema.infer(
                frame, label, weight=weight, task=task, **options
            )
        if self.schema_options is not None:
            raise ValueError(
                "'schema_options' are those of a schema that is inferred: pass "
                "them or a 'schema', not both"
            )
        return replace(self.schema, label=label, weight=weight, task=task)

    def _make_model(
        self, encoder: FieldEncoder, head: str | Head, seed: int
    ) -> FieldModel:
        options = {'head': head, 'members': self.members}
        cls = find_model(self.model)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(encoder.info, **options | dict(self.model_options or {}))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        return tags


def find_model(model: str | type[FieldModel]) -> type[FieldModel]:
    r"""The class of a model.

    Args:
        model (str or type): The class, or its name in any case.

    Raises:
        ValueError: If there is no such model.
    """
    if isinstance(model, type) and issubclass(model, FieldModel):
        return model
    known = {name.lower(): getattr(models, name) for name in models.__all__}
    if not isinstance(model, str) or model.lower() not in known:
        raise ValueError(
            f"'model' must be a class of FieldModel or one of {sorted(known)} "
            f'(got {model!r})'
        )
    found: type[FieldModel] = known[model.lower()]
    return found


def drop_unweighted(
    frame: pd.DataFrame,
    labels: NDArray[Any],
    sample_weight: ArrayLike | None,
) -> tuple[pd.DataFrame, NDArray[Any], Numbers | None]:
    r"""The rows that count, with their labels and weights, if there are some.

    Raises:
        DataError: If a weight is negative.
    """
    if sample_weight is None:
        return frame, labels, None
    weight = _check_sample_weight(sample_weight, frame, dtype=np.float64)
    if (weight < 0).any():
        raise DataError(f"'sample_weight' is negative: {weight.min():g}")
    kept = weight > 0
    return frame[kept], labels[kept], np.asarray(weight[kept])


def _free_name(name: str, frame: pd.DataFrame) -> str:
    while name in frame.columns:
        name = f'_{name}'
    return name
