from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from pyg_featgraph.data import FieldGraphLoader, FieldTable
from pyg_featgraph.errors import require
from pyg_featgraph.interactions import InteractionSet
from pyg_featgraph.nn import AIM
from pyg_featgraph.nn.config import encode
from pyg_featgraph.nn.gates import gated
from pyg_featgraph.search.stages import open_directory
from pyg_featgraph.training import FitResult, fit
from pyg_featgraph.training.loop import run


@dataclass(frozen=True)
class AIMResult:
    r"""What a search has found.

    Args:
        model (AIM): The compact model, re-trained if that was asked for.
        interactions (InteractionSet): The open interactions with their
            functions, which are also in :obj:`interactions.json` of the
            directory.
        stages (dict): The end of each stage.
        kept (pandas.DataFrame): For each order how many pairs of interaction
            and function are possible, were candidates, and are open.
    """

    model: AIM
    interactions: InteractionSet
    stages: dict[str, FitResult]
    kept: pd.DataFrame

    @property
    def metrics(self) -> dict[str, float]:
        r"""The metrics of the last stage."""
        return list(self.stages.values())[-1].metrics


def aim_search(
    model: AIM,
    train: FieldTable,
    valid: FieldTable,
    test: FieldTable | None = None,
    *,
    directory: str | os.PathLike[str],
    max_order: int = 2,
    pool: int | str | None = None,
    search_dims: bool = True,
    hidden_channels: Sequence[int] = (),
    dropout: float = 0.0,
    max_epochs: int = 10,
    batch_size: int = 1024,
    lr: float = 1e-3,
    weight_decay: float = 0.0,
    gate_lr: float = 0.1,
    closing: float = 0.5,
    dim_lr: float = 3.0,
    dim_closing: float = 0.2,
    mu: float = 0.6,
    retrain: str | None = 'scratch',
    retrain_options: dict[str, Any] | None = None,
    seed: int = 0,
    resume: bool = False,
    accelerator: str = 'auto',
    progress: bool = True,
    **trainer_options: Any,
) -> AIMResult:
    r"""Searches interactions, their functions and the dimensions of node
    vectors in the stages of the `"AIM: Automatic Interaction Machine for
    Click-Through Rate Prediction" <https://arxiv.org/abs/2111.03318>`_ paper
    (Section 3.5, Algorithm 1).

    1. For each order: gates on all candidates are trained with
       :class:`~pyg_featgraph.optim.GRDA`, which closes most of them. The
       candidates of the next order are the best interactions of this one,
       each with every other field; lower orders are frozen then.
    2. With the open interactions, gates on dimensions are trained in the same
       way.
    3. What is left is re-trained as a compact model, with a perceptron on top
       if :obj:`hidden_channels` are given.

    Each stage goes on with the weights of the one before, and has a folder
    with its state; :obj:`resume` takes up the stage that was stopped.

    Args:
        model (AIM): The model with all candidates of the first order.
        train (FieldTable): The training rows, also of the gates.
        valid (FieldTable): The validation rows.
        test (FieldTable, optional): The test rows. (default: :obj:`None`)
        directory (str): Where checkpoints, models and interactions go.
        max_order (int, optional): The highest order. (default: :obj:`2`)
        pool (int or str, optional): How many interactions of an order are
            extended to the next. An interaction without a trace in lower
            orders is only found with :obj:`"all"`, which makes every tuple a
            candidate, :math:`O(n^p)` of them.
            (default: half the number of fields)
        search_dims (bool, optional): If set to :obj:`False`, stage 2 is left
            out. (default: :obj:`True`)
        hidden_channels (list of int, optional): The hidden layers that are
            added in stage 3. (default: none)
        dropout (float, optional): Their dropout probability.
            (default: :obj:`0`)
        max_epochs (int, optional): The number of epochs of each stage.
            (default: :obj:`10`)
        batch_size (int, optional): The number of rows of a batch.
            (default: :obj:`1024`)
        lr (float, optional): The learning rate of everything but the gates.
            (default: :obj:`1e-3`)
        weight_decay (float, optional): The L2 penalty of everything but the
            gates. (default: :obj:`0`)
        gate_lr (float, optional): The learning rate of the gates of
            interactions. Higher values keep more. (default: :obj:`0.1`)
        closing (float, optional): The share of a stage after which a gate is
            closed that has had no gradient; it stands for :math:`c` of
            :class:`~pyg_featgraph.optim.GRDA`, whatever the number of steps.
            Lower values close more. (default: :obj:`0.5`)
        dim_lr (float, optional): The learning rate of the gates of
            dimensions, in units of the rate at which the mean gradient of
            half-closed gates balances the growth of the threshold. Higher
            values keep more. (default: :obj:`3`)
        dim_closing (float, optional): As :obj:`closing`, of the gates of
            dimensions. (default: :obj:`0.2`)
        mu (float, optional): :math:`\mu` of
            :class:`~pyg_featgraph.optim.GRDA`. (default: :obj:`0.6`)
        retrain (str, optional): :obj:`"scratch"` learns new weights, but
            starts from the gates; :obj:`"finetune"` starts from the weights
            of stage 1; :obj:`None` leaves out stage 3.
            (default: :obj:`"scratch"`)
        retrain_options (dict, optional): Arguments of
            :func:`~pyg_featgraph.training.fit` in which stage 3 differs from
            the search. (default: :obj:`None`)
        seed (int, optional): The seed of the order of the rows, of dropout
            and of new weights. (default: :obj:`0`)
        resume (bool, optional): Whether to go on with the search in
            :obj:`directory`. (default: :obj:`False`)
        accelerator (str, optional): The kind of device, as in
            :class:`lightning.pytorch.Trainer`. (default: :obj:`"auto"`)
        progress (bool, optional): Whether to show progress bars, one of them
            over stages. (default: :obj:`True`)
        **trainer_options (optional): Additional arguments of
            :class:`lightning.pytorch.Trainer`.

    Raises:
        DataError: If a table has no labels or a single class, or if a search
            with other options is to be resumed.
        ImportError: If Lightning is not installed.
    """
    require('lightning.pytorch', 'train')
    from pyg_featgraph.search.gates import GateModule

    if retrain not in (None, 'scratch', 'finetune'):
        raise ValueError(
            f"'retrain' must be 'scratch' or 'finetune' (got '{retrain}')"
        )
    if isinstance(pool, str) and pool != 'all':
        raise ValueError(f"'pool' must be a number or 'all' (got '{pool}')")
    if max_order < 2:
        raise ValueError(f"'max_order' must be at least 2 (got {max_order})")
    for name, value in (
        ('gate_lr', gate_lr),
        ('closing', closing),
        ('dim_lr', dim_lr),
        ('dim_closing', dim_closing),
    ):
        if not value > 0:
            raise ValueError(f"'{name}' must be positive (got {value})")
    if model.dim_gate is not None or not model.config['norm']:
        raise ValueError('The model has no gates on normalised interactions')
    if retrain is None and hidden_channels:
        raise ValueError("'hidden_channels' have to be trained by 'retrain'")
    directory = Path(directory)
    names = [f'order-{p}' for p in range(2, max_order + 1)]
    names += ['dimensions'] * search_dims + ['retrain'] * (retrain is not None)
    open_directory(
        directory,
        names,
        {
            'model': encode(model.config),
            'num_rows': [len(train), len(valid)],
            'max_order': max_order,
            'pool': pool,
            'search_dims': search_dims,
            'max_epochs': max_epochs,
            'batch_size': batch_size,
            'lr': lr,
            'weight_decay': weight_decay,
            'gate_lr': gate_lr,
            'closing': closing,
            'dim_lr': dim_lr,
            'dim_closing': dim_closing,
            'mu': mu,
            'hidden_channels': list(hidden_channels),
            'dropout': dropout,
            'retrain': retrain,
            'retrain_options': repr(retrain_options),
            'drop_absent': train.drop_absent,
            'seed': seed,
        },
        resume,
    )
    shared: dict[str, Any] = {
        'batch_size': batch_size,
        'seed': seed,
        'resume': resume,
        'accelerator': accelerator,
        'progress': progress,
        'max_epochs': max_epochs,
        **trainer_options,
    }
    num_steps = max_epochs * math.ceil(len(train) / batch_size)
    stages: dict[str, FitResult] = {}
    bar = tqdm(total=len(names), unit='stage', disable=not progress)

    def search_gates(
        name: str, model: AIM, gates: list[Any], rate: float, share: float
    ) -> None:
        bar.set_description(name)
        module = GateModule(
            model,
            gates,
            rate,
            share,
            mu,
            num_steps,
            lr=lr,
            weight_decay=weight_decay,
        )
        stages[name] = run(
            module, train, valid, test, directory=directory / name, **shared
        )
        bar.update()

    counts = []
    for order in range(2, max_order + 1):
        if order > 2:
            torch.manual_seed(seed)
            model = _extend(model, order, pool)
        gates = _gates_of_order(model, order)
        num_candidates = sum(gate.numel() for gate in gates)
        if gates:
            search_gates(f'order-{order}', model, gates, gate_lr, closing)
        counts.append(
            {
                'order': order,
                'possible': math.comb(model.info.num_fields, order)
                * len(model.config['functions']),
                'candidates': num_candidates,
            }
        )
    found, dims = model.gates(), None
    small = model.compact()
    if search_dims and found:
        torch.manual_seed(seed)
        searched = _with_dim_gates(model)
        parameters = searched.architecture_parameters()
        (gate,) = parameters
        resistance = _resistance(searched, gate, train, batch_size, seed)
        rate = dim_lr / (dim_closing * num_steps * resistance)
        search_gates('dimensions', searched, parameters, rate, dim_closing)
        small = searched.compact()
        # Without a common dimension interactions are gone as well:
        found = _only(found, small.gates())
        dims = small.config['dims']
    if retrain is not None:
        bar.set_description('retrain')
        torch.manual_seed(seed)
        small = model.rebuild(
            interactions=found,
            dims=dims,
            hidden_channels=hidden_channels,
            dropout=dropout,
        ).compact()
        if retrain == 'scratch':
            small.reset_parameters()
        options = {**shared, 'lr': lr, 'weight_decay': weight_decay}
        stages['retrain'] = fit(
            small,
            train,
            valid,
            test,
            directory=directory / 'retrain',
            **{**options, **(retrain_options or {})},
        )
        bar.update()
    bar.close()
    for row in counts:
        row['open'] = sum(
            len(x.detail['functions']) for x in found.of_order(row['order'])
        )
    found.save(directory / 'interactions.json')
    return AIMResult(small, found, stages, pd.DataFrame(counts))


def extend_tuples(
    tuples: Iterable[Sequence[int]], num_fields: int
) -> list[tuple[int, ...]]:
    r"""Each tuple of fields with every other field, without repetitions
    (line 4 of Algorithm 1 of AIM).

    Args:
        tuples (list of tuple): The tuples.
        num_fields (int): The number of fields.
    """
    return sorted(
        {
            tuple(sorted((*q, field)))
            for q in tuples
            for field in range(num_fields)
            if field not in q
        }
    )


def _gates_of_order(model: AIM, order: int) -> list[torch.nn.Parameter]:
    return [conv.gate for _, conv in model.layer.items() if conv.order == order]


def _only(gates: InteractionSet, kept: InteractionSet) -> InteractionSet:
    # Gates of the first, functions of the second.
    functions = {x.fields: x.detail['functions'] for x in kept}
    return gated(
        {
            x.fields: {
                k: v
                for k, v in x.detail['functions'].items()
                if k in functions.get(x.fields, {})
            }
            for x in gates
        }
    )


def _extend(model: AIM, order: int, pool: int | str | None) -> AIM:
    # The open interactions, and the candidates of the next order:
    names = model.info.names
    n = len(names)
    if pool == 'all':
        tuples = list(combinations(range(n), order))
    else:
        best = model.interactions(by='edges').of_order(order - 1)
        best = best.top(n // 2 if pool is None else int(pool))
        tuples = extend_tuples(
            ([names.index(name) for name in x.fields] for x in best), n
        )
    functions = dict.fromkeys(model.config['functions'])
    candidates = gated({tuple(names[i] for i in q): functions for q in tuples})
    both = InteractionSet([*model.gates(), *candidates])
    out = model.rebuild(interactions=both)
    # What has been learned stays as it is: on the same rows it would only go
    # on to overfit, and leave nothing to explain.
    out.linear.requires_grad_(False)
    for key, conv in out.layer.items():
        if key in model.layer.convs:
            conv.requires_grad_(False)
    for name in out.embeddings.keys() & model.embeddings.keys():
        out.embeddings[name].requires_grad_(not out.order_wise)
    return out


def _resistance(
    model: AIM, gate: Tensor, table: FieldTable, batch_size: int, seed: int
) -> float:
    # The root mean square of the gradients of gates that are half closed. It
    # depends on how much interactions have to say beside the linear terms, so
    # that no rate would do for all tables.
    loader = FieldGraphLoader(table, batch_size, shuffle=True, seed=seed)
    with torch.no_grad():
        gate *= 0.5
    grads = [
        torch.autograd.grad(model.loss(batch), gate)[0]
        for batch in islice(loader, 10)
    ]
    with torch.no_grad():
        gate *= 2
    size = float(torch.stack(grads).mean(dim=0).square().mean().sqrt())
    return max(size, 1e-12)


def _with_dim_gates(model: AIM) -> AIM:
    # Node vectors have unit variance in each dimension now, interactions are
    # not normalised any more. So that they start with about the variance that
    # they had, gates are divided by the standard deviation of a sum of
    # independent products, and they stay fixed: they could make up for gates
    # of dimensions.
    out = model.rebuild(interactions=model.gates(), dim_gates=True, norm=False)
    for _, conv in out.layer.items():
        gate, root = conv.gate, conv.channels**0.5
        with torch.no_grad():
            if conv.function == 'inner':
                gate /= root
            elif conv.function == 'outer':
                gate /= conv.weight.norm(dim=1).prod()
            else:
                scale = root if conv.function == 'scalar' else 1.0
                gate /= scale * conv.weight.norm(dim=1).clamp(min=1e-6)
        gate.requires_grad_(False)
    return out
