r"""Training on the workers of a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from pyg_featgraph.data import FieldInfo, FieldTable
from pyg_featgraph.errors import require
from pyg_featgraph.files import read_json
from pyg_featgraph.nn import FieldModel
from pyg_featgraph.training import FitResult, TrainingOptions, fit
from pyg_featgraph.training.options import split_options

#: The rows, or the folder that they have been encoded to.
Table = FieldTable | str | os.PathLike[str]


def fit_on_ray(
    make_model: Callable[[FieldInfo], FieldModel],
    train: Table,
    valid: Table,
    test: Table | None = None,
    *,
    directory: str | os.PathLike[str],
    num_workers: int,
    use_gpu: bool = False,
    resources: Mapping[str, float] | None = None,
    options: TrainingOptions | None = None,
    resume: bool = False,
    **kwargs: Any,
) -> FitResult:
    r"""Trains a model on the workers of a Ray cluster, with Ray Train: the one
    that :func:`ray.init` has been called for, or else one on this machine.

    Each worker calls :func:`~pyg_featgraph.training.fit`, and each batch is
    split among them, so that the result is that of one process with
    :obj:`num_workers` times the batch size. The best model is in
    :obj:`directory`, for :meth:`FieldModel.load
    <pyg_featgraph.nn.FieldModel.load>`.

    Args:
        make_model (callable): The class of a model, or any function of a
            :class:`~pyg_featgraph.data.FieldInfo`. It is called with the
            generators of random numbers seeded as the options say.
        train (FieldTable or str): The training rows; best as the folder of an
            encoded table, which each worker opens by itself.
        valid (FieldTable or str): The validation rows.
        test (FieldTable or str, optional): The test rows.
            (default: :obj:`None`)
        directory (str): Where the record, checkpoints and the best model go,
            which all machines of the cluster have to see.
        num_workers (int): The number of processes.
        use_gpu (bool, optional): Whether each has a GPU.
            (default: :obj:`False`)
        resources (dict, optional): What each takes of its machine.
            (default: one core, and one GPU if asked for)
        options (TrainingOptions, optional): The options of the training.
            (default: :obj:`TrainingOptions()`)
        resume (bool, optional): Whether to go on with the run found in
            :obj:`directory`. (default: :obj:`False`)
        **kwargs (optional): As of :func:`~pyg_featgraph.training.fit`.

    Raises:
        ImportError: If Ray is not installed.
        ray.train.TrainingFailedError: If a worker fails.
    """
    require('ray.train', 'ray')
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    folder = Path(directory).absolute()
    config = {
        'make_model': make_model,
        'tables': [
            x if isinstance(x, FieldTable) else str(Path(x).absolute())
            for x in (train, valid, test)
            if x is not None
        ],
        'directory': str(folder),
        'options': options or TrainingOptions(),
        'resume': resume,
        'accelerator': 'gpu' if use_gpu else 'cpu',
        'num_workers': num_workers,
        'kwargs': kwargs,
    }
    scaling = ScalingConfig(
        num_workers=num_workers,
        use_gpu=use_gpu,
        resources_per_worker=None if resources is None else dict(resources),
    )
    # What Ray notes itself about a run stands beside what the run notes:
    storage = RunConfig(name='ray', storage_path=str(folder))
    TorchTrainer(
        _work,
        train_loop_config=config,
        scaling_config=scaling,
        run_config=storage,
    ).fit()
    values = read_json(folder / 'run.json', 'record of a run')['result']
    return FitResult.from_dict(values, folder)


def _work(config: Mapping[str, Any]) -> None:
    from lightning.pytorch.utilities.rank_zero import rank_zero_only
    from ray.train import get_context
    from ray.train.lightning import RayDDPStrategy, RayLightningEnvironment

    # Lightning may have been imported before Ray has told who this is:
    rank_zero_only.rank = get_context().get_world_rank()
    options, rest = split_options(config['options'], config['kwargs'])
    tables = [
        x if isinstance(x, FieldTable) else FieldTable.open(x)
        for x in config['tables']
    ]
    torch.manual_seed(options.seed)
    fit(
        config['make_model'](tables[0].info),
        *tables,
        directory=config['directory'],
        options=options,
        resume=config['resume'],
        **{
            'accelerator': config['accelerator'],
            'devices': 'auto',
            # So that the record tells how many there are:
            'num_nodes': config['num_workers'],
            'strategy': RayDDPStrategy(),
            'plugins': [RayLightningEnvironment()],
            'enable_progress_bar': False,
            **rest,
        },
    )
