"""Gradient-boosted trees, with categories as each of them takes them."""

import numpy as np
import pandas as pd
from catboost import CatBoostClassifier, CatBoostRegressor
from lightgbm import LGBMClassifier, LGBMRegressor, early_stopping
from xgboost import XGBClassifier, XGBRegressor

from comparison.contestants import Contestant, Outcome, integer, log, uniform

#: Trees at most, and trees without gain on the validation rows at the end.
TREES = 1000
PATIENCE = 50


def _native(table):
    """Categories as pandas has them, those of the training rows."""
    train, *others = table.inputs
    out = {}
    for name in table.names('categorical', 'multi'):
        column = train[name]
        if not isinstance(column.dtype, pd.CategoricalDtype):
            column = _texts(column).astype('category')
        out[name] = column
    dtypes = {name: column.dtype for name, column in out.items()}
    return [
        train.assign(**out),
        *(
            df.assign(
                **{
                    name: _texts(df[name]).astype(dtype)
                    for name, dtype in dtypes.items()
                }
            )
            for df in others
        ),
    ]


def _texts(column):
    return column.map(str, na_action='ignore').astype(object)


def _predict(model, task, x):
    if task == 'regression':
        return model.predict(x)
    p = model.predict_proba(x)
    return p[:, 1] if task == 'binary' else p


def _outcome(model, table, inputs, parameters):
    predictions = [_predict(model, table.task, x) for x in inputs[1:]]
    return Outcome(*predictions, parameters)


def lightgbm(table, settings, seed):
    inputs, labels = _native(table), table.labels
    make = LGBMRegressor if table.task == 'regression' else LGBMClassifier
    model = make(
        n_estimators=TREES,
        subsample_freq=1,
        random_state=seed,
        n_jobs=1,
        verbose=-1,
        **settings,
    )
    model.fit(
        inputs[0],
        labels[0],
        eval_X=inputs[1],
        eval_y=labels[1],
        callbacks=[early_stopping(PATIENCE, verbose=False)],
    )
    trees = model.booster_.dump_model(model.best_iteration_)['tree_info']
    leaves = sum(tree['num_leaves'] for tree in trees)
    return _outcome(model, table, inputs, leaves)


def xgboost(table, settings, seed):
    inputs, labels = _native(table), table.labels
    make = XGBRegressor if table.task == 'regression' else XGBClassifier
    model = make(
        n_estimators=TREES,
        early_stopping_rounds=PATIENCE,
        enable_categorical=True,
        random_state=seed,
        n_jobs=1,
        **settings,
    )
    model.fit(
        inputs[0],
        labels[0],
        eval_set=[(inputs[1], labels[1])],
        verbose=False,
    )
    booster = model.get_booster()[: model.best_iteration + 1]
    leaves = sum(tree.count('leaf=') for tree in booster.get_dump())
    return _outcome(model, table, inputs, leaves)


def catboost(table, settings, seed):
    names = table.names('categorical', 'multi')
    inputs = [
        df.assign(**{name: _texts(df[name]).fillna('') for name in names})
        for df in table.inputs
    ]
    labels = table.labels
    regression = table.task == 'regression'
    make = CatBoostRegressor if regression else CatBoostClassifier
    model = make(
        iterations=TREES,
        early_stopping_rounds=PATIENCE,
        cat_features=names,
        random_seed=seed,
        thread_count=1,
        verbose=False,
        allow_writing_files=False,
        **settings,
    )
    model.fit(inputs[0], labels[0], eval_set=(inputs[1], labels[1]))
    leaves = len(np.asarray(model.get_leaf_values()))
    return _outcome(model, table, inputs, leaves)


CONTESTANTS = {
    'lightgbm': Contestant(
        lightgbm,
        space={
            'learning_rate': log(0.02, 0.2),
            'num_leaves': integer(7, 127, log=True),
            'min_child_samples': integer(5, 100, log=True),
            'subsample': uniform(0.5, 1),
            'colsample_bytree': uniform(0.3, 1),
            'reg_lambda': log(1e-3, 10),
            'cat_smooth': log(1, 100),
        },
    ),
    'xgboost': Contestant(
        xgboost,
        space={
            'learning_rate': log(0.02, 0.3),
            'max_depth': integer(3, 9),
            'min_child_weight': log(1, 30),
            'subsample': uniform(0.5, 1),
            'colsample_bytree': uniform(0.3, 1),
            'reg_lambda': log(1e-1, 10),
        },
    ),
    'catboost': Contestant(
        catboost,
        space={
            'learning_rate': log(0.03, 0.2),
            'depth': integer(4, 8),
            'l2_leaf_reg': log(1, 30),
            'random_strength': log(0.1, 10),
        },
    ),
}
