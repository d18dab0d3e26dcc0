import torch

from pyg_featgraph.nn import (
    BinaryHead,
    MulticlassHead,
    RankingHead,
    RegressionHead,
)
from pyg_featgraph.nn.areas import area_of


def test_areas_of_heads():
    y = torch.tensor([0, 1, 2, 0, 1, 2]).double()
    ones = torch.ones(6, dtype=torch.double)
    out = torch.eye(3).double().repeat(2, 1)
    assert area_of(MulticlassHead(3), out, y, ones) == 1
    assert area_of(RankingHead(), -y, y, ones) == 0
    assert area_of(BinaryHead(), -y, (y > 0).double(), ones) == 0
    assert area_of(RegressionHead(), y, y, ones) is None
