r"""Several optimizers that a training loop sees as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.optim import Optimizer


class JointOptimizer(Optimizer):
    r"""Steps several optimizers together, each with parameters of its own, so
    that what knows of a single one can drive them: schedules, clipping of
    gradients, mixed precision, loops.

    Args:
        parts (list of torch.optim.Optimizer): The optimizers.
    """

    def __init__(self, parts: Sequence[Optimizer]) -> None:
        self.parts = list(parts)
        super().__init__(self._groups(), {})

    def _groups(self) -> list[dict[str, Any]]:
        # The very groups of the parts, so that a change of a rate is theirs:
        return [group for part in self.parts for group in part.param_groups]

    @torch.no_grad()
    def step(  # type: ignore[override]
        self, closure: Callable[[], float] | None = None
    ) -> float | None:
        r"""Performs a single step of each.

        Args:
            closure (callable, optional): Evaluates the model again and
                returns the loss. (default: :obj:`None`)
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        r"""The states of all parts."""
        return {'parts': [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        r"""The inverse of :meth:`state_dict`."""
        for part, state in zip(self.parts, state_dict['parts'], strict=True):
            part.load_state_dict(state)
        self.param_groups = self._groups()
