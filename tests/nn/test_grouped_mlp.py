from itertools import pairwise

import pytest
import torch

from pyg_featgraph.nn import GroupedMLP


def relu(x):
    return x.clamp(min=0)


def softplus(x):
    return x.exp().log1p()


@pytest.mark.parametrize('channels', [[4, 3], [4, 6, 5, 3]], ids=len)
@pytest.mark.parametrize('activation', [relu, softplus])
@pytest.mark.parametrize('plain_last', [True, False])
@pytest.mark.parametrize('linear', [True, False])
def test_perceptrons_share_nothing(channels, activation, plain_last, linear):
    mlp = GroupedMLP(channels, 5, activation.__name__, plain_last, linear)
    mlp = mlp.double()
    for parameter in mlp.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(5, 7, 4, dtype=torch.double)
    out = mlp(x)
    assert out.size() == (5, 7, 3)
    for g in range(5):
        single = x[g]
        for k, _ in enumerate(pairwise(channels)):
            single = single @ mlp.weights[k][g] + mlp.biases[k][g]
            if k < len(channels) - 2 or not plain_last:
                single = activation(single)
        if linear:
            single = single + x[g] @ mlp.linear[g]
        torch.testing.assert_close(out[g], single)


def test_dropout_follows_each_activation():
    x = torch.rand(1, 10_000, 1)
    for channels, plain_last, share in (
        ([1, 1], True, 0.0),
        ([1, 1], False, 0.4),
        ([1, 1, 1], True, 0.4),
        ([1, 1, 1], False, 0.64),
    ):
        mlp = GroupedMLP(channels, 1, plain_last=plain_last, dropout=0.4)
        for weight in mlp.weights:
            torch.nn.init.ones_(weight)
        assert float((mlp(x) == 0).float().mean()) == pytest.approx(
            share, abs=0.02
        )
        # What is left makes up for it, and nothing is dropped in evaluation:
        assert mlp(x).mean().item() == pytest.approx(0.5, abs=0.03)
        torch.testing.assert_close(mlp.eval()(x), x)


def test_initial_parameters():
    torch.manual_seed(0)
    mlp = GroupedMLP([50, 100, 1], 3, linear=True)
    limit = (6 / 150) ** 0.5
    weight = mlp.weights[0].detach()
    assert weight.std().item() == pytest.approx(limit / 3**0.5, rel=0.05)
    assert weight.abs().max() <= limit
    assert all((bias == 0).all() for bias in mlp.biases)
    assert not torch.equal(weight[0], weight[1])
    torch.manual_seed(1)
    other = GroupedMLP([50, 100, 1], 3)
    assert not torch.equal(other.weights[0], weight)
    # Those of a seed depend on nothing else:
    seeded = GroupedMLP([50, 100, 1], 2, seeds=[4, 5])
    alone = GroupedMLP([50, 100, 1], 1, seeds=[5])
    assert torch.equal(seeded.weights[0][1:], alone.weights[0])
    assert torch.equal(seeded.biases[0][1:], alone.biases[0])
    start = alone.weights[0].clone()
    torch.nn.init.zeros_(alone.weights[0])
    alone.reset_parameters()
    assert torch.equal(alone.weights[0], start)


def test_bad_options():
    with pytest.raises(ValueError, match="'activation' must be one of"):
        GroupedMLP([2, 3], 1, activation='tanh')
    with pytest.raises(ValueError, match='2 perceptrons need as many seeds'):
        GroupedMLP([2, 3], 2, seeds=[1])
    assert str(GroupedMLP([2, 4, 1], 3, 'softplus', linear=True)) == (
        "GroupedMLP([2, 4, 1], num_groups=3, activation='softplus', "
        'linear=True)'
    )
