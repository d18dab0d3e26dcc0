"""Small tables and models that are searched quickly."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from pyg_featgraph.data import FieldEncoder, FieldSchema
from pyg_featgraph.nn import AIM

OPTIONS = {'enable_progress_bar': False, 'accelerator': 'cpu', 'lr': 1e-2}
# Few steps, in which gradients count for more:
SHORT = {
    **OPTIONS,
    'batch_size': 64,
    'max_epochs': 2,
    'gate_lr': 1.0,
    'dim_lr': 1.0,
    'dim_closing': 0.8,
}
STAGES = ['order-2', 'order-3', 'dimensions', 'retrain']


def planted(*terms, num_rows=4000, missing=0.0):
    """The logit sums products of signs, which are pure interactions."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (num_rows, 6))
    names = list('abcdef')
    signs = pd.DataFrame(2 * x - 1, columns=names)
    logits = sum(3 * signs[list(term)].prod(axis=1) for term in terms)
    df = pd.DataFrame(x.astype(str), columns=names)
    df = df.mask(rng.random(df.shape) < missing)
    df['y'] = (rng.random(num_rows) < 1 / (1 + np.exp(-logits))).astype(int)
    table = FieldEncoder(FieldSchema.infer(df, 'y')).fit_transform(df)
    return table.split([0.5, 0.2, 0.3])


def make(parts, **options):
    """A new model, always with the same weights."""
    torch.manual_seed(0)
    options = {'functions': ['inner', 'vector'], **options}
    return AIM(parts[0].info, 4, **options)


def num_parameters(model):
    return sum(p.numel() for p in model.parameters())


def scores(found):
    return [(x.fields, x.score, x.detail) for x in found]


def assert_same(one, two):
    """Two results are equal to the last bit."""
    assert scores(one.interactions) == scores(two.interactions)
    assert list(one.stages) == list(two.stages)
    for name, stage in one.stages.items():
        assert stage.metrics == two.stages[name].metrics, name
        assert stage.num_epochs == two.stages[name].num_epochs, name
    assert one.kept.equals(two.kept)
    assert repr(one.model) == repr(two.model)
    state = two.model.state_dict()
    for name, value in one.model.state_dict().items():
        assert torch.equal(value, state[name]), name


def stage_of(trainer):
    return Path(trainer.default_root_dir).name
