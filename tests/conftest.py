import os
import warnings
from pathlib import Path

import pytest
import torch

# Kernels for GPUs run in the interpreter of Triton where there is no GPU, which
# has to be asked for before anything imports it:
if not torch.cuda.is_available():
    os.environ.setdefault('TRITON_INTERPRET', '1')

from pyg_featgraph.data import FieldEncoder
from pyg_featgraph.datasets import PlantedInteractions

# Workers that share the cores would only wait for each other:
if 'PYTEST_XDIST_WORKER' in os.environ:
    torch.set_num_threads(1)

DATA = Path(__file__).parents[2] / 'shared' / 'data'


@pytest.fixture(scope='session')
def real_data():
    """The folder with real data sets, where there is one."""
    if not DATA.is_dir():
        pytest.skip('the real data sets are not on this machine')
    return DATA


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(scope='session')
def planted():
    return PlantedInteractions(
        3000, {2: 2}, num_numeric=3, num_categorical=4, seed=1
    )


@pytest.fixture(scope='session')
def table(planted):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        return FieldEncoder(planted.schema()).fit_transform(planted.frame())


@pytest.fixture(scope='session')
def info(table):
    return table.info
