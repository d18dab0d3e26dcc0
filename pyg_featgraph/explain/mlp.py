r"""Many small perceptrons, fitted at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pyg_featgraph.nn.dense import GroupedMLP


def fit_mlps(
    x_train: Tensor,
    y_train: Tensor,
    x_val: Tensor,
    y_val: Tensor,
    *,
    weight_train: Tensor | None = None,
    weight_val: Tensor | None = None,
    hidden_channels: Sequence[int] = (256, 128, 64),
    activation: str = 'relu',
    linear: bool = False,
    lr: float = 1e-2,
    batch_size: int = 100,
    max_epochs: int = 100,
    patience: int = 5,
    l1: float = 1e-4,
    seeds: Sequence[int] | None = None,
    device: torch.device | str | None = None,
    on_stop: Callable[[int], object] | None = None,
) -> GroupedMLP:
    r"""Fits a perceptron to each of :math:`R` data sets, with Adam on squared
    errors, and stops each one early.

    A data set gives the same perceptron whatever is fitted beside it. Batches
    keep the order of the samples, and the net of the epoch with the lowest
    error on the validation samples is returned. What has stopped costs
    nothing from there on.

    Args:
        x_train (torch.Tensor): The training inputs, of any dtype.
        y_train (torch.Tensor): Their targets, whose dtype nets will have.
        x_val (torch.Tensor): The validation inputs.
        y_val (torch.Tensor): Their targets.
        weight_train (torch.Tensor, optional): The weights of the training
            samples; a batch is a weighted mean. (default: all equal)
        weight_val (torch.Tensor, optional): The same for validation.
            (default: all equal)
        hidden_channels (list of int, optional): The sizes of the hidden
            layers. (default: :obj:`(256, 128, 64)`)
        activation (str, optional): See :class:`~pyg_featgraph.nn.GroupedMLP`.
            (default: :obj:`"relu"`)
        linear (bool, optional): Whether a linear term is added.
            (default: :obj:`False`)
        lr (float, optional): The learning rate. (default: :obj:`1e-2`)
        batch_size (int, optional): The number of samples of a batch.
            (default: :obj:`100`)
        max_epochs (int, optional): The highest number of epochs.
            (default: :obj:`100`)
        patience (int, optional): How many successive epochs may bring no
            improvement before the next such one is the last.
            (default: :obj:`5`)
        l1 (float, optional): The lasso penalty of all weight matrices, not of
            biases nor of the linear term. (default: :obj:`1e-4`)
        seeds (list of int, optional): The seed of each net, see
            :class:`~pyg_featgraph.nn.GroupedMLP`.
            (default: :math:`0, \ldots, R - 1`)
        device (torch.device or str, optional): Where to compute.
            (default: that of :obj:`y_train`)
        on_stop (callable, optional): Called with the number of nets that
            have been finished since the last call. (default: :obj:`None`)

    Shapes:
        - **input:** inputs :math:`(R, n, d)`, targets and weights
          :math:`(R, n)`
    """
    device = y_train.device if device is None else torch.device(device)
    train = _Samples('train', x_train, y_train, weight_train, device)
    val = _Samples('val', x_val, y_val, weight_val, device)
    num_nets, num_samples, in_channels = train.x.size()
    if val.x.size(0) != num_nets or val.x.size(2) != in_channels:
        raise ValueError(
            f"'x_train' and 'x_val' do not match (got {list(train.x.size())} "
            f'and {list(val.x.size())})'
        )
    if not hidden_channels:
        raise ValueError("'hidden_channels' must name a layer at least")
    mlp = GroupedMLP(
        [in_channels, *hidden_channels, 1],
        num_nets,
        activation,
        linear=linear,
        seeds=range(num_nets) if seeds is None else seeds,
    ).to(device, y_train.dtype)
    optimizer = torch.optim.Adam(mlp.parameters(), lr=lr, fused=True)
    best = [p.detach().clone() for p in mlp.parameters()]
    rows = torch.arange(num_nets, device=device)
    lowest = torch.full_like(train.y[:, 0], math.inf)
    bad = torch.zeros_like(rows)
    for epoch in range(1, max_epochs + 1):
        for start in range(0, num_samples, batch_size):
            optimizer.zero_grad()
            train.loss(mlp, start, start + batch_size).sum().backward()
            for weight in mlp.weights:
                weight.grad.add_(weight.detach().sign(), alpha=l1)
            optimizer.step()
        with torch.no_grad():
            loss = val.loss(mlp)
        better = loss < lowest
        for kept, p in zip(best, mlp.parameters(), strict=True):
            kept[rows[better]] = p.detach()[better]
        lowest = torch.where(better, loss, lowest)
        bad = torch.where(better, 0, bad + 1)
        live = (bad <= patience) & (epoch < max_epochs)
        num_live = int(live.sum())
        if num_live == len(rows):
            continue
        if on_stop is not None:
            on_stop(len(rows) - num_live)
        if not num_live:
            break
        rows, lowest, bad = rows[live], lowest[live], bad[live]
        train, val = train.select(live), val.select(live)
        _select(optimizer, live)
    for kept, p in zip(best, mlp.parameters(), strict=True):
        p.data, p.grad = kept, None
    return mlp


class _Samples:
    r"""The samples of all nets, on the device where they are needed."""

    def __init__(
        self,
        name: str,
        x: Tensor,
        y: Tensor,
        weight: Tensor | None,
        device: torch.device,
    ) -> None:
        if x.dim() != 3 or x.size()[:2] != y.size() or not y.numel():
            raise ValueError(
                f"'x_{name}' and 'y_{name}' must be [num_nets, num_samples, "
                'in_channels] and [num_nets, num_samples] (got '
                f'{list(x.size())} and {list(y.size())})'
            )
        if weight is not None and weight.size() != y.size():
            raise ValueError(
                f"'weight_{name}' must be {list(y.size())} (got "
                f'{list(weight.size())})'
            )
        self.name = name
        self.x, self.y = x.to(device), y.to(device)
        self.weight = None if weight is None else weight.to(self.y)

    def loss(
        self, mlp: GroupedMLP, start: int = 0, end: int | None = None
    ) -> Tensor:
        r"""The mean squared error of each net."""
        y = self.y[:, start:end]
        # As masks, inputs take an eighth of the memory:
        out = mlp(self.x[:, start:end].to(y.dtype)).squeeze(-1)
        error: Tensor = (out - y).square()
        if self.weight is None:
            return error.mean(dim=1)
        weight = self.weight[:, start:end]
        # Weights of samples far away may be zero in single precision:
        total = weight.sum(dim=1).clamp(min=torch.finfo(y.dtype).tiny)
        return (error * weight).sum(dim=1) / total

    def select(self, live: Tensor) -> _Samples:
        weight = None if self.weight is None else self.weight[live]
        x, y = self.x[live], self.y[live]
        return _Samples(self.name, x, y, weight, y.device)


def _select(optimizer: torch.optim.Adam, live: Tensor) -> None:
    r"""Drops the parameters and moments of nets that have stopped."""
    for p in optimizer.param_groups[0]['params']:
        p.data, p.grad = p.data[live], None
        state = optimizer.state[p]
        for key in ('exp_avg', 'exp_avg_sq'):
            state[key] = state[key][live]
