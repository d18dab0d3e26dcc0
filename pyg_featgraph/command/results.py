r"""The commands that use what a training has written."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from pyg_featgraph.command.parsers import CONFIGURED, read_config
from pyg_featgraph.command.tables import (
    Encoding,
    load_frames,
    read_table,
)
from pyg_featgraph.command.training import score_table, write_scores
from pyg_featgraph.data import FieldTable
from pyg_featgraph.errors import DataError, require
from pyg_featgraph.explain import FieldPerturbation, glider
from pyg_featgraph.interactions import InteractionSet
from pyg_featgraph.nn import FieldModel
from pyg_featgraph.plot import save_figure


def interactions(
    directory: str,
    by: str | None = None,
    table: str | None = None,
    top: int = 20,
    rows: int = 256,
    seed: int = 0,
) -> None:
    r"""Ranks the interactions of a model, prints them, and writes them into
    its folder as :obj:`interactions.json` and :obj:`interactions.png`, with
    :obj:`by` in the name if it is told.

    Args:
        directory (str): The folder of a result.
        by (str, optional): :obj:`"effect"` ranks pairs by what they do to
            the logit, :obj:`"edges"` by the edges of the model, and
            :obj:`"glider"` by the number of rows in which GLIDER finds them.
            (default: what a search has found, or else by effect)
        table (str, optional): A file with the rows to look at. (default: the
            validation rows of the training)
        top (int, optional): How many to print and draw; GLIDER finds no more
            than these, of which none lies inside another. (default: :obj:`20`)
        rows (int, optional): How many rows to draw from the table.
            (default: :obj:`256`)
        seed (int, optional): The seed of the draw. (default: :obj:`0`)
    """
    folder = _folder(directory)
    found = _rank(folder, by, table, top, rows, seed)
    path = folder / f'interactions{"-" + by if by else ""}.json'
    found.save(path)
    if not found:
        print('There are no interactions')
        return
    shown = found.top(top)
    save_figure(shown.plot(top), path.with_suffix('.png'))
    width = max(len(f'{x.score:.4g}') for x in shown)
    for rank, x in enumerate(shown, start=1):
        print(f'{rank:4d}  {x.score:{width}.4g}  {" x ".join(x.fields)}')


def export(directory: str, formats: Sequence[str] = ('onnx', 'pt2')) -> None:
    r"""Writes a model in forms that are served without this package, beside
    it, in the folder :obj:`export`.

    Args:
        directory (str): The folder of a result.
        formats (list of str, optional): :obj:`"onnx"` and :obj:`"pt2"`.
            (default: both)
    """
    folder = _folder(directory)
    from pyg_featgraph.serve import export as write

    encoding = Encoding.load(folder)
    write(
        _model(folder),
        encoding.encoder,
        folder / 'export',
        tuple(formats),
        crosses=encoding.crosses,
    )
    print(folder / 'export')


def score(directory: str, table: str, output: str | None = None) -> None:
    r"""Writes what a model predicts for the rows of a table, in their order:
    for each the probability of the second of two classes, those of several,
    or a number.

    Args:
        directory (str): The folder of a result.
        table (str): The file of the rows, CSV or Parquet.
        output (str, optional): The file to write, CSV or Parquet.
            (default: text on the standard output)
    """
    folder = _folder(directory)
    encoding, model = Encoding.load(folder), _model(folder)
    scores = score_table(encoding, model, _encode(encoding, table))
    if output is None:
        scores.to_csv(sys.stdout, index=False)
    else:
        write_scores(scores, Path(output))


def _folder(directory: str) -> Path:
    folder = Path(directory)
    names = ('config.yaml', 'encoder.parquet', 'model.safetensors')
    if not all((folder / name).exists() for name in names):
        raise DataError(
            f"'{folder}' holds no result of 'featgraph train' or 'search'"
        )
    return folder


def _model(folder: Path) -> FieldModel:
    # A class of one's own is known once its module is there:
    yaml = require('yaml', 'cli')
    config = yaml.safe_load((folder / 'config.yaml').read_text('utf-8'))
    module, _, _ = config['model']['class_path'].rpartition('.')
    importlib.import_module(module)
    return FieldModel.load(folder / 'model.safetensors')


def _encode(encoding: Encoding, path: str) -> FieldTable:
    # Labels are not asked for, and need not be known ones:
    schema = encoding.encoder.schema
    df = read_table(path)
    roles = [x for x in (schema.label, schema.weight) if x in df]
    return encoding.transform(df.drop(columns=roles))


def _rank(
    folder: Path,
    by: str | None,
    path: str | None,
    top: int,
    rows: int,
    seed: int,
) -> InteractionSet:
    known = (None, 'effect', 'edges', 'glider')
    if by not in known:
        raise ValueError(f"'by' must be one of {known[1:]} (got '{by}')")
    encoding, model = Encoding.load(folder), _model(folder)
    if path is not None:
        table = _encode(encoding, path)
    else:
        config = read_config(folder / 'config.yaml')
        if by is None and 'search' in config:
            return InteractionSet.load(folder / 'interactions.json')
        table = encoding.transform(load_frames(config.data, config.split)[1])
    if by == 'glider':
        perturbation = FieldPerturbation(model, table)
        return glider(perturbation, top, num_rows=rows, seed=seed).interactions
    by = by or 'effect'
    return model.interactions(table, by=by, num_rows=rows, seed=seed)


#: All commands.
COMMANDS: dict[str, Callable[..., None]] = {
    **CONFIGURED,
    'interactions': interactions,
    'export': export,
    'score': score,
}
