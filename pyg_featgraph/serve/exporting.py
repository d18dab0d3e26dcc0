r"""From a trained model to a folder that scores rows."""

from __future__ import annotations

import copy
import json
import logging
import os
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyg_featgraph import __version__
from pyg_featgraph.crossing import CrossFeatures
from pyg_featgraph.data import FieldBatch, FieldEncoder
from pyg_featgraph.errors import DataError, require
from pyg_featgraph.files import replacing_folder, write_json
from pyg_featgraph.nn import BinaryHead, FieldModel, MulticlassHead
from pyg_featgraph.serve import scorer
from pyg_featgraph.serve.decompositions import Decomposed
from pyg_featgraph.serve.scorer.scorer import VERSION, digest

FORMATS = ('onnx', 'pt2')
# Weights beyond go into a file next to the graph, which may have 2 GB at most:
_LARGEST_FILE = 2**30


def export(
    model: FieldModel,
    encoder: FieldEncoder,
    folder: str | os.PathLike[str],
    formats: Sequence[str] = FORMATS,
    drop_absent: bool = False,
    crosses: CrossFeatures | None = None,
) -> Path:
    r"""Writes a folder with all that it takes to score rows: the model with
    its head and the mean of its members, the encoder, and the package
    :obj:`scorer`, which needs NumPy and onnxruntime alone.

    .. code-block:: python

        export(model, encoder, 'exported')
        Scorer('exported').score({'age': 31, 'city': 'Oslo'})

    ============================ =============================================
    :obj:`manifest.json`         what it is: model, head, classes, inputs,
                                 output, and checksums of all other files
    :obj:`encoder.json`          vocabularies, edges and scales of the fields
    :obj:`model.onnx`            the model for any ONNX runtime
    :obj:`model.pt2`             the model for :func:`torch.export.load`
    :obj:`scorer`                what
                                 :class:`~pyg_featgraph.serve.Scorer` is
    ============================ =============================================

    Both models take :obj:`slot_index` and :obj:`slot_value`, with shape
    :math:`(B, S)` for any number of rows, and give what
    :func:`~pyg_featgraph.training.predict` does. No custom operator is left
    in them. The folder appears as a whole or not at all, and takes the place
    of one that was exported before.

    Args:
        model (FieldModel): The trained model.
        encoder (FieldEncoder): The encoder of its tables.
        folder (str): The folder to write.
        formats (tuple of str, optional): What to write, of :obj:`"onnx"` and
            :obj:`"pt2"`. (default: both)
        drop_absent (bool, optional): Whether missing fields are left out of
            the graphs, as :obj:`drop_absent` of the tables says that the model
            was trained with. (default: :obj:`False`)
        crosses (CrossFeatures, optional): What has made the columns of the
            tables that are crosses: rows are scored without them.
            (default: :obj:`None`)

    Raises:
        DataError: If the encoder is none of the tables of the model, or has no
            field for a cross.
        FileExistsError: If there is something else at the place of the folder.
        ImportError: If :obj:`onnx` or :obj:`onnxscript` is not installed and
            :obj:`"onnx"` is to be written.
    """
    formats = tuple(formats)
    if not formats or not {*formats} <= {*FORMATS}:
        raise ValueError(f"'formats' must be some of {FORMATS} (got {formats})")
    if encoder.info != model.info:
        raise DataError(
            'The encoder has other fields than the model; pass the one that '
            'has encoded its training rows'
        )
    classes = _classes(model, encoder)
    columns = [field.column for field in encoder.schema]
    unused = [
        x for x in (crosses.names_ if crosses else ()) if x not in columns
    ]
    if unused:
        raise DataError(
            f'The encoder has no fields for the crosses {sorted(unused)}'
        )
    if 'onnx' in formats:
        require('onnx', 'serve')
        require('onnxscript', 'serve')
    with replacing_folder(folder, 'manifest.json') as temporary:
        _write_models(model, temporary, formats, drop_absent)
        _write_encoder(encoder, crosses, temporary / 'encoder.json')
        _copy_scorer(temporary / 'scorer')
        manifest = {
            'version': VERSION,
            'release': __version__,
            'model': type(model).__name__,
            'members': model.members,
            'head': type(model.head).__name__,
            'classes': classes,
            'drop_absent': drop_absent,
            'inputs': {
                'slot_index': ['int64', ['rows', model.info.num_slots]],
                'slot_value': ['float32', ['rows', model.info.num_slots]],
            },
            'files': {
                path.relative_to(temporary).as_posix(): digest(path)
                for path in sorted(temporary.rglob('*'))
                if path.is_file()
            },
        }
        write_json(temporary / 'manifest.json', manifest)
    return Path(folder)


class _Served(torch.nn.Module):
    # From encoded rows to predictions.
    def __init__(self, model: FieldModel, drop_absent: bool) -> None:
        super().__init__()
        self.model, self.drop_absent = model, drop_absent

    def forward(self, slot_index: Tensor, slot_value: Tensor) -> Tensor:
        batch = FieldBatch.from_rows(
            slot_index,
            slot_value,
            self.model.info,
            drop_absent=self.drop_absent,
        )
        return self.model.head.predict(self.model(batch))


def _classes(model: FieldModel, encoder: FieldEncoder) -> tuple[str, ...]:
    if not isinstance(model.head, BinaryHead | MulticlassHead):
        return ()
    wanted = max(model.head.out_channels, 2)
    if len(encoder.classes) != wanted:
        raise DataError(
            f'The model tells {wanted} classes apart, but the labels of the '
            f'encoder have {len(encoder.classes)}'
        )
    return encoder.classes


def _write_models(
    model: FieldModel, folder: Path, formats: Sequence[str], drop_absent: bool
) -> None:
    # What is changed for it is a copy:
    served = _Served(copy.deepcopy(model), drop_absent).cpu().float().eval()
    served.model.rows_seen = None  # That is for trainings.
    info = model.info
    # The operators hold for any number of rows, if it is not by chance that
    # of the fields:
    size = info.num_fields + 2
    offsets = torch.tensor(info.offsets)[info.slot_field]
    inputs = (offsets.repeat(size, 1), torch.ones(size, info.num_slots))
    any_size = {0: torch.export.Dim.DYNAMIC}
    with torch.no_grad(), Decomposed():
        program = torch.export.export(
            served,
            inputs,
            dynamic_shapes={'slot_index': any_size, 'slot_value': any_size},
        )
    if 'pt2' in formats:
        torch.export.save(program, folder / 'model.pt2')
    if 'onnx' in formats:
        size = sum(x.nbytes for x in served.state_dict().values())
        with _quiet():
            converted = torch.onnx.export(
                program, output_names=['score'], dynamo=True, verbose=False
            )
        if converted is None:
            raise RuntimeError('torch.onnx has converted nothing')
        converted.save(
            folder / 'model.onnx', external_data=size > _LARGEST_FILE
        )


def _write_encoder(
    encoder: FieldEncoder, crosses: CrossFeatures | None, path: Path
) -> None:
    made: dict[str, Any] = {}
    if crosses is not None:
        for names, keys, frame in crosses.values():
            members = [crosses.fitted_.codecs[x].describe() for x in names]
            made |= {str(x): (members, keys, frame[x]) for x in frame}
    specs = []
    for codec in encoder.codecs:
        spec = codec.describe()
        if codec.field.column in made:
            members, keys, column = made[codec.field.column]
            ids, values = codec.encode(column)
            spec |= {'codec': 'CrossCodec', 'members': members}
            spec |= {'keys': keys.tolist(), 'ids': ids.tolist()}
            spec['values'] = values.tolist()
        specs.append(spec)
    text = json.dumps({'fields': specs}, separators=(',', ':'))
    path.write_text(text, encoding='utf-8')


def _copy_scorer(folder: Path) -> None:
    folder.mkdir()
    for path in Path(scorer.__file__).parent.glob('*.py'):
        shutil.copyfile(path, folder / path.name)


@contextmanager
def _quiet() -> Iterator[None]:
    # The converter tells which operators of other packages it does without.
    logger = logging.getLogger('torch.onnx')
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        logger.setLevel(level)
