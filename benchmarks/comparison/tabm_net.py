"""TabM of the package `tabm`, with a training as the authors have it."""

import copy
import warnings

import numpy as np
import torch
from rtdl_num_embeddings import PiecewiseLinearEmbeddings, compute_bins
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    OrdinalEncoder,
    QuantileTransformer,
    TargetEncoder,
)
from tabm import TabM
from torch.nn import functional as F

from comparison import tasks
from comparison.contestants import Contestant, Outcome, choice, log, uniform

#: TabM makes one-hot columns of categories; fields with more values than these
#: become numbers by cross-fitted target statistics.
MAX_CATEGORIES = 100
EPOCHS = 60
PATIENCE = 8


def _inputs(table, seed):
    """Numbers [R, n] and categories [R, m] of each part, and how many
    values each of the latter has.
    """
    frames = [
        df.assign(
            **{
                c: df[c].astype(object).map(str)
                for c in table.names('categorical', 'multi')
            }
        )
        for df in table.inputs
    ]
    names = table.names('categorical', 'multi')
    many = [c for c in names if frames[0][c].nunique() > MAX_CATEGORIES]
    few = [c for c in names if c not in many]
    kind = {'regression': 'continuous'}.get(table.task, table.task)
    scale = QuantileTransformer(
        n_quantiles=min(1000, len(frames[0]) // 30 + 2),
        output_distribution='normal',
        random_state=seed,
    )
    numbers = ColumnTransformer(
        [
            (
                'numbers',
                SimpleImputer(strategy='mean', add_indicator=True),
                table.names('numeric'),
            ),
            (
                'many',
                TargetEncoder(target_type=kind, random_state=seed),
                many,
            ),
        ]
    )
    numbers = make_pipeline(numbers, scale)
    # An unknown value has the number of the training values:
    codes = OrdinalEncoder(handle_unknown='use_encoded_value', unknown_value=-1)
    y = table.labels[0]
    wanted = table.names('numeric') + many
    num = (
        [numbers.fit_transform(frames[0], y)]
        + [numbers.transform(df) for df in frames[1:]]
        if wanted
        else [np.zeros((len(df), 0)) for df in frames]
    )
    if not few:
        return [(_floats(x), None) for x in num], []
    cat = [codes.fit_transform(frames[0][few])]
    cat += [codes.transform(df[few]) for df in frames[1:]]
    sizes = [len(values) for values in codes.categories_]
    cat = [np.where(x < 0, sizes, x) for x in cat]
    parts = zip(num, cat, strict=True)
    return [(_floats(x), torch.as_tensor(c).long()) for x, c in parts], [
        size + 1 for size in sizes
    ]


def _floats(x):
    return torch.tensor(np.asarray(x), dtype=torch.float32)


def _take(part, rows):
    num, cat = part
    return (
        num[rows] if num.shape[1] else None,
        None if cat is None else cat[rows],
    )


@torch.inference_mode()
def _predict(model, part, task, scale):
    """The mean of the predictions of the members."""
    model.eval()
    out = []
    for rows in torch.arange(len(part[0])).split(4096):
        logits = model(*_take(part, rows))  # [B, k, C]
        if task == 'regression':
            out.append(logits.squeeze(-1).mean(1) * scale[1] + scale[0])
        elif task == 'binary':
            out.append(logits.squeeze(-1).sigmoid().mean(1))
        else:
            out.append(logits.softmax(-1).mean(1))
    return torch.cat(out).double().numpy()


def _loss(logits, y, task):
    """The mean of the losses of the members."""
    y = y[:, None].expand(-1, logits.shape[1]).flatten()
    logits = logits.flatten(0, 1)
    if task == 'regression':
        return F.mse_loss(logits.squeeze(-1), y)
    if task == 'binary':
        return F.binary_cross_entropy_with_logits(logits.squeeze(-1), y)
    return F.cross_entropy(logits, y.long())


def _embeddings(num, bins):
    if not num.shape[1] or (num.std(0) == 0).any():
        return None
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', '.*has just two bin edges')
        return PiecewiseLinearEmbeddings(
            compute_bins(num, n_bins=bins),
            d_embedding=16,
            activation=False,
            version='B',
        )


def tabm(table, settings, seed):
    torch.manual_seed(seed)
    (train, valid, test), sizes = _inputs(table, seed)
    y = _floats(table.labels[0])
    scale = (0.0, 1.0)
    if table.task == 'regression':
        scale = (float(y.mean()), float(y.std()))
        y = (y - scale[0]) / scale[1]
    num = train[0]
    model = TabM.make(
        n_num_features=num.shape[1],
        cat_cardinalities=sizes,
        d_out=table.num_classes or 1,
        num_embeddings=_embeddings(num, settings['bins']),
        k=settings['k'],
        d_block=settings['width'],
        dropout=settings['dropout'],
    )
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=settings['lr'],
        weight_decay=settings['weight_decay'],
    )
    best, state, wait = np.inf, None, 0
    for _ in range(EPOCHS):
        model.train()
        for rows in torch.randperm(len(y)).split(settings['batch_size']):
            optimizer.zero_grad()
            loss = _loss(model(*_take(train, rows)), y[rows], table.task)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        p = _predict(model, valid, table.task, scale)
        value = tasks.loss(table.task, table.labels[1], p)
        wait += 1
        if value < best:
            best, state, wait = value, copy.deepcopy(model.state_dict()), 0
        if wait == PATIENCE:
            break
    model.load_state_dict(state)
    predictions = [
        _predict(model, part, table.task, scale) for part in (valid, test)
    ]
    return Outcome(*predictions, sum(p.numel() for p in model.parameters()))


CONTESTANTS = {
    # The package has 32 members of width 512, which take an hour of one core:
    'tabm': Contestant(
        tabm,
        {
            **{'k': 16, 'width': 128, 'dropout': 0.1, 'bins': 48},
            **{'lr': 2e-3, 'weight_decay': 3e-4, 'batch_size': 512},
        },
        {
            'width': choice(64, 128, 256),
            'dropout': uniform(0, 0.5),
            'lr': log(5e-4, 5e-3),
            'weight_decay': log(1e-5, 1e-1),
        },
    ),
}
