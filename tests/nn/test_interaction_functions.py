import copy
from itertools import combinations

import torch
from interaction_loops import (
    CHANNELS,
    SIZE,
    N,
    all_functions,
    all_orders,
    check,
    make,
    nodes_of,
    some,
)

from pyg_featgraph.nn import InteractionConv, Nodes
from pyg_featgraph.nn.models.fm import second_order


def test_inner_products_of_all_pairs_are_those_of_fm():
    pairs = list(combinations(range(N), 2))
    conv = InteractionConv(CHANNELS, pairs, norm=False, gate=1.0).double()
    torch.nn.init.ones_(conv.gate)
    x = torch.randn(SIZE, N, CHANNELS, dtype=torch.double)
    expected = 0.5 * (x.sum(1).square() - x.square().sum(1)).sum(1)
    torch.testing.assert_close(conv(x).sum(1), expected)
    torch.testing.assert_close(second_order(x, Nodes((x,))).sum(1), expected)


@all_orders
def test_functions_are_special_cases_of_each_other(order):
    vector = make('vector', order, norm=False, gate=None)
    scalar, inner = (
        InteractionConv(
            CHANNELS, vector.interactions, function, norm=False, gate=None
        ).double()
        for function in ('scalar', 'inner')
    )
    x = torch.randn(SIZE, N, CHANNELS, dtype=torch.double)
    torch.testing.assert_close(scalar(x), inner(x))
    torch.nn.init.normal_(scalar.weight)
    vector.weight.data.copy_(scalar.weight)
    torch.testing.assert_close(vector(x), scalar(x))
    torch.testing.assert_close(scalar(x), scalar.weight[:, 0] * inner(x))
    # Behind the normalisation only the sign is left:
    scalar, inner = (
        InteractionConv(
            CHANNELS, vector.interactions, function, gate=None, eps=1e-30
        ).double()
        for function in ('scalar', 'inner')
    )
    torch.nn.init.normal_(scalar.weight)
    torch.testing.assert_close(scalar(x), scalar.weight[:, 0].sign() * inner(x))


def test_outer_is_a_matrix_of_rank_one():
    conv = make('outer', norm=False, gate=None)
    w1, w2 = conv.weight
    x = torch.randn(SIZE, N, CHANNELS, dtype=torch.double)
    out = conv(x)
    for q, (i, j) in enumerate(conv.interactions):
        for b in range(SIZE):
            matrix = torch.outer(x[b, i], x[b, j])
            torch.testing.assert_close(out[b, q], w1 @ matrix @ w2)


@all_functions
@all_orders
def test_members_have_no_order_but_positions_do(function, order):
    conv = make(function, order, norm=False)
    shuffled = [some(q, order) for q in conv.interactions]
    other = InteractionConv(CHANNELS, shuffled, function, norm=False).double()
    other.load_state_dict(conv.state_dict())
    assert other.interactions == conv.interactions
    x = torch.randn(SIZE, N, CHANNELS, dtype=torch.double)
    out = conv(x)
    assert torch.equal(other(x), out)
    # Members of the first interaction take each other's place:
    members, moved = list(conv.interactions[0]), x.clone()
    moved[:, members] = x[:, members[1:] + members[:1]]
    same = torch.allclose(conv(moved)[:, 0], out[:, 0])
    assert same == (function != 'outer')


@all_functions
def test_normalisation_takes_scale_away(function):
    conv = make(function, eps=1e-30)
    x = torch.randn(SIZE, N, CHANNELS, dtype=torch.double)
    out = conv(x)
    torch.testing.assert_close(conv(1e-3 * x), out)
    torch.testing.assert_close(conv(7 * x), out)
    mean, var = out.mean(0), out.var(0, unbiased=False)
    torch.testing.assert_close(mean, torch.zeros_like(mean))
    torch.testing.assert_close(var, conv.gate.square())
    # A product that is much smaller than `eps` stays small:
    conv.norm.eps = 1e-3
    assert (conv(1e-3 * x).abs() < 1e-3).all()


@all_functions
def test_running_statistics_are_those_of_batch_norm(function):
    conv = make(function, momentum=0.3)
    plain = InteractionConv(
        CHANNELS, conv.interactions, function, norm=False, gate=None
    ).double()
    plain.load_state_dict(conv.state_dict(), strict=False)
    norm = torch.nn.BatchNorm1d(7, eps=1e-3, momentum=0.3, affine=False)
    norm.double().load_state_dict(conv.norm.state_dict())
    for size in (4, 9):
        x = torch.randn(size, N, CHANNELS, dtype=torch.double)
        torch.testing.assert_close(conv(x), conv.gate * norm(plain(x)))
    assert norm.num_batches_tracked == 2
    torch.testing.assert_close(conv.norm.state_dict(), norm.state_dict())
    conv.eval()
    norm.eval()
    torch.testing.assert_close(conv(x), conv.gate * norm(plain(x)))
    torch.testing.assert_close(conv.norm.state_dict(), norm.state_dict())
    conv.reset_parameters()
    assert (conv.norm.running_mean == 0).all()
    assert (conv.norm.running_var == 1).all()


@all_functions
def test_single_row_uses_running_statistics(function):
    conv = make(function)
    state = copy.deepcopy(conv.norm.state_dict())
    x = nodes_of(1)
    out = check(conv, x, size=1)
    torch.testing.assert_close(conv.norm.state_dict(), state)
    torch.testing.assert_close(conv.eval()(x.view(1, N, -1)), out)
