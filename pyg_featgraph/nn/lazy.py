r"""Parameters whose size is known only when the first input is seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn.parameter import UninitializedParameter, is_lazy

Shape = Callable[[int], Sequence[int]]


class LazyModule(torch.nn.Module):
    r"""Base class of modules that take :obj:`in_channels=-1`, as those of PyG
    do: the size is then taken from the first input, which is to be seen before
    an optimizer is made.

    A subclass adds parameters by :meth:`add_parameter` and initialises them in
    :meth:`reset_parameters`, which is called when all sizes are known.
    """

    in_channels: int

    def add_parameter(self, name: str, shape: Shape) -> None:
        r"""Adds a parameter whose shape depends on the number of channels.

        Args:
            name (str): The name of the parameter.
            shape (callable): The shape for a number of channels.
        """
        if self.in_channels > 0:
            value = Parameter(torch.empty(*shape(self.in_channels)))
            self.register_parameter(name, value)
            return
        lazy: Any = UninitializedParameter()
        self.register_parameter(name, lazy)
        if '_shapes' not in self.__dict__:
            self._shapes: dict[str, Shape] = {}
            module: Any = self
            self._hooks = [
                module.register_forward_pre_hook(_infer, with_kwargs=True),
                module.register_load_state_dict_pre_hook(_load),
            ]
        self._shapes[name] = shape

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
            for name, shape in self._shapes.items():
                parameter: Any = self.get_parameter(name)
                parameter.materialize(tuple(shape(in_channels)))
        for hook in self._hooks:
            hook.remove()
        del self._shapes, self._hooks
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        raise NotImplementedError


def _infer(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    x = args[0] if args else kwargs['x']
    x = x if isinstance(x, Tensor) else x[0]
    module.materialize(x.size(-1))


def _load(module: Any, state: dict[str, Any], prefix: str, *args: Any) -> None:
    # The saved parameters tell the size; it is found by trying, since shapes
    # are functions of it:
    name, shape = next(iter(module._shapes.items()))
    value = state.get(prefix + name)
    if value is None or is_lazy(value):
        return
    for size in sorted({*value.shape}):
        if tuple(shape(size)) == tuple(value.shape):
            module.materialize(size)
            return
