import numpy as np
import pandas as pd

from pyg_featgraph.interactions import Interaction, InteractionSet
from pyg_featgraph.nn import PairEffects, RowEffects

# A ranking of three interactions:
FOUND = InteractionSet(
    Interaction(tuple(fields), score)
    for fields, score in (('ab', 3), ('cde', 2), ('ef', 1))
)


def weights(num_rows, num_columns, n):
    rng = np.random.default_rng(0)
    # The columns differ in scale:
    return [
        [rng.random((n, n)) * (c + 1) for c in range(num_columns)]
        for _ in range(num_rows)
    ]


def labels(ticks):
    return [tick.get_text() for tick in ticks]


def overlap(boxes):
    return any(
        one.shrunk(0.99, 0.99).overlaps(two)
        for i, one in enumerate(boxes)
        for two in boxes[:i]
    )


def inside(figure, boxes):
    for box in boxes:
        assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert 0 <= box.y0 < box.y1 <= figure.bbox.y1


def importance(names, **attrs):
    score = np.arange(len(names), 0, -1.0)
    frame = pd.DataFrame(
        {'field': names, 'score': score, 'low': score / 2, 'high': score * 2}
    )
    frame.attrs = attrs
    return frame


def row(*entries, base=1.0, output=4.0, max_order=2):
    found = InteractionSet(
        Interaction(tuple(fields), score, detail=detail)
        for fields, score, detail in entries
    )
    return RowEffects(found, base, output, max_order, 'logit', 64)


ROW = row(
    ('a', 2.0, {'interval': [1.5, 2.75]}),
    ('b', -1.5, {}),
    ('ab', 0.5, {}),
    ('c', 0.25, {}),
    ('bc', -0.25, {}),
)


def pair(rows, columns, counts=None, names=('a', 'b'), level='level'):
    rng = np.random.default_rng(0)
    if counts is None:
        counts = rng.integers(0, 2000, (rows, columns))
    return PairEffects(
        names,
        tuple(
            tuple(f'{level} {i}' for i in range(size))
            for size in (rows, columns)
        ),
        (rng.normal(size=rows), rng.normal(size=columns)),
        rng.normal(size=(rows, columns)),
        np.asarray(counts),
        'effect on the logit',
        256,
    )
