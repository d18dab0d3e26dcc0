r"""The gates of a recurrent unit, from the products of a node and of its state
with their weights: for the reset gate, the update gate and the candidate.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def gates(by_x, by_h):
    """Reset gate, update gate and candidate."""
    reset = tl.sigmoid(by_x[0] + by_h[0])
    update = tl.sigmoid(by_x[1] + by_h[1])
    # The hyperbolic tangent, which Triton itself does not have:
    candidate = 2 * tl.sigmoid(2 * (by_x[2] + reset * by_h[2])) - 1
    return reset, update, candidate


@triton.jit
def gradients(grad, by_x, by_h, before):
    """Those of the products of a node and of the state before, and what
    reaches that state past them.
    """
    reset, update, candidate = gates(by_x, by_h)
    keep = grad * update
    g_candidate = (grad - keep) * (1 - candidate * candidate)
    g_inner = g_candidate * reset
    g_reset = g_inner * by_h[2] * (1 - reset)
    g_update = keep * (before - candidate) * (1 - update)
    g_x, g_h = (g_reset, g_update, g_candidate), (g_reset, g_update, g_inner)
    return g_x, g_h, keep
