r"""Stage 1 of the search of AIM: interactions, order by order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations

import torch

from pyg_featgraph.interactions import InteractionSet
from pyg_featgraph.nn import AIM
from pyg_featgraph.nn.gates import gated
from pyg_featgraph.search.aim_options import AIMOptions
from pyg_featgraph.search.stages import Search


def search_order(
    search: Search, model: AIM, order: int, options: AIMOptions
) -> int:
    r"""Trains the gates of an order until many are closed.

    Args:
        search (Search): The search.
        model (AIM): The model with all candidates of the order.
        order (int): The order.
        options (AIMOptions): The options.

    Returns:
        int: The number of candidates. If there are none, nothing is trained.
    """
    from pyg_featgraph.search.gates import GateModule

    gates = [
        conv.gate for _, conv in model.layer.items() if conv.order == order
    ]
    if gates:
        module = GateModule(
            model, gates, options, options.gate_lr, options.closing, options.mu
        )
        search.train(f'order-{order}', module)
    return sum(gate.numel() for gate in gates)


def extend_model(
    model: AIM, order: int, pool: int | str | None, seed: int = 0
) -> AIM:
    r"""The open interactions of a model, frozen, with the candidates of the
    next order.

    Args:
        model (AIM): The model after the search of the order before.
        order (int): The next order.
        pool (int or str, optional): How many interactions are extended, or
            :obj:`"all"` for every tuple. (default: half the number of fields)
        seed (int, optional): The seed of the new weights.
            (default: :obj:`0`)
    """
    names = model.info.names
    n = len(names)
    if pool == 'all':
        tuples = list(combinations(range(n), order))
    else:
        best = model.interactions(by='edges').of_order(order - 1)
        best = best.top(n // 2 if pool is None else int(pool))
        tuples = extend_tuples(
            ([names.index(name) for name in x.fields] for x in best), n
        )
    functions = dict.fromkeys(model.config['functions'])
    candidates = gated({tuple(names[i] for i in q): functions for q in tuples})
    both = InteractionSet([*model.gates(), *candidates])
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        out = model.rebuild(interactions=both)
    # What has been learned stays as it is: on the same rows it would only go
    # on to overfit, and leave nothing to explain.
    out.linear.requires_grad_(False)
    for key, conv in out.layer.items():
        if key in model.layer.convs:
            conv.requires_grad_(False)
    for name in out.embeddings.keys() & model.embeddings.keys():
        out.embeddings[name].requires_grad_(not out.order_wise)
    return out


def extend_tuples(
    tuples: Iterable[Sequence[int]], num_fields: int
) -> list[tuple[int, ...]]:
    r"""Each tuple of fields with every other field, without repetitions
    (line 4 of Algorithm 1 of AIM).

    Args:
        tuples (list of tuple): The tuples.
        num_fields (int): The number of fields.
    """
    return sorted(
        {
            tuple(sorted((*q, field)))
            for q in tuples
            for field in range(num_fields)
            if field not in q
        }
    )
