"""Logistic and ridge regression of scikit-learn."""

import warnings

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    KBinsDiscretizer,
    OneHotEncoder,
    StandardScaler,
)

from comparison.contestants import Contestant, Outcome, choice, integer, log


def linear(table, settings, seed):
    """Categories as one-hot columns, numbers standardised and, beside that,
    in bins.
    """
    categories = table.names('categorical', 'multi')
    numbers = table.names('numeric')
    one_hot = OneHotEncoder(
        handle_unknown='infrequent_if_exist',
        min_frequency=settings['min_count'],
    )
    bins = KBinsDiscretizer(
        settings['bins'],
        strategy=settings['strategy'],
        quantile_method='linear',
        subsample=20_000,
        random_state=seed,
    )
    impute = SimpleImputer(strategy='median', add_indicator=True)
    x = ColumnTransformer(
        [
            ('categories', one_hot, categories),
            ('numbers', make_pipeline(impute, StandardScaler()), numbers),
            (
                'bins',
                make_pipeline(SimpleImputer(strategy='median'), bins),
                numbers,
            ),
        ]
    )
    strength = settings['strength']
    if table.task == 'regression':
        model = make_pipeline(x, Ridge(alpha=1 / strength))
    else:
        model = make_pipeline(x, LogisticRegression(C=strength, max_iter=1000))
    texts = [
        df.assign(**{c: df[c].astype(object).map(str) for c in categories})
        for df in table.inputs
    ]
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'Bins whose width are too small')
        model.fit(texts[0], table.labels[0])
    out = []
    for df in texts[1:]:
        if table.task == 'regression':
            out.append(model.predict(df))
        else:
            p = model.predict_proba(df)
            out.append(p[:, 1] if table.task == 'binary' else p)
    return Outcome(*out, int(np.size(model[-1].coef_)))


CONTESTANTS = {
    'sklearn-lr': Contestant(
        linear,
        {
            **{'strength': 1.0, 'min_count': 2},
            **{'bins': 20, 'strategy': 'kmeans'},
        },
        {
            'strength': log(0.01, 100),
            'bins': integer(5, 500, log=True),
            'strategy': choice('kmeans', 'quantile', 'uniform'),
            'min_count': integer(1, 20, log=True),
        },
    ),
}
