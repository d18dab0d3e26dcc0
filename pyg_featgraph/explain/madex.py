r"""The interactions that a black box uses at single rows."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import Ridge
from torch import Tensor

from pyg_featgraph.errors import DataError
from pyg_featgraph.explain.local import LocalInteractions, LocalRecord
from pyg_featgraph.explain.masks import (
    bernoulli_masks,
    kernel_weights,
    lime_masks,
)
from pyg_featgraph.explain.mlp import fit_mlps
from pyg_featgraph.explain.nid import Ranking, gradient_nid, nid
from pyg_featgraph.explain.perturb.base import Perturbation
from pyg_featgraph.interactions import Interaction, InteractionSet
from pyg_featgraph.progress import progress_bar

_SAMPLERS: dict[str, Callable[..., Tensor]] = {
    'lime': lime_masks,
    'bernoulli': bernoulli_masks,
}
# For each detector its name as a source, and the perceptron that it needs:
_DETECTORS: dict[str, tuple[str, dict[str, Any]]] = {
    'nid': ('NID', {'activation': 'relu', 'linear': False, 'l1': 1e-4}),
    'gradient_nid': (
        'GradientNID',
        {'activation': 'softplus', 'linear': True, 'l1': 0.0},
    ),
}


def madex(
    perturbation: Perturbation,
    rows: Iterable[int] | None = None,
    *,
    detector: str = 'nid',
    masks: str = 'lime',
    num_samples: tuple[int, int, int] = (5000, 500, 500),
    kernel_width: float | None = None,
    max_order: int | None = None,
    top: int | None = 100,
    threshold: bool = False,
    chunk_size: int | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    progress: bool = True,
    directory: str | os.PathLike[str] | None = None,
    resume: bool = False,
    **mlp_options: Any,
) -> list[LocalInteractions]:
    r"""Detects the interactions that a black box uses at single rows, with
    the MADEX of the `"Feature Interaction Interpretability: A Case for
    Explaining Ad-Recommendation Systems via Neural Interaction Detection"
    <https://arxiv.org/abs/2006.10966>`_ paper (Section 3).

    Features of a row are switched off at random, a perceptron learns the
    logits of the black box from what is on, and a detector reads the
    interactions off the perceptron. The result of a row does not depend on
    the other rows, many of which are worked on at once.

    Args:
        perturbation (Perturbation): The rows and the black box.
        rows (list of int, optional): The rows to explain. (default: all)
        detector (str, optional): :obj:`"nid"` or :obj:`"gradient_nid"`, see
            :func:`detect_interactions`. (default: :obj:`"nid"`)
        masks (str, optional): The sampler, :obj:`"lime"` or
            :obj:`"bernoulli"`. (default: :obj:`"lime"`)
        num_samples (tuple of int, optional): The numbers of samples for
            training, validation and test. (default: :obj:`(5000, 500, 500)`)
        kernel_width (float, optional): Weighs samples by
            :func:`~pyg_featgraph.explain.kernel_weights`; the paper does so
            with :obj:`0.25`, but not in global detection.
            (default: :obj:`None`)
        max_order (int, optional): The largest order that NID looks for.
            (default: the number of features)
        top (int, optional): The length of a ranking at most.
            (default: :obj:`100`)
        threshold (bool, optional): Whether to count how many interactions
            matter: they are added one by one, as products, to a ridge
            regression with :math:`\alpha = 0.01` on the masks, until its
            validation error falls no further. One inside another is left
            out. (default: :obj:`False`)
        chunk_size (int, optional): How many rows are worked on at once. A
            CPU is fastest where their perceptrons fit into its cache.
            (default: :obj:`16` on a CPU, else :obj:`1024`)
        seed (int, optional): The seed of masks and perceptrons, together
            with the index of the row. (default: :obj:`0`)
        device (torch.device or str, optional): Where perceptrons are
            trained. (default: a GPU if there is one)
        progress (bool, optional): Whether to show a progress bar over rows.
            (default: :obj:`True`)
        directory (str, optional): A folder that takes the results of each
            chunk of rows as soon as they are there. (default: :obj:`None`)
        resume (bool, optional): Whether to go on with what is in
            :obj:`directory`, with the same result as without a break; else it
            is removed. (default: :obj:`False`)
        **mlp_options (optional): Additional arguments of
            :func:`~pyg_featgraph.explain.fit_mlps`.

    Raises:
        DataError: If the black box does not return one finite logit for each
            sample, if features of a row share a name, or if what there is to
            resume is of other options, rows or another black box.
        ImportError: If :obj:`threshold` is set and scikit-learn is missing.
    """
    _check(detector, num_samples, max_order)
    if masks not in _SAMPLERS:
        raise ValueError(
            f"No sampler of 'masks' named '{masks}' ({', '.join(_SAMPLERS)})"
        )
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"'chunk_size' must be positive (got {chunk_size})")
    if resume and directory is None:
        raise ValueError("'resume' needs the 'directory' to go on with")
    if device is None:
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
    if chunk_size is None:
        chunk_size = 16 if torch.device(device).type == 'cpu' else 1024
    rows = range(len(perturbation)) if rows is None else rows
    asked = [int(row) for row in rows]
    names = {row: _names(perturbation, row) for row in asked}
    found = {
        row: LocalInteractions(row, InteractionSet(), math.nan, math.nan)
        for row in names
    }
    record = None
    if directory is not None:
        options = {
            'detector': detector,
            'masks': masks,
            'num_samples': num_samples,
            'kernel_width': kernel_width,
            'max_order': max_order,
            'top': top,
            'threshold': threshold,
            'chunk_size': chunk_size,
            'seed': seed,
            'device': torch.device(device).type,
            **mlp_options,
        }
        record = LocalRecord(directory, options, resume)
    bar = progress_bar(total=len(names), unit='row', enabled=progress)
    bar.update(sum(len(x) < 2 for x in names.values()))

    def explain(number: int, chunk: list[int]) -> list[LocalInteractions]:
        seeds = [_seeds(seed, row) for row in chunk]
        x = torch.stack(
            [
                _SAMPLERS[masks](
                    sum(num_samples),
                    len(names[row]),
                    generator=torch.Generator().manual_seed(first),
                )
                for row, (first, _) in zip(chunk, seeds, strict=True)
            ]
        )

        def ask(r: int, size: int | None = None) -> Tensor:
            return _logits(perturbation, chunk[r], x[r, :size])

        results = record.load(number, chunk, ask) if record else None
        if results:
            bar.update(len(chunk))
            return results
        y = torch.stack([ask(r) for r in range(len(chunk))])
        weight = torch.ones_like(y)
        if kernel_width is not None:
            weight = kernel_weights(x, kernel_width).to(y)
        rankings, errors = detect_interactions(
            x,
            y,
            detector,
            num_samples,
            weight=weight,
            max_order=max_order,
            top=top,
            seeds=[second for _, second in seeds],
            device=device,
            on_stop=bar.update,
            **mlp_options,
        )
        results = []
        for r, row in enumerate(chunk):
            parts = _split(x[r], y[r], weight[r], num_samples)
            results.append(
                LocalInteractions(
                    row,
                    _named(rankings[r], names[row], _DETECTORS[detector][0]),
                    errors[r],
                    _constant_error(parts),
                    *(_threshold(parts, rankings[r]) if threshold else ()),
                )
            )
        if record:
            record.save(number, results, y)
        return results

    with record or nullcontext(), bar:
        for number, chunk in enumerate(_chunks(names, chunk_size)):
            found |= {x.row: x for x in explain(number, chunk)}
    return [found[row] for row in asked]


def detect_interactions(
    x: Tensor,
    y: Tensor,
    detector: str = 'nid',
    num_samples: Sequence[int] = (5000, 500, 500),
    *,
    weight: Tensor | None = None,
    at: Tensor | None = None,
    max_order: int | None = None,
    top: int | None = 100,
    **mlp_options: Any,
) -> tuple[list[Ranking], list[float]]:
    r"""Detects interactions in :math:`R` data sets at once, with a perceptron
    for each of them.

    Args:
        x (torch.Tensor): The features: masks, or numbers of any kind.
        y (torch.Tensor): The targets.
        detector (str, optional): :obj:`"nid"` finds any order with
            :func:`~pyg_featgraph.explain.nid` in a perceptron with a lasso
            penalty of :obj:`1e-4`; :obj:`"gradient_nid"` finds pairs with
            :func:`~pyg_featgraph.explain.gradient_nid` in a smooth one beside
            a linear term. (default: :obj:`"nid"`)
        num_samples (tuple of int, optional): How many samples are for
            training, the next ones for validation, and the last ones for
            test. (default: :obj:`(5000, 500, 500)`)
        weight (torch.Tensor, optional): The weights of the samples.
            (default: all equal)
        at (torch.Tensor, optional): Where GradientNID takes derivatives, with
            shape :math:`(R, d)` or :math:`(d)`. (default: all ones)
        max_order (int, optional): The largest order that NID looks for.
            (default: the number of features)
        top (int, optional): The length of a ranking at most.
            (default: :obj:`100`)
        **mlp_options (optional): Additional arguments of
            :func:`~pyg_featgraph.explain.fit_mlps`.

    Shapes:
        - **input:** features :math:`(R, n, d)`, targets and weights
          :math:`(R, n)`
        - **output:** for each data set a ranking of tuples of indices, and
          the mean of squared errors of its perceptron over the test samples
    """
    _check(detector, num_samples, max_order)
    if x.dim() != 3 or x.size(1) != sum(num_samples):
        raise ValueError(
            f"'x' must be [num_sets, {sum(num_samples)}, num_features], as "
            f"'num_samples' says (got {list(x.size())})"
        )
    weight = torch.ones_like(y) if weight is None else weight
    train, val, test = _split(x, y, weight, num_samples, dim=1)
    options = _DETECTORS[detector][1] | mlp_options
    mlp = fit_mlps(
        *train[:2],
        *val[:2],
        weight_train=train[2],
        weight_val=val[2],
        **options,
    )
    if detector == 'nid':
        rankings = nid(mlp, max_order, top)
    else:
        rankings = gradient_nid(mlp, at, top=top)
    with torch.no_grad():
        inputs, target, weight = (part.to(mlp.weights[0]) for part in test)
        error = (mlp(inputs).squeeze(-1) - target).square() * weight
        mse = error.sum(dim=1) / weight.sum(dim=1)
    return rankings, mse.tolist()


def _check(
    detector: str, num_samples: Sequence[int], max_order: int | None
) -> None:
    if detector not in _DETECTORS:
        raise ValueError(
            f"No 'detector' named '{detector}' ({', '.join(_DETECTORS)})"
        )
    if len(num_samples) != 3 or min(num_samples) < 1:
        raise ValueError(
            "'num_samples' must be three positive numbers, for training, "
            f'validation and test (got {num_samples})'
        )
    if detector != 'nid' and max_order is not None:
        raise ValueError(f"'{detector}' has no 'max_order': it finds pairs")


def _names(perturbation: Perturbation, row: int) -> list[str]:
    if not 0 <= row < len(perturbation):
        raise ValueError(
            f'There is no row {row}; rows are 0 to {len(perturbation) - 1}'
        )
    names = perturbation.names(row)
    if len(set(names)) != len(names):
        raise DataError(
            f'Features of row {row} share a name; make them distinct, for '
            f'example with their positions (got {names})'
        )
    return names


def _chunks(
    names: Mapping[int, Sequence[str]], size: int
) -> Iterator[list[int]]:
    r"""Rows with the same number of features, which is at least two."""
    groups = defaultdict(list)
    for row, features in names.items():
        if len(features) > 1:
            groups[len(features)].append(row)
    for group in groups.values():
        for start in range(0, len(group), size):
            yield group[start : start + size]


def _seeds(seed: int, row: int) -> list[int]:
    r"""One for the masks and one for the perceptron."""
    seeds = np.random.SeedSequence((seed, row)).generate_state(2)
    return [int(x) for x in seeds]


def _logits(perturbation: Perturbation, row: int, masks: Tensor) -> Tensor:
    logits = perturbation.logits(row, masks).detach().float()
    if logits.size() != masks.size()[:1]:
        raise DataError(
            f'The black box must return one logit for each of {len(masks)} '
            f'samples of row {row} (got shape {list(logits.size())})'
        )
    num_bad = int((~logits.isfinite()).sum())
    if num_bad:
        raise DataError(
            f'{num_bad} of {len(masks)} logits of row {row} are not finite; '
            'clip probabilities before they become logits, and check what the '
            'black box does where features are off'
        )
    return logits


def _named(
    ranking: Ranking, names: Sequence[str], source: str
) -> InteractionSet:
    return InteractionSet(
        Interaction(tuple(names[i] for i in features), strength, source)
        for features, strength in ranking
    )


def _split(
    x: Tensor,
    y: Tensor,
    weight: Tensor,
    num_samples: Sequence[int],
    dim: int = 0,
) -> list[tuple[Tensor, Tensor, Tensor]]:
    r"""Inputs, targets and weights for training, validation and test."""
    parts = [part.split(list(num_samples), dim) for part in (x, y, weight)]
    return list(zip(*parts, strict=True))


def _constant_error(parts: Sequence[tuple[Tensor, ...]]) -> float:
    (_, y, weight), _, (_, target, test_weight) = parts
    mean = (y * weight).sum() / weight.sum()
    error = (target - mean).square() * test_weight
    return float(error.sum() / test_weight.sum())


def _threshold(
    parts: Sequence[tuple[Tensor, ...]], ranking: Ranking
) -> tuple[int, tuple[float, ...]]:
    r"""How many interactions a ridge regression gains from, and its test
    errors up to there.
    """
    data = [[part.cpu().double().numpy() for part in x] for x in parts]
    sets = [frozenset(features) for features, _ in ranking]
    lowest, errors = math.inf, []
    for k in range(len(sets) + 1):
        kept = [x for x in sets[:k] if not any(x < y for y in sets[:k])]
        crossed = [
            np.column_stack([x, *(x[:, [*s]].prod(axis=1) for s in kept)])
            for x, _, _ in data
        ]
        model = Ridge(alpha=0.01).fit(crossed[0], data[0][1], data[0][2])
        val, test = (
            np.average((y - model.predict(x)) ** 2, weights=weight)
            for x, (_, y, weight) in zip(crossed[1:], data[1:], strict=True)
        )
        if val >= lowest:
            break
        lowest = val
        errors.append(float(test))
    return len(errors) - 1, tuple(errors)
