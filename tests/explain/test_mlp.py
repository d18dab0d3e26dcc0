import copy
import math

import pytest
import torch
from torch.nn import Linear, ReLU, Sequential, Softplus

from pyg_featgraph.explain import fit_mlps
from pyg_featgraph.nn import GroupedMLP

SIZES = (8, 5)
SMALL = {'hidden_channels': SIZES, 'batch_size': 16, 'patience': 2}


class Net(torch.nn.Module):
    """One net, as PyTorch makes it."""

    def __init__(self, seed, d, activation='relu', linear=False):
        super().__init__()
        torch.manual_seed(seed)
        act = {'relu': ReLU, 'softplus': Softplus}[activation]()
        a, b = SIZES
        self.mlp = Sequential(
            Linear(d, a), act, Linear(a, b), act, Linear(b, 1)
        )
        self.linears = [self.mlp[i] for i in (0, 2, 4)]
        self.skip = Linear(d, 1, bias=False) if linear else None
        self.double()

    def forward(self, x):
        out = self.mlp(x) + (0 if self.skip is None else self.skip(x))
        return out[:, 0]


def mean(error, weight):
    return (error * weight).sum() / weight.sum()


def fit_one(net, train, val, lr, batch_size, max_epochs, patience, l1):
    """The loop of the paper for one data set; how many epochs it takes."""
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
    best, lowest, bad, epochs = None, math.inf, 0, 0
    while epochs < max_epochs and bad <= patience:
        epochs += 1
        for i in range(0, len(train[0]), batch_size):
            x, y, w = (part[i : i + batch_size] for part in train)
            loss = mean((net(x) - y) ** 2, w)
            for layer in net.linears:
                loss = loss + l1 * layer.weight.abs().sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        x, y, w = val
        loss = mean((net(x) - y) ** 2, w).item()
        if loss < lowest:
            best, lowest, bad = copy.deepcopy(net.state_dict()), loss, 0
        else:
            bad += 1
    net.load_state_dict(best)
    return epochs


def make_data(num_sets=5, n=40, n_val=24, d=4):
    x = torch.randn(num_sets, n + n_val, d, dtype=torch.double)
    noise = torch.linspace(0, 1.5, num_sets, dtype=torch.double)[:, None]
    y = x[..., 0] * x[..., 1] + x[..., 2]
    y = y + noise * torch.randn_like(y)
    return x[:, :n], y[:, :n], x[:, n:], y[:, n:]


def assert_net(mlp, r, net):
    for weight, bias, layer in zip(
        mlp.weights, mlp.biases, net.linears, strict=True
    ):
        torch.testing.assert_close(weight[r].t(), layer.weight)
        torch.testing.assert_close(bias[r, 0], layer.bias)
    assert (mlp.linear is None) == (net.skip is None)
    if net.skip is not None:
        torch.testing.assert_close(mlp.linear[r].t(), net.skip.weight)


@pytest.mark.parametrize('linear', [False, True])
@pytest.mark.parametrize('activation', ['relu', 'softplus'])
def test_nets_are_those_of_pytorch(activation, linear):
    seeds = [3, 0, 2**32 - 1]
    mlp = GroupedMLP(
        [4, *SIZES, 1], 3, activation, linear=linear, seeds=seeds
    ).double()
    x = torch.randn(3, 7, 4, dtype=torch.double)
    out = mlp(x)
    assert out.size() == (3, 7, 1)
    for r, seed in enumerate(seeds):
        net = Net(seed, 4, activation, linear)
        assert_net(mlp, r, net)
        torch.testing.assert_close(out[r, :, 0], net(x[r]))


@pytest.mark.parametrize('dtype', [torch.float, torch.double])
def test_softplus_stays_finite(dtype):
    mlp = GroupedMLP([2, 3, 1], 1, 'softplus')
    x = torch.tensor([-500, -79, 79.9, 80.1, 500], dtype=dtype)
    x.requires_grad_()
    out = mlp.activate(x)
    torch.testing.assert_close(out, x.clamp(min=0), rtol=1e-6, atol=1e-6)
    (grad,) = torch.autograd.grad(out.sum(), x)
    torch.testing.assert_close(grad, (x > 0).to(dtype))


def test_softplus_stays_curved():
    mlp = GroupedMLP([2, 3, 1], 1, 'softplus')
    x = torch.tensor([-30.0, 25], dtype=torch.double)
    out = mlp.activate(x)
    assert out[1] > 25
    assert out[0].item() == pytest.approx(math.exp(-30))


@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize(
    ('activation', 'linear', 'l1'),
    [('relu', False, 0.0), ('relu', True, 1e-2), ('softplus', True, 1e-3)],
)
def test_training_matches_one_net_at_a_time(activation, linear, l1, weighted):
    x, y, x_val, y_val = make_data()
    weights = [torch.ones_like(y), torch.ones_like(y_val)]
    if weighted:
        weights = [torch.rand_like(w) for w in weights]
    options = {'lr': 2e-2, 'max_epochs': 25, 'l1': l1, 'patience': 2}
    seeds, epochs, stopped = [5, 6, 7, 8, 9], [], []
    mlp = fit_mlps(
        x,
        y,
        x_val,
        y_val,
        weight_train=weights[0] if weighted else None,
        weight_val=weights[1] if weighted else None,
        activation=activation,
        linear=linear,
        seeds=seeds,
        on_stop=stopped.append,
        **{**SMALL, **options},
    )
    for r, seed in enumerate(seeds):
        net = Net(seed, 4, activation, linear)
        train = x[r], y[r], weights[0][r]
        val = x_val[r], y_val[r], weights[1][r]
        epoch = fit_one(net, train, val, batch_size=16, **options)
        assert_net(mlp, r, net)
        epochs.append(epoch)
    # They have stopped one by one, the best one at the end:
    counts = [epochs.count(epoch) for epoch in sorted(set(epochs))]
    assert stopped == counts
    assert len(counts) > 2
    assert all(p.grad is None for p in mlp.parameters())


def test_a_net_does_not_depend_on_those_beside_it():
    data = make_data(num_sets=6)
    together = fit_mlps(*data, seeds=range(6), **SMALL)
    for rows in ([4], [5, 0, 2]):
        some = fit_mlps(*(part[rows] for part in data), seeds=rows, **SMALL)
        for p, q in zip(some.parameters(), together.parameters(), strict=True):
            torch.testing.assert_close(p, q[rows])
    again = fit_mlps(*data, seeds=range(6), **SMALL)
    other = fit_mlps(*data, seeds=range(1, 7), **SMALL)
    assert (again.weights[0] == together.weights[0]).all()
    assert (other.weights[0] != together.weights[0]).all()


def test_masks_are_inputs_like_any_other():
    x = torch.rand(2, 64, 4) < 0.5
    y = (x[..., 0] & x[..., 1]).float()
    parts = x[:, :40], y[:, :40], x[:, 40:], y[:, 40:]
    mlp = fit_mlps(*parts, **SMALL)
    parts = x[:, :40].float(), y[:, :40], x[:, 40:].float(), y[:, 40:]
    assert mlp.weights[0].dtype == torch.float32
    for p, q in zip(
        mlp.parameters(), fit_mlps(*parts, **SMALL).parameters(), strict=True
    ):
        assert (p == q).all()


def test_the_lasso_leaves_biases_and_the_linear_term():
    x, y, x_val, y_val = make_data(num_sets=1)
    # Nothing to learn, with weights that only the penalty moves:
    parts = x * 0, y * 0, x_val * 0, y_val * 0
    options = {'linear': True, 'max_epochs': 1, 'lr': 1e-3, **SMALL}
    start = GroupedMLP([4, *SIZES, 1], 1, linear=True, seeds=[0]).double()
    plain, mlp = (fit_mlps(*parts, l1=l1, **options) for l1 in (0, 1))
    assert (plain.weights[0] == start.weights[0]).all()
    assert (mlp.linear == start.linear).all()
    # Adam goes by its rate at each of three steps, whatever the penalty:
    moved = start.weights[0] - mlp.weights[0]
    expected = 3e-3 * start.weights[0].sign()
    far = start.weights[0].abs() > 4e-3
    torch.testing.assert_close(moved[far], expected[far])


def test_nan_losses_leave_the_rest_alone():
    x, y, x_val, y_val = make_data(num_sets=3)
    broken = y.clone()
    broken[1] = math.nan
    good = fit_mlps(x, y, x_val, y_val, **SMALL)
    mlp = fit_mlps(x, broken, x_val, y_val, **SMALL)
    for p, q in zip(mlp.parameters(), good.parameters(), strict=True):
        torch.testing.assert_close(p[[0, 2]], q[[0, 2]])
        assert p.isfinite().all()


def test_bad_arguments():
    x, y, x_val, y_val = make_data(num_sets=2)
    with pytest.raises(ValueError, match="'x_train' and 'y_train' must be"):
        fit_mlps(x, y[:, 1:], x_val, y_val)
    with pytest.raises(ValueError, match="'x_val' and 'y_val' must be"):
        fit_mlps(x, y, x_val[0], y_val)
    with pytest.raises(ValueError, match="'x_val' and 'y_val' must be"):
        fit_mlps(x, y, x_val[:, :0], y_val[:, :0])
    with pytest.raises(ValueError, match='do not match'):
        fit_mlps(x, y, x_val[:1], y_val[:1])
    with pytest.raises(ValueError, match="'weight_val' must be"):
        fit_mlps(x, y, x_val, y_val, weight_val=y)
    with pytest.raises(ValueError, match='need as many seeds'):
        fit_mlps(x, y, x_val, y_val, seeds=[1])
    with pytest.raises(ValueError, match="'activation' must be one of"):
        fit_mlps(x, y, x_val, y_val, activation='tanh')
    with pytest.raises(ValueError, match="'hidden_channels' must"):
        fit_mlps(x, y, x_val, y_val, hidden_channels=())
