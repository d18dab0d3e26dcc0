r"""Checks that every edge module, operator and model has to pass, for those
of this library and for your own.
"""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.testing import assert_close
from torch_geometric.data import Batch
from torch_geometric.explain import Explainer, GNNExplainer

from pyg_featgraph.data import FieldBatch, FieldInfo, FieldTable
from pyg_featgraph.nn import (
    FieldConv,
    FieldEdge,
    FieldModel,
    MemberLinear,
    MemberScale,
)


def check_edge(
    edge: FieldEdge, in_channels: int, num_fields: int, seed: int = 0
) -> None:
    r"""Checks that an edge module gives the same weights and gradients in both
    layouts, with missing fields, and that it can be built again.

    Args:
        edge (FieldEdge): The module.
        in_channels (int): Size of each node vector.
        num_fields (int): The number of fields, at least three.
        seed (int, optional): The seed of the inputs. (default: :obj:`0`)

    Raises:
        AssertionError: If it does not.
    """
    edge = copy.deepcopy(edge).double()
    x, mask = _inputs(in_channels, num_fields, seed)
    edge_index, field, place = _graph(mask)
    dense = edge(x, mask=mask)
    if dense.dim() == 2:
        dense = dense.expand(x.size(0), -1, -1)
    weight = edge(x[mask], edge_index, field)
    _same(dense[place], weight, [x, *edge.parameters()])
    if not edge.self_loops:
        loops = edge_index[0] == edge_index[1]
        assert not weight[loops].any(), 'a self loop has a weight'
    again = edge.resized(in_channels).double()
    again.load_state_dict(edge.state_dict())
    assert_close(again(x[mask], edge_index, field), weight)


def check_conv(conv: FieldConv, num_fields: int, seed: int = 0) -> None:
    r"""Checks that an operator gives the same values and gradients in both
    layouts, with missing fields, for its own edges and for given weights, and
    that an edge of weight zero is none.

    Args:
        conv (FieldConv): The operator, with :obj:`in_channels`.
        num_fields (int): The number of fields, at least three.
        seed (int, optional): The seed of the inputs. (default: :obj:`0`)

    Raises:
        AssertionError: If it does not.
    """
    conv = copy.deepcopy(conv).double()
    x, mask = _inputs(conv.in_channels, num_fields, seed)
    edge_index, field, place = _graph(mask)
    own = [p for p in conv.parameters() if p.requires_grad]
    out = conv(x, mask=mask)
    assert not out[~mask].any(), 'a missing field has an output'
    _same(out[mask], conv(x[mask], edge_index, field=field), [x, *own])

    weight = torch.rand(*mask.size(), num_fields, dtype=torch.double)
    weight = weight * (torch.rand(weight.size()) < 0.6)
    out = conv(x, edge_weight=weight, mask=mask)[mask]
    given = weight[place]
    _same(out, conv(x[mask], edge_index, given, field), [x, *own])
    kept = given != 0
    fewer = conv(x[mask], edge_index[:, kept], given[kept], field)
    _same(out, fewer, [x, *own])


def check_model(model: FieldModel, table: FieldTable) -> None:
    r"""Checks that a model gives the same logits and gradients in both
    layouts, with and without missing fields, that rows do not depend on each
    other, that it can be saved and loaded, runs in mixed precision, compiles
    without graph breaks, and can be explained; and all of this but the last
    three with several members, if it has the option.

    Args:
        model (FieldModel): The model.
        table (FieldTable): Some rows, at least 64.

    Raises:
        AssertionError: If it does not.
    """
    model = copy.deepcopy(model)
    check_layouts(model, table)
    model.eval()
    check_rows(model, table)
    check_file(model, table)
    check_precision(model, table)
    check_compilation(model, table)
    check_explanation(model, table)
    if 'members' in model.config:
        check_members(model, table)


def check_layouts(model: FieldModel, table: FieldTable) -> None:
    r"""The part of :func:`check_model` on layouts: the same logits and
    gradients in both, with and without missing fields, and for node vectors in
    place of a batch.
    """
    model = copy.deepcopy(model).double()
    own = [p for p in model.parameters() if p.requires_grad]
    for drop_absent in (False, True):
        batch = _batch(table, 32, drop_absent)
        batch.slot_value = batch.slot_value.double()
        graph = Batch.from_data_list(batch.to_data_list())
        out = model(batch)
        _same(out, model(graph), own)
        model.eval()
        out = model(batch)
        assert_close(model(model.embed(batch), mask=batch.mask), out)
        nodes = (graph.edge_index, graph.field, graph.batch)
        assert_close(model(model.embed(graph), *nodes), out)
        model.train()


def check_rows(model: FieldModel, table: FieldTable) -> None:
    r"""The part of :func:`check_model` on rows, which do not depend on each
    other in evaluation mode.
    """
    info = table.info
    whole = model(table[:10])
    assert whole.size() == (10,)
    assert_close(model(table[:1]), whole[:1])
    assert_close(model(table[7:10]), whole[7:])
    # Of a single graph, too, as indexing a batch gives it:
    assert_close(model(table[3]), whole[3:4])
    # A row with all fields does not feel that others lack some:
    batch = _batch(table, 64, drop_absent=True)
    full = info.present(batch.slot_index).all(dim=1)
    assert_close(model(batch)[full], model(table[:64])[full])
    # A row without any field has a logit as well:
    batch['mask'][0] = False
    assert model(batch).isfinite().all()


def check_file(model: FieldModel, table: FieldTable) -> None:
    r"""The part of :func:`check_model` on files."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'model.safetensors'
        model.save(path)
        loaded = FieldModel.load(path).eval()
        assert [p.name for p in Path(folder).iterdir()] == [path.name]
    assert type(loaded) is type(model)
    assert loaded.config.keys() == model.config.keys()
    assert_close(loaded(table[:8]), model(table[:8]), rtol=0, atol=0)


def check_precision(model: FieldModel, table: FieldTable) -> None:
    r"""The part of :func:`check_model` on mixed precision."""
    batch = table[:32]
    expected = model(batch)
    model.zero_grad()
    with torch.autocast('cpu', torch.bfloat16):
        out = model(batch)
        out.float().sum().backward()
    # bfloat16 has 8 bits; activations pass a few layers:
    error = (out.float() - expected).norm() / expected.norm().clamp(min=1e-3)
    assert error < 0.1, f'the relative error is {float(error):.3f}'
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(g.isfinite().all() for g in grads)


def check_compilation(model: FieldModel, table: FieldTable) -> None:
    r"""The part of :func:`check_model` on compilation: one graph for all sizes
    of a batch, and no break in the graph layout.
    """
    options: dict[str, Any] = {'fullgraph': True, 'backend': 'aot_eager'}
    # As new as after loading a model:
    info = FieldInfo.from_dict(table.info.to_dict())
    table = FieldTable(table.slot_index, table.slot_value, info)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compiled: Any = torch.compile(model, dynamic=True, **options)
    for size in (16, 24):
        out = compiled(table[:size])
        assert_close(out, model(table[:size]))
        out.sum().backward()
    num_graphs = torch._dynamo.utils.counters['stats']['unique_graphs']
    assert num_graphs == 1, f'{num_graphs} graphs were compiled'
    torch._dynamo.reset()
    graph = Batch.from_data_list(_batch(table, 16, True).to_data_list())
    compiled = torch.compile(model, **options)
    with torch.no_grad():
        assert_close(compiled(graph), model(graph))


def check_explanation(model: FieldModel, table: FieldTable) -> None:
    r"""The part of :func:`check_model` on the explainers of PyG: what each
    node has to say for the logit of a row.
    """
    graph = Batch.from_data_list(_batch(table, 1, False).to_data_list())
    x = model.embed(graph).detach()
    explainer = Explainer(
        model,
        GNNExplainer(epochs=3),
        explanation_type='model',
        node_mask_type='attributes',
        model_config={
            'mode': 'binary_classification',
            'task_level': 'graph',
            'return_type': 'raw',
        },
    )
    found = explainer(x, graph.edge_index, field=graph.field, batch=graph.batch)
    assert found.node_mask.size() == x.size()
    assert found.node_mask.isfinite().all()
    assert found.node_mask.max() > 0


def check_members(model: FieldModel, table: FieldTable) -> None:
    r"""The part of :func:`check_model` on members: each is the single model
    that its parts make, and its loss has nothing to do with what other members
    have for themselves. Layouts, rows and files as for a single one.
    """
    config = {**model.config, 'members': 3}
    model = type(model)(model.info, **config).double()
    check_layouts(model, table)
    model.eval()
    singles = [single_member(model, m) for m in range(model.members)]
    with torch.no_grad():
        for drop_absent in (False, True):
            batch = _batch(table, 32, drop_absent)
            batch.slot_value = batch.slot_value.double()
            for data in (batch, Batch.from_data_list(batch.to_data_list())):
                outs = torch.stack([single(data) for single in singles])
                assert_close(model.member_logits(data), outs)
                assert_close(model(data), model.head.merge(outs))
    own = [
        p
        for module in model.modules()
        if isinstance(module, MemberScale | MemberLinear)
        for p in module.parameters()
    ]
    model.member_logits(_batch(table, 8, False))[1].sum().backward()
    for p in own:
        others = [0, 2]
        assert p.grad is None or not p.grad[others].any()
    model = model.float()
    check_rows(model, table)
    check_file(model, table)


def single_member(model: FieldModel, member: int) -> FieldModel:
    r"""The single model that the parts of a member make.

    Args:
        model (FieldModel): A model of several members.
        member (int): The number of the member.
    """
    out = type(model)(model.info, **{**model.config, 'members': 1})
    out = out.double().train(model.training)
    state, names = {}, out.state_dict().keys()
    for name, value in model.state_dict().items():
        if name in names:
            is_own = value.size() != out.state_dict()[name].size()
            state[name] = value[member : member + 1] if is_own else value
    out.load_state_dict(state)
    for table, single in zip(model.tables, out.tables, strict=True):
        assert table.scale is not None
        for i, scale in enumerate(table.scale.weight[member]):
            single.assign(i, scale * table.table(i))
    return out


def _inputs(channels: int, num_fields: int, seed: int) -> tuple[Tensor, Tensor]:
    # All fields; some; one; none.
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(
        4, num_fields, channels, generator=generator, dtype=torch.double
    )
    mask = torch.ones(4, num_fields, dtype=torch.bool)
    mask[1, 0] = mask[1, -1] = False
    mask[2, 1:] = False
    mask[3] = False
    return x.requires_grad_(), mask


def _graph(mask: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    # All pairs of the fields that are there, sorted by target, the field of
    # each node, and where each edge stands in the dense layout.
    node = mask.flatten().cumsum(0).view_as(mask) - 1
    pair = mask.unsqueeze(2) & mask.unsqueeze(1)
    place = pair.nonzero().unbind(1)
    row, target, source = place
    edge_index = torch.stack([node[row, source], node[row, target]])
    return edge_index, mask.nonzero()[:, 1], place


def _batch(table: FieldTable, size: int, drop_absent: bool) -> FieldBatch:
    return FieldBatch.from_rows(
        table.slot_index[:size].long(),
        table.slot_value[:size],
        table.info,
        drop_absent=drop_absent,
    )


def _same(one: Tensor, two: Tensor, inputs: list[Any]) -> None:
    # Equal values, and equal gradients for the same random one.
    assert_close(two, one)
    grad = torch.randn_like(one)
    grads = [
        torch.autograd.grad(
            out, inputs, grad, retain_graph=True, allow_unused=True
        )
        for out in (one, two)
    ]
    for a, b, x in zip(*grads, inputs, strict=True):
        zero = torch.zeros_like(x)
        assert_close(zero if b is None else b, zero if a is None else a)
