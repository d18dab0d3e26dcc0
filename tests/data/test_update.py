import numpy as np
import pandas as pd
import pytest

from pyg_featgraph.data import Field, FieldEncoder, FieldSchema
from pyg_featgraph.errors import DataError


def frame(**counts):
    """A column of categories, each so often, and labels."""
    x = [name for name, count in counts.items() for _ in range(count)]
    return pd.DataFrame({'x': x, 'y': np.arange(len(x)) % 2})


def encoder_of(df, min_count=3, **options):
    schema = FieldSchema((Field('x', 'categorical', min_count),), 'y')
    return FieldEncoder(schema, **options).fit(df)


def ids(encoder):
    codec = encoder.codecs[0]
    return dict(zip(codec.keys, codec.counts.tolist(), strict=True))


def test_old_ids_stay_and_new_ones_follow():
    encoder = encoder_of(frame(a=5, b=3, c=2))
    assert ids(encoder) == {'a': 5, 'b': 3}
    before = encoder.transform(frame(a=1, b=1)).slot_index
    encoder.update(frame(c=2, d=3, e=4, b=1))
    # What was rare before is counted from the start:
    assert [*ids(encoder).items()] == [('a', 5), ('b', 4), ('e', 4), ('d', 3)]
    assert encoder.info.sizes == (6,)
    after = encoder.transform(frame(a=1, b=1, c=1, e=1, d=1)).slot_index
    assert after[:2].tolist() == before.tolist()
    assert after[2:].tolist() == [[1], [4], [5]]


def test_rare_counts_go_on(tmp_path):
    encoder = encoder_of(frame(a=5, b=3, c=2), keep_rare=True)
    encoder.save(tmp_path / 'encoder')
    encoder = FieldEncoder.load(tmp_path / 'encoder')
    assert encoder.keep_rare
    encoder.update(frame(d=2, e=1, b=1))
    assert ids(encoder) == {'a': 5, 'b': 4}
    encoder.save(tmp_path / 'encoder')
    encoder = FieldEncoder.load(tmp_path / 'encoder')
    encoder.update(frame(c=1, e=1, d=1))
    assert ids(encoder) == {'a': 5, 'b': 4, 'c': 3, 'd': 3}
    assert encoder.codecs[0].rare.to_dict() == {'e': 2}
    forgetful = encoder_of(frame(a=5, c=2))
    forgetful.save(tmp_path / 'encoder')
    assert FieldEncoder.load(tmp_path / 'encoder').codecs[0].rare is None


def test_files_update_as_tables_do(tmp_path):
    frame(a=1, c=3, d=3).to_csv(tmp_path / 'day.csv', index=False)
    one, two = (encoder_of(frame(a=5, b=3)) for _ in range(2))
    one.update(tmp_path / 'day.csv')
    two.update(frame(a=1, c=3, d=3))
    assert [*ids(one).items()] == [*ids(two).items()]
    assert [*ids(one)] == ['a', 'b', 'c', 'd']


def test_only_as_many_make_room_as_come():
    encoder = encoder_of(frame(a=5, b=4, c=3))
    reused = encoder.update(frame(a=1, d=3), evict=3)
    # b and c have no new row, a has one; the first of the rarest goes:
    assert reused.tolist() == [3]
    assert [*ids(encoder).items()] == [('a', 6), ('d', 3), ('c', 3)]
    assert encoder.update(frame(a=4), evict=9).tolist() == []
    assert [*ids(encoder)] == ['a', 'd', 'c']


def test_wrong_updates():
    encoder = encoder_of(frame(a=5, b=3))
    with pytest.raises(DataError, match="'2' is none of the 2 classes"):
        encoder.update(frame(a=5).assign(y=[0, 2, 0, 2, 2]))
    with pytest.raises(DataError, match='no rows'):
        encoder.update(frame())
    with pytest.raises(RuntimeError, match='Call fit'):
        FieldEncoder(encoder.schema).update(frame(a=1))
    assert ids(encoder) == {'a': 5, 'b': 3}
