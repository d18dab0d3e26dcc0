"""What is wrong is found by the checks for edges, operators and models."""

import pytest
import torch

from pyg_featgraph.nn import DNN, FieldConv, FieldEdge, GraphFMConv
from pyg_featgraph.testing import (
    check_compilation,
    check_conv,
    check_edge,
    check_file,
    check_layouts,
    check_precision,
    check_rows,
)


class Forgets(FieldEdge):
    """Takes no notice of the loops that it must not have."""

    def __init__(self, self_loops=False):
        super().__init__(self_loops)

    def dense(self, x, pairs):
        return x[1] @ x[0].mT


class Differs(FieldEdge):
    def score(self, x_i, x_j):
        # Only nodes of a graph are two-dimensional:
        return (x_i * x_j).sum(-1) * (1 + (x_i.dim() == 2))


def test_edges_that_differ():
    for edge in (Forgets(), Differs()):
        with pytest.raises((AssertionError, NotImplementedError)):
            check_edge(edge, 8, 4)


class Unmasked(FieldConv):
    """Sums up all nodes of a row, missing or not."""

    in_channels = 8

    def convolve(self, x, links, field):
        if links.ends is None:
            return x[1] + x[0].sum(dim=1, keepdim=True), None
        return x[1] + self.spread(x[0], links, None), None


class Counts(FieldConv):
    """An edge of weight zero counts."""

    in_channels = 8

    def convolve(self, x, links, field):
        weight = links.weight
        if weight is not None:
            weight = weight + 1
        return self.spread(x[0], links, weight), weight


def test_operators_that_differ():
    check_conv(GraphFMConv(8, 4), 4)
    for conv in (Unmasked(), Counts()):
        with pytest.raises(AssertionError):
            check_conv(conv, 4)


class Broken(DNN):
    """A model with one fault."""

    fault: str = ''

    def propagate(self, nodes):
        out = super().propagate(nodes)
        if self.fault == 'layouts' and nodes.is_dense:
            return 1.01 * out
        if self.fault == 'rows':
            return out - out.mean()
        if self.fault == 'file':
            return out + self.secret
        if self.fault == 'precision':
            return out + 10 * (out.dtype == torch.bfloat16)
        if self.fault == 'compilation':
            return out * float(out.detach().abs().max() > 0)
        return out


CHECKS = {
    'layouts': check_layouts,
    'rows': check_rows,
    'file': check_file,
    'precision': check_precision,
    'compilation': check_compilation,
}


@pytest.mark.parametrize('fault', CHECKS)
def test_models_that_are_wrong(fault, table):
    model = Broken(table.info, 4, [8], embedding_std=0.5).eval()
    model.secret = torch.randn(())
    CHECKS[fault](model, table) if fault != 'file' else None
    model.fault = fault
    # What is missing in a loaded model is no error of its own:
    errors = (
        AssertionError,
        AttributeError,
        torch._dynamo.exc.TorchDynamoException,
    )
    with pytest.raises(errors):
        CHECKS[fault](model, table)
