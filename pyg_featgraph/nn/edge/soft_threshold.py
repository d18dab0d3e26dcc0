r"""Thresholds that set small edge weights to zero."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import Parameter


class SoftThreshold(torch.nn.Module):
    r"""Sets small edge weights to zero, by the soft thresholds of the `"Soft
    Threshold Weight Reparameterization for Learnable Sparsity"
    <https://arxiv.org/abs/2002.03231>`_ paper, which FeatNet has for edges
    (Eq. 4).

    .. math::
        S_g(w, \tau) = \mathrm{sign}(w) \, \mathrm{ReLU} \big( |w| -
        \sigma(\tau) \big)

    Every kind of edge has a parameter :math:`\tau` of its own. The threshold
    :math:`\sigma(\tau)` is never zero: :math:`\tau = -7` is a threshold of
    0.0009 that prunes next to nothing, while :math:`\tau = 0` is one of a half
    from the start. Weight decay pulls :math:`\tau` to zero and so raises the
    threshold, which is how STR prunes. What is pruned has no gradient, neither
    that of the weight nor that of :math:`\tau`.

    Args:
        *size (int): The kinds of edges; matches the last dimensions of the
            weights, like an operand that is broadcast. None is one threshold
            for all.
        init (float, optional): The initial :math:`\tau`.
            (default: :obj:`-7`)

    Shapes:
        - **input:** weights :math:`(*, \mathrm{size})`; or, with an index of
          shape :math:`(|\mathcal{E}|)` into the first dimensions, weights of
          as many edges with the other dimensions
        - **output:** as the input
    """

    def __init__(self, *size: int, init: float = -7.0) -> None:
        super().__init__()
        self.size = size
        self.init = init
        self.weight = Parameter(torch.empty(size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        torch.nn.init.constant_(self.weight, self.init)

    @property
    def threshold(self) -> Tensor:
        r"""The thresholds :math:`\sigma(\tau)`."""
        return self.weight.sigmoid()

    def forward(
        self, w: Tensor, index: Tensor | tuple[Tensor, ...] | None = None
    ) -> Tensor:
        r"""Prunes edge weights.

        Args:
            w (torch.Tensor): The weights.
            index (torch.Tensor or tuple, optional): The kind of each edge,
                one index for each of the first dimensions.
                (default: :obj:`None`)
        """
        threshold = self.threshold
        if index is not None:
            threshold = threshold[index]
        return w.sign() * (w.abs() - threshold).relu()

    def __repr__(self) -> str:
        size = ''.join(f'{s}, ' for s in self.size)
        return f'{self.__class__.__name__}({size}init={self.init})'
