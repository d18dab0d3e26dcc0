"""The models of this library."""

import dataclasses
import tempfile

import torch

from comparison.contestants import (
    Contestant,
    Outcome,
    choice,
    integer,
    log,
    uniform,
)
from pyg_featgraph.data import FieldEncoder
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
)
from pyg_featgraph.search import aim_search, fives_search
from pyg_featgraph.search.aim_options import AIMOptions
from pyg_featgraph.search.fives import FIVESOptions
from pyg_featgraph.training import TrainingOptions, fit, predict

#: The options of each way of training; settings with other names belong to
#: the model.
OPTIONS = {
    fit: TrainingOptions,
    fives_search: FIVESOptions,
    aim_search: AIMOptions,
}


def _ours(cls, train_by=fit, **fixed):
    known = {x.name for x in dataclasses.fields(OPTIONS[train_by])}
    known.add('max_epochs')

    def run(table, settings, seed):
        options = {k: v for k, v in settings.items() if k in known}
        config = {k: v for k, v in settings.items() if k not in known}
        encoder = FieldEncoder(table.schema).fit(table.train)
        train, valid, test = (encoder.transform(df) for df in table.parts)
        torch.manual_seed(seed)
        model = cls(encoder.info, head=_head(table), **fixed, **config)
        with tempfile.TemporaryDirectory() as folder:
            result = train_by(
                model,
                train,
                valid,
                directory=folder,
                seed=seed,
                enable_progress_bar=False,
                enable_model_summary=False,
                **options,
            )
        # The search of AIM makes a smaller one:
        model = getattr(result, 'model', model)
        return Outcome(
            *(predict(model, part).double().numpy() for part in (valid, test)),
            sum(p.numel() for p in model.parameters()),
            model.interactions(train, num_rows=128) if table.truth else None,
        )

    return run


def _head(table):
    if table.task == 'multiclass':
        return MulticlassHead(table.num_classes)
    return table.task


TRAINING = {'lr': 2e-3, 'max_epochs': 30, 'patience': 3}
SPACE = {
    'lr': log(5e-4, 2e-2),
    'embedding_decay': log(1e-5, 1e-1),
    'field_dropout': uniform(0, 0.3),
}
WIDE = {**SPACE, 'embedding_dim': choice(8, 16, 32)}
DEEP = {
    **WIDE,
    'weight_decay': log(1e-4, 1e-1),
    'dropout': uniform(0, 0.5),
}
SEARCH = {'lr': 5e-3, 'max_epochs': 10}
LAYERS = {'num_layers': integer(1, 3)}
MEMBERS = 8


def _with_members(name, cls, *args):
    """A model alone and with several members."""
    return {
        name: Contestant(_ours(cls), *args),
        f'{name}-x{MEMBERS}': Contestant(_ours(cls, members=MEMBERS), *args),
    }


CONTESTANTS = {
    'lr': Contestant(_ours(LR), TRAINING, SPACE),
    'fm': Contestant(_ours(FM), TRAINING, WIDE),
    **_with_members('dnn', DNN, TRAINING, DEEP),
    **_with_members('deepfm', DeepFM, TRAINING, DEEP),
    'ipnn': Contestant(_ours(IPNN), TRAINING, DEEP),
    'autoint': Contestant(_ours(AutoInt), TRAINING, {**WIDE, **LAYERS}),
    'fignn': Contestant(_ours(FiGNN), TRAINING, {**DEEP, **LAYERS}),
    'graphfm': Contestant(
        _ours(GraphFM),
        {**TRAINING, 'hidden_channels': 32, 'num_layers': 2},
        {**DEEP, **LAYERS},
    ),
    'fives': Contestant(
        _ours(FIVES, fives_search),
        {**SEARCH, 'architecture_lr': 5e-3, 'readout': 'sum'},
        {**DEEP, 'architecture_lr': log(1e-3, 3e-2)},
    ),
    'aim': Contestant(
        _ours(AIM, aim_search),
        {**SEARCH, 'max_epochs': 5},
        {**WIDE, 'closing': uniform(0.2, 1)},
    ),
    'featnet': Contestant(
        _ours(FeatNet),
        {**TRAINING, 'threshold_init': -3.0},
        {**DEEP, 'num_subsets': integer(2, 10)},
    ),
}
