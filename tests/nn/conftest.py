import shutil

import pytest

from pyg_featgraph.nn.kernels.backend import VARIABLE


@pytest.fixture(params=['portable', 'native'])
def kernels(request, monkeypatch):
    """Lets a test run with each form of the kernels."""
    if request.param == 'native' and not shutil.which('c++'):
        pytest.skip('there is no C++ compiler on this machine')
    monkeypatch.setenv(VARIABLE, request.param)
    return request.param
