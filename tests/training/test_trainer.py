from datetime import timedelta

import pytest
import torch
from fit_parts import assert_same, make, train, watched
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from pyg_featgraph.nn import DNN, FIVES
from pyg_featgraph.training import FieldDataModule, FieldModule, TrainingOptions


@pytest.fixture(scope='module')
def parts(table):
    return table.subset(slice(0, 1400)).split([0.6, 0.2, 0.2])


def test_clipping(parts, tmp_path):
    """Steps of plain descent are as long as clipped gradients allow."""
    for architecture_lr in (None, 0.1):
        torch.manual_seed(0)
        model = FIVES(parts[0].info, 4, 2, embedding_std=1.0)
        before = {k: x.clone() for k, x in model.state_dict().items()}
        train(
            model,
            parts,
            tmp_path,
            optimizer='SGD',
            lr=1.0,
            gradient_clip_val=1e-3,
            architecture_lr=architecture_lr,
            max_steps=1,
            early_stopping=False,
        )
        moved = sum(
            (x - before[k]).square().sum()
            for k, x in model.state_dict().items()
            if not k.startswith('adjacency')
        )
        assert 0 < moved.sqrt() < 1.01e-3


def test_accumulation(parts, tmp_path):
    """Four batches of 32 rows are one of 128 to a plain descent."""
    models = []
    for size, num in ((128, 1), (32, 4)):
        torch.manual_seed(0)
        models.append(DNN(parts[0].info, 4, [8]))
        train(
            models[-1],
            parts,
            tmp_path,
            batch_size=size,
            accumulate_grad_batches=num,
            optimizer='SGD',
            lr=0.1,
            limit_train_batches=6 * num,
        )
    # Weights, since an AUC takes notice of the last bit of equal scores:
    for one, two in zip(*(m.parameters() for m in models), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


def test_logger_clipping_schedule_and_bf16_in_one_call(parts, tmp_path):
    logger = CSVLogger(tmp_path / 'logs')
    result = train(
        make(parts[0].info),
        parts,
        tmp_path / 'run',
        logger=logger,
        log_every_n_steps=2,
        gradient_clip_val=1.0,
        scheduler='OneCycleLR',
        scheduler_options={'max_lr': 0.01, 'total_steps': 21},
        scheduler_interval='step',
        precision='bf16-mixed',
        profiler='simple',
        callbacks=[LearningRateMonitor(), ModelCheckpoint(tmp_path / 'own')],
    )
    assert 0 < result.metrics['test_auc'] < 1
    text = (tmp_path / 'logs').rglob('metrics.csv')
    header = next(iter(text)).read_text().splitlines()[0].split(',')
    assert {'train_loss', 'valid_auc', 'lr-AdamW', 'test_auc'} <= {*header}
    assert len(list((tmp_path / 'own').iterdir())) == 1


TRAINER = {
    'max_steps': ({'max_steps': 10}, 10),
    'max_steps in the first epoch': ({'max_steps': 3}, 3),
    'max_time': ({'max_time': timedelta(seconds=0)}, None),
    'min_epochs': ({'min_epochs': 3, 'lr': 0.0, 'patience': 1}, 21),
    'limit_train_batches': ({'limit_train_batches': 2}, 6),
    'no validation': ({'limit_val_batches': 0}, 21),
    'precision': ({'precision': '64-true'}, 21),
    'half precision': ({'precision': 'bf16-true'}, 21),
    'devices': ({'devices': 1, 'strategy': 'auto'}, 21),
    'sanity': ({'num_sanity_val_steps': 2}, 21),
    'deterministic': ({'deterministic': True}, 21),
    'anomalies': ({'detect_anomaly': True}, 21),
}


@pytest.mark.parametrize('name', TRAINER)
def test_arguments_of_the_trainer(name, parts, tmp_path):
    options, num_steps = TRAINER[name]
    result, watch = watched(parts, tmp_path, **options)
    if num_steps is not None:
        assert len(watch.steps) == num_steps
    assert 0 < result.metrics['test_auc'] < 1
    assert result.model_path.exists()


def test_modules_with_a_trainer_of_ones_own(parts, tmp_path):
    model = make(parts[0].info)
    options = TrainingOptions(batch_size=128, early_stopping=False)
    whole = train(model, parts, tmp_path / 'fit', options=options, max_epochs=2)
    other = make(parts[0].info)
    trainer = Trainer(
        default_root_dir=tmp_path,
        max_epochs=2,
        accelerator='cpu',
        enable_progress_bar=False,
        logger=False,
        enable_checkpointing=False,
    )
    module = FieldModule(other, options)
    data = FieldDataModule(*parts, batch_size=128)
    torch.manual_seed(0)  # Where fit begins as well.
    trainer.fit(module, datamodule=data)
    metrics = trainer.validate(module, datamodule=data, verbose=False)[0]
    assert metrics['valid_auc'] == whole.metrics['valid_auc']
    for k, x in model.state_dict().items():
        assert torch.equal(x, other.state_dict()[k])
    batch = next(iter(data.test_dataloader()))
    assert module(batch).size() == (len(parts[2]),)


def test_compiled_models(parts, tmp_path):
    models = [make(parts[0].info) for _ in range(2)]
    models[1].compile(backend='eager')
    results = [train(m, parts, tmp_path, max_epochs=1) for m in models]
    assert_same(*results, *models)
