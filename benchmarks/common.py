"""What the benchmarks share: timing, memory, tables with JSON."""

import json
import multiprocessing
import platform
import statistics
import time
from pathlib import Path

import torch


def uniform(decay, num_rows):
    """One rate and one L2 penalty (of the mean loss) for all parameters of a
    training, with which the settings of the benchmarks were chosen.
    """
    return {
        'optimizer': 'Adam',
        'linear_scale': None,
        'weight_decay': decay,
        'embedding_l2': decay * num_rows,
    }


def time_interleaved(functions, repeats, clock=time.perf_counter):
    """Seconds of each function, in turns, so that noise hits all alike."""
    for function in functions.values():
        function()
    seconds = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            start = clock()
            function()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds[name].append(clock() - start)
    return seconds


def peak_memory(make, *args):
    """Megabytes that :obj:`make(*args)()` takes, in a process of its own."""
    context = multiprocessing.get_context('spawn')
    queue = context.Queue()
    process = context.Process(
        target=_peak_memory, args=(make, args, torch.get_num_threads(), queue)
    )
    process.start()
    process.join()
    if process.exitcode != 0:
        raise SystemExit(f'{args} failed')
    return queue.get()


def _peak_memory(make, args, threads, queue):
    torch.set_num_threads(threads)
    step = make(*args)
    # Imports may have had a higher peak, which Linux forgets if told so:
    Path('/proc/self/clear_refs').write_text('5')
    before = _peak_kilobytes()
    step()
    queue.put((_peak_kilobytes() - before) / 1024)


def _peak_kilobytes():
    text = Path('/proc/self/status').read_text()
    return int(text.split('VmHWM:')[1].split()[0])


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
