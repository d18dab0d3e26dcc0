r"""Which old vector each id of a model has that has got more of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pyg_featgraph.data import FieldInfo

# The id of what is rare or unseen, see FieldInfo:
_RARE = 1


def grown_from(
    old: FieldInfo, new: FieldInfo, reused: Tensor | None = None
) -> list[Tensor]:
    r"""For each field the number of the old vector that each of its ids starts
    with: its own, or that of what is rare.

    Args:
        old (FieldInfo): The layout of the fields so far.
        new (FieldInfo): The layout with the new sizes.
        reused (torch.Tensor, optional): The ids of new categories among those
            that there were, as :obj:`new` numbers them. (default: none)

    Raises:
        ValueError: If the layouts differ in more than more categories.
    """
    for name in ('names', 'slots', 'kinds'):
        if getattr(old, name) != getattr(new, name):
            raise ValueError(
                f"A model grows with its fields: '{name}' cannot change from "
                f'{getattr(old, name)} to {getattr(new, name)}'
            )
    sources = []
    for name, kind, size, more in zip(
        old.names, old.kinds, old.sizes, new.sizes, strict=True
    ):
        if more < size or (
            more > size and kind not in ('categorical', 'multi')
        ):
            raise ValueError(
                f"Field '{name}' of the kind '{kind}' cannot have {more} ids "
                f'instead of {size}'
            )
        source = torch.arange(more)
        source[size:] = _RARE
        sources.append(source)
    out = torch.cat(sources)
    if reused is not None:
        out[reused.cpu()] = _RARE
    return [*out.split(list(new.sizes))]


def grown_counts(
    counts: Tensor, old: FieldInfo, sources: Sequence[Tensor]
) -> Tensor:
    r"""The numbers of rows that each id of a grown model has had; none of new
    ones.

    Args:
        counts (torch.Tensor): Those of the old ids.
        old (FieldInfo): The layout of the fields so far.
        sources (list of torch.Tensor): What :func:`grown_from` gives.
    """
    parts = []
    for own, source in zip(counts.split(old.sizes), sources, strict=True):
        source = source.to(counts.device)
        is_new = source == _RARE
        is_new[_RARE : _RARE + 1] = False
        parts.append(own[source].where(~is_new, 0))
    return torch.cat(parts)
