r"""Searchable edges that are the same for all rows, as FIVES has them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import Parameter

from pyg_featgraph.nn.edge.base import FieldEdge
from pyg_featgraph.nn.layout import Pair

#: Nearer to 0 or 1 an entry has no usable logit in single precision.
EPS = 1e-6


class AdjacencyTensor(FieldEdge, name='adjacency'):
    r"""The searchable edges of the `"FIVES: Feature Interaction Via Edge
    Search for Large-Scale Tabular Data"
    <https://arxiv.org/abs/2007.14573>`_ paper (Eqs. 6 to 8).

    One adjacency matrix for each layer, the same for every row of a table.
    Which fields a layer can reach depends on the edges of the layer before,

    .. math::
        \mathbf{R}^{(k)} &= (\mathbf{D}^{(k-1)})^{-1} \varphi
        (\mathbf{R}^{(k-1)}) \, \sigma(\mathbf{H}^{(k)}), \qquad
        \varphi(\mathbf{R}^{(0)}) = \mathbf{I}

        \mathbf{A}^{(k)} &= \sigma \big( \mathrm{logit}(\mathbf{R}^{(k)}) /
        \tau \big)

    with the binarisation :math:`\varphi(r) = \mathbb{1}[r \geq \theta_k]` and
    the number :math:`\mathbf{D}` of edges of each node. A node without edges
    in one layer has none in the next. The temperature :math:`\tau` is a
    buffer; a search lowers it from 1 to 0.02.

    As edges of a single operator it gives its last matrix, and needs the
    field of each node of a graph; :meth:`matrices` gives all of them.

    Args:
        num_fields (int): The number :math:`n` of fields.
        num_layers (int, optional): The number of matrices, one less than the
            highest order of an interaction. (default: :obj:`1`)
        threshold (float or list of float, optional): The threshold
            :math:`\theta_k` of each layer. (default: :obj:`0.5`)
        recursive (bool, optional): If set to :obj:`False`, the layers are
            independent, :math:`\mathbf{R}^{(k)} = \sigma(\mathbf{H}^{(k)})`
            (Section 3.3.1 of the paper). (default: :obj:`True`)
        mode (str, optional): What is used as edges: :obj:`"soft"` the
            matrices :math:`\mathbf{A}^{(k)}`, :obj:`"hard"` the binary ones,
            :obj:`"straight_through"` the binary ones with the gradient of the
            soft ones. (default: :obj:`"soft"`)
        self_loops (bool, optional): If set to :obj:`False`, no field has an
            edge to itself. (default: :obj:`True`)

    Shapes:
        As :class:`FieldEdge`; the dense weights are :math:`(n, n)`.
    """

    tau: Tensor
    threshold: Tensor

    def __init__(
        self,
        num_fields: int,
        num_layers: int = 1,
        threshold: float | Sequence[float] = 0.5,
        recursive: bool = True,
        mode: str = 'soft',
        self_loops: bool = True,
    ) -> None:
        super().__init__(self_loops)
        if isinstance(threshold, Sequence):
            thresholds = [float(t) for t in threshold]
        else:
            thresholds = [float(threshold)] * num_layers
        if len(thresholds) != num_layers:
            raise ValueError(
                f"'threshold' needs one entry for each of {num_layers} layers "
                f'(got {thresholds})'
            )
        self.num_fields = num_fields
        self.num_layers = num_layers
        self.recursive = recursive
        self.set_mode(mode)
        self.weight = Parameter(torch.empty(num_layers, num_fields, num_fields))
        self.register_buffer('threshold', torch.tensor(thresholds))
        self.register_buffer('tau', torch.ones(()))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        # Slightly positive on average, so that no layer starts empty at the
        # threshold of one half:
        torch.nn.init.normal_(self.weight, mean=0.01, std=0.01)
        self.tau.fill_(1.0)

    def set_mode(self, mode: str) -> None:
        r"""Sets what is used as edges, see the argument of the class."""
        if mode not in ('soft', 'hard', 'straight_through'):
            raise ValueError(
                "'mode' must be 'soft', 'hard' or 'straight_through' (got "
                f"'{mode}')"
            )
        self.mode = mode

    def dense(self, x: Pair, pairs: Tensor | None) -> Tensor:
        if x[0].size(1) != self.num_fields:
            raise ValueError(
                f'There are edges for {self.num_fields} fields (got node '
                f'vectors of {x[0].size(1)})'
            )
        return self.matrices()[-1]

    def graph(
        self,
        x: Pair,
        edge_index: Tensor,
        field: tuple[Tensor | None, Tensor | None],
    ) -> Tensor:
        source, target = field
        if source is None or target is None:
            raise ValueError(
                "'field' is required, since the edges are those of fields"
            )
        matrix = self.matrices()[-1]
        return matrix[target[edge_index[1]], source[edge_index[0]]]

    def matrices(self) -> Tensor:
        r"""The adjacency matrices :math:`(K - 1, n, n)` used for propagation,
        the first :math:`n` being targets.
        """
        logit, exists, _, edges = self._unroll()
        hard = edges.to(logit.dtype)
        if self.mode == 'hard':
            return hard
        soft = (logit / self.tau).sigmoid() * exists
        if self.mode == 'soft':
            return soft
        return hard + (soft - soft.detach())

    def scores(self) -> Tensor:
        r"""The matrices :math:`\mathbf{R}^{(k)} \in [0, 1]`."""
        return self._unroll()[2]

    def edges(self) -> Tensor:
        r"""The binary matrices :math:`\varphi(\mathbf{R}^{(k)})`."""
        return self._unroll()[3]

    def _unroll(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        # For each layer: logits of the scores, which entries exist at all,
        # scores, edges.
        with torch.autocast(self.weight.device.type, enabled=False):
            return self._unroll_exactly()

    def _unroll_exactly(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        # Which edges there are must not depend on the precision of the rest:
        candidates = torch.ones_like(self.weight[0], dtype=torch.bool)
        if not self.self_loops:
            candidates = ~torch.eye(
                self.num_fields, dtype=torch.bool, device=self.weight.device
            )
        layers: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        for k in range(self.num_layers):
            logit, exists = self.weight[k], candidates
            score = logit.sigmoid()
            if self.recursive and k > 0:
                before = layers[-1][3].to(score.dtype)
                degree = before.sum(dim=1, keepdim=True)
                score = (before @ score) / degree.clamp(min=1)
                # Outside the limits the gradient is zero instead of NaN:
                logit = torch.logit(score, eps=EPS)
                exists = candidates & (degree > 0)
            score = score * exists
            edges = (score >= self.threshold[k]) & exists
            layers.append((logit, exists, score, edges))
        logits, exist, scores, edges_ = zip(*layers, strict=True)
        return (
            torch.stack(logits),
            torch.stack(exist),
            torch.stack(scores),
            torch.stack(edges_),
        )

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}({self.num_fields}, '
            f'num_layers={self.num_layers}, recursive={self.recursive}, '
            f"mode='{self.mode}')"
        )
