r"""Asking a graph network about perturbed copies of its graphs."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.nn import MessagePassing
from torch_geometric.utils import k_hop_subgraph

from pyg_featgraph.errors import DataError
from pyg_featgraph.explain.perturb.black_box import ModelPerturbation

#: How many numbers the node features of all copies may hold at once.
BUDGET = 2**22


class Site(NamedTuple):
    r"""What the output that is explained depends on.

    Args:
        data (Data): The graph that is copied.
        nodes (list of int): The nodes that count, by their numbers in the
            graph that was given.
        local (torch.Tensor): The same nodes, by their numbers in
            :obj:`data`.
        output (int, optional): The node of :obj:`data` whose output is
            explained; :obj:`None` for the output of the graph.
    """

    data: Data
    nodes: list[int]
    local: Tensor
    output: int | None


class GraphModelPerturbation(ModelPerturbation):
    r"""Base class of perturbations of node features, whose copies are one
    disconnected graph.

    The first use of a row makes sure that the copies are independent and see
    all that the model sees.
    """

    def __init__(
        self,
        model: Any,
        graphs: Sequence[Data] | Data,
        nodes: Sequence[int] | Tensor | int | None,
        num_hops: int | None,
        args: Sequence[str],
        baseline: Tensor | None,
        output: str | None,
        target: int | Sequence[int] | Tensor | None,
        batch_size: int | None,
    ) -> None:
        if isinstance(graphs, Batch) and nodes is None:
            graphs = graphs.to_data_list()
        elif isinstance(graphs, Data):
            graphs = [graphs]
        self.args = [name for name in args if name != 'batch']
        self.graphs = [_lean(data, self.args) for data in graphs]
        self.nodes: list[int] | None = None
        if nodes is not None:
            size = self.graphs[0].num_nodes
            self.nodes = torch.as_tensor(nodes).flatten().tolist()
            if not all(0 <= node < size for node in self.nodes):
                raise ValueError(
                    f"'nodes' must lie in 0 to {size - 1} (got {self.nodes})"
                )
            self.num_hops = _count_hops(model) if num_hops is None else num_hops
        self.baseline = baseline
        channels = [self.graphs[0].x.size(1)]
        if baseline is not None and list(baseline.size()) != channels:
            raise ValueError(
                f"'baseline' must be {channels}, one number for each column of "
                f"'x' (got {list(baseline.size())})"
            )
        super().__init__(model, output, target, batch_size)
        self._takes_batch = (
            'batch'
            in inspect.signature(
                model.forward if isinstance(model, torch.nn.Module) else model
            ).parameters
        )
        # The graphs around nodes are found once, that of a row stays:
        self.site = lru_cache(maxsize=1)(self._find)

    def __len__(self) -> int:
        return len(self.graphs if self.nodes is None else self.nodes)

    @abstractmethod
    def num_features(self, site: Site) -> int:
        r"""How many features can be switched off."""

    @abstractmethod
    def switch(self, site: Site, masks: Tensor) -> Tensor:
        r"""Which node features are on, as :math:`(n, |\mathcal{V}|, F)` or
        what can be expanded to it.
        """

    def samples_at_once(self, row: int) -> int:
        x = self.site(row).data.x
        if self.nodes is None and not self._takes_batch:
            return 1
        return self.batch_size or max(
            1, BUDGET // (x.size(0) * max(64, x.size(1)))
        )

    def outputs(self, row: int, masks: Tensor) -> Tensor:
        return self._copies(self.site(row), masks)

    def _copies(self, site: Site, masks: Tensor) -> Tensor:
        n, size = masks.size(0), site.data.num_nodes
        x = site.data.x
        off = x.new_zeros(()) if self.baseline is None else self.baseline.to(x)
        x = torch.where(self.switch(site, masks.to(x.device)), x, off)
        shift = torch.arange(n, device=x.device) * size
        edges = site.data.edge_index.unsqueeze(1) + shift.view(1, -1, 1)
        out = self._ask(site.data, x.flatten(0, 1), edges.flatten(1), n)
        if site.output is not None:
            out = out.view(n, size, *out.size()[1:])[:, site.output]
        return out

    def _ask(self, data: Data, x: Tensor, edge_index: Tensor, n: int) -> Tensor:
        kwargs = {name: data[name] for name in self.args}
        for name, value in kwargs.items():
            if data.is_node_attr(name) or data.is_edge_attr(name):
                kwargs[name] = value.repeat(n, *[1] * (value.dim() - 1))
        if self._takes_batch:
            graph = torch.arange(n, device=x.device)
            kwargs['batch'] = graph.repeat_interleave(data.num_nodes)
        out = self.ask(x, edge_index, **kwargs)
        size = n if self.nodes is None else x.size(0)
        if not out.dim() or out.size(0) != size:
            what = 'graphs' if self.nodes is None else 'nodes'
            raise DataError(
                f'The model must return an output for each of {size} {what} '
                f'(got shape {list(out.size())})'
            )
        return out

    def _find(self, row: int) -> Site:
        if self.nodes is None:
            data = self.to_model(self.graphs[row])
            every = torch.arange(data.num_nodes, device=data.x.device)
            site = Site(data, every.tolist(), every, None)
            out = self._ask(data, data.x, data.edge_index, 1)[0]
        else:
            site = self._around(self.nodes[row])
            out = self._plain[self.nodes[row]]
        self._verify(site, row, out)
        return site

    @property
    def _plain(self) -> Tensor:
        r"""The outputs for the nodes of the whole graph."""
        if not hasattr(self, '_whole'):
            data = self.to_model(self.graphs[0])
            self._whole = self._ask(data, data.x, data.edge_index, 1)
        return self._whole

    def _around(self, node: int) -> Site:
        data = self.graphs[0]
        # Operators that normalise by degrees need those of all nodes within
        # reach, hence one more hop:
        near, wide = (
            k_hop_subgraph(
                node,
                hops,
                data.edge_index,
                num_nodes=data.num_nodes,
                flow=_flow(self.model),
            )[0]
            for hops in (self.num_hops, self.num_hops + 1)
        )
        around = self.to_model(data.subgraph(wide))
        return Site(
            around,
            near.tolist(),
            torch.searchsorted(wide, near).to(around.x.device),
            int(torch.searchsorted(wide, node)),
        )

    def _verify(self, site: Site, row: int, out: Tensor) -> None:
        masks = torch.zeros(2, self.num_features(site), dtype=torch.bool)
        masks[0] = True
        if self.nodes is None and not self._takes_batch:
            masks = masks[:1]
        got = self._copies(site, masks)[0]
        if not torch.allclose(got, out, rtol=1e-3, atol=1e-4, equal_nan=True):
            raise DataError(
                f'The model returns {got.tolist()} instead of {out.tolist()} '
                f'for row {row} where copies of its graph are asked together. '
                + (
                    "It mixes the graphs of a batch; does it pass 'batch' on "
                    'to normalisation and pooling?'
                    if self.nodes is None
                    else f'It looks farther than {self.num_hops} hops (pass '
                    "'num_hops'), or at the graph as a whole, as some "
                    'normalisations do'
                )
            )


def _lean(data: Data, args: Sequence[str]) -> Data:
    r"""The graph without what the model does not take."""
    if not isinstance(data, Data) or not all(
        isinstance(data.get(key), Tensor) for key in ('x', 'edge_index')
    ):
        raise DataError(
            "A graph must be a Data object with 'x' and 'edge_index' as "
            f'tensors (got {data})'
        )
    missing = [name for name in args if name not in data]
    if missing:
        raise DataError(
            f"The graph lacks {missing} of 'args'; it has {list(data.keys())}"
        )
    if data.x.dim() != 2:
        raise DataError(
            f"'x' must be [num_nodes, num_features] (got {list(data.x.size())})"
        )
    kept = {name: data[name] for name in args}
    return Data(x=data.x, edge_index=data.edge_index, **kept)


def _layers(model: Any) -> list[MessagePassing]:
    if not isinstance(model, torch.nn.Module):
        return []
    return [x for x in model.modules() if isinstance(x, MessagePassing)]


def _count_hops(model: Any) -> int:
    layers = _layers(model)
    if not layers:
        raise ValueError(
            "The model has no message passing layers to count; pass 'num_hops'"
        )
    return len(layers)


def _flow(model: Any) -> str:
    layers = _layers(model)
    return layers[0].flow if layers else 'source_to_target'
