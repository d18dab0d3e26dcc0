r"""Sequences, with their tokens as features."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyg_featgraph.errors import DataError
from pyg_featgraph.explain.perturb.black_box import ModelPerturbation


class TokenPerturbation(ModelPerturbation):
    r"""Sequences whose features are their tokens, named by position and token
    such as :obj:`"3: good"`, so that a word may occur twice.

    A token that is off is replaced by the one for masks. To obtain the zero
    vector of the `"Feature Interaction Interpretability: A Case for
    Explaining Ad-Recommendation Systems via Neural Interaction Detection"
    <https://arxiv.org/abs/2006.10966>`_ paper (Section 6.1), choose one whose
    embedding is zero, as that of :obj:`padding_idx` in
    :class:`torch.nn.Embedding`.

    Args:
        model (Any): A function of sequences of equal length, see
            :class:`ModelPerturbation`: of ids as a tensor of shape
            :math:`(n, L)`, or of words as a list of lists.
        sequences (list): The sequences to explain, as ids or as words; they
            may differ in length.
        mask_token (int or str): What replaces a token that is off.
        words (dict or list, optional): The word of each id, for names.
            (default: the ids themselves)
        keep (list, optional): Tokens that are always on and no features, such
            as padding and the ends of a sentence. (default: none)
        output (str, optional): See :class:`ModelPerturbation`.
        target (int or list of int, optional): See
            :class:`ModelPerturbation`.
        batch_size (int, optional): How many samples the model gets at once.
            (default: :obj:`4096`)
    """

    def __init__(
        self,
        model: Any,
        sequences: Sequence[Any] | Tensor,
        mask_token: int | str,
        words: Mapping[int, str] | Sequence[str] | None = None,
        keep: Collection[int | str] = (),
        output: str | None = None,
        target: int | Sequence[int] | Tensor | None = None,
        batch_size: int = 4096,
    ) -> None:
        kind = str if isinstance(mask_token, str) else int
        self.sequences = [
            tokens.tolist() if isinstance(tokens, Tensor) else list(tokens)
            for tokens in sequences
        ]
        for row, tokens in enumerate(self.sequences):
            # The letters of a text would pass for words:
            if isinstance(sequences[row], str) or not all(
                isinstance(token, kind | np.integer) for token in tokens
            ):
                raise DataError(
                    f'Sequence {row} must be a list of {kind.__name__}, like '
                    f"'mask_token' (got {sequences[row]!r})"
                )
        self.mask_token = mask_token
        self.words = words
        self.keep = frozenset(keep)
        super().__init__(model, output, target, batch_size)

    def __len__(self) -> int:
        return len(self.sequences)

    def names(self, row: int) -> list[str]:
        tokens = self.sequences[row]
        return [
            f'{i}: {tokens[i] if self.words is None else self.words[tokens[i]]}'
            for i in self._features(row)
        ]

    def perturb(self, row: int, masks: Tensor) -> Any:
        r"""The perturbed copies of a sequence.

        Args:
            row (int): The index of the sequence.
            masks (torch.Tensor): Which tokens are on, with shape
                :math:`(n, d)`.
        """
        tokens = self.sequences[row]
        on = masks.new_ones(masks.size(0), len(tokens))
        on[:, self._features(row)] = masks
        if isinstance(self.mask_token, str):
            own = np.array(tokens, dtype=object)
            return np.where(on.numpy(), own, self.mask_token).tolist()
        return torch.where(on, torch.tensor(tokens), self.mask_token)

    def outputs(self, row: int, masks: Tensor) -> Any:
        copies = self.perturb(row, masks)
        if isinstance(copies, Tensor):
            copies = self.to_model(copies)
        return self.ask(copies)

    def _features(self, row: int) -> list[int]:
        tokens = self.sequences[row]
        return [i for i, x in enumerate(tokens) if x not in self.keep]
