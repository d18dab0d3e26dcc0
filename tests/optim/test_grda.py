import copy
import io
import itertools
import math

import pytest
import torch

from pyg_featgraph.optim import GRDA


def parameter(*values, dtype=torch.double):
    return torch.nn.Parameter(torch.tensor(values, dtype=dtype))


def random_parameter(*size, dtype=torch.double):
    return torch.nn.Parameter(torch.randn(*size, dtype=dtype))


def step(optimizer, *grads):
    """A step with given gradients, one for each parameter."""
    params = [p for group in optimizer.param_groups for p in group['params']]
    for param, grad in zip(params, grads, strict=True):
        param.grad = grad
    optimizer.step()


def reference(alpha, grads, lrs, c, mu):
    """The three equations of a single weight, after each step."""
    v, threshold, out = alpha, 0.0, []
    for t, (g, lr) in enumerate(zip(grads, lrs, strict=True)):
        v = v - lr * g
        threshold += c * lr ** (0.5 + mu) * ((t + 1) ** mu - t**mu)
        sign = 1 if v > 0 else -1
        out.append(sign * max(abs(v) - threshold, 0))
    return out


@pytest.mark.parametrize(('c', 'mu'), [(0.05, 0.6), (0.4, 0.51), (1.0, 0.9)])
def test_recursion_with_changing_lr(c, mu):
    alpha = random_parameter(3, 4)
    start = alpha.detach().clone()
    grads = torch.randn(50, 3, 4, dtype=torch.double)
    lrs = [0.2 * 0.95**t for t in range(50)]
    optimizer = GRDA([alpha], lr=lrs[0], c=c, mu=mu)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.95)
    outs = []
    for grad in grads:
        step(optimizer, grad)
        scheduler.step()
        outs.append(alpha.detach().clone())
    outs = torch.stack(outs)
    for i in range(3):
        for j in range(4):
            expected = reference(
                start[i, j].item(), grads[:, i, j].tolist(), lrs, c, mu
            )
            expected = torch.tensor(expected, dtype=torch.double)
            torch.testing.assert_close(outs[:, i, j], expected)
            # A zero is no rounding error of either:
            assert torch.equal(outs[:, i, j] == 0, expected == 0)
    assert (outs == 0).any()
    assert (outs != 0).any()


def test_closed_form_with_constant_lr():
    lr, c, mu, T = 0.07, 0.3, 0.6, 200
    alpha = random_parameter(20)
    start = alpha.detach().clone()
    grads = torch.randn(T, 20, dtype=torch.double)
    optimizer = GRDA([alpha], lr=lr, c=c, mu=mu)
    for grad in grads:
        step(optimizer, grad)
    v = start - lr * grads.sum(dim=0)
    threshold = c * lr**0.5 * (T * lr) ** mu
    expected = v.sign() * (v.abs() - threshold).clamp(min=0)
    torch.testing.assert_close(alpha.detach(), expected)
    assert 0 < (expected == 0).sum() < 20
    state = optimizer.state[alpha]
    assert state['step'] == T
    assert math.isclose(state['threshold'], threshold)
    torch.testing.assert_close(state['dual'], v)


@pytest.mark.parametrize('dtype', [torch.float, torch.double])
def test_without_threshold_is_sgd(dtype):
    alpha = random_parameter(5, dtype=dtype)
    other = copy.deepcopy(alpha)
    optimizer = GRDA([alpha], lr=0.03, c=0)
    sgd = torch.optim.SGD([other], lr=0.03)
    for grad in torch.randn(30, 5, dtype=dtype):
        step(optimizer, grad)
        step(sgd, grad)
        assert torch.equal(alpha, other)


def minimise(function, low, high):
    """Ternary search for the minimum of a convex function."""
    for _ in range(200):
        third = (high - low) / 3
        if function(low + third) < function(high - third):
            high -= third
        else:
            low += third
    return (low + high) / 2


def test_each_step_minimises():
    lr, c, mu = 0.1, 0.5, 0.7
    alpha = parameter(0.2, -0.5, 1.0)
    start = alpha.tolist()
    total = [0.0] * 3
    optimizer = GRDA([alpha], lr=lr, c=c, mu=mu)
    zeros = 0
    for t, grad in enumerate(torch.randn(40, 3, dtype=torch.double)):
        step(optimizer, grad)
        threshold = c * lr**0.5 * ((t + 1) * lr) ** mu
        for i in range(3):
            total[i] += grad[i].item()
            slope = -start[i] + lr * total[i]

            def objective(a, slope=slope, threshold=threshold):
                return a * slope + threshold * abs(a) + a * a / 2

            best = minimise(objective, -10, 10)
            assert abs(alpha[i].item() - best) < 1e-6
            zeros += alpha[i].item() == 0
    assert 0 < zeros < 120


@pytest.mark.parametrize('dtype', [torch.float, torch.double])
def test_when_an_idle_weight_becomes_zero(dtype):
    alpha = parameter(0.6, -0.6, dtype=dtype)
    optimizer = GRDA([alpha], lr=0.1, c=0.05, mu=0.6)
    grad = torch.zeros(2, dtype=dtype)
    for _ in range(4285):
        step(optimizer, grad)
    assert (alpha != 0).all()
    step(optimizer, grad)
    assert alpha.tolist() == [0, 0]
    assert not alpha.signbit().any()


def test_threshold_is_monotone():
    alpha = parameter(1.0)
    optimizer = GRDA([alpha])
    thresholds = [0.0]
    for t in range(100):
        # The learning rate may go up and down:
        optimizer.param_groups[0]['lr'] = 0.1 * (1 + math.cos(t))
        step(optimizer, torch.randn(1, dtype=torch.double))
        thresholds.append(optimizer.state[alpha]['threshold'])
    assert all(a < b for a, b in itertools.pairwise(thresholds))
    # And a schedule may end at zero:
    optimizer.param_groups[0]['lr'] = 0.0
    before = alpha.tolist()
    step(optimizer, torch.ones(1, dtype=torch.double))
    assert optimizer.state[alpha]['threshold'] == thresholds[-1]
    assert alpha.tolist() == before


def test_zeroed_weight_comes_back():
    alpha = parameter(0.01)
    optimizer = GRDA([alpha], lr=0.1, c=0.5, mu=0.6)
    for _ in range(5):
        step(optimizer, torch.zeros(1, dtype=torch.double))
    assert alpha.item() == 0
    values = []
    for _ in range(10):
        step(optimizer, torch.full((1,), -1.0, dtype=torch.double))
        v = optimizer.state[alpha]['dual'].item()
        assert (alpha.item() != 0) == (v > optimizer.state[alpha]['threshold'])
        values.append(alpha.item())
    # All its gradients count, those while it was zero too:
    assert math.isclose(v, 0.01 + 10 * 0.1)
    assert values[0] == 0
    assert values[-1] > 0


def test_parameter_groups():
    grads = torch.randn(20, 2, 3, dtype=torch.double)
    options = [{'c': 0.0}, {'c': 0.5, 'mu': 0.8, 'lr': 0.2}]
    params = [random_parameter(3) for _ in options]
    alone = [copy.deepcopy(param) for param in params]
    optimizer = GRDA(
        [{'params': [p], **o} for p, o in zip(params, options, strict=True)]
    )
    others = [GRDA([p], **o) for p, o in zip(alone, options, strict=True)]
    for pair in grads:
        step(optimizer, *pair)
        for other, grad in zip(others, pair, strict=True):
            step(other, grad)
    for param, other in zip(params, alone, strict=True):
        assert torch.equal(param, other)
    assert optimizer.state[params[0]]['threshold'] == 0
    assert optimizer.state[params[1]]['threshold'] > 0


@pytest.mark.parametrize('saved', [False, True])
@pytest.mark.parametrize('dtype', [torch.float, torch.double, torch.bfloat16])
def test_state_dict(dtype, saved):
    grads = torch.randn(40, 30).to(dtype)
    lrs = [0.1 / (1 + t) ** 0.3 for t in range(40)]
    alpha = random_parameter(30, dtype=dtype)
    optimizer = GRDA([alpha], c=0.7, mu=0.55)

    def run(optimizer, steps):
        for t in steps:
            optimizer.param_groups[0]['lr'] = lrs[t]
            step(optimizer, grads[t])

    run(optimizer, range(17))
    states = {'alpha': alpha.detach(), 'optimizer': optimizer.state_dict()}
    if saved:
        file = io.BytesIO()
        torch.save(states, file)
        file.seek(0)
        states = torch.load(file, weights_only=True)
    other = torch.nn.Parameter(states['alpha'].clone())
    resumed = GRDA([other])
    resumed.load_state_dict(copy.deepcopy(states['optimizer']))
    assert resumed.param_groups[0]['c'] == 0.7
    run(optimizer, range(17, 40))
    run(resumed, range(17, 40))
    assert torch.equal(other, alpha)
    assert 0 < (alpha == 0).sum() < 30
    state, expected = resumed.state[other], optimizer.state[alpha]
    assert state.keys() == {'step', 'dual', 'threshold'}
    assert state['step'] == expected['step'] == 40
    assert state['threshold'] == expected['threshold']
    assert torch.equal(state['dual'], expected['dual'])


def test_state_before_the_first_step():
    alpha = parameter(1.0)
    optimizer = GRDA([alpha], c=0)
    resumed = GRDA([alpha])
    resumed.load_state_dict(optimizer.state_dict())
    with torch.no_grad():
        alpha.fill_(3.0)
    # What counts is the value in the first step:
    step(resumed, torch.ones(1, dtype=torch.double))
    assert math.isclose(alpha.item(), 2.9)


def test_sparse_gradient():
    embedding = torch.nn.Embedding(5, 2, sparse=True)
    before = embedding.weight.detach().clone()
    optimizer = GRDA(embedding.parameters())
    embedding(torch.tensor([1, 3])).sum().backward()
    with pytest.raises(RuntimeError, match='does not support sparse gradients'):
        optimizer.step()
    assert torch.equal(embedding.weight, before)


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        ({'lr': 0}, r"'lr' must be positive \(got 0\)"),
        ({'lr': -0.1}, r"'lr' must be positive \(got -0.1\)"),
        ({'lr': math.nan}, r"'lr' must be positive \(got nan\)"),
        ({'c': -1}, r"'c' must not be negative \(got -1\)"),
        ({'mu': 0}, r"'mu' must be between 0 and 1 \(got 0\)"),
        ({'mu': 1.0}, r"'mu' must be between 0 and 1 \(got 1.0\)"),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        GRDA([parameter(1.0)], **kwargs)
    optimizer = GRDA([parameter(1.0)])
    with pytest.raises(ValueError, match=message):
        optimizer.add_param_group({'params': [parameter(1.0)], **kwargs})
    assert len(optimizer.param_groups) == 1


def test_no_gradient():
    a, b = parameter(1.0), parameter(1.0)
    optimizer = GRDA([a, b], c=0.5)
    zero = torch.zeros(1, dtype=torch.double)
    step(optimizer, zero, None)
    step(optimizer, zero, None)
    assert b.item() == 1
    assert b not in optimizer.state
    step(optimizer, None, zero)
    assert optimizer.state[a]['step'] == 2
    assert optimizer.state[b]['step'] == 1
    assert math.isclose(b.item(), reference(1, [0], [0.1], 0.5, 0.6)[0])


def test_tensor_lr():
    alpha = parameter(1.0)
    optimizer = GRDA([alpha], lr=torch.tensor(0.125))
    step(optimizer, torch.ones(1, dtype=torch.double))
    assert isinstance(optimizer.state[alpha]['threshold'], float)
    expected = reference(1, [1], [0.125], 0.05, 0.6)
    assert alpha.tolist() == pytest.approx(expected)


def test_closure():
    alpha = parameter(1.0)
    optimizer = GRDA([alpha], c=0)

    def closure():
        optimizer.zero_grad()
        loss = (alpha**2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 1
    assert math.isclose(alpha.item(), 1 - 0.1 * 2)


def test_finds_the_support():
    weight = torch.zeros(20)
    weight[:4] = torch.tensor([1.0, -0.8, 0.6, -0.5])
    model = torch.nn.Linear(20, 1, bias=False)
    torch.nn.init.constant_(model.weight, 0.1)
    optimizer = GRDA(model.parameters(), lr=0.01, c=0.5, mu=0.6)
    for _ in range(1000):
        # New rows each time: the gradients of a useless column then add up
        # like a random walk, slower than the threshold grows. Those of the
        # same rows again and again add up to what fits the noise in them.
        x = torch.randn(50, 20)
        y = x @ weight + 0.3 * torch.randn(50)
        optimizer.zero_grad()
        (model(x).squeeze(1) - y).square().mean().backward()
        optimizer.step()
    out = model.weight.detach()[0]
    assert torch.equal(out != 0, weight != 0)
    assert (out - weight).abs().max() < 0.1
