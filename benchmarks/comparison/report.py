"""The cells as Markdown, JSON and a picture."""

import json
import platform

import numpy as np
import pandas as pd
import torch
from matplotlib import pyplot as plt

from comparison.tasks import MAIN
from pyg_featgraph.files import read_json

#: Digits of what is no score.
DIGITS = {'seconds': 1, 'parameters': 0, 'p@10': 2}


def collect(place, tables, names, seeds):
    """The cells that are there, and those with errors."""
    cells, errors = [], []
    for table in tables:
        for name in names:
            for seed in seeds:
                path = place.cell(table, name, seed)
                if path.exists():
                    cell = read_json(path, 'cell')
                    tuned = place.settings_of(table, name).exists()
                    cell['chosen'] = 'tuned' if tuned else 'default'
                    (errors if 'error' in cell else cells).append(cell)
    return cells, errors


def write(place, cells, errors):
    """Writes `report.md`, `report.json` and `report.png`, and returns the
    first.
    """
    text = markdown(cells, errors)
    place.output.mkdir(parents=True, exist_ok=True)
    (place.output / 'report.md').write_text(text)
    facts = {
        'torch': torch.__version__,
        'machine': platform.processor() or platform.machine(),
    }
    everything = {'facts': facts, 'cells': cells, 'errors': errors}
    path = place.output / 'report.json'
    path.write_text(json.dumps(everything, indent=1))
    if cells:
        draw(cells, place.output / 'report.png')
    return text


def frame(cells):
    """A row for each cell, a column for each score."""
    return pd.DataFrame(
        [
            {
                **{k: cell[k] for k in ('table', 'contestant', 'seed')},
                'settings': cell['chosen'],
                **cell['metrics'],
                'seconds': cell['seconds'],
                'parameters': cell['parameters'],
            }
            for cell in cells
        ]
    )


def markdown(cells, errors):
    """The summary, a table for each table, and what went wrong."""
    parts = []
    if cells:
        tasks = {cell['table']: cell['task'] for cell in cells}
        df = frame(cells)
        parts.append(_summary(df, tasks))
        parts += [_details(df, name, task) for name, task in tasks.items()]
    if errors:
        lines = [
            f'- {e["table"]}, {e["contestant"]}, seed {e["seed"]}: {e["error"]}'
            for e in errors
        ]
        parts.append('\n'.join(['## Errors', '', *lines]))
    return '\n\n'.join(parts or ['Nothing has been computed.']) + '\n'


def ranked(df, task):
    """The names of contestants on one table, the best one first."""
    key, more = MAIN[task]
    return df.groupby('contestant')[key].mean().sort_values(ascending=not more)


def _summary(df, tasks):
    columns = {}
    for name, task in tasks.items():
        part = df[df['table'] == name]
        key, _ = MAIN[task]
        texts = part.groupby('contestant')[key].agg(_spread)
        best = ranked(part, task).index[0]
        texts[best] = f'**{texts[best]}**'
        columns[f'{name}, {key}'] = texts
    order = dict.fromkeys(df['contestant'])
    table = pd.DataFrame(columns).reindex(list(order)).fillna('')
    return '## Summary\n\n' + _table(table, 'contestant')


def _details(df, name, task):
    df = df[df['table'] == name].dropna(axis=1, how='all')
    key, _ = MAIN[task]
    order = ranked(df, task).index
    scores = df.set_index(['contestant', 'seed'])[key].unstack('contestant')
    behind = scores.sub(scores[order[0]], axis=0)
    first = ['contestant', 'settings']
    rows = {}
    for contestant in order:
        part = df[df['contestant'] == contestant]
        row = {'settings': part['settings'].iloc[0], 'seeds': len(part)}
        row['to the best'] = _spread(behind[contestant].dropna())
        for column in df.columns.drop([*first, 'table', 'seed']):
            row[column] = _spread(part[column])
        rows[contestant] = row
    table = pd.DataFrame.from_dict(rows, orient='index')
    return f'## {name}\n\n' + _table(table, 'contestant')


def _spread(values):
    """Mean ± standard deviation over seeds."""
    digits = DIGITS.get(values.name, 4)
    text = f'{values.mean():.{digits}f}'
    if len(values) > 1:
        text += f' ± {values.std():.{digits}f}'
    return text


def _table(df, index):
    lines = [[index, *df.columns], ['---'] * (1 + df.shape[1])]
    lines += [[name, *map(str, row)] for name, *row in df.itertuples()]
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)


def draw(cells, path):
    """A panel for each table, a dot for each seed, a line at the mean."""
    df = frame(cells)
    tasks = {cell['table']: cell['task'] for cell in cells}
    count = df.groupby('table')['contestant'].nunique().max()
    wide = min(3, len(tasks))
    high = -(-len(tasks) // wide)
    figure, axes = plt.subplots(
        high,
        wide,
        figsize=(4.5 * wide, high * (1.2 + 0.22 * count)),
        layout='constrained',
        squeeze=False,
    )
    for ax in axes.flat[len(tasks) :]:
        ax.set_axis_off()
    for ax, (name, task) in zip(axes.flat, tasks.items(), strict=False):
        part = df[df['table'] == name]
        key, _ = MAIN[task]
        means = ranked(part, task)[::-1]
        for place, (contestant, mean) in enumerate(means.items()):
            values = part.loc[part['contestant'] == contestant, key]
            ax.plot(values, np.full(len(values), place), 'o', ms=4, alpha=0.6)
            ax.plot([mean, mean], [place - 0.35, place + 0.35], 'k', lw=1.5)
        ax.set_yticks(range(len(means)), means.index)
        ax.grid(axis='x', alpha=0.3)
        ax.set_title(name)
        ax.set_xlabel(f'{key} of the test rows')
    figure.savefig(path, dpi=120)
    plt.close(figure)
