r"""Which features are on: samples around a row whose features are all on."""

from __future__ import annotations

import torch
from torch import Tensor


def lime_masks(
    num_samples: int,
    num_features: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""The sampler of LIME, from the `""Why Should I Trust You?": Explaining
    the Predictions of Any Classifier" <https://arxiv.org/abs/1602.04938>`_
    paper, as used by GLIDER.

    In the first mask all features are on. In each other one the number of
    features that are off is uniform on :math:`1, \ldots, d`, and so is the
    subset of that size. No second mask is hence all on, one may be all off,
    and features are correlated: :math:`\mathbb{E}[x_i] = (d - 1) / 2d` and
    :math:`\mathbb{E}[x_i x_j] = (d - 2) / 3d`, a correlation of 0.20 for
    :math:`d = 6` that grows to one third.

    Args:
        num_samples (int): The number :math:`n` of masks.
        num_features (int): The number :math:`d` of features.
        generator (torch.Generator, optional): The source of randomness.
            (default: that of PyTorch)

    Shapes:
        - **output:** masks :math:`(n, d)`, boolean
    """
    size = _size(num_samples, num_features)
    num_off = torch.randint(num_features, (num_samples, 1), generator=generator)
    # A random order of the features, of which the first ones are off; with
    # 53 bits there are no ties:
    score = torch.rand(size, generator=generator, dtype=torch.double)
    last = score.sort(dim=1).values.gather(1, num_off)
    return _with_all_on(score > last)


def bernoulli_masks(
    num_samples: int,
    num_features: int,
    p: float = 0.5,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Masks of independent features, each of which is on with probability
    :math:`p`; all are on in the first mask.

    Args:
        num_samples (int): The number :math:`n` of masks.
        num_features (int): The number :math:`d` of features.
        p (float, optional): The probability. (default: :obj:`0.5`)
        generator (torch.Generator, optional): The source of randomness.
            (default: that of PyTorch)

    Shapes:
        - **output:** masks :math:`(n, d)`, boolean
    """
    if not 0 <= p <= 1:
        raise ValueError(f"'p' must be a probability (got {p})")
    size = _size(num_samples, num_features)
    score = torch.rand(size, generator=generator, dtype=torch.double)
    return _with_all_on(score < p)


def kernel_weights(masks: Tensor, kernel_width: float = 0.25) -> Tensor:
    r"""The weights of samples by which LIME prefers those that are close,

    .. math::
        \sqrt{\exp(-D^2 / \sigma^2)}, \qquad D = 1 - \cos(\mathbf{x},
        \mathbf{1}) = 1 - \sqrt{|\mathbf{x}| / d},

    with the number :math:`|\mathbf{x}|` of features that are on.

    Args:
        masks (torch.Tensor): The masks.
        kernel_width (float, optional): The width :math:`\sigma`.
            (default: :obj:`0.25`)

    Shapes:
        - **input:** masks :math:`(*, d)`, boolean
        - **output:** weights :math:`(*)`
    """
    if not kernel_width > 0:
        raise ValueError(
            f"'kernel_width' must be positive (got {kernel_width})"
        )
    distance = 1 - masks.float().mean(dim=-1).sqrt()
    return (-0.5 * (distance / kernel_width).square()).exp()


def _size(num_samples: int, num_features: int) -> tuple[int, int]:
    if num_samples < 1 or num_features < 1:
        raise ValueError(
            "'num_samples' and 'num_features' must be at least 1 (got "
            f'{num_samples}, {num_features})'
        )
    return num_samples, num_features


def _with_all_on(masks: Tensor) -> Tensor:
    masks[0] = True
    return masks
