r"""The score of every pair of nodes of a row, without storing the pairs.

For :math:`p_{ij} = \sigma(\mathbf{w}_2^{\top} \mathrm{ReLU}(\mathbf{W}_1
(\mathbf{x}_i \odot \mathbf{x}_j) + \mathbf{b}_1) + b_2)` nothing factors, so
all pairs have to go through the first layer. The kernel uses that the score is
symmetric, and that the pairs :math:`(i, i + s \bmod n)` with :math:`0 \le s
\le n / 2` are all there are: with the nodes of a row written twice, one behind
the other, they are a strided view, so that no index is gathered. Rows are
taken in chunks that fit the cache; the backward pass computes the hidden layer
again instead of storing it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from pyg_featgraph.nn.kernels.backend import native_form

# Bytes of the products of a chunk of rows. On a CPU they should stay in the
# cache of a core, on a GPU they should be enough to fill it:
_CPU_CHUNK = 3 * 2**19
_GPU_CHUNK = 512 * 2**20


def pair_score(
    x: Tensor, weight: Tensor, bias: Tensor, att: Tensor, att_bias: Tensor
) -> Tensor:
    r"""Scores all pairs of nodes of every row.

    Args:
        x (torch.Tensor): Node vectors, with shape :math:`(B, n, d)`.
        weight (torch.Tensor): :math:`\mathbf{W}_1`, with shape
            :math:`(h, d)`.
        bias (torch.Tensor): :math:`\mathbf{b}_1`, with shape :math:`(h)`.
        att (torch.Tensor): :math:`\mathbf{w}_2`, with shape :math:`(h)`.
        att_bias (torch.Tensor): :math:`b_2`, with shape :math:`(1)`.

    Returns:
        torch.Tensor: The symmetric scores, with shape :math:`(B, n, n)`.
    """
    out: Tensor = _pair_score(x, weight, bias, att, att_bias)
    return out


# A custom operator keeps the loop over chunks out of compiled graphs, which
# would otherwise be specialised to one batch size:
@torch.library.custom_op('pyg_featgraph::pair_score', mutates_args=())
def _pair_score(
    x: Tensor, weight: Tensor, bias: Tensor, att: Tensor, att_bias: Tensor
) -> Tensor:
    native = native_form('pair_score', x)
    if native is not None:
        return native.forward(x, weight, bias, att, att_bias)  # type: ignore[no-any-return]
    size, n, _ = x.size()
    to_full, _, _ = _places(n, x.device)
    out = x.new_empty(size, n, n)
    step, _ = _chunk(x)
    pairs = x.new_empty(step, n // 2 + 1, n)
    for rows, shifts, v in _products(x):
        hidden = torch.addmm(bias, v.flatten(0, 2), weight.t()).relu_()
        score = torch.mv(hidden, att).view(v.size()[:3])
        pairs[: v.size(0), shifts] = score
        if shifts.stop > n // 2:
            score = pairs[: v.size(0)].add(att_bias).sigmoid_().flatten(1)
            out[rows] = score.index_select(1, to_full).view(-1, n, n)
    return out


@_pair_score.register_fake
def _(
    x: Tensor, weight: Tensor, bias: Tensor, att: Tensor, att_bias: Tensor
) -> Tensor:
    return x.new_empty(x.size(0), x.size(1), x.size(1))


@torch.library.custom_op('pyg_featgraph::pair_score_backward', mutates_args=())
def _pair_score_backward(
    grad: Tensor,
    out: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    att: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    native = native_form('pair_score', x)
    if native is not None:
        return native.backward(grad, out, x, weight, bias, att)  # type: ignore[no-any-return]
    n = x.size(1)
    _, to_pairs, share = _places(n, x.device)
    grad_x = x.new_zeros(x.size())
    lanes, skewed = _lanes(x)
    grad_weight = weight.new_zeros(weight.size())
    grad_bias = torch.zeros_like(bias)
    grad_att = torch.zeros_like(att)
    grad_att_bias = att.new_zeros(1)
    for rows, shifts, v in _products(x):
        if shifts.start == 0:
            # Both entries of a symmetric pair flow into its score:
            p = out[rows]
            whole = grad[rows] * p * (1 - p)
            whole = (whole + whole.transpose(1, 2)).flatten(1)
            whole = whole.index_select(1, to_pairs).mul_(share.to(x.dtype))
            whole = whole.view(v.size(0), -1, n)
        g = whole[:, shifts].flatten()
        grad_att_bias += g.sum()
        flat = some = v.flatten(0, 2)
        # After a selection most pairs may have no gradient. (On a GPU it would
        # cost more to ask than to go on with all.)
        used = None
        if not g.is_cuda and g.count_nonzero() < 0.5 * g.numel():
            used = g.nonzero().squeeze(1)
            g, some = g[used], flat.index_select(0, used)
        hidden = torch.addmm(bias, some, weight.t()).relu_()
        grad_att.addmv_(hidden.t(), g)
        grad_hidden = torch.ops.aten.threshold_backward(
            torch.outer(g, att), hidden, 0
        )
        grad_bias += grad_hidden.sum(0)
        grad_weight.addmm_(grad_hidden.t(), some)
        # The products are not needed any more and lend their memory:
        if used is None:
            torch.mm(grad_hidden, weight, out=flat)
        else:
            flat.zero_().index_copy_(0, used, torch.mm(grad_hidden, weight))
        part, total = x[rows], grad_x[rows]
        torch.mul(v, part.unsqueeze(1), out=skewed[: v.size(0), : v.size(1)])
        sent = lanes[: v.size(0), : v.size(1)].sum(dim=1)
        # The first lane begins at the node that the first shift leads to:
        first = n - shifts.start
        total[:, shifts.start :].add_(sent[:, :first])
        total[:, : sent.size(1) - first].add_(sent[:, first : first + n])
        total.add_(v.mul_(_shifted(part, shifts)).sum(dim=1))
    return grad_x, grad_weight, grad_bias, grad_att, grad_att_bias


@_pair_score_backward.register_fake
def _(
    grad: Tensor,
    out: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    att: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    return (
        torch.empty_like(x, memory_format=torch.contiguous_format),
        weight.new_empty(weight.size()),
        torch.empty_like(bias),
        torch.empty_like(att),
        att.new_empty(1),
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, _ = inputs
    ctx.save_for_backward(output, *tensors)


def _backward(ctx: Any, grad: Tensor) -> Any:
    return _pair_score_backward(grad, *ctx.saved_tensors)


_pair_score.register_autograd(_backward, setup_context=_setup_context)
# Under mixed precision the parameters stay in single precision, and so must
# what they meet:
for _device in ('cpu', 'cuda'):
    _pair_score.register_autocast(_device, torch.float32)
    _pair_score_backward.register_autocast(_device, torch.float32)


def _products(x: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
    # Yields chunks of rows with the products of their pairs, [rows, S, n, d],
    # all in the same memory: fresh memory costs more than the products. Of
    # rows with many nodes it is some of the shifts at a time.
    size, n, d = x.size()
    step, num_shifts = _chunk(x)
    buffer = x.new_empty(step, num_shifts, n, d)
    for start in range(0, size, step):
        part = x[start : start + step]
        for first in range(0, n // 2 + 1, num_shifts):
            shifts = slice(first, min(first + num_shifts, n // 2 + 1))
            out = buffer[: part.size(0), : shifts.stop - first]
            torch.mul(part.unsqueeze(1), _shifted(part, shifts), out=out)
            yield slice(start, start + part.size(0)), shifts, out


def _shifted(x: Tensor, shifts: slice) -> Tensor:
    # Entry (s, i) is node i + s, [rows, S, n, d], without copying nodes for
    # each s.
    size, n, d = x.size()
    twice = torch.cat([x, x], dim=1)
    return twice.as_strided(
        (size, shifts.stop - shifts.start, n, d),
        (2 * n * d, d, d, 1),
        shifts.start * d,
    )


def _lanes(x: Tensor) -> tuple[Tensor, Tensor]:
    # What pair (i, i + s) sends to node i + s is to be summed over s. Each s
    # has a lane of its own in which node j stands at place j, counted on
    # beyond n and from the first shift of the chunk, so that the sum is over
    # lanes; between, there are zeros.
    _, n, d = x.size()
    step, num_shifts = _chunk(x)
    width = n + num_shifts
    lanes = x.new_zeros(step, num_shifts, width, d)
    skewed = lanes.as_strided(
        (step, num_shifts, n, d),
        (num_shifts * width * d, (width + 1) * d, d, 1),
    )
    return lanes, skewed


def _chunk(x: Tensor) -> tuple[int, int]:
    # How many rows and how many shifts are taken at a time.
    size, n, d = x.size()
    limit = _GPU_CHUNK if x.is_cuda else _CPU_CHUNK
    shifts = limit // (n * d * x.element_size())
    step = shifts // (n // 2 + 1)
    return max(1, min(step, size)), max(1, min(shifts, n // 2 + 1))


def pair_places(n: int, device: torch.device) -> tuple[Tensor, Tensor]:
    r"""Where the pairs :math:`(i, i + s \bmod n)` stand in a full matrix.

    Args:
        n (int): The number of nodes.
        device (torch.device): The device.

    Returns:
        Where entry :math:`(i, j)` of the full matrix stands among the pairs
        :math:`(S, n)`, and where each pair stands in the full matrix.
    """
    i = torch.arange(n, device=device)
    num_shifts = n // 2 + 1
    shift = (i - i.view(-1, 1)) % n
    forward = shift * n + i.view(-1, 1)
    backward = (n - shift) * n + i
    to_full = torch.where(shift < num_shifts, forward, backward).flatten()
    s = torch.arange(num_shifts, device=device).view(-1, 1)
    return to_full, (i * n + (i + s) % n).flatten()


@lru_cache(maxsize=16)
def _places(n: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    # Also the share of the symmetrised gradient that belongs to each pair: one
    # half for i = j and, if n is even, for the last shift, which meets its
    # pairs twice.
    share = torch.ones(n // 2 + 1, n, device=device)
    share[0] = 0.5
    if n % 2 == 0:
        share[-1] = 0.5
    return *pair_places(n, device), share.flatten()
