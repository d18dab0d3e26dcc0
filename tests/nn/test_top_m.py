import pytest
import torch
from loops import layout, randomise

from pyg_featgraph.nn import FieldEdge, FieldLinear, HadamardScore, TopM
from pyg_featgraph.nn.kernels import top_m

pytestmark = pytest.mark.usefixtures('kernels')


class Given(FieldEdge):
    """Weights from elsewhere, as an edge module."""

    def __init__(self, weight, self_loops=True):
        super().__init__(self_loops)
        self.weight = weight

    def dense(self, x, pairs):
        return self.weight

    def graph(self, x, edge_index, field):
        return self.weight.flatten(0, 1)[edge_index[1], edge_index[0] % 4]


@pytest.mark.parametrize('ties', ['lowest', 'all'])
@pytest.mark.parametrize('binary', [True, False])
def test_ties_go_to_the_lowest_index(ties, binary):
    weight = torch.tensor([[[0.5, 0.9, 0.5, 0.5]]]).expand(2, 4, 4)
    top = TopM(Given(weight), 2, ties, binary)
    expected = weight if ties == 'all' else weight * torch.tensor([1, 1, 0, 0])
    if binary:
        expected = (expected > 0).float()
    x, (_, _, edges) = torch.zeros(2, 4, 1), layout(2, 4)
    assert torch.equal(top(x), expected)
    perm = torch.randperm(32)
    for index in (edges, edges[:, perm]):
        out = torch.zeros(8, 4)
        out[index[1], index[0] % 4] = top(x.flatten(0, 1), index)
        assert torch.equal(out.view(2, 4, 4), expected)


def test_random_weights_with_many_ties_and_zeros():
    x = torch.zeros(50, 4, 1)
    _, _, edges = layout(50, 4)
    mask = torch.rand(50, 4) < 0.7
    weight = torch.randint(0, 3, (50, 4, 4)).float()
    for m in range(1, 6):
        for ties in ('lowest', 'all'):
            top = TopM(Given(weight), m, ties)
            some = weight * mask.unsqueeze(1) * mask.unsqueeze(2)
            for given, out in (
                (weight, top(x)),
                (some, top(x, mask=mask)),
            ):
                for b, i in ((b, i) for b in range(50) for i in range(4)):
                    row = given[b, i].tolist()
                    ranked = sorted(range(4), key=lambda j: (-row[j], j))[:m]
                    cut = row[ranked[-1]]
                    for j in range(4):
                        keep = j in ranked or (ties == 'all' and row[j] >= cut)
                        assert out[b, i, j] == (row[j] if keep else 0)
            graph = top(x.flatten(0, 1), edges)
            dense = torch.zeros(200, 4)
            dense[edges[1], edges[0] % 4] = graph
            assert torch.equal(dense.view(50, 4, 4), top(x))


def test_the_largest_weights():
    weight = torch.randint(0, 4, (50, 6, 6)).float()
    for m in range(1, 8):
        order = weight.sort(dim=-1, descending=True, stable=True).indices
        keep = torch.zeros_like(weight).scatter_(-1, order[..., :m], 1)
        assert torch.equal(top_m(weight, m), weight * keep)
    torch.library.opcheck(
        torch.ops.pyg_featgraph.top_m.default,
        (weight.requires_grad_(), 2, True),
    )


def test_arguments():
    for wrong in ({'m': 0}, {'m': 1, 'ties': 'none'}):
        with pytest.raises(ValueError, match='must be'):
            TopM(HadamardScore(3), **wrong)
    top = TopM(Given(torch.rand(2, 4, 4, 3)), 2)
    with pytest.raises(ValueError, match='have heads'):
        top(torch.zeros(2, 4, 1))
    top = TopM(HadamardScore(3, 5, self_loops=False), 2, 'all')
    assert str(top) == "TopM(HadamardScore(3, 5), m=2, ties='all')"
    other = top.resized(7)
    assert other.config == {**top.config, 'edge': other.edge}
    assert other.edge.config == {**top.edge.config, 'in_channels': 7}
    assert not other.self_loops


@pytest.mark.parametrize('binary', [True, False])
def test_gradient_reaches_the_edges_that_are_kept(binary):
    top = TopM(HadamardScore(3), 2, binary=binary).double()
    x = torch.randn(3, 4, 3, dtype=torch.double, requires_grad=True)
    weight = top(x)
    assert weight.requires_grad == (not binary)
    if not binary:
        (weight * (weight == 0)).sum().backward(retain_graph=True)
        assert (x.grad == 0).all()
        weight.sum().backward()
        assert (x.grad != 0).any()


def test_hadamard_score_layouts():
    score = randomise(HadamardScore(5))
    for n in (1, 2, 5, 6):
        x = torch.randn(3, n, 5, dtype=torch.double)
        flat = score(x.flatten(0, 1), layout(3, n)[2])
        torch.testing.assert_close(score(x).flatten(), flat)
    assert str(score) == 'HadamardScore(5, 16)'


def test_field_linear():
    lin = randomise(FieldLinear(3, 2, num_fields=4))
    x = torch.randn(2, 4, 3, dtype=torch.double)
    field = torch.arange(4).repeat(2)
    perm = torch.randperm(8)
    out = lin(x).flatten(0, 1)
    got = lin(x.flatten(0, 1)[perm], field[perm])
    torch.testing.assert_close(got, out[perm])
    with pytest.raises(ValueError, match="'field' is required"):
        lin(x.flatten(0, 1))
