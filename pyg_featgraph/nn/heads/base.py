r"""The base class of heads."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from pyg_featgraph.errors import DataError
from pyg_featgraph.nn.config import Configurable


class Head(Configurable, torch.nn.Module):
    r"""Base class of heads: what the :math:`C` outputs of a model mean, the
    loss that goes with them, and what they predict.

    A head has no parameters. What it needs to know of the labels, such as
    their mean and standard deviation, are buffers, which :meth:`adapt` sets
    and a model is saved with.

    A subclass with a :attr:`name` is known to :func:`make_head` by it.
    """

    #: The name of the head.
    name: ClassVar[str]
    #: What an output is, as figures say it.
    unit: ClassVar[str] = 'output'
    #: The number :math:`C` of outputs.
    out_channels: int = 1
    _names: ClassVar[dict[str, type[Head]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if 'name' in vars(cls):
            Head._names[cls.name] = cls

    def loss(
        self,
        out: Tensor,
        y: Tensor,
        weight: Tensor | None = None,
        part: int | None = None,
    ) -> Tensor:
        r"""The mean loss.

        Args:
            out (torch.Tensor): The outputs of a model, with shape :math:`(B)`,
                or :math:`(B, C)` of several.
            y (torch.Tensor): The labels, with shape :math:`(B)`.
            weight (torch.Tensor, optional): The weights of the rows, with
                shape :math:`(B)`. (default: all are alike)
            part (int, optional): Rows are compared only with others of the
                same part of so many rows, which are those of one member.
                (default: all rows)
        """
        losses = self.losses(out, y)
        if weight is None:
            return losses.mean()
        # Rows that do not count have no mean:
        return (losses * weight).sum() / weight.sum().clamp(min=1e-12)

    def losses(self, out: Tensor, y: Tensor) -> Tensor:
        r"""The loss of each row, with shape :math:`(B)`, for a head that does
        not define :meth:`loss` itself.

        Args:
            out (torch.Tensor): The outputs, see :meth:`loss`.
            y (torch.Tensor): The labels, with shape :math:`(B)`.
        """
        raise NotImplementedError

    @abstractmethod
    def predict(self, out: Tensor) -> Tensor:
        r"""What outputs predict, of the same shape.

        Args:
            out (torch.Tensor): The outputs, with shape :math:`(*)` or
                :math:`(*, C)` of several.
        """

    @abstractmethod
    def merge(self, outs: Tensor) -> Tensor:
        r"""The outputs that predict the mean of several predictions.

        Args:
            outs (torch.Tensor): The outputs, with shape :math:`(K, *)`, or
                :math:`(K, *, C)` of several.

        Shapes:
            - **output:** :math:`(*)` or :math:`(*, C)`
        """

    def constant(
        self, y: Tensor, weight: Tensor | None = None
    ) -> Tensor | None:
        r"""The output with the lowest loss of all that are the same for all
        rows, with shape :math:`()`; none if the head does not say.

        Args:
            y (torch.Tensor): The labels, with shape :math:`(R)`.
            weight (torch.Tensor, optional): The weights of the rows, with
                shape :math:`(R)`. (default: all are alike)
        """
        return None

    def adapt(self, y: Tensor, weight: Tensor | None = None) -> None:
        r"""Takes from training labels what the head needs to know of them.

        Args:
            y (torch.Tensor): The labels, with shape :math:`(R)`.
            weight (torch.Tensor, optional): The weights of the rows, with
                shape :math:`(R)`. (default: all are alike)
        """

    @abstractmethod
    def wrong(self, y: Tensor) -> Tensor:
        r"""Which labels the head cannot have, with shape :math:`(R)`.

        Args:
            y (torch.Tensor): The labels, with shape :math:`(R)`.
        """

    #: What a label is, as an error says it.
    wanted: str

    def check(
        self,
        y: Tensor,
        where: str = "'y'",
        rows: Sequence[Any] | None = None,
    ) -> None:
        r"""Checks that labels are those that the head can have.

        Args:
            y (torch.Tensor): The labels, with shape :math:`(R)`.
            where (str, optional): What holds them. (default: :obj:`"'y'"`)
            rows (list, optional): The names of the rows. (default: their
                positions)

        Raises:
            DataError: If one is not.
        """
        wrong = (self.wrong(y) | ~y.isfinite()).nonzero().flatten()
        if len(wrong):
            at = int(wrong[0])
            raise DataError(
                f'{where}, row {at if rows is None else rows[at]!r}: '
                f'{y[at].item():g} is not a label, which has to be '
                f'{self.wanted} ({len(wrong)} such of {len(y)} rows)'
            )

    def __repr__(self) -> str:
        options = ', '.join(f'{k}={v!r}' for k, v in self.config.items())
        return f'{self.__class__.__name__}({options})'


def weighted_mean(x: Tensor, weight: Tensor | None) -> Tensor:
    r"""The mean of numbers :math:`(R)` by weights :math:`(R)`, as a double.

    Args:
        x (torch.Tensor): The numbers.
        weight (torch.Tensor, optional): The weights. (default: all are alike)
    """
    x = x.double()
    if weight is None:
        return x.mean()
    return (x * weight).sum() / weight.double().sum()


def make_head(head: str | Head) -> Head:
    r"""The head of a model.

    Args:
        head (str or Head): The name of a head; or a head whose options are
            taken over, but nothing that it knows of labels.

    Raises:
        ValueError: If there is no head of this name, or it needs options.
    """
    if isinstance(head, Head):
        return type(head)(**head.config)
    if not isinstance(head, str) or head not in Head._names:
        raise ValueError(
            f"'head' must be a head or one of {sorted(Head._names)} (got "
            f'{head!r})'
        )
    try:
        return Head._names[head]()
    except TypeError as error:
        cls = Head._names[head].__name__
        raise ValueError(
            f"The head '{head}' needs options: pass a {cls} ({error})"
        ) from error
