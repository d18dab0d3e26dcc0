r"""Crosses chosen one after the other, by what each adds to the others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pyg_featgraph.crossing.additive import AdditiveModel, Block
from pyg_featgraph.crossing.fitted import Fields, Fitted
from pyg_featgraph.crossing.keys import (
    all_crosses,
    encode,
    fields_of,
    fit_codecs,
    read_fields,
)
from pyg_featgraph.crossing.statistics import Target, check_no_label
from pyg_featgraph.data.frames import to_frame
from pyg_featgraph.data.schema import FieldSchema
from pyg_featgraph.interactions import Interaction, InteractionSet


def greedy_crosses(
    X: Any,
    y: ArrayLike,
    candidates: Iterable[Interaction | tuple[str, ...]] | None = None,
    top: int = 20,
    order: int | tuple[int, ...] = (2,),
    l2: float = 3.0,
    min_count: int = 2,
    bins: int = 20,
    cv: int = 5,
    random_state: int | None = 0,
    target_type: str = 'auto',
    schema: FieldSchema | None = None,
) -> InteractionSet:
    r"""Greedy forward choice of crosses by their cross-validated gain.

    A logistic regression on the one-hot encoded fields (linear for numbers)
    gets the cross that lowers its loss on held-out rows the most, is fitted
    again, gets the next one, and so on. So a cross counts for what it adds to
    the fields and to the crosses before it, where a ranking may begin with
    several that say the same. It ends when no cross gains more than the
    standard error of its gain.

    The gain of a candidate is that of one Newton step for its weights, all
    others being fixed. It takes memory of four bytes for each row and
    candidate.

    .. code-block:: python

        found = greedy_crosses(train_df, y, order=(2, 3))
        model = make_pipeline(
            CrossFeatures(found, sparse_output=True), LogisticRegression()
        )

    Args:
        X (pandas.DataFrame): The training rows, in any table that
            :func:`~pyg_featgraph.data.to_frame` takes.
        y (array): Their labels: two or more classes, or numbers.
        candidates (InteractionSet or list, optional): The crosses to choose
            from. (default: all of :obj:`order` fields)
        top (int, optional): How many to choose at most.
            (default: :obj:`20`)
        order (int or tuple of int, optional): As in
            :class:`~pyg_featgraph.crossing.CrossFeatures`.
            (default: :obj:`(2,)`)
        l2 (float, optional): The L2 penalty of the weights, half of it times
            the sum of their squares beside the sum of losses, numbers being
            standardised. (default: :obj:`3`)
        min_count (int, optional): How many rows must have a value.
            (default: :obj:`2`)
        bins (int, optional): The number of buckets of a numeric field.
            (default: :obj:`20`)
        cv (int, optional): The number of folds. (default: :obj:`5`)
        random_state (int, optional): The seed of the folds.
            (default: :obj:`0`)
        target_type (str, optional): As in
            :class:`~pyg_featgraph.crossing.CrossFeatures`.
            (default: :obj:`"auto"`)
        schema (FieldSchema, optional): The kinds of the fields.
            (default: as :meth:`~pyg_featgraph.data.FieldSchema.infer` reads
            them)

    Returns:
        InteractionSet: The crosses, whose score is the mean gain for a row at
        their step; :obj:`detail` has the :obj:`step` and the
        :obj:`standard_error`.

    Raises:
        DataError: As by :meth:`CrossFeatures.fit`.
    """
    X = to_frame(X)
    known = read_fields(X, schema)
    fields = all_crosses(known, 1)
    if candidates is None:
        crosses = all_crosses(known, order)
    else:
        crosses = fields_of(candidates)
    crosses = [names for names in crosses if len(names) > 1]
    members = sorted({x for names in (*fields, *crosses) for x in names})
    # Those that tell nothing by themselves, but are wanted:
    known |= read_fields(X, schema, [x for x in members if x not in known])
    target = Target.read(y, target_type, len(X))
    check_no_label(X, known, members, y)
    codecs = fit_codecs(X, members, known, min_count, bins)
    ids = encode(codecs, X)

    def blocks(chosen: Iterable[Fields]) -> dict[Fields, Block]:
        fitted = Fitted.learn(codecs, ids, chosen, min_count, False)
        return {
            names: Block(at.astype(np.int32), len(vocabulary))
            for names, vocabulary, at in fitted.find(ids)
        }

    model = AdditiveModel(target, target.folds(cv, random_state), l2)
    for block in blocks(fields).values():
        model.add(block)
    model.fit()
    left, found = blocks(crosses), []
    for step in range(1, top + 1):
        gains = {names: model.gain(block) for names, block in left.items()}
        best = max(gains, key=lambda names: gains[names][0], default=None)
        if best is None or gains[best][0] <= gains[best][1]:
            break
        gain, error = gains[best]
        detail = {
            'unit': 'gain in loss on held-out rows',
            'rows': len(X),
            'step': step,
            'standard_error': error,
        }
        found.append(Interaction(best, gain, 'greedy', detail))
        model.add(left.pop(best))
        model.fit()
    return InteractionSet(found)
