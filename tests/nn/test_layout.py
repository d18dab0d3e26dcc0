import pytest
import torch

from pyg_featgraph.nn.layout import edge_softmax, masked_softmax


@pytest.mark.parametrize('dtype', [torch.float16, torch.float32])
def test_softmax_of_some(dtype):
    # All, some and none of the sources of a target:
    logit = 10 * torch.randn(3, 4, dtype=dtype)
    keep = torch.tensor([[True] * 4, [True, False, True, False], [False] * 4])
    expected = torch.zeros_like(logit)
    expected[0] = logit[0].softmax(0)
    expected[1, ::2] = logit[1, ::2].softmax(0)
    torch.testing.assert_close(masked_softmax(logit, keep), expected)
    target = torch.arange(3).repeat_interleave(4)
    flat = edge_softmax(logit.flatten(), keep.flatten(), target, 3)
    torch.testing.assert_close(flat.view(3, 4), expected)
