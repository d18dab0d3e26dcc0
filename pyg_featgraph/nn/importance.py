r"""How much each field matters to the logits of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pyg_featgraph.data import FieldTable
from pyg_featgraph.intervals import bootstrap_intervals
from pyg_featgraph.nn.effects import joint_effects
from pyg_featgraph.nn.mixing import output_unit

if TYPE_CHECKING:
    import pandas as pd


def field_importance(
    model: Any,
    table: FieldTable,
    num_rows: int = 256,
    seed: int = 0,
    batch_size: int = 2048,
    num_bootstraps: int = 200,
) -> pd.DataFrame:
    r"""How much each field matters to the logits of a model: alone and in all
    of its interactions.

    The score is the effect of a set of one field
    (:func:`~pyg_featgraph.nn.joint_effects`), in the same unit as those of
    pairs: the standard deviation of all terms of the model that contain the
    field, if fields are independent. Labels are not needed.

    Args:
        model (torch.nn.Module): A model with :obj:`model(batch) -> logits`.
        table (FieldTable): The rows to measure on.
        num_rows (int, optional): The number of rows to draw, at most half of
            the table. (default: :obj:`256`)
        seed (int, optional): The seed of the draws. (default: :obj:`0`)
        batch_size (int, optional): The number of rows at a time.
            (default: :obj:`2048`)
        num_bootstraps (int, optional): How often rows are drawn anew for the
            intervals. (default: :obj:`200`)

    Returns:
        pandas.DataFrame: A row for each field, in falling order of its score:
        :obj:`"field"`, :obj:`"score"`, and the ends :obj:`"low"` and
        :obj:`"high"` of the interval that holds the score over all rows with
        95 %. Its :obj:`attrs` say what the score is (:obj:`"unit"`) and on how
        many :obj:`"rows"` it was measured.
        :func:`~pyg_featgraph.plot.plot_importance` draws it.

    Raises:
        ValueError: If the table has a single row.
    """
    # Models work without it:
    import pandas as pd

    names = table.info.names
    effects = joint_effects(
        model,
        table,
        [(i,) for i in range(len(names))],
        num_rows,
        batch_size,
        seed,
    )
    ends = np.sqrt(bootstrap_intervals(effects, num_bootstraps, seed=seed))
    frame = pd.DataFrame(
        {
            'field': names,
            'score': effects.mean(-1).sqrt().numpy(),
            'low': ends[:, 0],
            'high': ends[:, 1],
        }
    )
    frame = frame.sort_values(
        'score', ascending=False, kind='stable', ignore_index=True
    )
    unit = f'effect on the {output_unit(model)}'
    frame.attrs = {'unit': unit, 'rows': effects.size(-1)}
    return frame
