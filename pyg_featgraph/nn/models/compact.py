r"""How :class:`AIM` models with different interactions and dimensions share
their parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pyg_featgraph.nn.models.interaction_layer import (
    InteractionLayer,
    OpenGates,
    name_gates,
)

if TYPE_CHECKING:
    from pyg_featgraph.nn.models.aim import AIM

Dims = dict[str, list[list[int]]]


def compact(model: AIM) -> AIM:
    r"""See :meth:`AIM.compact`."""
    dims = _open_dims(model)
    gates = model.gates()
    if not model.config['norm']:
        # Without a common dimension the value is always zero:
        gates = {
            q: _with_dims(model, q, values, dims) for q, values in gates.items()
        }
    changes = {
        'interactions': name_gates(gates, model.info),
        'dims': _used_dims(model, gates, dims),
        'dim_gates': False,
    }
    out = type(model)(model.info, **{**model.config, **changes})
    copy_parameters(model, out)
    if model.mlp is not None and out.mlp is None:
        # All that the perceptron sees is zero:
        mlp = deepcopy(model.mlp).eval()
        zeros = model.linear.bias.new_zeros(1, model.layer.num_interactions)
        with torch.no_grad():
            out.linear.bias.add_(mlp(zeros).squeeze(0))
    return out.train(model.training)


@torch.no_grad()
def copy_parameters(source: AIM, target: AIM) -> None:
    r"""Copies what two models have in common: weights of the fields, node
    vectors, interactions under the same function, and the perceptron if the
    target has no interactions that the source lacks.

    The gates of dimensions are multiplied into node vectors, unless the
    target has some as well.
    """
    # To the same device and precision:
    target.to(source.linear.bias)
    target.linear.load_state_dict(source.linear.state_dict())
    for name, embedding in target.embeddings.items():
        if name in source.embeddings:
            scale = _scale(source, name) if target.dim_gate is None else None
            for field in range(source.info.num_fields):
                table = source.embeddings[name].table(field)
                embedding.assign(
                    field, table if scale is None else table * scale[field]
                )
    for key, conv in target.layer.items():
        if key in source.layer.convs:
            _copy_interactions(source.layer.convs[key], conv)
    if source.dim_gate is not None and target.dim_gate is not None:
        target.dim_gate.copy_(source.dim_gate)
        for name in target.embeddings.keys() & source.embeddings.keys():
            square = source.get_buffer(f'square_{name}')
            target.get_buffer(f'square_{name}').copy_(square)
    columns = _columns(source.layer)
    wanted = _columns(target.layer)
    if (
        source.mlp is None
        or target.mlp is None
        or not (wanted.keys() <= columns.keys())
    ):
        return
    state = source.mlp.state_dict()
    first = next(key for key in state if key.endswith('weight'))
    state[first] = state[first][:, [columns[pair] for pair in wanted]]
    if _sizes(state) == _sizes(target.mlp.state_dict()):
        target.mlp.load_state_dict(state)


def _sizes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.size() for name, value in state.items()}


def _columns(layer: InteractionLayer) -> dict[tuple[str, tuple[int, ...]], int]:
    pairs = [
        (conv.function, q)
        for _, conv in layer.items()
        for q in conv.interactions
    ]
    return {pair: column for column, pair in enumerate(pairs)}


def _copy_interactions(source: Any, target: Any) -> None:
    where = {q: i for i, q in enumerate(source.interactions)}
    new = [i for i, q in enumerate(target.interactions) if q in where]
    old = [where[target.interactions[i]] for i in new]
    if target.function == 'outer':
        target.weight.copy_(source.weight)
    elif target.weight is not None:
        target.weight[new] = source.weight[old]
    if source.gate is not None and target.gate is not None:
        target.gate[new] = source.gate[old]
    if source.norm is not None and target.norm is not None:
        target.norm.running_mean[new] = source.norm.running_mean[old]
        target.norm.running_var[new] = source.norm.running_var[old]


def _scale(model: AIM, name: str) -> Tensor | None:
    if model.dim_gate is None:
        return None
    square = model.get_buffer(f'square_{name}')
    return model.dim_gate / (square + model.eps).sqrt()


def _open_dims(model: AIM) -> Dims:
    out: Dims = {}
    for name, embedding in model.embeddings.items():
        dims = embedding.dims
        if model.dim_gate is not None:
            is_open = (model.dim_gate != 0).tolist()
            dims = [
                [t for t in kept if is_open[i][t]]
                for i, kept in enumerate(dims)
            ]
        out[name] = dims
    return out


def _common(q: Iterable[int], dims: list[list[int]]) -> set[int]:
    return set.intersection(*(set(dims[i]) for i in q))


def _with_dims(
    model: AIM, q: tuple[int, ...], values: dict[str, float], dims: Dims
) -> dict[str, float]:
    # The functions that are not zero for lack of dimensions:
    out = {}
    for function, value in values.items():
        kept = dims[model.table(function, len(q))]
        if all(kept[i] for i in q) if function == 'outer' else _common(q, kept):
            out[function] = value
    return out


def _used_dims(model: AIM, gates: OpenGates, dims: Dims) -> Dims:
    used: dict[str, list[set[int]]] = {
        name: [set() for _ in kept] for name, kept in dims.items()
    }
    for q, values in gates.items():
        for function in values:
            name = model.table(function, len(q))
            common = _common(q, dims[name])
            for i in q:
                own = dims[name][i] if function == 'outer' else common
                used[name][i] |= set(own)
    return {
        name: [sorted(kept) for kept in fields] for name, fields in used.items()
    }
