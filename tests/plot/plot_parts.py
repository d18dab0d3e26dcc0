import numpy as np

from pyg_featgraph.interactions import Interaction, InteractionSet

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
