"""The models of this library."""

import dataclasses
import tempfile
from functools import partial

import torch

from comparison.contestants import Contestant, Outcome, choice, log, uniform
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
from pyg_featgraph.training import fit, predict, split_settings, tune

#: Trainings are quiet, and else have the defaults of the library.
TRAINER = {'enable_progress_bar': False, 'enable_model_summary': False}
MEMBERS = 8


def head_of(table):
    if table.task == 'multiclass':
        return MulticlassHead(table.num_classes)
    return table.task


def encode(table):
    encoder = FieldEncoder(table.schema).fit(table.train)
    return [encoder.transform(df) for df in table.parts]


def _outcome(model, table, parts):
    return Outcome(
        *(predict(model, part).double().numpy() for part in parts[1:]),
        sum(p.numel() for p in model.parameters()),
        model.interactions(parts[0], num_rows=128) if table.truth else None,
    )


def _trained(cls, **fixed):
    """A model that is trained by `fit`, and tuned by `tune` in its default
    space.
    """

    def run(table, settings, seed):
        parts = encode(table)
        of_model, of_fit = split_settings(settings)
        torch.manual_seed(seed)
        model = cls(parts[0].info, head=head_of(table), **fixed, **of_model)
        with tempfile.TemporaryDirectory() as folder:
            options = {**TRAINER, **of_fit}
            fit(model, *parts[:2], directory=folder, seed=seed, **options)
        return _outcome(model, table, parts)

    def search(table, trials, seed, folder):
        found = tune(
            partial(cls, head=head_of(table), **fixed),
            *encode(table)[:2],
            trials=trials,
            directory=folder,
            seed=seed,
            resume=True,
            **TRAINER,
        )
        return found.settings, found.metrics['valid_loss']

    return Contestant(run, tune=search)


def _searched(cls, search, defaults, space, **fixed):
    """A model whose edges or interactions a function of `search` chooses."""

    def run(table, settings, seed):
        parts = encode(table)
        of_model, of_search = split_settings(settings)
        known = {x.name for x in dataclasses.fields(OPTIONS[search])}
        of_search |= {k: of_model.pop(k) for k in known & of_model.keys()}
        torch.manual_seed(seed)
        model = cls(parts[0].info, head=head_of(table), **fixed, **of_model)
        with tempfile.TemporaryDirectory() as folder:
            result = search(
                model,
                *parts[:2],
                directory=folder,
                seed=seed,
                **TRAINER,
                **of_search,
            )
        # The search of AIM makes a smaller one:
        return _outcome(getattr(result, 'model', model), table, parts)

    return Contestant(run, defaults, space)


#: The options of each search.
OPTIONS = {fives_search: FIVESOptions, aim_search: AIMOptions}
SPACE = {
    'lr': log(5e-4, 2e-2),
    'embedding_l2': log(0.1, 100),
    'embedding_dim': choice(8, 16, 32),
}

CONTESTANTS = {
    'lr': _trained(LR),
    'fm': _trained(FM),
    'dnn': _trained(DNN),
    f'dnn-x{MEMBERS}': _trained(DNN, members=MEMBERS),
    'deepfm': _trained(DeepFM),
    f'deepfm-x{MEMBERS}': _trained(DeepFM, members=MEMBERS),
    'ipnn': _trained(IPNN),
    'autoint': _trained(AutoInt),
    'fignn': _trained(FiGNN),
    'graphfm': _trained(GraphFM),
    'featnet': _trained(FeatNet),
    'fives': _searched(
        FIVES,
        fives_search,
        {'lr': 5e-3, 'architecture_lr': 5e-3, 'max_epochs': 10},
        {
            **SPACE,
            'architecture_lr': log(1e-3, 3e-2),
            'dropout': uniform(0, 0.5),
        },
        readout='sum',
    ),
    'aim': _searched(
        AIM,
        aim_search,
        {'lr': 5e-3, 'max_epochs': 5},
        {**SPACE, 'closing': uniform(0.2, 1)},
    ),
}
