r"""What a black box does at one row, and how that is kept in a folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyg_featgraph.errors import DataError
from pyg_featgraph.files import read_json, reading, write_json
from pyg_featgraph.interactions import Interaction, InteractionSet

# So many answers of a black box tell whether it is the same one:
_NUM_ANSWERS = 8


@dataclass(frozen=True)
class LocalInteractions:
    r"""What a black box does at one row.

    Args:
        row (int): The index of the row.
        interactions (InteractionSet): The ranked interactions; none, if the
            row has fewer than two features, and all errors are NaN then.
        mse (float): The error of the perceptron that they were read off, as
            the mean of squares over the test samples.
        mse_constant (float): The same of a constant. A perceptron that is not
            much better has nothing to say.
        num_selected (int, optional): How many of the first interactions a
            linear model gains from. (default: :obj:`None`)
        fidelity (tuple of float, optional): The test errors of linear models
            with the first :math:`0, 1, \ldots` interactions, up to
            :obj:`num_selected` of them. (default: :obj:`None`)
    """

    row: int
    interactions: InteractionSet
    mse: float
    mse_constant: float
    num_selected: int | None = None
    fidelity: tuple[float, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        r"""The result as JSON-compatible values."""
        found = [(x.fields, x.score, x.source) for x in self.interactions]
        return {**vars(self), 'interactions': found}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LocalInteractions:
        r"""The inverse of :meth:`to_dict`."""
        found = [Interaction(*x) for x in values['interactions']]
        errors = values['fidelity']
        return cls(
            int(values['row']),
            InteractionSet(found),
            float(values['mse']),
            float(values['mse_constant']),
            values['num_selected'],
            None if errors is None else tuple(map(float, errors)),
        )


class LocalRecord:
    r"""A folder with the results of rows, a file for each chunk of them.

    Args:
        directory (str): The folder.
        options (dict): What the results depend on besides the black box.
        resume (bool): Whether to take over results that are there; else they
            are removed.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        options: Mapping[str, Any],
        resume: bool,
    ) -> None:
        self.directory = Path(directory)
        self.options = json.loads(json.dumps(options, default=repr))
        self.directory.mkdir(parents=True, exist_ok=True)
        if not resume:
            for path in self.directory.glob('chunk-*.json'):
                path.unlink()

    def save(
        self, chunk: int, results: Sequence[LocalInteractions], answers: Tensor
    ) -> None:
        r"""Writes the results of a chunk.

        Args:
            chunk (int): The number of the chunk.
            results (list of LocalInteractions): The result of each row.
            answers (torch.Tensor): What the black box says of each row, by
                which it is known again.
        """
        values = {
            'options': self.options,
            'results': [x.to_dict() for x in results],
            'answers': answers[:, :_NUM_ANSWERS].tolist(),
        }
        write_json(self._path(chunk), values)

    def load(
        self,
        chunk: int,
        rows: Sequence[int],
        ask: Callable[[int, int], Tensor],
    ) -> list[LocalInteractions] | None:
        r"""What :meth:`save` has written, if there is something.

        Args:
            chunk (int): The number of the chunk.
            rows (list of int): Its rows.
            ask (callable): What the black box says of the row at a position
                now, a given number of answers.

        Raises:
            DataError: If the results are of other options, rows or another
                black box, or if their file is damaged.
        """
        path = self._path(chunk)
        if not path.exists():
            return None
        values = read_json(path, 'explanation')
        with reading(path, 'explanation'):
            results = [
                LocalInteractions.from_dict(x) for x in values['results']
            ]
            answers = torch.tensor(values['answers']).view(len(results), -1)
            if not answers.numel():
                raise DataError('it has no answers of the black box')
            before = values['options'] | {'rows': [x.row for x in results]}
        now = self.options | {'rows': list(rows)}
        for name in sorted({*before, *now}):
            if before.get(name) != now.get(name):
                raise self._differs(
                    f"'{name}' was {str(before.get(name))[:60]} and is "
                    f'{str(now.get(name))[:60]} now'
                )
        for r, known in enumerate(answers):
            if not ask(r, len(known)).cpu().allclose(known, 1e-3, 1e-4):
                raise self._differs(
                    f'the black box has other answers to row {rows[r]}, or '
                    'the row is another one'
                )
        return results

    def _path(self, chunk: int) -> Path:
        return self.directory / f'chunk-{chunk}.json'

    def _differs(self, what: str) -> DataError:
        return DataError(
            f"The explanation in '{self.directory}' cannot be resumed: {what}. "
            'Set it back, or start again with resume=False'
        )

    def __enter__(self) -> LocalRecord:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if isinstance(error, KeyboardInterrupt):
            error.add_note(
                f"What there is lies in '{self.directory}': the same call with "
                'resume=True goes on from there'
            )
