r"""The black boxes that perturbations ask, and what they answer as logits."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyg_featgraph.errors import DataError
from pyg_featgraph.explain.perturb.base import Perturbation

OUTPUTS = ('probability', 'logit', 'value')
#: How near to 0 and 1 a probability may be.
EPS = 1e-7


class ModelPerturbation(Perturbation):
    r"""Base class of perturbations that ask a model in batches.

    A subclass defines :meth:`outputs`; what it returns becomes logits here.
    A probability :math:`p` is clipped to :math:`[10^{-7}, 1 - 10^{-7}]` in
    double precision and becomes :math:`\log p / (1 - p)`. A class :math:`c`
    among several has the logit against all others, :math:`z_c - \log
    \sum_{k \ne c} \exp z_k`, which is the same whether the :math:`z` are
    logits or the logarithms of probabilities.

    Args:
        model (Any): A :class:`torch.nn.Module`, which is asked in evaluation
            mode and without gradients; an estimator with
            :obj:`predict_proba`, :obj:`decision_function` or, if
            :obj:`output="value"`, :obj:`predict`; or any other callable.
        output (str, optional): What the model returns:
            :obj:`"probability"`; :obj:`"logit"`, which may be the logarithm
            of probabilities if there are several classes; or
            :obj:`"value"`, explained as it is. (default: what an estimator
            has, and :obj:`"logit"` for a module; other callables need it)
        target (int or list of int, optional): The column of the output to
            explain, for all rows or for each of them. (default: the only one,
            or the second of two)
        batch_size (int, optional): How many samples the model gets at once.
            (default: :obj:`4096`)

    Raises:
        ValueError: If :obj:`output` is missing or does not fit the model, or
            :obj:`target` does not fit the number of rows.
        DataError: If the model does not return what :obj:`output` says.
    """

    def __init__(
        self,
        model: Any,
        output: str | None = None,
        target: int | Sequence[int] | Tensor | None = None,
        batch_size: int | None = 4096,
    ) -> None:
        if output is not None and output not in OUTPUTS:
            raise ValueError(
                f"'output' must be one of {', '.join(OUTPUTS)} (got '{output}')"
            )
        if batch_size is not None and batch_size < 1:
            raise ValueError(
                f"'batch_size' must be positive (got {batch_size})"
            )
        self.model = model
        self._function, self.output = _choose(model, output)
        self.target = target.tolist() if isinstance(target, Tensor) else target
        if isinstance(self.target, Sequence) and len(self.target) != len(self):
            raise ValueError(
                f"'target' must be one class, or one for each of {len(self)} "
                f'rows (got {len(self.target)})'
            )
        self.batch_size = batch_size

    @abstractmethod
    def outputs(self, row: int, masks: Tensor) -> Any:
        r"""What the model returns for perturbed copies of a row.

        Args:
            row (int): The index of the row.
            masks (torch.Tensor): Which features are on, boolean with shape
                :math:`(n, d)`.
        """

    def samples_at_once(self, row: int) -> int:
        r"""How many perturbed copies of a row the model gets at once."""
        return self.batch_size or 4096

    def logits(self, row: int, masks: Tensor) -> Tensor:
        if not 0 <= row < len(self):
            raise ValueError(
                f'There is no row {row}; rows are 0 to {len(self) - 1}'
            )
        num_features = len(self.names(row))
        if masks.dim() != 2 or masks.size(1) != num_features:
            raise ValueError(
                f"'masks' must be [num_samples, {num_features}] for row {row} "
                f'(got {list(masks.size())})'
            )
        parts = masks.bool().cpu().split(self.samples_at_once(row))
        return torch.cat(
            [self.to_logits(self.outputs(row, part), row) for part in parts]
        )

    def to_model(self, data: Any) -> Any:
        r"""Tensors or graphs where the model is, if it is a module."""
        if isinstance(self.model, torch.nn.Module):
            for parameter in self.model.parameters():
                return data.to(parameter.device)
        return data

    def ask(self, *args: Any, **kwargs: Any) -> Tensor:
        r"""The outputs of the model as they are."""
        with _evaluating(self.model), torch.no_grad():
            out = self._function(*args, **kwargs)
        return (
            out if isinstance(out, Tensor) else torch.from_numpy(np.array(out))
        )

    def to_logits(self, out: Any, row: int) -> Tensor:
        r"""Outputs :math:`(n)` or :math:`(n, C)` as logits :math:`(n)`."""
        if out.dim() == 2 and out.size(1) == 1:
            out = out.squeeze(1)
        if out.dim() not in (1, 2):
            raise DataError(
                'The black box must return [num_samples] or [num_samples, '
                f'num_classes] (got shape {list(out.size())})'
            )
        if self.output == 'probability' and not out.is_floating_point():
            raise DataError(
                f'The black box returns {out.dtype} instead of probabilities; '
                "pass the estimator itself or its 'predict_proba', not its "
                "'predict'"
            )
        z = out.detach().to('cpu', torch.double)
        if (
            self.output == 'probability'
            and ((z < -1e-6) | (z > 1 + 1e-6)).any()
        ):
            raise DataError(
                f'Outputs from {z.min():g} to {z.max():g} are no '
                "probabilities; is it output='logit' or output='value'?"
            )
        column = self._column(z, row)
        if self.output == 'probability':
            z = torch.logit(z if column is None else z[:, column], eps=EPS)
        elif column is not None:
            rest = [c for c in range(z.size(1)) if c != column]
            own = z[:, column]
            is_logit = self.output == 'logit'
            z = own - z[:, rest].logsumexp(dim=1) if is_logit else own
        logits: Tensor = z.float()
        return logits

    def _column(self, out: Tensor, row: int) -> int | None:
        target = self.target
        if isinstance(target, Sequence):
            target = target[row]
        if out.dim() == 1:
            if target is not None:
                raise ValueError(
                    "The black box has one output, so there is no 'target' to "
                    f'choose (got {target})'
                )
            return None
        if target is None and out.size(1) == 2 and self.output != 'value':
            target = 1
        if target is None or not 0 <= target < out.size(1):
            raise ValueError(
                f'The black box has {out.size(1)} outputs: choose one of them '
                f"with 'target' (got {target})"
            )
        return target


def _choose(model: Any, output: str | None) -> tuple[Callable[..., Any], str]:
    r"""How to call a model, and what it then returns."""
    if isinstance(model, torch.nn.Module):
        return model, output or 'logit'
    methods = {
        'probability': 'predict_proba',
        'logit': 'decision_function',
        'value': 'predict',
    }
    has = {kind: hasattr(model, name) for kind, name in methods.items()}
    if output is None:
        output = next((x for x in OUTPUTS[:2] if has[x]), None)
    if output is not None and has[output]:
        return getattr(model, methods[output]), output
    if not callable(model) or any(has.values()):
        found = [name for kind, name in methods.items() if has[kind]]
        raise ValueError(
            f'{type(model).__name__} cannot be asked (it has '
            f'{", ".join(found) or "no method to predict"}; output={output}). '
            "Choose output='value' to explain what 'predict' returns, or pass "
            "a function together with its 'output'"
        )
    if output is None:
        raise ValueError(
            "What does the black box return? Choose 'output' among "
            f'{", ".join(OUTPUTS)}'
        )
    return model, output


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    r"""Evaluation mode, and afterwards each part as it was."""
    is_module = isinstance(model, torch.nn.Module)
    was = [(x, x.training) for x in model.modules()] if is_module else []
    if is_module:
        model.eval()
    try:
        yield
    finally:
        for module, training in was:
            module.training = training
