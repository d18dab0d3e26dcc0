"""A click log in the format of Criteo, of any length, whose categories have
long tails, and which can drift from day to day.
"""

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

#: The distinct categories of each column, as those of Kaggle's 45.8 M rows.
CARDINALITIES = (
    *(1460, 583, 10_131_227, 2_202_608, 305, 24, 12_517, 633, 3, 93_145),
    *(5683, 8_351_593, 3194, 27, 14_992, 5_461_306, 10, 5652, 2173, 4),
    *(7_046_547, 18, 15, 286_181, 105, 142_572),
)
NAMES = (
    'label',
    *(f'I{i}' for i in range(1, 14)),
    *(f'C{i}' for i in range(1, 27)),
)
CHUNK = 100_000
_HEX = np.array([f'{i:02x}' for i in range(256)], 'S2')


def chunk(number, num_rows=CHUNK, seed=0):
    """Some rows of a log: always the same for the same numbers.

    The rank of a category is log-uniform, so that its share falls as one over
    the rank, up to as many as Criteo has. Labels follow from four columns.
    """
    rng = np.random.default_rng([seed, number])
    columns, logit = [], np.full(num_rows, -1.2)
    for i in range(13):
        x = np.floor(np.exp(rng.normal(1 + 0.3 * (i % 5), 1.5, num_rows))) - 1
        columns.append(
            pa.array(x.astype(np.int64), mask=rng.random(num_rows) < 0.04 * i)
        )
    for j, size in enumerate(CARDINALITIES):
        rank = (float(size) ** rng.random(num_rows)).astype(np.uint64)
        share = 0.76 if j == 21 else 0.44 if j in (18, 19, 24, 25) else 0.03
        there = rng.random(num_rows) >= share
        code = (rank * 2654435761 + 40503 * j) % 2**32
        columns.append(_texts(code.astype('>u4'), there))
        if j in (2, 5, 9, 11):
            logit += np.where(there, effect(rank, j), 0)
    label = rng.random(num_rows) < 1 / (1 + np.exp(-logit))
    columns.insert(0, pa.array(label.astype(np.int8)))
    return pa.table(columns, names=NAMES)


def effect(rank, salt=0):
    """What a category does to the logit: uniform, with deviation one half."""
    code = (rank + np.uint64(977 * salt)) * np.uint64(0x9E3779B97F4A7C15)
    return (code >> np.uint64(40)).astype(float) / 2**24 * 3**0.5 - 3**0.5 / 2


def _texts(code, there):
    text = _HEX[code.view(np.uint8)].tobytes()  # eight letters each
    offsets = pa.py_buffer(np.arange(0, len(text) + 1, 8))
    valid = pa.py_buffer(np.packbits(there, bitorder='little'))
    buffers = [valid, offsets, pa.py_buffer(text)]
    return pa.Array.from_buffers(pa.large_string(), len(there), buffers)


def write(path, num_rows, seed=0):
    """Writes a log as text: tab separated, without a header."""
    options = pacsv.WriteOptions(
        include_header=False, delimiter='\t', quoting_style='none'
    )
    schema = chunk(0, 1, seed).schema
    with pacsv.CSVWriter(path, schema, write_options=options) as file:
        for number, start in enumerate(range(0, num_rows, CHUNK)):
            size = min(CHUNK, num_rows - start)
            file.write_table(chunk(number, size, seed))
