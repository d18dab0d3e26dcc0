"""Cells of the comparison: one contestant on one table with one seed. Each is
a file, so that a run that was stopped or killed goes on where it was.
"""

import time
import traceback
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from comparison import settings, tasks
from comparison.registry import contestant
from comparison.tables import SOURCES, cut, read_file
from pyg_featgraph.files import read_json, write_json
from pyg_featgraph.progress import progress_bar, say


@dataclass(frozen=True)
class Place:
    """Where things are: the real data, or a file of one's own, what is
    computed, and the settings.
    """

    root: Path
    output: Path
    settings: Path
    file: Path | None = None
    label: str | None = None
    task: str | None = None

    def source(self, name):
        if self.file is not None:
            return read_file(self.file, self.label, self.task)
        return SOURCES[name](self.root)

    def cell(self, table, name, seed):
        return self.output / 'cells' / table / name / f'{seed}.json'

    def settings_of(self, table, name):
        return self.settings / table / f'{name}.json'

    def trials_of(self, table, name):
        return self.output / 'trials' / table / name


@lru_cache(maxsize=1)
def _table(place, name, seed):
    return cut(_source(place, name), seed)


@lru_cache(maxsize=1)
def _source(place, name):
    return place.source(name)


def compute(place, table, name, seed, threads):
    """Trains a contestant and writes the cell, also if it fails."""
    torch.set_num_threads(threads)
    known = contestant(name)
    chosen = settings.read(place.settings_of(table, name), known)
    cell = {'table': table, 'contestant': name, 'seed': seed}
    cell |= {'settings': chosen}
    start = time.perf_counter()
    try:
        with threadpool_limits(threads):
            data = _table(place, table, seed)
            cell['task'] = data.task
            cell['rows'] = [len(df) for df in data.parts]
            start = time.perf_counter()
            outcome = known.run(data, chosen, seed)
        cell['seconds'] = time.perf_counter() - start
        cell['parameters'] = outcome.parameters
        _, valid, test = data.labels
        cell['valid loss'] = tasks.loss(data.task, valid, outcome.valid)
        scores = tasks.metrics(data.task, test, outcome.test)
        if outcome.found is not None:
            pairs = [x for x in data.truth if len(x) == 2]
            scores['p@10'] = outcome.found.precision_at(10, pairs)
        cell['metrics'] = {k: float(v) for k, v in scores.items()}
    except Exception as error:
        cell['error'] = f'{type(error).__name__}: {error}'
        cell['traceback'] = traceback.format_exc()
    path = place.cell(table, name, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, cell)
    return cell


def tune(place, table, name, trials, threads):
    """Chooses the settings of a contestant on a table."""
    torch.set_num_threads(threads)
    with threadpool_limits(threads):
        settings.choose(
            place.settings_of(table, name),
            contestant(name),
            _table(place, table, settings.SEED),
            trials,
            place.trials_of(table, name),
        )


def is_done(place, table, name, seed):
    """Whether there is a cell, without an error and with the settings of
    today.
    """
    path = place.cell(table, name, seed)
    if not path.exists():
        return False
    cell = read_json(path, 'cell')
    chosen = settings.read(place.settings_of(table, name), contestant(name))
    return 'error' not in cell and cell['settings'] == chosen


def run(function, calls, jobs, what):
    """Calls a function with each of the arguments, several at a time in
    processes of their own. An error is told and does not stop the others.
    """
    work = Parallel(jobs, return_as='generator_unordered')(
        delayed(_attempt)(function, args) for args in calls
    )
    for message in progress_bar(work, desc=what, total=len(calls)):
        if message:
            say(message)


def _attempt(function, args):
    try:
        cell = function(*args) or {}
        error = cell.get('error')
    except Exception as raised:
        error = f'{type(raised).__name__}: {raised}'
    names = ' '.join(str(x) for x in args if not isinstance(x, Place))
    return error and f'{names}: {error}'
