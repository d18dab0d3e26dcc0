r"""Perturbations of graphs: nodes or columns of node features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch_geometric.data import Data

from pyg_featgraph.explain.perturb.graph_model import (
    GraphModelPerturbation,
    Site,
)


class NodePerturbation(GraphModelPerturbation):
    r"""The outputs of a model for nodes; features are the nodes around them,
    named by their numbers such as :obj:`"node 17"`.

    These are the nodes within :obj:`num_hops`, itself included. The features
    of one that is off are zero, as in the `"Feature Interaction
    Interpretability: A Case for Explaining Ad-Recommendation Systems via
    Neural Interaction Detection" <https://arxiv.org/abs/2006.10966>`_ paper
    (Section 6.1); its edges stay.

    Args:
        model (Any): A function :obj:`model(x, edge_index)` that returns
            outputs for all nodes, see :class:`ModelPerturbation`.
        data (Data): The graph.
        nodes (list of int): The nodes to explain.
        num_hops (int, optional): From how far the model gathers.
            (default: the number of its message passing layers)
        args (list of str, optional): The attributes of the graph that the
            model takes as keyword arguments, such as :obj:`"edge_weight"`.
            It gets the graph of each node as :obj:`batch` anyway, if it takes
            that. (default: none)
        baseline (torch.Tensor, optional): The features of a node that is off,
            with shape :math:`(F)`. (default: zeros)
        output (str, optional): See :class:`ModelPerturbation`.
        target (int or list of int, optional): See
            :class:`ModelPerturbation`.
        batch_size (int, optional): How many copies of a graph the model gets
            at once. (default: by the size of the graph)

    Raises:
        DataError: If the model depends on more than the graph around a node.
    """

    def __init__(
        self,
        model: Any,
        data: Data,
        nodes: Sequence[int] | Tensor | int,
        num_hops: int | None = None,
        args: Sequence[str] = (),
        baseline: Tensor | None = None,
        output: str | None = None,
        target: int | Sequence[int] | Tensor | None = None,
        batch_size: int | None = None,
    ) -> None:
        super().__init__(
            model,
            data,
            nodes,
            num_hops,
            args,
            baseline,
            output,
            target,
            batch_size,
        )

    def names(self, row: int) -> list[str]:
        return [f'node {node}' for node in self.site(row).nodes]

    def num_features(self, site: Site) -> int:
        return len(site.nodes)

    def switch(self, site: Site, masks: Tensor) -> Tensor:
        return _switch_nodes(site, masks)


class GraphPerturbation(GraphModelPerturbation):
    r"""The outputs of a model for graphs; features are the nodes, named by
    their numbers in the graph such as :obj:`"node 3"`.

    Args:
        model (Any): A function :obj:`model(x, edge_index, batch=batch)` that
            returns an output for each graph, see :class:`ModelPerturbation`.
            One that does not take :obj:`batch` is asked graph by graph, which
            is slow.
        graphs (list of Data): The graphs to explain, or a batch of them.
        args (list of str, optional): See :class:`NodePerturbation`.
        baseline (torch.Tensor, optional): See :class:`NodePerturbation`.
        output (str, optional): See :class:`ModelPerturbation`.
        target (int or list of int, optional): See
            :class:`ModelPerturbation`.
        batch_size (int, optional): See :class:`NodePerturbation`.

    Raises:
        DataError: If the model mixes the graphs of a batch.
    """

    def __init__(
        self,
        model: Any,
        graphs: Sequence[Data] | Data,
        args: Sequence[str] = (),
        baseline: Tensor | None = None,
        output: str | None = None,
        target: int | Sequence[int] | Tensor | None = None,
        batch_size: int | None = None,
    ) -> None:
        super().__init__(
            model,
            graphs,
            None,
            None,
            args,
            baseline,
            output,
            target,
            batch_size,
        )

    def names(self, row: int) -> list[str]:
        return [f'node {node}' for node in range(self.graphs[row].num_nodes)]

    def num_features(self, site: Site) -> int:
        return len(site.nodes)

    def switch(self, site: Site, masks: Tensor) -> Tensor:
        return _switch_nodes(site, masks)


class FeaturePerturbation(GraphModelPerturbation):
    r"""The outputs of a model for nodes or graphs; features are the columns
    of :obj:`x`, each of which is switched off for all nodes at once.

    Args:
        model (Any): See :class:`NodePerturbation` and
            :class:`GraphPerturbation`.
        data (Data): The graph with the nodes to explain; or the graphs to
            explain, as a list or a batch.
        nodes (list of int, optional): The nodes to explain.
            (default: :obj:`None`, which explains graphs)
        num_hops (int, optional): See :class:`NodePerturbation`.
        args (list of str, optional): See :class:`NodePerturbation`.
        baseline (torch.Tensor, optional): The values of columns that are off,
            with shape :math:`(F)`. (default: zeros)
        feature_names (list of str, optional): The names of the columns.
            (default: :obj:`"feature 0"` and so on)
        output (str, optional): See :class:`ModelPerturbation`.
        target (int or list of int, optional): See
            :class:`ModelPerturbation`.
        batch_size (int, optional): See :class:`NodePerturbation`.

    Raises:
        DataError: If the model depends on more than the graph around a node,
            or mixes the graphs of a batch.
    """

    def __init__(
        self,
        model: Any,
        data: Sequence[Data] | Data,
        nodes: Sequence[int] | Tensor | int | None = None,
        num_hops: int | None = None,
        args: Sequence[str] = (),
        baseline: Tensor | None = None,
        feature_names: Sequence[str] | None = None,
        output: str | None = None,
        target: int | Sequence[int] | Tensor | None = None,
        batch_size: int | None = None,
    ) -> None:
        super().__init__(
            model,
            data,
            nodes,
            num_hops,
            args,
            baseline,
            output,
            target,
            batch_size,
        )
        size = self.graphs[0].x.size(1)
        if feature_names is None:
            feature_names = [f'feature {i}' for i in range(size)]
        if len(feature_names) != size:
            raise ValueError(
                f"'feature_names' must be {size} names, one for each column of "
                f"'x' (got {len(feature_names)})"
            )
        self.feature_names = list(feature_names)

    def names(self, row: int) -> list[str]:
        return self.feature_names

    def num_features(self, site: Site) -> int:
        return len(self.feature_names)

    def switch(self, site: Site, masks: Tensor) -> Tensor:
        return masks.unsqueeze(1)


def _switch_nodes(site: Site, masks: Tensor) -> Tensor:
    # Nodes out of reach are off: if that made a difference, the first use of
    # a row would find out.
    on = masks.new_zeros(masks.size(0), site.data.num_nodes)
    on[:, site.local] = masks
    return on.unsqueeze(2)
