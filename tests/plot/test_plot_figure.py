import sys

import numpy as np
import pytest
from plot_parts import FOUND, ROW, importance, pair, weights

from pyg_featgraph.plot import (
    plot_comparison,
    plot_counts,
    plot_edge_weights,
    plot_importance,
    plot_interactions,
    plot_layer_graphs,
    plot_orders,
    plot_pair_effects,
    plot_subset_members,
    plot_subset_sizes,
    plot_waterfall,
    save_figure,
)


def test_save(tmp_path):
    figure = plot_interactions(FOUND)
    path = tmp_path / 'figure.png'
    for name, magic in (
        ('figure.png', b'\x89PNG'),
        ('figure', b'\x89PNG'),
        ('figure.pdf', b'%PDF'),
    ):
        save_figure(figure, tmp_path / name)
        assert (tmp_path / name).read_bytes()[:4] == magic
    before = path.read_bytes()
    save_figure(figure, path, dpi=30)
    assert len(path.read_bytes()) < len(before)


def test_failed_save_leaves_the_file(tmp_path):
    path = tmp_path / 'figure.png'
    path.write_text('before')
    figure = plot_interactions(FOUND)
    figure.axes[0].set_title('$\\unknown$')
    with pytest.raises(ValueError, match='unknown'):
        save_figure(figure, path)
    assert path.read_text() == 'before'
    assert list(tmp_path.iterdir()) == [path]


def test_pyplot_is_left_alone(monkeypatch):
    monkeypatch.setitem(sys.modules, 'matplotlib.pyplot', None)
    FOUND.plot()
    plot_edge_weights(weights(1, 1, 3), list('abc'), ['p'])
    plot_layer_graphs(np.ones((1, 3, 3)), list('abc'), marks=['ab'])
    plot_counts(FOUND, highlight=1, significance=2)
    plot_subset_members(np.ones((3, 2)), list('abc'), marks='a')
    plot_subset_sizes([[1, 3]], 3)
    plot_orders(np.ones((2, 3, 4), dtype=int))
    plot_waterfall(ROW)
    plot_pair_effects(pair(2, 3))
    plot_importance(importance(['a']))
    plot_comparison(FOUND, FOUND)


def test_notebooks_show_figures():
    for figure in (FOUND.plot(), plot_layer_graphs(np.ones((1, 3, 3)), 'abc')):
        data, size = figure._repr_png_()
        assert data[:4] == b'\x89PNG'
        # The header has the numbers of pixels, two for one on the page:
        pixels = np.frombuffer(data[16:24], '>i4')
        shown = np.array([size['width'], size['height']])
        assert abs(pixels - 2 * shown).max() <= 2
