"""Kills trainings and searches at random moments and lets them go on.

Prints as JSON what has come of it. All of them are children of this process,
which has imported everything and computed nothing, so that a kill costs little.
"""

import argparse
import io
import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

import torch

from pyg_featgraph.data import FieldEncoder
from pyg_featgraph.datasets import PlantedInteractions
from pyg_featgraph.nn import AIM, FIVES, GraphFM
from pyg_featgraph.search import aim_search, fives_search
from pyg_featgraph.training import fit

KINDS = ('fit', 'fives', 'aim')
SHARED = {'enable_progress_bar': False, 'accelerator': 'cpu', 'batch_size': 32}
#: Where a process can end itself: in the middle of a file, before and after
#: it is on the disk, before and after it takes the place of another one.
PLACES = ('write', 'sync', 'synced', 'replace', 'replaced')


def run(kind, parts, path):
    """One training or search, with dropout, and all that it gives."""
    torch.manual_seed(1)
    info = parts[0].info
    options = {'directory': path, 'resume': True, 'save_steps': 2, **SHARED}
    if kind == 'fit':
        model = GraphFM(info, 4, 4, num_layers=1, dropout=0.3)
        options |= {'scheduler': 'cosine', 'warmup': 2, 'ema_decay': 0.9}
        result = fit(model, *parts, max_epochs=3, **options)
        metrics, found = result.metrics, None
    elif kind == 'fives':
        model = FIVES(info, 4, 2, dropout=0.2)
        result = fives_search(
            model, *parts, max_epochs=2, retrain='scratch', **options
        )
        metrics, found = result.metrics, result.interactions.to_json()
    else:
        model = AIM(info, 4, functions=['inner'])
        result = aim_search(
            model,
            *parts,
            max_epochs=2,
            hidden_channels=[4],
            dropout=0.2,
            **options,
        )
        metrics = {k: x.metrics for k, x in result.stages.items()}
        model, found = result.model, result.interactions.to_json()
    return {'metrics': metrics, 'found': found, 'state': model.state_dict()}


def in_child(kind, parts, path, out, place=None, count=0):
    """Starts a run in a child, which may end itself at a place."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        torch.set_num_threads(1)
        if place is not None:
            end_at(place, count)
        result = run(kind, parts, path)
        torch.save(result, out)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def end_at(place, count):
    """Lets the process kill itself when it comes to a place again."""
    left = [count]

    def now():
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(function, before, after):
        def call(*args, **kwargs):
            if place == before:
                now()
            result = function(*args, **kwargs)
            if place == after:
                now()
            return result

        return call

    save = torch.save

    def half(value, file, **kwargs):
        buffer = io.BytesIO()
        save(value, buffer, **kwargs)
        content = buffer.getvalue()
        with open(file, 'wb') as stream:
            stream.write(content[: len(content) // 2])
            stream.flush()
            now()
            stream.write(content[len(content) // 2 :])

    if place == 'write':
        torch.save = half
    os.fsync = around(os.fsync, 'sync', 'synced')
    os.replace = around(os.replace, 'replace', 'replaced')


def wait(pid, seconds=None):
    """The signal that has ended a child, and its exit code."""
    if seconds is not None:
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return os.WTERMSIG(status), None
    return None, os.WEXITSTATUS(status)


def is_same(one, two):
    states = one.pop('state'), two.pop('state')
    return (
        one == two
        and states[0].keys() == states[1].keys()
        and all(torch.equal(x, states[1][k]) for k, x in states[0].items())
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('folder', type=Path)
    parser.add_argument('kills', type=int)
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    data = PlantedInteractions(
        300, {2: 1}, num_numeric=1, num_categorical=3, seed=1
    )
    table = FieldEncoder(data.schema()).fit_transform(data.frame())
    parts = table.split([0.5, 0.3, 0.2])
    args.folder.mkdir(parents=True, exist_ok=True)
    seconds = {}
    for kind in KINDS:
        out = args.folder / f'{kind}.pt'
        begin = time.monotonic()
        pid = in_child(kind, parts, args.folder / kind, out)
        assert wait(pid) == (None, 0), kind
        seconds[kind] = time.monotonic() - begin
    done = dict.fromkeys(('kills', 'aimed', 'runs', 'failed', 'wrong'), 0)
    while done['kills'] < args.kills:
        kind = KINDS[done['runs'] % len(KINDS)]
        path = args.folder / f'run-{done["runs"]}'
        out = args.folder / 'out.pt'
        out.unlink(missing_ok=True)
        for _ in range(rng.randint(1, 3)):
            place, moment = None, rng.uniform(0, seconds[kind])
            if rng.random() < 0.5:
                place, moment = rng.choice(PLACES), None
            pid = in_child(kind, parts, path, out, place, rng.randrange(12))
            signum, code = wait(pid, moment)
            done['kills'] += signum == signal.SIGKILL
            done['aimed'] += signum == signal.SIGKILL and place is not None
            done['failed'] += code not in (None, 0)
        pid = in_child(kind, parts, path, out)
        if wait(pid) == (None, 0):
            expected = torch.load(args.folder / f'{kind}.pt')
            done['wrong'] += not is_same(torch.load(out), expected)
        else:
            done['failed'] += 1
        done['left'] = done.get('left', 0) + len([*path.rglob('.*.tmp')])
        done['runs'] += 1
    print(json.dumps(done))


if __name__ == '__main__':
    main()
