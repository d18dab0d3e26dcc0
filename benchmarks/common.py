"""What the benchmarks share: interleaved timing and tables with JSON."""

import json
import platform
import statistics
import time
from pathlib import Path

import torch


def time_interleaved(functions, repeats):
    """Seconds of each function, in turns, so that noise hits all alike."""
    for function in functions.values():
        function()
    seconds = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def spread(values, scale=1.0, digits=0):
    """Median [min-max]."""
    low, mid, high = min(values), statistics.median(values), max(values)
    low, mid, high = (f'{scale * v:.{digits}f}' for v in (low, mid, high))
    return f'{mid} [{low}-{high}]'


def report(rows, path, facts):
    """Prints rows (dicts) as a Markdown table, and everything as JSON."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    print('| ' + ' | '.join(names) + ' |')
    print('| ' + ' | '.join('---' for _ in names) + ' |')
    for row in rows:
        print('| ' + ' | '.join(str(row.get(n, '')) for n in names) + ' |')
    facts = {
        **facts,
        'torch': torch.__version__,
        'threads': torch.get_num_threads(),
        'machine': platform.processor() or platform.machine(),
    }
    text = json.dumps({'facts': facts, 'rows': rows})
    if path is None:
        print(text)
    else:
        Path(path).write_text(text)
