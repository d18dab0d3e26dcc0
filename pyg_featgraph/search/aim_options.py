r"""The options of the search of AIM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyg_featgraph.search.stages import SearchOptions


@dataclass(frozen=True, kw_only=True)
class AIMOptions(SearchOptions):
    r"""The options of :func:`~pyg_featgraph.search.aim_search`.

    Args:
        max_order (int, optional): The highest order. (default: :obj:`2`)
        pool (int or str, optional): How many interactions of an order are
            extended to the next. An interaction without a trace in lower
            orders is only found with :obj:`"all"`, which makes every tuple a
            candidate, :math:`O(n^p)` of them.
            (default: half the number of fields)
        search_dims (bool, optional): If set to :obj:`False`, dimensions are
            not searched. (default: :obj:`True`)
        hidden_channels (list of int, optional): The hidden layers that are
            added in the re-training. (default: none)
        dropout (float, optional): Their dropout probability.
            (default: :obj:`0`)
        gate_lr (float, optional): The learning rate of the gates of
            interactions. Higher values keep more. (default: :obj:`0.1`)
        closing (float, optional): The share of a stage after which a gate is
            closed that has had no gradient; it stands for :math:`c` of
            :class:`~pyg_featgraph.optim.GRDA`, whatever the number of steps.
            Lower values close more. (default: :obj:`0.5`)
        dim_lr (float, optional): The learning rate of the gates of
            dimensions, in units of the rate at which the mean gradient of
            half-closed gates balances the growth of the threshold. Higher
            values keep more. (default: :obj:`3`)
        dim_closing (float, optional): As :obj:`closing`, of the gates of
            dimensions. (default: :obj:`0.2`)
        mu (float, optional): :math:`\mu` of
            :class:`~pyg_featgraph.optim.GRDA`. (default: :obj:`0.6`)
        retrain (str, optional): :obj:`"scratch"` learns new weights, but
            starts from the gates; :obj:`"finetune"` starts from the weights
            of the search; :obj:`None` leaves the re-training out.
            (default: :obj:`"scratch"`)
        **kwargs (optional): Arguments of
            :class:`~pyg_featgraph.search.SearchOptions`.
    """

    max_order: int = 2
    pool: int | str | None = None
    search_dims: bool = True
    hidden_channels: Sequence[int] = ()
    dropout: float = 0.0
    gate_lr: float = 0.1
    closing: float = 0.5
    dim_lr: float = 3.0
    dim_closing: float = 0.2
    mu: float = 0.6
    retrain: str | None = 'scratch'

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_positive('gate_lr', 'closing', 'dim_lr', 'dim_closing')
        if isinstance(self.pool, str) and self.pool != 'all':
            raise ValueError(
                f"'pool' must be a number or 'all' (got '{self.pool}')"
            )
        if self.max_order < 2:
            raise ValueError(
                f"'max_order' must be at least 2 (got {self.max_order})"
            )
        if self.retrain is None and self.hidden_channels:
            raise ValueError(
                "'hidden_channels' have to be trained by 'retrain'"
            )
        if self.architecture_lr is not None:
            raise ValueError("The rate of gates is 'gate_lr'")

    @property
    def stages(self) -> list[str]:
        r"""The names of the stages."""
        return [
            *(f'order-{p}' for p in range(2, self.max_order + 1)),
            *(['dimensions'] if self.search_dims else []),
            *(['retrain'] if self.retrain is not None else []),
        ]
