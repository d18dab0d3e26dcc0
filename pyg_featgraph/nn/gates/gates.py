r"""Gates of interactions, between :class:`~pyg_featgraph.InteractionSet` and
operators.

An entry may name functions and the value of the gate of each, as
:obj:`detail["functions"]`; :obj:`None` stands for a gate that has no value
yet, zero for one that is closed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from pyg_featgraph.data import FieldInfo
from pyg_featgraph.errors import DataError
from pyg_featgraph.interactions import Interaction, InteractionSet
from pyg_featgraph.nn.conv.interaction_conv import FUNCTIONS


def gated(
    gates: Mapping[tuple[str, ...], Mapping[str, float | None]],
    source: str = 'AIM',
) -> InteractionSet:
    r"""Interactions with gates; the score of each is its largest absolute
    gate.

    Args:
        gates (dict): For the names of the fields of each interaction its
            functions with their gates. What has no function is left out.
        source (str, optional): The method. (default: :obj:`"AIM"`)
    """
    return InteractionSet(
        Interaction(
            names,
            max(abs(value or 0.0) for value in values.values()),
            source,
            {'unit': 'largest gate', 'functions': dict(values)},
        )
        for names, values in gates.items()
        if values
    )


def shared_gates(
    interactions: InteractionSet, others: InteractionSet
) -> InteractionSet:
    r"""The gates of interactions under functions which others have as well.

    Args:
        interactions (InteractionSet): The interactions, all with gates.
        others (InteractionSet): Those which they are compared with.
    """
    functions = {x.fields: x.detail['functions'] for x in others}
    return gated(
        {
            x.fields: {
                function: value
                for function, value in x.detail['functions'].items()
                if function in functions.get(x.fields, {})
            }
            for x in interactions
        }
    )


def members(entry: Interaction, info: FieldInfo) -> tuple[int, ...]:
    r"""The numbers of the fields of an interaction, ascending.

    Args:
        entry (Interaction): The interaction.
        info (FieldInfo): The layout of the fields.

    Raises:
        DataError: If a field is unknown.
    """
    for name in entry.fields:
        if name not in info.numbers:
            raise DataError(
                f'The interaction {" x ".join(entry.fields)} has the field '
                f"'{name}', which the table has not"
            )
    return tuple(sorted(info.numbers[name] for name in entry.fields))


def by_operator(
    interactions: InteractionSet | None,
    info: FieldInfo,
    functions: Sequence[str],
) -> dict[tuple[str, int], dict[tuple[int, ...], float | None]]:
    r"""The gates of each function and order, by the numbers of the fields,
    in an order that depends neither on scores nor on names. Entries with a
    single field are left out.

    Args:
        interactions (InteractionSet, optional): The interactions, of
            whichever method; :obj:`None` stands for all pairs.
        info (FieldInfo): The layout of the fields.
        functions (list of str): The functions of entries that name none.

    Raises:
        DataError: If a field is unknown.
        ValueError: If a function is unknown.
    """
    out: dict[tuple[str, int], dict[tuple[int, ...], float | None]] = {}
    if interactions is None:
        for function in functions:
            pairs = combinations(range(info.num_fields), 2)
            out[_known(function), 2] = dict.fromkeys(pairs)
        interactions = InteractionSet()
    entries = {members(x, info): x for x in interactions}
    for q, entry in sorted(entries.items(), key=lambda item: item[0]):
        values = entry.detail.get('functions') or dict.fromkeys(functions)
        for function, value in values.items():
            key = _known(function), len(q)
            if len(q) > 1:
                out.setdefault(key, {})[q] = value
    keys = sorted(out, key=lambda key: (FUNCTIONS.index(key[0]), key[1]))
    return {key: out[key] for key in keys}


def _known(function: str) -> str:
    if function not in FUNCTIONS:
        raise ValueError(
            f"No interaction function named '{function}' "
            f'({", ".join(FUNCTIONS)})'
        )
    return function
