r"""The transformer of scikit-learn that turns interactions into columns."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from pyg_featgraph.crossing.file import read_crosses, write_crosses
from pyg_featgraph.crossing.fitted import Fitted, columns_of
from pyg_featgraph.crossing.keys import (
    all_crosses,
    digest,
    encode,
    fields_of,
    fit_codecs,
    name_of,
    read_fields,
)
from pyg_featgraph.crossing.statistics import (
    Target,
    check_no_label,
    out_of_fold_means,
)
from pyg_featgraph.data.frames import to_frame
from pyg_featgraph.data.schema import Field, FieldSchema
from pyg_featgraph.data.texts import Ids
from pyg_featgraph.data.values import Floats, check_frame
from pyg_featgraph.errors import DataError
from pyg_featgraph.files import reading
from pyg_featgraph.interactions import Interaction

_ENCODINGS = ('ids', 'target', 'count')


class CrossFeatures(TransformerMixin, BaseEstimator):
    r"""Turns interactions into columns: categories, the mean of the label or
    the number of rows of each combination of values.

    A combination is the values that a row has in some fields. Numeric fields
    are cut into quantile buckets first, and a missing entry is a value like
    any other. What becomes of it is up to :obj:`encode`:

    * :obj:`"ids"`, the truncated feature crosses of GLIDER, from `"Feature
      Interaction Interpretability: A Case for Explaining Ad-Recommendation
      Systems via Neural Interaction Detection"
      <https://arxiv.org/abs/2006.10966>`_: a combination seen at least
      :obj:`min_count` times in the training rows has an id from 1 upwards,
      the most frequent one first; all others share the id 0. The columns have
      the dtype :obj:`category`, which LightGBM, scikit-learn and
      :meth:`~pyg_featgraph.data.FieldSchema.infer` take as such.
    * :obj:`"target"`: the smoothed mean of the label over the training rows
      with that combination, as :class:`sklearn.preprocessing.TargetEncoder`
      has it; one column for each of several classes.
    * :obj:`"count"`: :math:`\log(1 + c)` of the number :math:`c` of *other*
      training rows with that combination. So a value that no other row has
      is 0 in training rows and in new ones alike.

    It is a transformer of scikit-learn from :class:`~pandas.DataFrame` to
    :class:`~pandas.DataFrame`:

    .. code-block:: python

        model = make_pipeline(
            CrossFeatures(order=3, sparse_output=True), LogisticRegression()
        ).fit(train_df, y)

        crosses = CrossFeatures(order=2, encode=('target', 'count'))
        gbdt = LGBMClassifier().fit(crosses.fit_transform(train_df, y), y)
        gbdt.predict_proba(crosses.transform(test_df))

    .. warning::
        Statistics of training rows are those of :meth:`fit_transform`, which
        pipelines call: there, no mean has seen the label of its own row, as
        each of :obj:`cv` folds has those of the others. :meth:`transform` is
        for new rows. It would tell each training row its own label, and a
        model learned from that fails on all others; so it warns if it gets
        the rows of :meth:`fit` again.

    .. note::
        :class:`~sklearn.ensemble.HistGradientBoostingClassifier` takes at
        most 255 ids for a column; a larger :obj:`min_count` gives fewer.

    Args:
        interactions (InteractionSet or list, optional): The interactions, as
            :class:`~pyg_featgraph.interactions.Interaction` or tuples of
            names. One with a single field gives the column itself, its
            numbers in buckets. (default: all sets of :obj:`order` fields)
        top (int, optional): How many of :obj:`interactions` to cross, from
            the first one on. (default: all)
        order (int or tuple of int, optional): Without :obj:`interactions`, up
            to how many fields are crossed, those of the schema or all columns
            but lists and vectors; or a tuple of all numbers, such as
            :obj:`(2,)` for pairs alone. (default: :obj:`2`)
        encode (str or tuple of str, optional): What the columns hold, as
            above. (default: :obj:`"ids"`)
        min_count (int, optional): How often a combination must be seen in
            the training rows to have an id. The threshold :math:`T` of GLIDER
            is to be exceeded, which is :obj:`min_count = T + 1`. Statistics
            know all combinations. (default: :obj:`5`)
        bins (int, optional): The number of buckets of a numeric field.
            (default: :obj:`20`)
        smooth (float or str, optional): How many rows the mean of all rows
            counts for in that of a combination, or :obj:`"auto"` for what the
            variances say. (default: :obj:`"auto"`)
        cv (int, optional): The number of folds of :meth:`fit_transform`.
            (default: :obj:`5`)
        random_state (int, optional): The seed of the folds.
            (default: :obj:`0`)
        target_type (str, optional): Whether labels are :obj:`"binary"`,
            :obj:`"multiclass"` or :obj:`"continuous"`; :obj:`"auto"` takes
            whole numbers for classes. (default: :obj:`"auto"`)
        schema (FieldSchema, optional): The kinds of the fields; its other
            options play no part. (default: as
            :meth:`~pyg_featgraph.data.FieldSchema.infer` reads them)
        append (bool, optional): If set to :obj:`True`, the columns follow
            those that :meth:`fit` has seen, a label among them if there was
            one; any further columns are left out. (default: :obj:`False`)
        sparse_output (bool, optional): If set to :obj:`True`, ids are one-hot
            encoded, without a column for the id 0, in a
            :class:`scipy.sparse.csr_array`. It takes 12 bytes for each row
            and cross, however many ids there are. (default: :obj:`False`)
    """

    def __init__(
        self,
        interactions: Iterable[Interaction | tuple[str, ...]] | None = None,
        top: int | None = None,
        order: int | tuple[int, ...] = 2,
        encode: str | tuple[str, ...] = 'ids',
        min_count: int = 5,
        bins: int = 20,
        smooth: float | str = 'auto',
        cv: int = 5,
        random_state: int | None = 0,
        target_type: str = 'auto',
        schema: FieldSchema | None = None,
        append: bool = False,
        sparse_output: bool = False,
    ) -> None:
        self.interactions = interactions
        self.top = top
        self.order = order
        self.encode = encode
        self.min_count = min_count
        self.bins = bins
        self.smooth = smooth
        self.cv = cv
        self.random_state = random_state
        self.target_type = target_type
        self.schema = schema
        self.append = append
        self.sparse_output = sparse_output

    def fit(self, X: Any, y: ArrayLike | None = None) -> CrossFeatures:
        r"""Learns buckets, vocabularies and statistics from the training rows.

        Args:
            X (pandas.DataFrame): The training rows, in any table that
                :func:`~pyg_featgraph.data.to_frame` takes.
            y (array, optional): Their labels, for statistics of them: two or
                more classes, or numbers. (default: :obj:`None`)

        Raises:
            DataError: If the table is empty or lacks a field, if a field is
                multi-valued, if two columns would have one name, if there
                are too many combinations, if labels are needed and missing,
                or if they are a column that is to be crossed.
        """
        self._fit(to_frame(X), y)
        return self

    def fit_transform(
        self, X: Any, y: ArrayLike | None = None
    ) -> pd.DataFrame | csr_array:
        r"""Learns from the training rows and returns their columns, whose
        statistics are those of *other* rows.

        Args:
            X (pandas.DataFrame): The training rows.
            y (array, optional): Their labels, as for :meth:`fit`.
                (default: :obj:`None`)

        Raises:
            DataError: As in :meth:`fit`.
        """
        X = to_frame(X)
        ids, target = self._fit(X, y)
        if target is None:
            return self._output(X, ids, None, own=1)
        folds = target.folds(self.cv, self.random_state)

        def means(fields: tuple[str, ...], at: Ids) -> Floats:
            size = len(self.fitted_.crosses[fields])
            return out_of_fold_means(
                at, target.values, size, self.smooth, folds
            )

        return self._output(X, ids, means, own=1)

    def transform(self, X: Any) -> pd.DataFrame | csr_array:
        r"""The columns of new rows, with the index of :obj:`X`.

        Args:
            X (pandas.DataFrame): Rows with the columns of the fields; with
                :obj:`append`, all columns that :meth:`fit` has seen.

        Raises:
            DataError: If a column is missing or holds text instead of
                numbers.
        """
        check_is_fitted(self)
        X = to_frame(X)
        kept = [*self.feature_names_in_] if self.append else []
        codecs = self.fitted_.codecs.values()
        columns = dict.fromkeys(codec.field.column for codec in codecs)
        check_frame(X, [*columns, *kept])
        ids = encode(self.fitted_.codecs, X)
        if self.fitted_.means and digest(ids) == self.digest_:
            warnings.warn(
                'These are the rows of fit(): their statistics hold their own '
                'labels, and a model that learns from them fails on others. '
                'Call fit_transform(X, y) for training rows',
                stacklevel=2,
            )
        if not self.fitted_.means:
            return self._output(X, ids, None)
        means = self.fitted_.means
        return self._output(X, ids, lambda fields, at: means[fields][at])

    def values(self) -> Iterator[tuple[tuple[str, ...], Ids, pd.DataFrame]]:
        r"""For each cross its fields, the keys of the values that it has in
        the training rows, with shape :math:`(V)`, and what :meth:`transform`
        makes of them, with shape :math:`(V + 1, \cdot)`: the last row is of
        all others.
        """
        check_is_fitted(self)
        names = iter(self.names_)
        for fields, vocabulary in self.fitted_.crosses.items():
            at = np.append(np.arange(len(vocabulary)), -1)
            means = self.fitted_.means.get(fields)
            columns = columns_of(vocabulary, at, self._encodings(), means)
            frame = {next(names): column for column in columns}
            yield fields, vocabulary.keys, pd.DataFrame(frame)

    def get_feature_names_out(
        self, input_features: Sequence[str] | None = None
    ) -> np.ndarray:
        r"""The names of the columns that :meth:`transform` returns."""
        check_is_fitted(self)
        known = list(self.feature_names_in_)
        if input_features is not None and list(input_features) != known:
            raise ValueError(f"'input_features' is not {known}")
        if self.sparse_output:
            names = [
                f'{_id_name(fields)}={i}'
                for fields, vocabulary in self.fitted_.crosses.items()
                for i in range(1, vocabulary.num_ids + 1)
            ]
        else:
            names = [*(known if self.append else ()), *self.names_]
        return np.array(names, object)

    def extend(self, schema: FieldSchema) -> FieldSchema:
        r"""A schema with the new columns at its end: ids as categorical
        fields, statistics as numeric ones.

        Args:
            schema (FieldSchema): The schema of the table without them.
        """
        check_is_fitted(self)
        of_ids = {*map(_id_name, self.fitted_.crosses)}
        crosses = [
            Field(name, 'categorical' if name in of_ids else 'numeric')
            for name in self.names_
        ]
        return dataclasses.replace(schema, fields=(*schema.fields, *crosses))

    def save(self, path: str | os.PathLike[str]) -> None:
        r"""Writes what was fitted as one Parquet file with a checksum, which
        appears as a whole or not at all. Of the interactions it holds the
        names of the fields of those that were crossed.
        """
        check_is_fitted(self)
        meta = {
            'columns': self.feature_names_in_.tolist(),
            'names': self.names_,
            'digest': self.digest_,
        }
        write_crosses(path, self.fitted_, self.get_params(), meta)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CrossFeatures:
        r"""Reads what :meth:`save` has written.

        Raises:
            DataError: If the file is damaged, another one or of an unknown
                version.
        """
        with reading(path, 'crosses'):
            fitted, options, meta = read_crosses(path)
            out = cls(**options)
            out.fitted_ = fitted
            out.feature_names_in_ = np.array(meta['columns'], object)
            out.n_features_in_ = len(meta['columns'])
            out.names_, out.digest_ = meta['names'], meta['digest']
            encodings = out._encodings()
            if bool(fitted.means) != ('target' in encodings):
                raise DataError('it has means without need, or lacks them')
            num_means = sum(x.shape[1] for x in fitted.means.values())
            num_others = len(encodings - {'target'}) * len(fitted.crosses)
            if len(out.names_) != num_means + num_others:
                raise DataError('its columns are not those of its crosses')
            return out

    def _fit(
        self, X: pd.DataFrame, y: ArrayLike | None
    ) -> tuple[dict[str, Ids], Target | None]:
        encodings = self._encodings()
        chosen, fields = self._choose(X)
        members = sorted({name for names in chosen for name in names})
        if not len(X):
            raise DataError('The table has no rows')
        target = None
        if 'target' in encodings:
            target = Target.read(y, self.target_type, len(X))
            check_no_label(X, fields, members, y)
        names = []
        for cross in chosen:
            if 'ids' in encodings:
                names.append(_id_name(cross))
            ending = [*(target.names if target else ())]
            ending += ['count'] if 'count' in encodings else []
            names += [f'{name_of(cross)} ({x})' for x in ending]
        every = [*names, *(X.columns if self.append else ())]
        twice = sorted({name for name in every if every.count(name) > 1})
        if twice:
            raise DataError(
                f'Two columns would have the name {twice}; rename a field'
            )
        # What is rarer than a cross may be cannot be part of one:
        keep_rare = encodings != {'ids'}
        floor = 1 if keep_rare else self.min_count
        codecs = fit_codecs(X, members, fields, floor, self.bins)
        ids = encode(codecs, X)
        fitted = Fitted.learn(
            codecs, ids, chosen, self.min_count, keep_rare, target, self.smooth
        )
        self.fitted_, self.names_ = fitted, names
        self.digest_ = digest(ids) if target else ''
        self.feature_names_in_ = X.columns.to_numpy(object)
        self.n_features_in_ = len(X.columns)
        return ids, target

    def _encodings(self) -> set[str]:
        encodings = (
            {self.encode} if isinstance(self.encode, str) else {*self.encode}
        )
        if not encodings or not encodings <= {*_ENCODINGS}:
            raise ValueError(
                f"'encode' must be some of {_ENCODINGS} (got {self.encode!r})"
            )
        if self.sparse_output and (encodings != {'ids'} or self.append):
            raise ValueError(
                "'sparse_output' has ids alone: neither statistics nor "
                "'append'; join two transformers by a FeatureUnion"
            )
        if self.min_count < 1:
            raise ValueError(
                f"'min_count' must be at least 1 (got {self.min_count})"
            )
        if self.smooth != 'auto' and not float(self.smooth) >= 0:
            raise ValueError(
                f"'smooth' must be 'auto' or at least 0 (got {self.smooth!r})"
            )
        return encodings

    def _choose(
        self, X: pd.DataFrame
    ) -> tuple[list[tuple[str, ...]], dict[str, Field]]:
        r"""The crosses, and the fields of the table."""
        if self.interactions is None:
            if self.top is not None:
                raise ValueError("'top' needs 'interactions', which have ranks")
            fields = read_fields(X, self.schema)
            return all_crosses(fields, self.order), fields
        if self.top is not None and self.top < 0:
            raise ValueError(f"'top' must be at least 0 (got {self.top})")
        chosen = list(dict.fromkeys(fields_of(self.interactions)))[: self.top]
        members = sorted({name for names in chosen for name in names})
        return chosen, read_fields(X, self.schema, members)

    def _output(
        self,
        X: pd.DataFrame,
        ids: Mapping[str, Ids],
        means: Callable[[tuple[str, ...], Ids], Floats] | None,
        own: int = 0,
    ) -> pd.DataFrame | csr_array:
        r"""The columns of rows with some ids, given the means of each cross;
        :obj:`own` is how often a row is among those that were counted.
        """
        if self.sparse_output:
            return self.fitted_.one_hot(ids, len(X))
        encodings, columns = self._encodings(), []
        for fields, vocabulary, at in self.fitted_.find(ids):
            own_means = None if means is None else means(fields, at)
            columns += columns_of(vocabulary, at, encodings, own_means, own)
        crosses = pd.DataFrame(
            dict(zip(self.names_, columns, strict=True)), index=X.index
        )
        if not self.append:
            return crosses
        return pd.concat([X[list(self.feature_names_in_)], crosses], axis=1)


def _id_name(fields: Sequence[str]) -> str:
    return name_of(fields) if len(fields) > 1 else f'{fields[0]} (bucket)'
