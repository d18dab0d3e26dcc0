r"""MADEX as an algorithm of :mod:`torch_geometric.explain`."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.explain import ExplainerAlgorithm, Explanation
from torch_geometric.explain.config import (
    MaskType,
    ModelMode,
    ModelReturnType,
    ModelTaskLevel,
)

from pyg_featgraph.explain.local import LocalInteractions
from pyg_featgraph.explain.madex import madex
from pyg_featgraph.explain.perturb.graph import (
    GraphPerturbation,
    NodePerturbation,
)
from pyg_featgraph.explain.perturb.graph_model import GraphModelPerturbation
from pyg_featgraph.interactions import Interaction, InteractionSet

#: What describes interactions, not nodes or edges.
_OWN = frozenset(
    ('interaction_index', 'interaction_strength', 'interactions', 'local')
)
TINY = torch.finfo(torch.float).tiny


class InteractionExplanation(Explanation):
    r"""An explanation by interactions of nodes, which are numbered as in the
    graph that was explained, also in subgraphs of the explanation.

    Args:
        node_mask (torch.Tensor): How much a node interacts, with shape
            :math:`(|\mathcal{V}|, 1)`: its part
            :math:`\sum_{\mathcal{I} \ni v} \omega(\mathcal{I}) /
            |\mathcal{I}|` in the strengths :math:`\omega` of interactions,
            divided by the largest part of a node. The effect of a node on its
            own does not count.
        interaction_index (torch.Tensor): The :math:`K` pairs, strongest
            first, with shape :math:`(2, K)`.
        interaction_strength (torch.Tensor): Their strengths, with shape
            :math:`(K)`.
        interactions (InteractionSet): Interactions of any order, by names
            such as :obj:`"node 17"`.
        local (list of LocalInteractions): What was found for each output.
        **kwargs (optional): Additional attributes.
    """

    def is_node_attr(self, key: str) -> bool:
        # There may be as many of them as nodes or edges:
        return key not in _OWN and super().is_node_attr(key)

    def is_edge_attr(self, key: str) -> bool:
        return key not in _OWN and super().is_edge_attr(key)


class MADEXExplainer(ExplainerAlgorithm):
    r"""Explains graph neural networks by the interactions of nodes that they
    use, with :func:`~pyg_featgraph.explain.madex` of the `"Feature
    Interaction Interpretability: A Case for Explaining Ad-Recommendation
    Systems via Neural Interaction Detection"
    <https://arxiv.org/abs/2006.10966>`_ paper (Section 6.3).

    .. code-block:: python

        explainer = Explainer(
            model,
            algorithm=MADEXExplainer(),
            explanation_type='model',
            node_mask_type='object',
            model_config=dict(
                mode='multiclass_classification',
                task_level='node',
                return_type='raw',
            ),
        )
        explanation = explainer(data.x, data.edge_index, index=17)
        explanation.interactions.top(5)

    It works for outputs of nodes and of graphs and returns an
    :class:`InteractionExplanation`. The class that is explained is the one
    predicted or, for the explanation type :obj:`"phenomenon"`, the one given.
    If several outputs are explained, the strengths are means over them.

    A model for graphs should take :obj:`batch`, so that many perturbed graphs
    can be evaluated at once.

    Args:
        detector (str, optional): :obj:`"gradient_nid"` for pairs alone, with
            which the paper examines single instances; or :obj:`"nid"`, which
            finds sets of any order, so that there can be few pairs.
            (default: :obj:`"gradient_nid"`)
        num_hops (int, optional): From how far a model for nodes gathers.
            (default: the number of its message passing layers)
        baseline (torch.Tensor, optional): The features of a node that is off.
            (default: zeros)
        **kwargs (optional): Additional arguments of
            :func:`~pyg_featgraph.explain.madex`.
    """

    def __init__(
        self,
        detector: str = 'gradient_nid',
        num_hops: int | None = None,
        baseline: Tensor | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.num_hops = num_hops
        self.baseline = baseline
        self.kwargs = {'detector': detector, 'progress': False, **kwargs}

    def supports(self) -> bool:
        reason = ''
        if self.model_config.task_level == ModelTaskLevel.edge:
            reason = "'task_level' must be 'node' or 'graph' (got 'edge')"
        elif self.explainer_config.edge_mask_type is not None:
            reason = "'edge_mask_type' must be None: nodes are switched off"
        elif self.explainer_config.node_mask_type != MaskType.object:
            reason = (
                "'node_mask_type' must be 'object': nodes are switched off as "
                "a whole (see 'FeaturePerturbation' for their features)"
            )
        if reason:
            logging.error(f'{self.__class__.__name__}: {reason}')
        return not reason

    def forward(
        self,
        model: torch.nn.Module,
        x: Tensor,
        edge_index: Tensor,
        *,
        target: Tensor,
        index: int | Tensor | None = None,
        **kwargs: Any,
    ) -> InteractionExplanation:
        if not isinstance(x, Tensor) or not isinstance(edge_index, Tensor):
            raise ValueError(
                f"{self.__class__.__name__} needs a homogeneous graph, with 'x'"
                " and 'edge_index' as tensors (got "
                f"'{type(x).__name__}' and '{type(edge_index).__name__}')"
            )
        data = Data(x=x, edge_index=edge_index, **kwargs)
        batch = kwargs.get('batch')
        if batch is None:
            batch = edge_index.new_zeros(x.size(0))
        is_node = self.model_config.task_level == ModelTaskLevel.node
        size = x.size(0) if is_node else int(batch.max()) + 1
        rows = torch.arange(size, device=x.device)
        rows = (rows if index is None else rows[index]).flatten()
        options: dict[str, Any] = {
            'args': list(kwargs),
            'baseline': self.baseline,
            'output': self._output,
            'target': self._target(target, rows),
        }
        perturbation: GraphModelPerturbation
        if is_node:
            perturbation = NodePerturbation(
                model, data, rows, self.num_hops, **options
            )
        else:
            parts = [data.subgraph(batch == row) for row in rows]
            perturbation = GraphPerturbation(model, parts, **options)
        found = madex(perturbation, **self.kwargs)
        if not is_node:
            nodes = [(batch == row).nonzero().flatten() for row in rows]
            found = [_renumber(x, nodes[x.row].tolist()) for x in found]
        return _explanation(found, x)

    @property
    def _output(self) -> str:
        if self.model_config.mode == ModelMode.regression:
            return 'value'
        # The logarithms of probabilities are logits:
        is_probs = self.model_config.return_type == ModelReturnType.probs
        return 'probability' if is_probs else 'logit'

    def _target(self, target: Tensor, rows: Tensor) -> Tensor | None:
        if self.model_config.mode != ModelMode.multiclass_classification:
            return None
        return target[rows]


def _renumber(found: LocalInteractions, nodes: list[int]) -> LocalInteractions:
    r"""The nodes of a graph by their numbers in the batch."""
    renamed = InteractionSet(
        replace(x, fields=tuple(f'node {nodes[i]}' for i in _nodes(x)))
        for x in found.interactions
    )
    return replace(found, interactions=renamed)


def _nodes(interaction: Interaction) -> list[int]:
    return sorted(int(name.split()[1]) for name in interaction.fields)


def _explanation(
    found: list[LocalInteractions], x: Tensor
) -> InteractionExplanation:
    ranking, *others = (one.interactions for one in found)
    if others:
        ranking = ranking.merge(*others, method='mean')
    mask = x.new_zeros(x.size(0), 1, dtype=torch.float)
    for one in ranking:
        mask[_nodes(one)] += one.score / one.order
    pairs = ranking.of_order(2)
    return InteractionExplanation(
        node_mask=mask / mask.max().clamp(min=TINY),
        interaction_index=torch.tensor(
            [_nodes(pair) for pair in pairs], dtype=torch.long
        )
        .view(-1, 2)
        .t()
        .contiguous()
        .to(x.device),
        interaction_strength=mask.new_tensor([pair.score for pair in pairs]),
        interactions=ranking,
        local=found,
    )
