r"""What the kernels for GPUs share."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
import triton
import triton.language as tl
from torch import Tensor

# The smallest side of a matrix product:
SMALLEST = 16

Args = ParamSpec('Args')
Result = TypeVar('Result')


def on_its_device(
    function: Callable[Concatenate[Tensor, Args], Result],
) -> Callable[Concatenate[Tensor, Args], Result]:
    r"""Launches kernels where the first tensor is, whichever GPU is current."""

    @wraps(function)
    def launch(x: Tensor, /, *args: Args.args, **kwargs: Args.kwargs) -> Result:
        with torch.cuda.device_of(x):
            return function(x, *args, **kwargs)

    return launch


def padded(size: int) -> int:
    r"""The power of two that holds a dimension of a matrix product."""
    return max(SMALLEST, int(triton.next_power_of_2(size)))


def tile(x: Tensor, most: int, numbers: int = 4096) -> int:
    r"""How many vectors of the size of nodes fit a tile: a power of two.

    Args:
        x (torch.Tensor): The nodes, with shape :math:`(*, d)`.
        most (int): How many are enough.
        numbers (int, optional): How many numbers of single precision fit
            beside the other tiles of a program. (default: :obj:`4096`)
    """
    size = numbers * 4 // (accumulator(x).itemsize * padded(x.size(-1)))
    return max(SMALLEST, min(most, size))


def accumulator(x: Tensor) -> torch.dtype:
    r"""The type that sums are taken in: single precision at least."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def sums(x: Tensor, *size: int) -> Tensor:
    r"""Zeros in the type that sums are taken in."""
    return torch.zeros(size, dtype=accumulator(x), device=x.device)


def arithmetic(x: Tensor) -> dict[str, Any]:
    r"""The type of sums and the precision of products, as kernels take them.

    The tensor cores of a GPU keep more digits than numbers of half precision
    have. Those of single precision would lose some, and stay out of them unless
    torch is told otherwise by :func:`torch.set_float32_matmul_precision`.
    """
    half = x.element_size() < 4
    double = x.dtype == torch.float64
    highest = torch.get_float32_matmul_precision() == 'highest'
    exact = double or (highest and not half)
    return {
        'SUM': tl.float64 if double else tl.float32,
        'PRECISION': 'ieee' if exact else 'tf32',
    }


def groups(rows: int, others: int, most: int = 1024) -> int:
    r"""How many programs share rows, each with sums of its own.

    Args:
        rows (int): The number of rows.
        others (int): The programs that go through all rows.
        most (int, optional): How many programs are enough for a GPU.
            (default: :obj:`1024`)
    """
    return max(1, min(rows, most // others))


@triton.jit
def load_matrix(pointer, i, rows, j, columns, SUM: tl.constexpr):
    """Entries of a contiguous matrix, zero outside of it."""
    mask = (i < rows)[:, None] & (j < columns)[None, :]
    where = i[:, None] * columns + j[None, :]
    return tl.load(pointer + where, mask=mask, other=0).to(SUM)


@triton.jit
def load_vector(pointer, i, size, SUM: tl.constexpr):
    """Entries of a vector, zero outside of it."""
    return tl.load(pointer + i, mask=i < size, other=0).to(SUM)


@triton.jit
def load_heads(pointer, b, head, i, n, heads, c, d, SUM: tl.constexpr):
    """Entries of a head of a row of contiguous [B, n, heads, d], zero outside
    of it.
    """
    mask = (i < n)[:, None] & (c < d)[None, :]
    where = ((b * n + i)[:, None] * heads + head) * d + c[None, :]
    return tl.load(pointer + where, mask=mask, other=0).to(SUM)
