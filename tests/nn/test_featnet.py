import pytest
import torch
from featnet_loops import (
    INFO,
    SHARES,
    D,
    float_model,
    make_batch,
    make_model,
    model_by_loops,
)
from loops import as_nodes, assert_same

from pyg_featgraph.nn import FeatNet


@pytest.mark.parametrize('options', SHARES, ids=str)
@pytest.mark.parametrize('drop', [0.0, 0.4])
def test_model_is_the_equations(options, drop):
    model, batch = make_model(**options), make_batch(drop=drop)
    expected = model_by_loops(model, batch)
    others = [model(batch), model(as_nodes(batch))]
    inputs = [*model.parameters()]
    grad = torch.autograd.grad(expected.sum(), inputs, retain_graph=True)
    assert all((g != 0).any() for g in grad)
    assert_same(expected, others, inputs)


def test_absent_fields_are_members_of_nothing():
    model, batch = make_model(), make_batch(20, drop=0.3)
    zero = batch.clone()
    zero.mask = None
    zero.slot_value = zero.slot_value * batch.mask[:, INFO.slot_field]
    torch.testing.assert_close(model(zero), model(batch))
    weight, scores = model.subset_weights(batch), model.scores(batch)
    assert (weight[~batch.mask] == 0).all()
    assert (scores.movedim(3, 1)[~batch.mask] == 0).all()
    assert (scores > 0).any()


@pytest.mark.parametrize(('subsets', 'queries'), [(1, 1), (7, 2)])
def test_subsets_and_queries_change_the_head_only(subsets, queries):
    model = FeatNet(INFO, D, subsets, queries, hidden_channels=[6]).double()
    assert model(make_batch()).size() == (6,)
    assert model.coverage == subsets * queries
    assert model.mlp.weights[0].size() == (subsets, queries * D, 6)
    assert model.lin.weight.size() == (1, 1, subsets * 6)
    plain = FeatNet(INFO, D, subsets, queries, hidden_channels=[]).double()
    assert plain(make_batch()).size() == (6,)


def test_reset_parameters(table):
    model = float_model(table.info)
    model.reset_parameters()
    assert (model.edge.threshold.weight == -7).all()
    assert (model.conv.threshold.weight == -7).all()
    assert (model.edge.mix >= 0).all()
    assert model.conv.query.std() > 0


def test_everything_has_a_gradient_at_first(table):
    model = FeatNet(table.info, num_subsets=4, num_queries=4)
    model.loss(table[:512]).backward()
    for name, parameter in model.named_parameters():
        if name != 'embedding.weight':
            live = (parameter.grad != 0).float().mean()
            # Some units of the perceptrons are zero for all rows:
            is_head = name.startswith(('mlp', 'lin'))
            assert live > (0.3 if is_head else 0.99), name
