"""Options of modules: captured, checked, written and read."""

import json

import pytest
import torch

from pyg_featgraph.errors import DataError
from pyg_featgraph.interactions import Interaction, InteractionSet
from pyg_featgraph.nn import (
    AIM,
    FIVES,
    AdjacencyTensor,
    AutoInt,
    FeatNet,
    FieldEdge,
    FieldModel,
    FiGNN,
    GraphFM,
    HadamardScore,
    TopM,
    make_edge,
)
from pyg_featgraph.nn.config import (
    Configurable,
    at_least,
    between,
    decode,
    encode,
    one_of,
    qualified_name,
)
from pyg_featgraph.nn.models import LR as LibraryLR


class Constant(FieldEdge, name='constant for tests'):
    def __init__(self, value=1.0, *, in_channels=3):
        super().__init__(self_loops=False)
        self.value = value

    def score(self, x_i, x_j):
        return self.value * (x_i * x_j).sum(dim=-1).new_ones(()).expand(
            torch.broadcast_shapes(x_i.size(), x_j.size())[:-1]
        )


class LR(LibraryLR):
    """A model of the name of one of the library's."""

    def __init__(self, info, shift, **kwargs):
        super().__init__(info, **kwargs)
        self.linear.bias.data.fill_(shift)


def test_options_are_captured():
    edge = HadamardScore(4, self_loops=False)
    expected = {'in_channels': 4, 'hidden_channels': 16, 'self_loops': False}
    assert edge.config == expected
    assert HadamardScore(in_channels=4, self_loops=False).config == expected
    top = TopM(edge, 3, binary=True)
    assert top.config == {
        'edge': edge,
        'm': 3,
        'ties': 'lowest',
        'binary': True,
    }
    assert Constant(2.0).config == {'value': 2.0, 'in_channels': 3}


def test_options_of_a_subclass_are_its_own(info):
    assert LibraryLR(info).config == {
        'shrinkage': 0.0,
        'sparse': None,
        'head': 'binary',
        'members': 1,
        'field_dropout': 0.0,
    }
    # Those behind the asterisks, too, and nothing twice:
    assert LR(info, 0.5, sparse=True).config == {'shift': 0.5, 'sparse': True}
    with pytest.raises(TypeError, match='nonsense'):
        LR(info, 0.5, nonsense=1)


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda i: GraphFM(i, heads=0), "GraphFM: 'heads' must be .* (got 0)"),
        (lambda i: GraphFM(i, variant='x'), "GraphFM: 'variant' .* (got 'x')"),
        (lambda i: GraphFM(i, 4.5), "GraphFM: 'embedding_dim' .* (got 4.5)"),
        (lambda i: FiGNN(i, dropout=1.0), "FiGNN: 'dropout' .* (got 1.0)"),
        (lambda i: FIVES(i, max_order=1), "FIVES: 'max_order' .* (got 1)"),
        (lambda i: FIVES(i, mode='x'), "FIVES: 'mode' must .* (got 'x')"),
        (lambda i: AutoInt(i, num_layers=-1), "AutoInt: 'num_layers'"),
        (lambda i: GraphFM(i, m=[0, 1, 1]), r"GraphFM: 'm' .* (got \[0,"),
        (lambda i: TopM(HadamardScore(3), 0), "TopM: 'm' must .* (got 0)"),
    ],
)
def test_bad_options_are_named(make, message, info):
    message = message.replace('(', r'\(').replace(')', r'\)')
    with pytest.raises(ValueError, match=message):
        make(info)


def test_rules():
    assert at_least(1)(1) is None
    assert at_least(1)([1, 2]) is None
    assert 'whole number of at least 1' in at_least(1)(0)
    for wrong in (1.5, True, None, 'a', [1, 0]):
        assert at_least(1)(wrong) is not None
    assert at_least(0, float)(0.5) is None
    assert 'a number of at least 0' in at_least(0, float)(-0.1)
    assert between(0, 1)(0) is None
    assert 'below 1' in between(0, 1)(1)
    assert one_of('a', 'b')('a') is None
    assert one_of('a', 'b')('c') == "must be one of 'a', 'b'"


def test_edges_by_name_or_as_modules():
    edge = make_edge('subset', 5, 7)
    assert (edge.in_channels, edge.num_fields) == (5, 7)
    given = TopM(HadamardScore(5, 3), 2)
    other = make_edge(given, 8, 7)
    assert (other.m, other.edge.hidden_channels) == (2, 3)
    assert other.edge.in_channels == 8
    assert other is not given
    for wrong in ('none', [8], None):
        with pytest.raises(ValueError, match="'edge' must be a module or one"):
            make_edge(wrong, 5, 7)


def test_values_survive():
    found = InteractionSet([Interaction(('a', 'b'), 0.5, 'me', {'x': 1.0})])
    values = {
        'edge': TopM(HadamardScore(4, 2), 3),
        'set': found,
        'list': [1, (2, 3)],
        'nothing': None,
    }
    text = json.dumps(encode(values))
    got = decode(json.loads(text))
    assert got['edge'].config['m'] == 3
    assert got['edge'].edge.config == values['edge'].edge.config
    assert got['set'] == found
    assert got['list'] == [1, [2, 3]]
    assert got['nothing'] is None


@pytest.mark.parametrize(
    'make',
    [
        lambda i: GraphFM(i, 4, 8, 2, edge=TopM(HadamardScore(4, 3), 2)),
        lambda i: GraphFM(i, 4, 8, 2, edge=Constant(0.3)),
        lambda i: GraphFM(i, 4, 8, 2, 'constant for tests', m=(3, 2)),
        lambda i: FiGNN(i, 4, 8, edge=AdjacencyTensor(7, mode='hard')),
        lambda i: FIVES(i, 4, edge='attention'),
        lambda i: AutoInt(i, 4, 8, 2, edge=TopM(HadamardScore(4), 3, 'all')),
        lambda i: FeatNet(i, 4, edge=HadamardScore(4, self_loops=False)),
        lambda i: AIM(
            i, 4, InteractionSet([Interaction(('I1', 'C1'), 1.0, 'me')])
        ),
        lambda i: LR(i, 0.5),
    ],
)
def test_models_come_back(make, table, tmp_path):
    model = make(table.info).eval()
    path = tmp_path / 'model.safetensors'
    model.save(path)
    loaded = FieldModel.load(path).eval()
    assert type(loaded) is type(model)
    assert encode(loaded.config) == encode(model.config)
    torch.testing.assert_close(loaded(table[:8]), model(table[:8]))


def test_classes_of_the_same_name(info, tmp_path):
    LibraryLR(info).save(tmp_path / 'library')
    LR(info, 0.5).save(tmp_path / 'own')
    assert type(FieldModel.load(tmp_path / 'library')) is LibraryLR
    own = FieldModel.load(tmp_path / 'own')
    assert type(own) is LR
    assert own.linear.bias == 0.5


def test_a_class_that_has_not_been_imported(info, tmp_path, monkeypatch):
    path = tmp_path / 'model.safetensors'
    LR(info, 0.5).save(path)
    name = qualified_name(LR)
    monkeypatch.delitem(Configurable._registry, name)
    with pytest.raises(DataError, match=f"'{name}'.* import") as error:
        FieldModel.load(path)
    assert str(path) in str(error.value)
