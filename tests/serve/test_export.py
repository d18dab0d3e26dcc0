"""What is exported scores as the model does, where there is no torch."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pyg_featgraph.data import Field, FieldEncoder, FieldSchema
from pyg_featgraph.nn import (
    AIM,
    DNN,
    FIVES,
    FM,
    IPNN,
    LR,
    AutoInt,
    DeepFM,
    FeatNet,
    FiGNN,
    GraphFM,
    MulticlassHead,
    SoftThreshold,
)
from pyg_featgraph.serve import export
from pyg_featgraph.training import predict

SIZES = (1, 2, 37, 4096)
CITIES = ['Oslo', 'Rome', '3', 'Ürümqi', 'Paris', 'seldom']
TAGS = ['a', 'b', 'c', 'd']


def make_frame(size, seed=0, unseen=False):
    rng = np.random.default_rng(seed)
    cities = [*CITIES[:5], 'new'] if unseen else CITIES
    df = pd.DataFrame(
        {
            'city': rng.choice(
                cities, size, p=[0.3, 0.3, 0.2, 0.1, 0.095, 0.005]
            ),
            'code': rng.integers(0, 30, size).astype(object),
            'tags': [
                [*rng.choice(TAGS, rng.integers(0, 4))] for _ in range(size)
            ],
            'age': rng.normal(40, 9, size),
            'price': np.exp(rng.normal(size=size)).round(2),
            'clicks': rng.poisson(2.0, size).astype(object),
            'when': [
                f'2020-{m:02d}-{d:02d} {h:02d}:30:00'
                for m, d, h in zip(
                    rng.integers(1, 13, size),
                    rng.integers(1, 29, size),
                    rng.integers(0, 24, size),
                    strict=True,
                )
            ],
            'text': rng.normal(size=(size, 3)).tolist(),
        }
    )
    for name in df:
        lost = rng.random(size) < 0.05
        lost[0] = False
        df[name] = df[name].astype(object)
        df.loc[lost, name] = None
    score = df['age'].fillna(0).astype(float) / 10 + rng.normal(size=size)
    df['y'] = pd.qcut(score, 3, labels=['low', 'mid', 'top']).astype(str)
    df['number'] = score
    return df


SCHEMA = (
    Field('city', 'categorical', min_count=40),
    Field('code', 'categorical'),
    Field('tags', 'multi'),
    Field('age', 'numeric', bins=(8,), interpolate=True),
    Field('price', 'numeric', transform='equal_width', bins=(3, 9)),
    Field('clicks', 'numeric', transform='log_square'),
    Field('hour', 'numeric', bins=(5,), column='when', part='hour'),
    Field('month', 'categorical', column='when', part='month'),
    Field('text', 'vector'),
)
TRAIN = make_frame(1500)
TEST = make_frame(max(SIZES), 1, unseen=True)
TASKS = {
    'binary': ('binary', None),
    'multiclass': ('multiclass', 'y'),
    'regression': ('regression', 'number'),
}
ENCODERS = {
    name: FieldEncoder(FieldSchema(SCHEMA, label, task=task)).fit(TRAIN)
    for name, (task, label) in TASKS.items()
}
INFO = ENCODERS['binary'].info
MODELS = {
    'LR': lambda: LR(INFO),
    'FM': lambda: FM(INFO, 4),
    'DNN': lambda: DNN(INFO, 4, [8], head='regression'),
    'DeepFM': lambda: DeepFM(INFO, 4, [8], head=MulticlassHead(3), members=2),
    'IPNN': lambda: IPNN(INFO, 4, [8]),
    'AutoInt': lambda: AutoInt(INFO, 4, 8, 2),
    'GraphFM': lambda: GraphFM(INFO, 4, 8, 1, members=3),
    'FiGNN': lambda: FiGNN(INFO, 4, 8),
    'FIVES': lambda: FIVES(INFO, 4),
    'AIM': lambda: AIM(INFO, 4, head='poisson'),
    'FeatNet': lambda: FeatNet(INFO, 4, 3, 4, hidden_channels=[8]),
}
QUICK = 'GraphFM'


def encoder_of(model):
    if isinstance(model.head, MulticlassHead):
        return ENCODERS['multiclass']
    is_number = model.head.name in ('regression', 'poisson')
    return ENCODERS['regression' if is_number else 'binary']


def make_model(name):
    torch.manual_seed(0)
    model = MODELS[name]()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    for module in model.modules():
        if isinstance(module, SoftThreshold):
            # So that not everything is pruned:
            module.weight.data.sub_(4)
    model.head.adapt(torch.tensor([1.0, 4.0, 7.0]))
    return model


def rows_of(df):
    """As they come from JSON, without the names of what is missing."""
    rows = df.drop(columns=['y', 'number']).to_dict('records')
    return [{k: v for k, v in row.items() if v is not None} for row in rows]


def run(script, *args):
    done = subprocess.run(
        [
            sys.executable,
            str(Path(__file__).with_name(script)),
            *map(str, args),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    """The models and their folders, exported when they are asked for."""
    root, found = tmp_path_factory.mktemp('exported'), {}

    def get(name, drop_absent=False):
        key = f'{name}{" dropped" * drop_absent}'
        if key not in found:
            model = make_model(name)
            export(
                model, encoder_of(model), root / key, drop_absent=drop_absent
            )
            found[key] = model
        return found[key], root / key

    return get


def check_models(names, exported, tmp_path, drop_absent=False):
    (tmp_path / 'rows.json').write_text(json.dumps(rows_of(TEST)))
    models, folders = zip(
        *(exported(name, drop_absent) for name in names), strict=True
    )
    where = ':'.join(map(str, folders))
    out = tmp_path / 'out.npz'
    run('blocked.py', where, tmp_path / 'rows.json', out, *SIZES)
    with np.load(out) as scores:
        for number, model in enumerate(models):
            table = encoder_of(model).transform(TEST)
            table.drop_absent = drop_absent
            expected = predict(model, table).numpy()
            scale = max(1.0, np.abs(expected).max())
            for size in SIZES:
                found = scores[f'{number} {size}']
                assert found.shape == expected[:size].shape
                assert np.abs(found - expected[:size]).max() <= 1e-5 * scale
            first = scores[f'{number} row']
            assert first.shape == expected.shape[1:]
            assert np.abs(first - expected[0]).max() <= 1e-5 * scale
            # They do differ:
            assert expected.std(axis=0).min() > 1e-3


def test_scores_without_torch(exported, tmp_path):
    check_models([QUICK], exported, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize('drop_absent', [False, True])
def test_scores_of_all_models_without_torch(exported, tmp_path, drop_absent):
    check_models(MODELS, exported, tmp_path, drop_absent)


def test_the_format_of_torch(exported):
    model, folder = exported(QUICK)
    program = torch.export.load(folder / 'model.pt2')
    assert not any('featgraph' in str(x.target) for x in program.graph.nodes)
    table = encoder_of(model).transform(TEST)
    inputs = table.slot_index.long(), table.slot_value
    expected = predict(model, table)
    for size in SIZES:
        found = program.module()(*(x[:size] for x in inputs))
        torch.testing.assert_close(found, expected[:size], rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['GraphFM', 'AIM', 'FeatNet', 'IPNN'])
def test_the_format_of_torch_without_this_package(name, exported, tmp_path):
    model, folder = exported(name)
    table = encoder_of(model).transform(TEST)
    inputs, out = tmp_path / 'inputs.npz', tmp_path / 'out.npz'
    index, value = table.slot_index.long().numpy(), table.slot_value.numpy()
    np.savez(inputs, index=index, value=value)
    run('blocked_pt2.py', folder / 'model.pt2', inputs, out)
    expected = predict(model, table).numpy()
    scale = max(1.0, np.abs(expected).max())
    with np.load(out) as scores:
        assert len(scores) == 4
        for size, found in scores.items():
            difference = np.abs(found - expected[: int(size)]).max()
            assert difference <= 1e-5 * scale
