r"""Attention of queries over the nodes of weighted subsets.

The score of node :math:`j` of subset :math:`s` for query :math:`\mathbf{q}_e`
is :math:`\mathrm{ReLU}(w_{js} \, \mathbf{x}_j^{\top} \mathbf{q}_{se} -
\theta_{jse})`: the weight of a node is taken out of the product, so that one
matrix with the queries of all subsets serves each node once. The
:math:`B \cdot n \cdot S \cdot E` scores are never stored for a whole batch:
rows are taken in chunks that fit the cache, and the backward pass computes
the scores again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from pyg_featgraph.nn.kernels.backend import native_form

# Bytes of the scores of a chunk of rows:
_CPU_CHUNK = 2**20
_GPU_CHUNK = 256 * 2**20


def induced_set_attention(
    x: Tensor, weight: Tensor, query: Tensor, threshold: Tensor
) -> Tensor:
    r"""Sums the nodes of each subset by their scores for each query,

    .. math::
        \mathbf{y}_{se} = \sum_j \mathrm{ReLU} \big( w_{js} \,
        \mathbf{x}_j^{\top} \mathbf{q}_{se} - \theta_{jse} \big) \, w_{js}
        \, \mathbf{x}_j.

    Args:
        x (torch.Tensor): Node vectors, with shape :math:`(B, n, d)`.
        weight (torch.Tensor): The weights :math:`w_{js}`, with shape
            :math:`(B, n, S)`.
        query (torch.Tensor): The queries, with shape :math:`(S, E, d)`.
        threshold (torch.Tensor): The thresholds :math:`\theta_{jse} \ge 0`,
            with shape :math:`(n, S, E)`.

    Returns:
        torch.Tensor: With shape :math:`(B, S, E, d)`.
    """
    out: Tensor = _attention(x, weight, query, threshold)
    return out


@torch.library.custom_op(
    'pyg_featgraph::induced_set_attention', mutates_args=()
)
def _attention(
    x: Tensor, weight: Tensor, query: Tensor, threshold: Tensor
) -> Tensor:
    native = native_form('induced_set', x)
    if native is not None:
        return native.forward(x, weight, query, threshold)  # type: ignore[no-any-return]
    x, flat = x.contiguous(), query.flatten(0, 1)
    out = x.new_empty(x.size(0), *query.size())
    for rows in _chunks(x, flat.size(0)):
        part, w = x[rows], weight[rows].unsqueeze(3)
        score = _products(part, flat, query)
        score.mul_(w).sub_(threshold).relu_()
        alpha = score.mul_(w).flatten(2)
        torch.bmm(alpha.mT, part, out=out[rows].flatten(1, 2))
    return out


@_attention.register_fake
def _(x: Tensor, weight: Tensor, query: Tensor, threshold: Tensor) -> Tensor:
    return x.new_empty(x.size(0), *query.size())


@torch.library.custom_op(
    'pyg_featgraph::induced_set_attention_backward', mutates_args=()
)
def _attention_backward(
    grad: Tensor, x: Tensor, weight: Tensor, query: Tensor, threshold: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    native = native_form('induced_set', x)
    if native is not None:
        return native.backward(grad, x, weight, query, threshold)  # type: ignore[no-any-return]
    x, flat = x.contiguous(), query.flatten(0, 1)
    grad_x = torch.empty_like(x)
    grad_weight = torch.empty_like(
        weight, memory_format=torch.contiguous_format
    )
    grad_flat = torch.zeros_like(flat, memory_format=torch.contiguous_format)
    grad_threshold = torch.zeros_like(
        threshold, memory_format=torch.contiguous_format
    )
    for rows in _chunks(x, flat.size(0)):
        part, w = x[rows], weight[rows].unsqueeze(3)
        g = grad[rows].flatten(1, 2)
        # The forward pass once more, with what is needed of it:
        product = _products(part, flat, query)
        score = (product * w).sub_(threshold).relu_()
        g_x = torch.bmm((score * w).flatten(2), g)
        g_score = torch.bmm(part, g.mT).view_as(score)
        g_weight = (g_score * score).sum(dim=3)
        # Nothing passes a pruned edge:
        g_score.mul_(w).mul_(score > 0)
        grad_threshold -= g_score.sum(dim=0)
        g_weight += product.mul_(g_score).sum(dim=3)
        g_product = g_score.mul_(w).view(-1, flat.size(0))
        grad_flat.addmm_(g_product.t(), part.flatten(0, 1))
        g_x.flatten(0, 1).addmm_(g_product, flat)
        grad_x[rows] = g_x
        grad_weight[rows] = g_weight
    return grad_x, grad_weight, grad_flat.view(query.size()), grad_threshold


@_attention_backward.register_fake
def _(
    grad: Tensor, x: Tensor, weight: Tensor, query: Tensor, threshold: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    # Gradients are contiguous, whatever the inputs are:
    return (
        x.new_empty(x.size()),
        weight.new_empty(weight.size()),
        query.new_empty(query.size()),
        threshold.new_empty(threshold.size()),
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> Any:
    return _attention_backward(grad, *ctx.saved_tensors)


_attention.register_autograd(_backward, setup_context=_setup_context)
# Under mixed precision the parameters stay in single precision, and so must
# what they meet:
for _device in ('cpu', 'cuda'):
    _attention.register_autocast(_device, torch.float32)
    _attention_backward.register_autocast(_device, torch.float32)


def _products(part: Tensor, flat: Tensor, query: Tensor) -> Tensor:
    out = part.flatten(0, 1) @ flat.t()
    return out.view(*part.size()[:2], *query.size()[:2])


def _chunks(x: Tensor, num_queries: int) -> Iterator[slice]:
    limit = _GPU_CHUNK if x.is_cuda else _CPU_CHUNK
    step = max(1, limit // (x.size(1) * num_queries * x.element_size()))
    for start in range(0, x.size(0), step):
        yield slice(start, min(start + step, x.size(0)))
