r"""Sums of products of node vectors, for many small sets of nodes.

For :math:`z_q = \sum_t w_{qt} \prod_{i \in q} x_{it}` one would gather the
vectors of all members, which is :math:`B \cdot Q \cdot d` numbers for each of
them. Here the sets are grouped by what they have in common, all but one
member: the product of these is taken once for a group, and of the others there
are at most :math:`n`, often in one piece, so that nothing is gathered. Groups
are taken one after the other in the same memory, with rows in the last
dimension, where all operations are contiguous; the backward pass computes the
products again. Beyond input and output no memory grows with the number of
sets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pyg_featgraph.nn.kernels.backend import native_form

# Bytes of the products that are held at a time. On a CPU they should stay in
# the cache of a core, on a GPU they should be enough to fill it:
_CPU_CHUNK = 2 * 2**20
_GPU_CHUNK = 256 * 2**20


class TuplePlan(NamedTuple):
    r"""In which order :func:`tuple_product` goes through sets of nodes.

    Args:
        shared (list of int): The shared members of each group, one group
            after the other.
        ptr (list of int): Where each group begins in :obj:`other`.
        starts (list of int): For each group the first of the other members if
            they are in one piece, else -1.
        other (torch.Tensor): The other member of each set, with shape
            :math:`(Q)`.
        permutation (torch.Tensor): Which set each one is, with shape
            :math:`(Q)`.
        inverse (torch.Tensor): The inverse of it.
    """

    shared: list[int]
    ptr: list[int]
    starts: list[int]
    other: Tensor
    permutation: Tensor
    inverse: Tensor


def plan_tuples(tuples: Sequence[Sequence[int]]) -> TuplePlan:
    r"""Groups sets of nodes of equal size by their most frequent subset.

    Args:
        tuples (list of tuple): The sets, each of :math:`p \ge 2` nodes.
    """
    nodes = np.sort(np.asarray(tuples, dtype=np.int64), axis=1)
    num, order = nodes.shape
    # Each set without one of its nodes, by the number of that subset among
    # all that there are; these are in lexicographic order:
    columns = [np.delete(nodes, k, axis=1) for k in range(order)]
    subsets = np.stack(columns, axis=1)
    number = np.zeros((num, order), dtype=np.int64)
    for k in range(order - 1):
        number = number * (nodes.max() + 1) + subsets[..., k]
        _, flat = np.unique(number, return_inverse=True)
        number = flat.reshape(num, order)
    # The first of equally frequent ones, so that of all pairs each is in the
    # group of its first node and has the second as the other one:
    count = np.bincount(number.ravel())[number]
    left_out = np.argmax(count * (number.max() + 1) - number, axis=1)
    rows = np.arange(num)
    group, other = number[rows, left_out], nodes[rows, left_out]
    where = np.lexsort((other, group))
    group, other = group[where], other[where]
    begins = np.flatnonzero(np.diff(group, prepend=-1))
    shared = subsets[where[begins], left_out[where[begins]]]
    apart = np.diff(other, prepend=other[0]) != 1
    apart[begins] = False
    whole = ~np.logical_or.reduceat(apart, begins)
    inverse = np.empty(num, dtype=np.int64)
    inverse[where] = rows
    return TuplePlan(
        shared.ravel().tolist(),
        [*begins.tolist(), num],
        np.where(whole, other[begins], -1).tolist(),
        torch.from_numpy(other),
        torch.from_numpy(where),
        torch.from_numpy(inverse),
    )


def tuple_product(x: Tensor, weight: Tensor | None, plan: TuplePlan) -> Tensor:
    r"""The sum of the products of the members of every set.

    Args:
        x (torch.Tensor): Node vectors, with shape :math:`(B, n, d)`.
        weight (torch.Tensor, optional): The weights :math:`w_{qt}`, with
            shape :math:`(Q, d)`. (default: all one)
        plan (TuplePlan): The sets.

    Returns:
        torch.Tensor: With shape :math:`(B, Q)`.
    """
    order = plan.other, plan.permutation, plan.inverse
    out: Tensor = _tuple_product(
        x, weight, *order, plan.shared, plan.ptr, plan.starts
    )
    return out


# A custom operator keeps the loop over groups out of compiled graphs:
@torch.library.custom_op('pyg_featgraph::tuple_product', mutates_args=())
def _tuple_product(
    x: Tensor,
    weight: Tensor | None,
    other: Tensor,
    permutation: Tensor,
    inverse: Tensor,
    shared: list[int],
    ptr: list[int],
    starts: list[int],
) -> Tensor:
    native = native_form('tuple_product', x)
    if native is not None:
        sets = other, permutation, inverse, shared, ptr
        return native.forward(x, weight, *sets)  # type: ignore[no-any-return]
    x = x.permute(1, 2, 0).contiguous()
    if weight is not None:
        weight = weight.index_select(0, permutation)
    out = x.new_empty(other.numel(), x.size(2))
    buffer = _buffer(x)
    for common, part, first in _pieces(x, shared, ptr, starts):
        vectors = _others(x, other, part, first)
        terms = buffer[: vectors.size(0)]
        torch.mul(vectors, _product(x, common), out=terms)
        if weight is None:
            torch.sum(terms, dim=1, out=out[part])
        else:
            w = weight[part].unsqueeze(1)
            torch.bmm(w, terms, out=out[part].unsqueeze(1))
    return out.index_select(0, inverse).t().contiguous()


@_tuple_product.register_fake
def _(
    x: Tensor,
    weight: Tensor | None,
    other: Tensor,
    permutation: Tensor,
    inverse: Tensor,
    shared: list[int],
    ptr: list[int],
    starts: list[int],
) -> Tensor:
    return x.new_empty(x.size(0), other.numel())


@torch.library.custom_op(
    'pyg_featgraph::tuple_product_backward', mutates_args=()
)
def _tuple_product_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor | None,
    other: Tensor,
    permutation: Tensor,
    inverse: Tensor,
    shared: list[int],
    ptr: list[int],
    starts: list[int],
) -> tuple[Tensor, Tensor]:
    native = native_form('tuple_product', x)
    if native is not None:
        sets = other, permutation, inverse, shared, ptr
        return native.backward(grad, x, weight, *sets)  # type: ignore[no-any-return]
    x = x.permute(1, 2, 0).contiguous()
    grad = grad.t().index_select(0, permutation)
    grad_x, grad_weight = torch.zeros_like(x), x.new_zeros(0)
    if weight is not None:
        weight = weight.index_select(0, permutation)
        grad_weight = torch.empty_like(weight)
    buffer = _buffer(x)
    for common, part, first in _pieces(x, shared, ptr, starts):
        vectors = _others(x, other, part, first)
        product = _product(x, common)
        g = grad[part].unsqueeze(1)
        terms = buffer[: vectors.size(0)]
        # What reaches the shared members and the weights:
        torch.mul(vectors, g, out=terms)
        if weight is None:
            grad_product = terms.sum(dim=0)
        else:
            per_dim = terms.transpose(0, 1)
            w = weight[part]
            grad_weight[part] = torch.bmm(per_dim, product.unsqueeze(2))[
                ..., 0
            ].t()
            grad_product = torch.bmm(w.t().unsqueeze(1), per_dim).squeeze(1)
        for i in common:
            rest = [j for j in common if j != i]
            if rest:
                grad_x[i].addcmul_(grad_product, _product(x, rest))
            else:
                grad_x[i].add_(grad_product)
        # What reaches the others:
        torch.mul(product, g, out=terms)
        if weight is not None:
            terms.mul_(w.unsqueeze(2))
        if first < 0:
            grad_x.index_add_(0, other[part], terms)
        else:
            grad_x[first : first + terms.size(0)].add_(terms)
    if weight is not None:
        grad_weight = grad_weight.index_select(0, inverse)
    return grad_x.permute(2, 0, 1).contiguous(), grad_weight


@_tuple_product_backward.register_fake
def _(
    grad: Tensor,
    x: Tensor,
    weight: Tensor | None,
    other: Tensor,
    permutation: Tensor,
    inverse: Tensor,
    shared: list[int],
    ptr: list[int],
    starts: list[int],
) -> tuple[Tensor, Tensor]:
    return (
        torch.empty_like(x, memory_format=torch.contiguous_format),
        x.new_empty(0 if weight is None else weight.size()),
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.shared, ctx.ptr, ctx.starts = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, weight, *order = ctx.saved_tensors
    grad_x, grad_weight = _tuple_product_backward(
        grad, x, weight, *order, ctx.shared, ctx.ptr, ctx.starts
    )
    return grad_x, None if weight is None else grad_weight, *[None] * 6


_tuple_product.register_autograd(_backward, setup_context=_setup_context)
# Under mixed precision the weights stay in single precision, and so must what
# they meet:
for _device in ('cpu', 'cuda'):
    _tuple_product.register_autocast(_device, torch.float32)
    _tuple_product_backward.register_autocast(_device, torch.float32)


def _pieces(
    x: Tensor, shared: list[int], ptr: list[int], starts: list[int]
) -> Iterator[tuple[list[int], slice, int]]:
    # The shared members of each group, and which sets of it fit the buffer,
    # with the first of their other members if these are in one piece.
    step = _buffer_size(x)
    size = len(shared) // len(starts)
    for group, (begin, end) in enumerate(pairwise(ptr)):
        common = shared[group * size : (group + 1) * size]
        for start in range(begin, end, step):
            first = starts[group]
            if first >= 0:
                first += start - begin
            yield common, slice(start, min(start + step, end)), first


def _others(x: Tensor, other: Tensor, part: slice, first: int) -> Tensor:
    if first < 0:
        return x.index_select(0, other[part])
    return x[first : first + part.stop - part.start]


def _product(x: Tensor, nodes: list[int]) -> Tensor:
    out = x[nodes[0]]
    for i in nodes[1:]:
        out = out * x[i]
    return out


def _buffer(x: Tensor) -> Tensor:
    return x.new_empty(_buffer_size(x), x.size(1), x.size(2))


def _buffer_size(x: Tensor) -> int:
    limit = _GPU_CHUNK if x.is_cuda else _CPU_CHUNK
    step = limit // max(1, x.size(1) * x.size(2) * x.element_size())
    return max(1, min(step, x.size(0)))
