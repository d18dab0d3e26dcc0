r"""Field graphs with learnable edges for tabular and click-through data."""

__version__ = '0.1.0'
