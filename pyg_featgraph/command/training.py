r"""The commands that train."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from pyg_featgraph.command.options import (
    CrossOptions,
    SchemaOptions,
    SplitOptions,
)
from pyg_featgraph.command.tables import (
    Data,
    Encoding,
    encode,
    load_frames,
    make_schema,
)
from pyg_featgraph.data import FieldInfo, FieldTable
from pyg_featgraph.errors import DataError, require
from pyg_featgraph.files import replacing
from pyg_featgraph.nn import FieldModel, MulticlassHead
from pyg_featgraph.search import (
    AIMOptions,
    FIVESOptions,
    aim_search,
    fives_search,
)
from pyg_featgraph.search.stages import SearchOptions
from pyg_featgraph.training import TrainingOptions, fit, predict

#: The search that options belong to.
SEARCHES: dict[type, Callable[..., Any]] = {
    FIVESOptions: fives_search,
    AIMOptions: aim_search,
}


def train(
    data: Data,
    model: Callable[[FieldInfo], FieldModel],
    output: str,
    schema: SchemaOptions,
    split: SplitOptions,
    training: TrainingOptions,
    trainer: Mapping[str, Any],
    config: str,
    crosses: CrossOptions | None = None,
    predictions: bool = False,
    resume: bool = False,
) -> None:
    r"""Trains a model on a table and writes all that is needed to use it, to
    repeat it and to go on with it.

    Args:
        data (TableFiles, TableDataset or PlantedInteractions): The table: a
            reader of :mod:`pyg_featgraph.datasets`, such as :obj:`Criteo`
            with its :obj:`root`, or :obj:`TableFiles` with the files
            :obj:`train`, :obj:`valid` and :obj:`test`.
        model (callable): The class of the model, such as :obj:`GraphFM`, and
            its options.
        output (str): The folder of the result.
        schema (SchemaOptions): What the columns are.
        split (SplitOptions): Which rows are for what.
        training (TrainingOptions): The options of the training.
        trainer (dict): Arguments of :class:`lightning.pytorch.Trainer`.
        config (str): The resolved configuration, as a text.
        crosses (CrossOptions, optional): Interactions that become columns.
            (default: :obj:`None`)
        predictions (bool, optional): Whether to write what the model predicts
            for the test rows. (default: :obj:`False`)
        resume (bool, optional): Whether to go on with the run that is found
            in the folder, as :func:`~pyg_featgraph.training.fit` does.
            (default: :obj:`False`)
    """
    prepared = _Prepared(data, schema, split, crosses)
    net = prepared.build(model, training.seed)
    folder = Path(output)
    with _errors_of_trainers():
        result = fit(
            net,
            *prepared.tables,
            directory=folder,
            options=training,
            resume=resume,
            callbacks=[prepared.keeper(folder, config)],
            **trainer,
        )
    if trainer.get('fast_dev_run'):
        return
    figures = {**result.metrics, 'num_epochs': result.num_epochs}
    prepared.finish(folder, net, figures, predictions)


def search(
    data: Data,
    model: Callable[[FieldInfo], FieldModel],
    output: str,
    schema: SchemaOptions,
    split: SplitOptions,
    search: SearchOptions,
    trainer: Mapping[str, Any],
    config: str,
    crosses: CrossOptions | None = None,
    predictions: bool = False,
    resume: bool = False,
) -> None:
    r"""Searches the interactions of a table with FIVES or AIM, and writes
    them and the model that comes out.

    Args:
        data (TableFiles, TableDataset or PlantedInteractions): The table: a
            reader of :mod:`pyg_featgraph.datasets`, such as :obj:`Criteo`
            with its :obj:`root`, or :obj:`TableFiles` with the files
            :obj:`train`, :obj:`valid` and :obj:`test`.
        model (callable): :obj:`FIVES` or :obj:`AIM` and its options.
        output (str): The folder of the result.
        schema (SchemaOptions): What the columns are.
        split (SplitOptions): Which rows are for what.
        search (SearchOptions): The options of the search:
            :obj:`FIVESOptions` or :obj:`AIMOptions`.
        trainer (dict): Arguments of :class:`lightning.pytorch.Trainer`.
        config (str): The resolved configuration, as a text.
        crosses (CrossOptions, optional): Interactions that become columns.
            (default: :obj:`None`)
        predictions (bool, optional): Whether to write what the model predicts
            for the test rows. (default: :obj:`False`)
        resume (bool, optional): Whether to go on with the search that is
            found in the folder. (default: :obj:`False`)
    """
    run = SEARCHES.get(type(search))
    if run is None:
        names = ' or '.join(cls.__name__ for cls in SEARCHES)
        raise ValueError(f"'search' must be {names}")
    prepared = _Prepared(data, schema, split, crosses)
    net = prepared.build(model, search.seed)
    wanted = run.__annotations__['model']
    if type(net).__name__ != wanted:
        raise ValueError(
            f'{type(search).__name__} belong to the model {wanted} (got '
            f'{type(net).__name__})'
        )
    folder = Path(output)
    with _errors_of_trainers():
        result = run(
            net,
            *prepared.tables,
            directory=folder,
            options=search,
            resume=resume,
            callbacks=[prepared.keeper(folder, config)],
            **trainer,
        )
    if trainer.get('fast_dev_run'):
        return
    # That of FIVES is trained in place:
    net = getattr(result, 'model', net)
    figures = {**result.metrics, 'num_interactions': len(result.interactions)}
    prepared.finish(folder, net, figures, predictions)


class _Prepared:
    # The tables of a run and what belongs to its result.
    def __init__(
        self,
        data: Data,
        schema: SchemaOptions,
        split: SplitOptions,
        crosses: CrossOptions | None,
    ) -> None:
        frames = load_frames(data, split)
        try:
            made = make_schema(data, frames[0], schema)
        except TypeError as error:  # An option that a field does not have.
            raise DataError(f"'schema': {error}") from error
        self.encoding = encode(frames[0], made, crosses)
        self.tables: list[FieldTable] = [
            self.encoding.transform(df) for df in frames if df is not None
        ]

    def build(self, model: Callable[..., FieldModel], seed: int) -> FieldModel:
        encoder = self.encoding.encoder
        task = encoder.schema.task
        head: Any = task
        if task == 'multiclass':
            head = MulticlassHead(len(encoder.classes))
        # A model that was told nothing else has the head of the task:
        told = getattr(model, 'keywords', {}).get('head', 'binary')
        options = {'head': head} if told == 'binary' else {}
        torch.manual_seed(seed)
        return model(encoder.info, **options)

    def keeper(self, folder: Path, config: str) -> Any:
        require('lightning.pytorch', 'train')
        from lightning.pytorch import Callback

        encoding = self.encoding

        # The folder belongs to the run from then on, and not before; and one
        # that is stopped can go on by what it has written.
        class WriteFirst(Callback):
            def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
                if trainer.is_global_zero and not trainer.fast_dev_run:
                    for name in ('metrics.json', 'predictions.csv'):
                        (folder / name).unlink(missing_ok=True)
                    _write_text(folder / 'config.yaml', config)
                    encoding.save(folder)

        return WriteFirst()

    def finish(
        self,
        folder: Path,
        model: FieldModel,
        figures: Mapping[str, Any],
        predictions: bool,
    ) -> None:
        for name, value in figures.items():
            print(f'{name} {value:.5g}')
        model.save(folder / 'model.safetensors')
        _write_text(folder / 'metrics.json', json.dumps(figures, indent=1))
        if predictions and len(self.tables) > 2:
            test: Any = self.tables[2]
            scores = score_table(self.encoding, model, test)
            y, classes = test.y.numpy(), self.encoding.encoder.classes
            scores['label'] = [classes[int(i)] for i in y] if classes else y
            write_scores(scores, folder / 'predictions.csv')


@contextmanager
def _errors_of_trainers() -> Iterator[None]:
    from lightning.pytorch.utilities.exceptions import (
        MisconfigurationException,
    )

    try:
        yield
    except MisconfigurationException as error:
        raise ValueError(f"'trainer': {error}") from error


def score_table(
    encoding: Encoding, model: FieldModel, table: FieldTable
) -> pd.DataFrame:
    r"""What a model predicts, with a name for each column: the probability of
    the second of two classes, that of each of several, or a number.

    Args:
        encoding (Encoding): What has encoded the rows.
        model (FieldModel): The model.
        table (FieldTable): The rows.
    """
    out = predict(model, table).numpy()
    if out.ndim == 2:
        return pd.DataFrame(out, columns=list(encoding.encoder.classes))
    is_binary = encoding.encoder.schema.task == 'binary'
    return pd.DataFrame({'probability' if is_binary else 'prediction': out})


def write_scores(scores: pd.DataFrame, path: Path) -> None:
    r"""Writes a table, as Parquet if the suffix says so and else as text, as a
    whole or not at all.
    """
    with replacing(path) as temporary:
        if path.suffix in ('.parquet', '.pq'):
            scores.to_parquet(temporary, index=False)
        else:
            scores.to_csv(temporary, index=False)


def _write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding='utf-8')
