"""What the quality benchmarks share: parts of data sets and other models."""

import statistics

import numpy as np
from catboost import CatBoostClassifier
from lightgbm import LGBMClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from pyg_featgraph.data import FieldEncoder
from pyg_featgraph.datasets import (
    Adult,
    BankMarketing,
    Criteo,
    EmployeeAccess,
    PlantedInteractions,
    TelcoChurn,
)

DATA = {
    'adult': Adult,
    'bank': BankMarketing,
    'employee': EmployeeAccess,
    'criteo': Criteo,
    'telco': TelcoChurn,
}
#: Test rows as in the FIVES paper; those of Adult come with it.
NUM_TEST = {'bank': 13_729, 'employee': 3_278, 'telco': 1_409}
#: Validation rows, if they are no more than a fifth.
NUM_VALID = 3000
#: How the names of columns start that are shares:
TWO_DIGITS = ('p@', 'r@', 'recall', 'precision', '% kept', '% pruned')


def load(name, root, seed, **options):
    """Training, validation and test rows, the schema and, if planted, the
    data set.
    """
    if name == 'planted':
        return load_planted(PlantedInteractions(80_000, seed=seed), **options)
    rng = np.random.default_rng(seed)
    data = DATA[name](root)
    if name == 'criteo':
        df = data.frame()
        order = rng.permutation(len(df))
        parts = np.split(order, [len(df) // 5, 3 * len(df) // 10])
        test, valid, train = (df.iloc[part] for part in parts)
        options.setdefault('min_count', max(3, len(df) // 1_000_000))
        return train, valid, test, data.schema(**options), None
    if name in ('adult', 'bank'):
        # The buckets of the FIVES paper, with which the figures were made:
        options.setdefault('transform', 'equal_width')
    if name == 'adult':
        df, test = data.frame('train'), data.frame('test')
        rest = rng.permutation(len(df))
    else:
        df = data.frame()
        order = rng.permutation(len(df))
        test, rest = df.iloc[order[: NUM_TEST[name]]], order[NUM_TEST[name] :]
    valid, train = np.split(rest, [min(NUM_VALID, len(rest) // 5)])
    valid, train = df.iloc[valid], df.iloc[train]
    return train, valid, test, data.schema(**options), None


def load_planted(data, **options):
    """Training, validation and test rows, the schema and the data set."""
    df = data.frame()
    order = np.random.default_rng(data.seed).permutation(len(df))
    parts = np.split(order, [len(df) // 10, len(df) // 5])
    test, valid, train = (df.iloc[part] for part in parts)
    return train, valid, test, data.schema(**options), data


def one_hot_lr(**options):
    """Logistic regression on ids or categories."""
    return make_pipeline(
        OneHotEncoder(handle_unknown='ignore'),
        LogisticRegression(**{'max_iter': 300, **options}),
    )


def ids(parts, schema):
    """The ids of all slots, as the models of this library see them."""
    encoder = FieldEncoder(schema).fit(parts[0])
    return [encoder.transform(df).slot_index.numpy() for df in parts]


def boost(kind, parts, schema, extra=None):
    """Probabilities of a GBDT with default settings for each part but the
    first, on which it is trained; extra columns are categories.
    """
    names = list(schema.names)
    categorical = [f.name for f in schema if f.kind == 'categorical']
    tables = [df[names] for df in parts]
    if kind == 'LightGBM':
        # It wants categories as one type over all parts:
        tables = [
            df.assign(
                **{
                    c: df[c]
                    .astype('category')
                    .cat.set_categories(parts[0][c].dropna().unique())
                    for c in categorical
                }
            )
            for df in tables
        ]
        model = LGBMClassifier(verbose=-1, n_jobs=2)
        options = {}
    else:
        tables = [
            df.assign(
                **{c: df[c].astype(object).fillna('') for c in categorical}
            )
            for df in tables
        ]
        model = CatBoostClassifier(
            verbose=False, thread_count=2, allow_writing_files=False
        )
        options = {'cat_features': categorical}
    if extra is not None:
        tables = [df.join(x) for df, x in zip(tables, extra, strict=True)]
        if options:
            options['cat_features'] = categorical + list(extra[0].columns)
    model.fit(tables[0], parts[0][schema.label], **options)
    return [model.predict_proba(df)[:, 1] for df in tables[1:]]


def summarise(scores):
    """Rows of a table, mean and standard deviation over the seeds."""
    rows = []
    for name, values in scores.items():
        row = {'model': name}
        for key, numbers in values.items():
            digits = {
                'seconds': 0,
                'features': 1,
                'gain %': 2,
                'parameters': 0,
                'inference ms': 1,
                'd': 0,
            }.get(key, 4)
            if key.startswith(
                ('p@', 'r@', 'recall', 'precision', '% kept', '% pruned')
            ):
                digits = 2
            text = f'{statistics.mean(numbers):.{digits}f}'
            if len(numbers) > 1:
                text += f' ± {statistics.stdev(numbers):.{digits}f}'
            row[key] = text
        rows.append(row)
    return rows
