r"""What every perturbation can do."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor


class Perturbation(ABC):
    r"""Rows of any kind whose features can be switched off one by one, and
    the black box that is asked about them.

    It is the map :math:`\xi: \{0, 1\}^d \to \mathbb{R}^p` of the `"Feature
    Interaction Interpretability: A Case for Explaining Ad-Recommendation
    Systems via Neural Interaction Detection"
    <https://arxiv.org/abs/2006.10966>`_ paper (Section 3.1) followed by the
    black box :math:`f`. A row may be one of a table, a node, a graph, a
    sentence or an image, and rows may differ in their numbers :math:`d` of
    features.
    """

    @abstractmethod
    def __len__(self) -> int:
        r"""The number of rows."""

    @abstractmethod
    def names(self, row: int) -> list[str]:
        r"""The names of the :math:`d` features of a row.

        Args:
            row (int): The index of the row.
        """

    @abstractmethod
    def logits(self, row: int, masks: Tensor) -> Tensor:
        r"""The logits :math:`f(\xi(\tilde{\mathbf{x}}))` of the black box.

        Args:
            row (int): The index of the row.
            masks (torch.Tensor): Which features are on, boolean with shape
                :math:`(n, d)`.

        Shapes:
            - **output:** logits :math:`(n)`
        """
