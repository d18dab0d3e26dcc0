r"""The interactions that a perceptron has learned."""

from __future__ import annotations

import copy
import functools
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import combinations, islice
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyg_featgraph.nn.dense import GroupedMLP

#: Sets of features, ascending, with their strengths, the strongest first.
Ranking = list[tuple[tuple[int, ...], float]]
# Bits of a set in one number:
_WORD = 63


@overload
def nid(
    weights: GroupedMLP,
    max_order: int | None = None,
    top: int | None = 100,
    prune: bool = True,
) -> list[Ranking]: ...


@overload
def nid(
    weights: Sequence[Tensor],
    max_order: int | None = None,
    top: int | None = 100,
    prune: bool = True,
) -> Ranking: ...


def nid(
    weights: GroupedMLP | Sequence[Tensor],
    max_order: int | None = None,
    top: int | None = 100,
    prune: bool = True,
) -> list[Ranking] | Ranking:
    r"""Ranks interactions of any order by the weights of a perceptron, with
    the neural interaction detection of the `"Detecting Statistical
    Interactions from Neural Network Weights"
    <https://arxiv.org/abs/1705.04977>`_ paper, in the form that GLIDER uses.

    .. math::
        \omega(\mathcal{I}) = \sum_{u: \mathcal{I} \in \mathcal{P}_u} z_u
        \min_{i \in \mathcal{I}} |W_{1, ui}|, \qquad \mathbf{z}^{\top} =
        |\mathbf{w}_L|^{\top} |\mathbf{W}_{L-1}| \cdots |\mathbf{W}_2|,

    where unit :math:`u` of the first layer proposes :math:`\mathcal{P}_u`:
    for each size from two upwards, the features with its largest weights.
    Equal weights are taken in the order of the features; of sets of equal
    strength the smaller comes first. What has no strength is left out.

    Args:
        weights (GroupedMLP or list of torch.Tensor): A batch of perceptrons;
            or the weights of a single one, first layer first, each with shape
            :math:`(out, in)` as in :class:`torch.nn.Linear`. Several outputs
            are added up.
        max_order (int, optional): The size of the largest sets.
            (default: the number of features)
        top (int, optional): The length of a ranking at most; with
            :obj:`None` it is full. (default: :obj:`100`)
        prune (bool, optional): Whether :func:`prune_redundant` is applied.
            (default: :obj:`True`)

    Returns:
        A ranking, or a list with one for each perceptron.
    """
    if max_order is not None and max_order < 2:
        raise ValueError(f"'max_order' must be at least 2 (got {max_order})")
    if isinstance(weights, GroupedMLP):
        layers = [w.detach() for w in weights.weights]
    else:
        layers = [torch.as_tensor(w).detach().t()[None] for w in weights]
    if len(layers) < 2:
        raise ValueError('A perceptron needs a hidden layer at least')
    layers = [w.abs().double() for w in layers]
    influence = layers[-1].sum(dim=2, keepdim=True)
    for weight in reversed(layers[1:-1]):
        influence = weight @ influence
    size, order = (
        layers[0].transpose(1, 2).sort(dim=2, descending=True, stable=True)
    )
    # In falling order the smallest weight of a prefix is its last one:
    strength = (influence * size)[:, :, 1:max_order].cpu().numpy()
    out = []
    for members, values in zip(order.cpu().numpy(), strength, strict=True):
        ranking = _rank(members[:, : values.shape[1] + 1], values)
        if prune:
            ranking = _prune(ranking)
        out.append(list(islice(ranking, top)))
    return out if isinstance(weights, GroupedMLP) else out[0]


def prune_redundant(ranking: Ranking, top: int | None = 100) -> Ranking:
    r"""Leaves out what adds nothing to a ranking, by the rule of NID: going
    down, a set inside one that was taken is skipped. Sets that are stronger
    than one that contains them stay, unlike in
    :meth:`~pyg_featgraph.interactions.InteractionSet.prune`, which is the
    rule for global interactions.

    Args:
        ranking (list): The ranking, strongest first.
        top (int, optional): Stops once so many are taken.
            (default: :obj:`100`)
    """
    return list(islice(_prune(ranking), top))


def input_hessian(mlp: GroupedMLP, at: Tensor | None = None) -> Tensor:
    r"""The exact second derivatives of perceptrons by their inputs,

    .. math::
        \nabla^2 g(\mathbf{x}) = \sum_l \mathbf{J}_l^{\top} \,
        \mathrm{diag} \left( \frac{\partial g}{\partial \mathbf{a}_l} \odot
        \phi^{\prime\prime}(\mathbf{z}_l) \right) \mathbf{J}_l, \qquad
        \mathbf{J}_l = \frac{\partial \mathbf{z}_l}{\partial \mathbf{x}},

    with :math:`\mathbf{a}_l = \phi(\mathbf{z}_l)` in the hidden layers.

    Args:
        mlp (GroupedMLP): The perceptrons, with softplus and one output.
        at (torch.Tensor, optional): Where. (default: all ones)

    Shapes:
        - **input:** positions :math:`(R, d)` or :math:`(d)`
        - **output:** matrices :math:`(R, d, d)`
    """
    mlp, x = _in_double(mlp, at)
    hidden = list(mlp.weights)[:-1]
    h, jacobian, states = x, torch.eye(mlp.channels[0]).to(x), []
    with torch.no_grad():
        for weight, bias in zip(hidden, mlp.biases, strict=False):
            z = torch.baddbmm(bias, h, weight)
            jacobian = jacobian @ weight
            h, slope = mlp.activate(z), z.sigmoid()
            # The complement would be rounded where the slope is nearly one:
            states.append((jacobian, slope, slope * (-z).sigmoid()))
            jacobian = jacobian * slope
        grad = mlp.weights[-1].transpose(1, 2)
        hessian = x.new_zeros(mlp.num_groups, mlp.channels[0], mlp.channels[0])
        for weight, (jacobian, slope, curve) in zip(
            reversed(hidden), reversed(states), strict=True
        ):
            curved = jacobian * (grad * curve)
            hessian.baddbmm_(curved, jacobian.transpose(1, 2))
            grad = (grad * slope) @ weight.transpose(1, 2)
    return hessian


def gradient_nid(
    mlp: GroupedMLP,
    at: Tensor | None = None,
    order: int = 2,
    tuples: Iterable[Sequence[int]] | None = None,
    top: int | None = 100,
) -> list[Ranking]:
    r"""Ranks interactions by the derivatives of a smooth perceptron, with the
    GradientNID of the `"Feature Interaction Interpretability: A Case for
    Explaining Ad-Recommendation Systems via Neural Interaction Detection"
    <https://arxiv.org/abs/2006.10966>`_ paper (Section 3.2.2),

    .. math::
        \omega(\mathcal{I}) = \left( \frac{\partial^{|\mathcal{I}|} g}{\prod_{
        i \in \mathcal{I}} \partial x_i} \right)^2.

    For pairs it is :func:`input_hessian`. Each further order multiplies the
    time by the number of features, so that it is for few of them. Linear
    terms contribute nothing, and what has no strength is left out.

    Args:
        mlp (GroupedMLP): The perceptrons, with softplus and one output.
        at (torch.Tensor, optional): Where derivatives are taken, with shape
            :math:`(R, d)` or :math:`(d)`. (default: all ones)
        order (int, optional): The size of the sets. (default: :obj:`2`)
        tuples (list of tuple of int, optional): The sets, of any size, in
            place of all those of :obj:`order`. (default: :obj:`None`)
        top (int, optional): The length of a ranking at most; with
            :obj:`None` it is full. (default: :obj:`100`)

    Returns:
        A ranking for each perceptron.
    """
    sets: list[tuple[int, ...]]
    if order < 2:
        raise ValueError(f"'order' must be at least 2 (got {order})")
    if tuples is None and order == 2:
        hessian = input_hessian(mlp, at)
        i, j = torch.triu_indices(mlp.channels[0], mlp.channels[0], 1)
        values = hessian[:, i, j]
        sets = list(zip(i.tolist(), j.tolist(), strict=True))
    else:
        if tuples is None:
            tuples = combinations(range(mlp.channels[0]), order)
        sets = sorted({_as_set(x, mlp.channels[0]) for x in tuples})
        values = _derivatives(mlp, at, sets)
    strength = values.square().cpu().numpy()
    # A stable sort keeps the order of sets that are equally strong:
    return [
        [
            (sets[i], float(one[i]))
            for i in np.argsort(-one, kind='stable')[:top]
            if one[i] > 0
        ]
        for one in strength
    ]


def r_precision(
    ranking: Iterable[Collection[Any]], truth: Iterable[Collection[Any]]
) -> float:
    r"""The share of true interactions among the first :math:`R` of a ranking,
    where :math:`R` is the number of true ones. What lies strictly inside a
    true interaction is neither right nor wrong and is skipped.

    Args:
        ranking (list): Sets of features, the strongest first.
        truth (list): The true sets.
    """
    true = {frozenset(x) for x in truth}
    if not true:
        raise ValueError("'truth' holds no interaction")
    judged = (
        x for x in map(frozenset, ranking) if not any(x < t for t in true)
    )
    return sum(x in true for x in islice(judged, len(true))) / len(true)


def _rank(
    members: NDArray[np.int64], strength: NDArray[np.float64]
) -> Iterator[tuple[tuple[int, ...], float]]:
    r"""Adds up the strengths of equal prefixes of all units of a net.

    Args:
        members: The features of each unit, the largest weight first.
        strength: The strengths of the prefixes of sizes from two upwards.
    """
    # Sets get consecutive ids, from numbers with a bit for each feature:
    ids = np.zeros(strength.size, np.int64)
    for word in range(members.max(initial=0) // _WORD + 1):
        bits = np.where(members // _WORD == word, 1 << members % _WORD, 0)
        keys = bits.cumsum(axis=1)[:, 1:].ravel()
        _, key = np.unique(keys, return_inverse=True)
        ids = ids * (key.max(initial=0) + 1) + key
    _, first, ids = np.unique(ids, return_index=True, return_inverse=True)
    total = np.bincount(ids, strength.ravel())
    unit, size = np.divmod(first, max(strength.shape[1], 1))
    for i in np.lexsort((size, -total)):
        if total[i] > 0:
            features = members[unit[i], : size[i] + 2]
            yield tuple(sorted(features.tolist())), float(total[i])


def _prune(
    ranking: Iterable[tuple[tuple[int, ...], float]],
) -> Iterator[tuple[tuple[int, ...], float]]:
    taken: list[frozenset[int]] = []
    for features, strength in ranking:
        new = frozenset(features)
        if not any(new < x for x in taken):
            taken.append(new)
            yield features, strength


def _as_set(features: Sequence[int], num_features: int) -> tuple[int, ...]:
    out = tuple(sorted({int(i) for i in features}))
    if len(out) != len(features) or len(out) < 2:
        raise ValueError(
            f'An interaction needs two or more distinct features: {features}'
        )
    if not 0 <= out[0] <= out[-1] < num_features:
        raise ValueError(f'{out} is not among {num_features} features')
    return out


def _in_double(mlp: GroupedMLP, at: Tensor | None) -> tuple[GroupedMLP, Tensor]:
    r"""A copy in which rounding does not pass for curvature, and where to
    look at it, with shape :math:`(R, 1, d)`.
    """
    if mlp.activation == 'relu':
        raise ValueError(
            "A perceptron with 'relu' has no curvature; fit one with "
            "activation='softplus'"
        )
    size = (mlp.num_groups, mlp.channels[0])
    weight = mlp.weights[0]
    x = weight.new_ones(size) if at is None else at.to(weight.device)
    if x.size() not in (size, size[1:]):
        raise ValueError(f"'at' must be {size} (got {list(x.size())})")
    return copy.deepcopy(mlp).double(), x.double().expand(size).unsqueeze(1)


def _derivatives(
    mlp: GroupedMLP, at: Tensor | None, sets: Sequence[tuple[int, ...]]
) -> Tensor:
    r"""The mixed derivatives by sorted sets, with shape :math:`(R, |sets|)`."""
    mlp, x = _in_double(mlp, at)
    x = x.clone().requires_grad_()

    # Sorted sets share the derivatives by their first features, so that only
    # those of the last set need to be at hand:
    @functools.lru_cache(maxsize=max(map(len, sets), default=1))
    def grad(features: tuple[int, ...]) -> Tensor:
        out = mlp(x)
        if features:
            out = grad(features[:-1])[..., features[-1]]
        return torch.autograd.grad(out.sum(), x, create_graph=True)[0]

    values = [grad(x[:-1])[:, 0, x[-1]].detach() for x in sets]
    if not values:
        return x.new_empty(mlp.num_groups, 0)
    return torch.stack(values, dim=1)
