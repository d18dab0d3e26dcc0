"""Trainings on a local cluster of two workers."""

from functools import partial

import numpy as np
import pytest
import torch

from pyg_featgraph.data import FieldEncoder, FieldTable
from pyg_featgraph.datasets import PlantedInteractions
from pyg_featgraph.nn import DeepFM, FieldModel
from pyg_featgraph.ray import fit_on_ray
from pyg_featgraph.training import fit

ray = pytest.importorskip(
    'ray', reason="Ray is missing: pip install 'pyg-featgraph[ray]'"
)
pytestmark = pytest.mark.slow


@pytest.fixture(scope='module', autouse=True)
def _cluster():
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    """Encoded training, validation and test rows."""
    data = PlantedInteractions(
        701, {2: 1}, num_numeric=1, num_categorical=3, seed=1
    )
    df, folder = data.frame(), tmp_path_factory.mktemp('encoded')
    encoder = FieldEncoder(data.schema()).fit(df)
    parts = {'train': df[:421], 'valid': df[421:561], 'test': df[561:]}
    for name, part in parts.items():
        encoder.transform(part, folder / name)
    return [folder / name for name in parts]


# Workers do not know the functions of a test:
make = partial(DeepFM, embedding_dim=4, hidden_channels=(8,), sparse=True)


def test_two_workers_are_as_good_as_one_process(folders, tmp_path):
    options = {'lr': 0.01, 'linear_scale': 1.0, 'sparse_scale': 1.0}
    torch.manual_seed(3)
    parts = [FieldTable.open(folder) for folder in folders]
    model = make(parts[0].info)
    alone = fit(
        model,
        *parts,
        directory=tmp_path / 'alone',
        seed=3,
        batch_size=64,
        max_epochs=2,
        enable_progress_bar=False,
        **options,
    )
    outs = [
        fit_on_ray(
            make,
            *folders,
            directory=tmp_path / 'ray',
            num_workers=2,
            seed=3,
            batch_size=32,
            max_epochs=2,
            resume=resume,
            **options,
        )
        for resume in (False, True)
    ]
    assert outs[0] == outs[1]
    for name, value in alone.metrics.items():
        assert outs[0].metrics[name] == pytest.approx(value, abs=1e-4), name
    assert outs[0].num_epochs == alone.num_epochs == 2
    found = FieldModel.load(outs[0].model_path).state_dict()
    for name, value in model.state_dict().items():
        np.testing.assert_allclose(found[name], value, atol=1e-4)
