r"""Figures that notebooks show, imported only where Matplotlib is there."""

from __future__ import annotations

from io import BytesIO

from matplotlib.figure import Figure

# Twice as many pixels as the page takes, for sharp letters:
_DPI = 160


class ShownFigure(Figure):
    r"""A figure that is shown where it is the result of a cell.

    Notebooks know by themselves only how to show figures of pyplot.
    """

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        buffer = BytesIO()
        self.savefig(buffer, format='png', dpi=_DPI)
        width, height = self.get_size_inches() * _DPI / 2
        return buffer.getvalue(), {'width': int(width), 'height': int(height)}
