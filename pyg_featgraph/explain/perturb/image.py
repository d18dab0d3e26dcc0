r"""Images, with their regions as features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pyg_featgraph.errors import DataError
from pyg_featgraph.explain.perturb.black_box import ModelPerturbation


class ImagePerturbation(ModelPerturbation):
    r"""Images whose features are regions, named by their labels such as
    :obj:`"region 5"`.

    Args:
        model (Any): A function of images :math:`(n, C, H, W)`, see
            :class:`ModelPerturbation`.
        images (torch.Tensor): The images to explain, with shape
            :math:`(N, C, H, W)`.
        segments (torch.Tensor): The label of the region of each pixel, as
            integers with shape :math:`(N, H, W)`, or :math:`(H, W)` for all
            images. See :func:`grid_segments` for simple ones.
        fill (str, float or torch.Tensor, optional): The colour of a region
            that is off: :obj:`"image"`, the mean of the image;
            :obj:`"region"`, the mean of the region, as in the `"Feature
            Interaction Interpretability: A Case for Explaining
            Ad-Recommendation Systems via Neural Interaction Detection"
            <https://arxiv.org/abs/2006.10966>`_ paper (Section 6.1); or a
            colour, with shape :math:`(C)`. (default: :obj:`"image"`)
        output (str, optional): See :class:`ModelPerturbation`.
        target (int or list of int, optional): See
            :class:`ModelPerturbation`.
        batch_size (int, optional): How many samples the model gets at once.
            (default: :obj:`64`)
    """

    def __init__(
        self,
        model: Any,
        images: Tensor,
        segments: Tensor,
        fill: str | float | Tensor = 'image',
        output: str | None = None,
        target: int | Sequence[int] | Tensor | None = None,
        batch_size: int = 64,
    ) -> None:
        if images.dim() != 4 or not images.is_floating_point():
            raise DataError(
                "'images' must be [num_images, num_channels, height, width] in "
                f'floating point (got {list(images.size())}, {images.dtype})'
            )
        size = images[:, 0].size()
        if segments.size() not in (size, size[1:]) or (
            segments.is_floating_point()
        ):
            raise DataError(
                f"'segments' must be integers {list(size[1:])} or {list(size)} "
                f'(got {list(segments.size())}, {segments.dtype})'
            )
        if isinstance(fill, str) and fill not in ('image', 'region'):
            raise ValueError(
                f"'fill' must be 'image', 'region' or a colour (got '{fill}')"
            )
        self.images = images
        self.segments = segments.expand(size)
        self.fill = fill
        super().__init__(model, output, target, batch_size)

    def __len__(self) -> int:
        return self.images.size(0)

    def names(self, row: int) -> list[str]:
        labels = self.segments[row].unique().tolist()
        return [f'region {label}' for label in labels]

    def perturb(self, row: int, masks: Tensor) -> Tensor:
        r"""The perturbed copies of an image.

        Args:
            row (int): The index of the image.
            masks (torch.Tensor): Which regions are on, with shape
                :math:`(n, d)`.

        Shapes:
            - **output:** images :math:`(n, C, H, W)`
        """
        image = self.images[row]
        labels, region = self.segments[row].unique(return_inverse=True)
        on = masks.to(image.device)[:, region].unsqueeze(1)
        return torch.where(on, image, self._filled(image, region, len(labels)))

    def outputs(self, row: int, masks: Tensor) -> Any:
        return self.ask(self.to_model(self.perturb(row, masks)))

    def _filled(self, image: Tensor, region: Tensor, size: int) -> Tensor:
        r"""The image where all regions are off."""
        if isinstance(self.fill, Tensor):
            return self.fill.to(image).view(-1, 1, 1)
        if not isinstance(self.fill, str):
            return image.new_tensor(self.fill)
        if self.fill == 'image':
            return image.mean(dim=(1, 2), keepdim=True)
        where = region.flatten()
        total = image.new_zeros(image.size(0), size)
        total.index_add_(1, where, image.flatten(1))
        return (total / where.bincount(minlength=size))[:, region]


def grid_segments(height: int, width: int, down: int, across: int) -> Tensor:
    r"""Regions of a regular grid, numbered from left to right and down.

    Args:
        height (int): The height of the image.
        width (int): The width of the image.
        down (int): The number of regions from top to bottom.
        across (int): The number of regions from left to right.

    Shapes:
        - **output:** labels :math:`(H, W)`
    """
    if not (1 <= down <= height and 1 <= across <= width):
        raise ValueError(
            f'A grid of {down} x {across} regions does not fit into {height} x '
            f'{width} pixels'
        )
    y = torch.arange(height) * down // height
    x = torch.arange(width) * across // width
    return y.unsqueeze(1) * across + x
