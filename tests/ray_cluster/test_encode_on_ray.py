"""Files that are encoded on a local cluster of two workers."""

import numpy as np
import pandas as pd
import pytest

from pyg_featgraph.data import FieldEncoder, FieldSchema, RowFiles
from pyg_featgraph.errors import DataError

ray = pytest.importorskip(
    'ray', reason="Ray is missing: pip install 'pyg-featgraph[ray]'"
)
from pyg_featgraph.ray import encode_on_ray, fit_encoder_on_ray  # noqa: E402

pytestmark = pytest.mark.slow

USER = {'kind': 'categorical', 'min_count': 3}


@pytest.fixture(scope='module', autouse=True)
def _cluster():
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def write_log(folder):
    """Three files of different lengths, with gaps and rare values."""
    rng = np.random.default_rng(0)
    for k, num_rows in enumerate((9000, 500, 7001)):
        pd.DataFrame(
            {
                'click': rng.integers(0, 2, num_rows),
                'user': rng.zipf(1.3, num_rows) % 3000,
                'price': rng.normal(size=num_rows).round(3),
                'word': rng.choice(['a', 'b', None], num_rows),
            }
        ).to_csv(folder / f'{k}.csv', index=False)
    return RowFiles(folder)


def test_same_ids_and_files_as_in_one_process(tmp_path):
    (tmp_path / 'log').mkdir()
    files = write_log(tmp_path / 'log')
    schema = FieldSchema.infer(
        files.head(1000), label='click', overrides={'user': USER}
    )
    alone = FieldEncoder(schema).fit(files)
    found = fit_encoder_on_ray(schema, files)
    for name, encoder in (('alone', alone), ('ray', found)):
        encoder.save(tmp_path / f'{name}.parquet')
    table = alone.transform(files, tmp_path / 'alone')
    other = encode_on_ray(found, files, tmp_path / 'ray')
    assert len(other) == 16_501
    assert other.info == table.info
    names = sorted(path.name for path in (tmp_path / 'alone').iterdir())
    assert len(names) >= 2
    for name in names:
        one, two = (tmp_path / x / name for x in ('alone', 'ray'))
        assert one.read_bytes() == two.read_bytes(), name
    one, two = (
        FieldEncoder.load(tmp_path / f'{name}.parquet')
        for name in ('alone', 'ray')
    )
    assert one.report().equals(two.report())


def test_errors_name_the_file(tmp_path):
    (tmp_path / 'log').mkdir()
    files = write_log(tmp_path / 'log')
    schema = FieldSchema.infer(files.head(1000), label='click')
    text = (tmp_path / 'log' / '1.csv').read_text().splitlines()
    text[3] = '1,7,cheap,a'
    (tmp_path / 'log' / '1.csv').write_text('\n'.join(text))
    with pytest.raises(Exception, match='cheap') as error:
        fit_encoder_on_ray(schema, files)
    assert '1.csv' in str(error.value)
    assert DataError.__name__ in str(error.value)
