r"""Interactions as columns of their own, for models that cannot cross."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pyg_featgraph.data.codecs import (
    RARE,
    Codec,
    make_codec,
)
from pyg_featgraph.data.schema import Field, FieldSchema
from pyg_featgraph.data.texts import Ids
from pyg_featgraph.data.values import check_frame
from pyg_featgraph.data.vocabulary_file import (
    read_vocabularies,
    write_vocabularies,
)
from pyg_featgraph.errors import DataError, require
from pyg_featgraph.files import reading
from pyg_featgraph.interactions import Interaction

# As names of their own, since mypy takes no attributes as base classes:
_TransformerMixin: Any = require('sklearn.base', 'sklearn').TransformerMixin
_BaseEstimator: Any = require('sklearn.base', 'sklearn').BaseEstimator
_check_fitted = require('sklearn.utils.validation', 'sklearn').check_is_fitted

# For each field its ids, one for each row, and how many there can be:
_Codes = Mapping[str, tuple[Ids, int]]


class CrossFeatures(_TransformerMixin, _BaseEstimator):
    r"""Turns interactions into categorical columns, the truncated feature
    crosses of GLIDER, from `"Feature Interaction Interpretability: A Case for
    Explaining Ad-Recommendation Systems via Neural Interaction Detection"
    <https://arxiv.org/abs/2006.10966>`_.

    Each combination of values seen at least :obj:`min_count` times in the
    training rows has an id from 1 upwards, the most frequent one first; all
    others share the id 0. Numeric fields are cut into quantile buckets
    first, and a missing entry is a value like any other. It is a transformer
    of scikit-learn from :class:`~pandas.DataFrame` to
    :class:`~pandas.DataFrame`, and what it returns has the dtype
    :obj:`category`, which LightGBM, scikit-learn and
    :meth:`~pyg_featgraph.data.FieldSchema.infer` take as such:

    .. code-block:: python

        model = make_pipeline(
            CrossFeatures(interactions, top=10),
            OneHotEncoder(handle_unknown='ignore'),
            LogisticRegression(),
        ).fit(train_df, y)

    .. note::
        :class:`~sklearn.ensemble.HistGradientBoostingClassifier` takes at
        most 255 ids for a column; a larger :obj:`min_count` gives fewer.

    Args:
        interactions (InteractionSet or list): The interactions, as
            :class:`~pyg_featgraph.interactions.Interaction` or tuples of
            names. One with a single field gives the truncated and bucketised
            column, named :obj:`"a (bucket)"`; others :obj:`"a x b"`.
        top (int, optional): How many to cross, from the first one on.
            (default: all)
        min_count (int, optional): How often a combination must be seen in
            the training rows. The threshold :math:`T` of GLIDER is to be
            exceeded, which is :obj:`min_count = T + 1`. (default: :obj:`5`)
        bins (int, optional): The number of buckets of a numeric field.
            (default: :obj:`20`)
        schema (FieldSchema, optional): The kinds of the fields; its other
            options play no part. (default: as
            :meth:`~pyg_featgraph.data.FieldSchema.infer` reads them)
        append (bool, optional): If set to :obj:`True`, the columns follow
            those that :meth:`fit` has seen, a label among them if there was
            one; any further columns are left out. (default: :obj:`False`)
    """

    def __init__(
        self,
        interactions: Iterable[Interaction | tuple[str, ...]],
        top: int | None = None,
        min_count: int = 5,
        bins: int = 20,
        schema: FieldSchema | None = None,
        append: bool = False,
    ) -> None:
        self.interactions = interactions
        self.top = top
        self.min_count = min_count
        self.bins = bins
        self.schema = schema
        self.append = append

    def fit(self, X: pd.DataFrame, y: Any = None) -> CrossFeatures:
        r"""Learns buckets and vocabularies from the training rows.

        Args:
            X (pandas.DataFrame): The training rows.
            y (optional): Ignored. (default: :obj:`None`)

        Raises:
            DataError: If the table is empty or lacks a field, if a field is
                multi-valued, if two columns would have one name, or if there
                are too many combinations.
        """
        chosen = self._choose()
        members = sorted({name for fields in chosen for name in fields})
        check_frame(X, members)
        check_frame(X, X.columns)
        if not len(X):
            raise DataError('The table has no rows')
        names = [*map(_name, chosen), *(X.columns if self.append else ())]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise DataError(
                f'Two columns would have the name {twice}; rename a field'
            )
        codecs = {name: self._codec(name, X) for name in members}
        for name, codec in codecs.items():
            codec.fit(X[name])
        codes = _encode(codecs, X)
        self.crosses_ = {
            fields: self._count(fields, codes) for fields in chosen
        }
        self.codecs_ = codecs
        self.feature_names_in_ = X.columns.to_numpy(object)
        self.n_features_in_ = len(X.columns)
        return self

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        r"""One column for each interaction, with the index of :obj:`X`.

        Args:
            X (pandas.DataFrame): Rows with the columns of the fields; with
                :obj:`append`, all columns that :meth:`fit` has seen.

        Raises:
            DataError: If a column is missing or holds text instead of
                numbers.
        """
        _check_fitted(self)
        kept = list(self.feature_names_in_) if self.append else []
        check_frame(X, [*self.codecs_, *kept])
        columns, codes = {}, _encode(self.codecs_, X)
        for fields, counts in self.crosses_.items():
            keys = pd.Index(_join(fields, codes))
            # What is not found has position -1 and hence the default id 0;
            # all ids are categories, seen or not, so that all tables agree:
            columns[_name(fields)] = pd.Categorical.from_codes(
                counts.index.get_indexer(keys) + 1,
                dtype=pd.CategoricalDtype(pd.RangeIndex(len(counts) + 1)),
            )
        crosses = pd.DataFrame(columns, index=X.index)
        return pd.concat([X[kept], crosses], axis=1) if kept else crosses

    def get_feature_names_out(
        self, input_features: Sequence[str] | None = None
    ) -> np.ndarray:
        r"""The names of the columns that :meth:`transform` returns."""
        _check_fitted(self)
        known = list(self.feature_names_in_)
        if input_features is not None and list(input_features) != known:
            raise ValueError(f"'input_features' is not {known}")
        names = [*(known if self.append else ()), *map(_name, self.crosses_)]
        return np.array(names, object)

    def extend(self, schema: FieldSchema) -> FieldSchema:
        r"""A schema with the new columns as categorical fields at its end.

        Args:
            schema (FieldSchema): The schema of the table without them.
        """
        _check_fitted(self)
        crosses = [Field(_name(x), 'categorical') for x in self.crosses_]
        return dataclasses.replace(schema, fields=(*schema.fields, *crosses))

    def save(self, path: str | os.PathLike[str]) -> None:
        r"""Writes what was fitted as one Parquet file with a checksum, which
        appears as a whole or not at all. Of the interactions it holds the
        names of the fields of those that were crossed.
        """
        _check_fitted(self)
        codecs = list(self.codecs_.values())
        schema = self.schema and self.schema.to_dict()
        replaced = {'interactions': list(self.crosses_), 'schema': schema}
        meta = {
            'options': self.get_params() | replaced,
            'columns': self.feature_names_in_.tolist(),
            'members': [dataclasses.asdict(codec.field) for codec in codecs],
            'states': [codec.state() for codec in codecs],
        }
        # The members come first, then the crosses, numbered throughout:
        vocabularies = [codec.vocabulary for codec in codecs]
        vocabularies += self.crosses_.values()
        # Options may be numbers of NumPy, as from a grid of them:
        write_vocabularies(
            path, 'crosses', meta, vocabularies, lambda x: x.item()
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CrossFeatures:
        r"""Reads what :meth:`save` has written.

        Raises:
            DataError: If the file is damaged, another one or of an unknown
                version.
        """
        with reading(path, 'crosses'):
            meta, vocabularies = read_vocabularies(path, 'crosses')
            options, states = meta['options'], meta['states']
            crosses = options['interactions'] = [
                tuple(fields) for fields in options['interactions']
            ]
            if options['schema']:
                options['schema'] = FieldSchema.from_dict(options['schema'])
            kinds = {'append': bool, 'bins': int, 'min_count': int}
            if any(type(options[name]) is not kinds[name] for name in kinds):
                raise DataError(f'its options are {options}')
            out = cls(**options)
            fields = [
                Field(**{**values, 'bins': tuple(values['bins'])})
                for values in meta['members']
            ]
            out.codecs_ = {field.name: make_codec(field) for field in fields}
            for i, codec in enumerate(out.codecs_.values()):
                codec.load_state(states[i], vocabularies[i])
            out.crosses_ = {}
            for i, members in enumerate(crosses, start=len(fields)):
                counts = vocabularies[i]
                keys = counts.index.to_numpy(np.int64)
                size = math.prod(out.codecs_[name].size for name in members)
                if not ((keys >= 0) & (keys < size)).all():
                    raise DataError(f'{members} have no such combinations')
                out.crosses_[members] = pd.Series(counts.to_numpy(), keys)
            out.feature_names_in_ = np.array(meta['columns'], object)
            out.n_features_in_ = len(meta['columns'])
            return out

    def _choose(self) -> list[tuple[str, ...]]:
        if self.top is not None and self.top < 0:
            raise ValueError(f"'top' must be at least 0 (got {self.top})")
        entries = [
            x if isinstance(x, Interaction) else Interaction(x, 0)
            for x in self.interactions
        ]
        return list(dict.fromkeys(x.fields for x in entries))[: self.top]

    def _codec(self, name: str, X: pd.DataFrame) -> Codec:
        schema = self.schema or FieldSchema.infer(X[[name]])
        kind = next((x.kind for x in schema if x.name == name), None)
        if kind is None:
            raise DataError(
                f"'{name}' is no field of the schema, which has "
                f'{list(schema.names)}'
            )
        if kind in ('multi', 'vector'):
            raise DataError(
                f"Column '{name}' is of the kind '{kind}' and cannot be "
                'crossed; leave its interactions out'
            )
        # What is rarer than a cross may be cannot be part of one:
        if kind == 'categorical':
            return make_codec(Field(name, kind, self.min_count))
        bins = (self.bins,)
        return make_codec(Field(name, kind, self.min_count, 'quantile', bins))

    def _count(self, fields: tuple[str, ...], codes: _Codes) -> pd.Series:
        r"""The counts of the kept keys, in the order of their ids."""
        size = math.prod(codes[name][1] for name in fields)
        if size > np.iinfo(np.int64).max:
            raise DataError(
                f"'{_name(fields)}' has {size:.1e} possible combinations, "
                "too many for one key; raise 'min_count', lower 'bins' or "
                'cross fewer fields'
            )
        key = _join(fields, codes)
        keys, counts = np.unique(key[key >= 0], return_counts=True)
        kept = counts >= self.min_count
        keys, counts = keys[kept], counts[kept]
        # Stable, so that keys with one count keep their order:
        order = np.argsort(-counts, kind='stable')
        return pd.Series(counts[order], keys[order])


def _name(fields: tuple[str, ...]) -> str:
    return ' x '.join(fields) if len(fields) > 1 else f'{fields[0]} (bucket)'


def _encode(codecs: Mapping[str, Codec], X: pd.DataFrame) -> _Codes:
    return {
        name: (codec.encode(X[name])[0][:, 0], codec.size)
        for name, codec in codecs.items()
    }


def _join(fields: tuple[str, ...], codes: _Codes) -> Ids:
    r"""One key for each row, -1 where a member is rare."""
    key = np.zeros_like(codes[fields[0]][0])
    rare = np.zeros(len(key), dtype=bool)
    for ids, size in map(codes.__getitem__, fields):
        key = key * size + ids
        rare |= ids == RARE
    return np.where(rare, -1, key)
