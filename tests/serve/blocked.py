"""Scores rows where neither torch nor this package can be imported.

    python blocked.py FOLDER ROWS.json OUT.npy SIZE...

Writes the scores of the first rows and of the first row alone.
"""

import json
import sys

BLOCKED = ('torch', 'pyg_featgraph', 'pandas', 'pyarrow', 'sklearn', 'scipy')
sys.modules.update(dict.fromkeys(BLOCKED))
folders, rows_path, out_path, *sizes = sys.argv[1:]
sys.path.insert(0, folders.split(':')[0])

import numpy as np  # noqa: E402
from scorer import Scorer  # noqa: E402

with open(rows_path) as file:
    rows = json.load(file)
out = {}
for number, folder in enumerate(folders.split(':')):
    scorer = Scorer(folder)
    for size in map(int, sizes):
        out[f'{number} {size}'] = scorer.score(rows[:size])
    out[f'{number} row'] = scorer.score(rows[0])
np.savez(out_path, **out)
