r"""Parameters whose size is known only when the first input is seen."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn.parameter import UninitializedParameter, is_lazy


class LazyModule(torch.nn.Module):
    r"""Base class of modules that take :obj:`in_channels=-1`, as those of PyG
    do: the size is then taken from the first input, which is to be seen before
    an optimizer is made, or from a state that is loaded.

    A subclass adds parameters by :meth:`add_parameter` and initialises them in
    :meth:`reset_parameters`, which is called when all sizes are known.
    """

    in_channels: int

    def add_parameter(self, name: str, *size: int) -> None:
        r"""Adds a parameter whose size depends on the number of channels.

        Args:
            name (str): The name of the parameter.
            *size (int): Its size; :obj:`-k` is :obj:`k` times the number of
                channels.
        """
        if self.in_channels > 0:
            self.register_parameter(name, Parameter(self._empty(size)))
            return
        lazy: Any = UninitializedParameter()
        self.register_parameter(name, lazy)
        if '_sizes' not in self.__dict__:
            self._sizes: dict[str, tuple[int, ...]] = {}
            self._hook = self.register_forward_pre_hook(
                _infer, with_kwargs=True
            )
        self._sizes[name] = size

    @property
    def is_lazy(self) -> bool:
        r"""Whether the size of a parameter is not known yet."""
        return any(is_lazy(p) for p in self.parameters(recurse=False))

    def materialize(self, in_channels: int) -> None:
        r"""Gives the parameters their sizes and their initial values.

        Args:
            in_channels (int): Size of each input sample.
        """
        self.in_channels = in_channels
        with torch.no_grad():
            for name, size in self._sizes.items():
                parameter: Any = self.get_parameter(name)
                parameter.materialize(self._empty(size, 'meta').size())
        self._hook.remove()
        del self._sizes, self._hook
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        raise NotImplementedError

    def _empty(
        self, size: tuple[int, ...], device: str | None = None
    ) -> Tensor:
        channels = self.in_channels
        return torch.empty(
            [-s * channels if s < 0 else s for s in size], device=device
        )

    def _save_to_state_dict(
        self, destination: Any, prefix: str, keep_vars: bool
    ) -> None:
        # There is nothing to detach yet:
        super()._save_to_state_dict(
            destination, prefix, keep_vars or self.is_lazy
        )

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, *args: Any
    ) -> None:
        if self.is_lazy:
            name, size = next(iter(self._sizes.items()))
            value = state_dict.get(prefix + name)
            if value is not None and not is_lazy(value):
                place = next(i for i, s in enumerate(size) if s < 0)
                self.materialize(value.size(place) // -size[place])
        super()._load_from_state_dict(state_dict, prefix, *args)


def _infer(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    x = args[0] if args else kwargs['x']
    x = x if isinstance(x, Tensor) else x[0]
    module.materialize(x.size(-1))
