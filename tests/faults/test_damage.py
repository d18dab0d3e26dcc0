"""Damaged, tampered and half-written files, and disks that are full."""

import json
import multiprocessing
import os
import random
import resource

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from pyg_featgraph.crossing import CrossFeatures
from pyg_featgraph.data import FieldEncoder, FieldInfo, FieldSchema
from pyg_featgraph.errors import DataError
from pyg_featgraph.files import SEAL, replacing, sealing
from pyg_featgraph.interactions import Interaction, InteractionSet
from pyg_featgraph.nn import FM, FieldModel

slow = pytest.mark.slow


def frame():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            'a': rng.choice(list('abcd'), 60),
            'b': rng.normal(size=60),
            'c': rng.integers(0, 9, 60).astype(str),
            'tags': rng.choice(['x|y', 'z', ''], 60),
            'image': list(rng.normal(size=(60, 2))),
            'y': rng.integers(0, 2, 60),
        }
    )


def make_encoder():
    schema = FieldSchema.infer(frame(), 'y').replace('tags', kind='multi')
    return FieldEncoder(schema).fit(frame())


def make_model():
    torch.manual_seed(0)
    info = FieldInfo(('a', 'b'), (4, 3), (1, 1), ('categorical', 'bucket'))
    return FM(info, 4)


def make_interactions():
    return InteractionSet(
        Interaction((a, b), i / 7, 'm', {'n': [1, None]})
        for i, (a, b) in enumerate(['ab', 'cd', 'ae', 'bd'])
    )


def make_crosses():
    return CrossFeatures([('a', 'c'), ('b', 'c')], min_count=2).fit(frame())


def of_encoder(encoder):
    table = encoder.transform(frame())
    return [table.slot_index, table.slot_value, table.y], encoder.schema


def of_model(model):
    return list(model.state_dict().values()), (model.info, model.config)


def of_crosses(crosses):
    return [torch.tensor(crosses.transform(frame()).to_numpy(int))], None


def of_interactions(found):
    return [], [(x, x.detail) for x in found]


FORMATS = {
    'encoder': (make_encoder, FieldEncoder.load, of_encoder),
    'model': (make_model, FieldModel.load, of_model),
    'interactions': (make_interactions, InteractionSet.load, of_interactions),
    'crosses': (make_crosses, CrossFeatures.load, of_crosses),
}


def is_equal(one, two):
    return (
        len(one[0]) == len(two[0])
        and all(map(torch.equal, one[0], two[0]))
        and one[1] == two[1]
    )


def damaged(data, rng):
    """Bytes that are flipped, lost, doubled, zero or of another place."""
    i, j = sorted(rng.sample(range(len(data) + 1), 2))
    flipped = bytes([data[i - 1] ^ 1 << rng.randrange(8)])
    return rng.choice(
        [
            data[: i - 1] + flipped + data[i:],
            data[:i],
            data[i:],
            data[:i] + data[j:],
            data[:j] + data[i:],
            data[:i] + bytes(j - i) + data[j:],
            data[:i] + rng.randbytes(j - i) + data[j:],
            data[:i] + data[i:j][::-1] + data[j:],
            data + data[i:j],
        ]
    )


@pytest.mark.parametrize('num', [40, pytest.param(600, marks=slow)])
@pytest.mark.parametrize('name', FORMATS)
def test_damage_is_found(name, num, tmp_path):
    make, load, content = FORMATS[name]
    path = tmp_path / 'file'
    make().save(path)
    data = path.read_bytes()
    assert is_equal(content(load(path)), content(make()))
    rng = random.Random(num)
    found = 0
    for _ in range(num):
        other = damaged(data, rng)
        path.write_bytes(other)
        if other == data:
            assert is_equal(content(load(path)), content(make()))
            continue
        with pytest.raises(DataError, match=r"file' is damaged.*Write it"):
            load(path)
        found += 1
    assert found > num / 2


def parts(path):
    """The JSON in a file, and how it is written with another one in place."""
    data = path.read_bytes()
    if data[:4] == b'PAR1':
        table = pq.read_table(path)
        meta = table.schema.metadata
        key = next(key for key in meta if key.startswith(b'pyg_featgraph'))

        def write(values):
            texts = {key: json.dumps(values), 'checksum': SEAL}
            with sealing(path) as temporary:
                pq.write_table(table.replace_schema_metadata(texts), temporary)

        return json.loads(meta[key]), write
    if data[:1] == b'{':

        def write(values):
            with sealing(path) as temporary:
                values = {'checksum': SEAL, **values}
                temporary.write_text(json.dumps(values))

        return json.loads(data) | {'checksum': SEAL}, write
    with safe_open(path, 'pt') as file:
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        meta = json.loads(file.metadata()['pyg_featgraph.model'])

    def write(values):
        texts = {'pyg_featgraph.model': json.dumps(values), 'checksum': SEAL}
        with sealing(path) as temporary:
            save_file(state, temporary, texts)

    return meta, write


WRONG = [
    *(None, True, 0, -1, 1, 7, 0.5, 10**30, 10**400, float('nan')),
    *(float('inf'), '', 'x', '\ud800', [], {}, [[]], {'a': 1}, ['x'], [1, 'a']),
]


def places(values, at=()):
    yield at
    if isinstance(values, dict | list):
        items = (
            values.items() if isinstance(values, dict) else enumerate(values)
        )
        for key, value in items:
            yield from places(value, (*at, key))


def tampered(values, rng):
    """Values in which one is another one, gone, or of another place."""
    values = json.loads(json.dumps(values))
    spots = [spot for spot in places(values) if spot and spot != ('checksum',)]
    spot = rng.choice(spots)
    inside = values
    for key in spot[:-1]:
        inside = inside[key]
    change = rng.randrange(4)
    if change == 0:
        del inside[spot[-1]]
    elif change == 1 and isinstance(inside, list):
        inside.insert(spot[-1], rng.choice(inside))
    else:
        inside[spot[-1]] = rng.choice(WRONG)
    return values


@pytest.mark.parametrize('num', [60, pytest.param(600, marks=slow)])
@pytest.mark.parametrize('name', FORMATS)
@pytest.mark.filterwarnings('ignore:Column')
def test_tampering_gives_no_bare_error(name, num, tmp_path):
    make, load, content = FORMATS[name]
    path = tmp_path / 'file'
    make().save(path)
    values, write = parts(path)
    write(values)
    assert is_equal(content(load(path)), content(make()))
    rng = random.Random(num)
    refused = named = 0
    for _ in range(num):
        other = tampered(values, rng)
        write(other)
        try:
            content(load(path))
        except DataError as error:
            refused += 1
            named += "file' holds no valid" in str(error)
        except Exception as error:
            raise AssertionError(f'{error!r} of {other}') from error
    # What can be loaded may still be at odds with the table:
    assert refused >= named > num / 3


def test_tampered_vocabulary(tmp_path):
    path = tmp_path / 'file'
    for make, load in (
        (make_encoder, FieldEncoder),
        (make_crosses, CrossFeatures),
    ):
        make().save(path)
        table = pq.read_table(path)
        columns = table.to_pydict()
        for name, value in (
            ('field', 10**6),
            ('key', None),
            ('key', columns['key'][-2]),
            ('key', 'x'),
            ('count', -1),
            ('count', None),
        ):
            other = [*columns[name][:-1], value]
            changed = pa.table(columns | {name: other})
            meta = table.schema.metadata | {b'checksum': SEAL.encode()}
            with sealing(path) as temporary:
                pq.write_table(changed.replace_schema_metadata(meta), temporary)
            if load is FieldEncoder and value == 'x':
                continue  # A category as good as any.
            with pytest.raises(DataError, match="file' holds no valid"):
                load.load(path)


def in_process(target, *args):
    process = multiprocessing.get_context('fork').Process(
        target=target, args=args
    )
    process.start()
    return process


def save_on_full_disk(obj, path, size, results):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    try:
        obj.save(path)
        results.put('saved')
    except OSError as error:
        results.put(str(error))
    except BaseException as error:
        results.put(repr(error))


@pytest.mark.parametrize('name', FORMATS)
def test_full_disk(name, tmp_path):
    make, load, content = FORMATS[name]
    path, obj = tmp_path / 'file', make()
    obj.save(path)
    data = path.read_bytes()
    results = multiprocessing.get_context('fork').SimpleQueue()
    for size in (0, 1, len(data) // 2, len(data) - 1):
        in_process(save_on_full_disk, obj, path, size, results).join()
        message = results.get()
        # The limit of a file stands in for that of a disk:
        assert 'Writing failed' in message
        assert 'File too large' in message
        assert str(path) in message
        assert path.read_bytes() == data
        assert list(tmp_path.iterdir()) == [path]
    in_process(save_on_full_disk, obj, path, len(data), results).join()
    assert results.get() == 'saved'
    assert is_equal(content(load(path)), content(obj))


def save_often(obj, path, num):
    for _ in range(num):
        obj.save(path)


@pytest.mark.parametrize('num', [10, pytest.param(150, marks=slow)])
@pytest.mark.parametrize('name', FORMATS)
def test_processes_at_once(name, num, tmp_path):
    make, load, content = FORMATS[name]
    path, obj = tmp_path / 'file', make()
    obj.save(path)
    expected = content(obj)
    processes = [in_process(save_often, obj, path, num) for _ in range(3)]
    while any(process.is_alive() for process in processes):
        assert is_equal(content(load(path)), expected)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert list(tmp_path.iterdir()) == [path]


def write_forever(obj, path):
    while True:
        obj.save(path)


@pytest.mark.parametrize('num', [4, pytest.param(60, marks=slow)])
@pytest.mark.parametrize('name', FORMATS)
def test_kills_while_saving(name, num, tmp_path):
    make, load, content = FORMATS[name]
    path, obj = tmp_path / 'file', make()
    obj.save(path)
    expected = content(obj)
    rng = random.Random(num)
    for _ in range(num):
        process = in_process(write_forever, obj, path)
        process.join(rng.uniform(0.01, 0.06))
        process.kill()
        process.join()
        assert is_equal(content(load(path)), expected)
        assert len(list(tmp_path.iterdir())) <= 2
    obj.save(path)
    assert list(tmp_path.iterdir()) == [path]


def test_no_process_of_that_number(tmp_path):
    # The next process may have any number, so that of a dead one is needed:
    process = in_process(os.getpid)
    process.join()
    with replacing(tmp_path / 'x') as temporary:
        name = temporary.name.replace(str(os.getpid()), str(process.pid))
        (tmp_path / name).write_text('left behind')
        temporary.write_text('x')
    with replacing(tmp_path / 'x') as temporary:
        temporary.write_text('x')
    assert list(tmp_path.iterdir()) == [tmp_path / 'x']
