from itertools import combinations
from math import comb

import numpy as np
import pytest
import torch
from aim_parts import (
    OPTIONS,
    SHORT,
    STAGES,
    make,
    num_parameters,
    planted,
    scores,
    stage_of,
)

from pyg_featgraph.interactions import InteractionSet
from pyg_featgraph.nn import AIM, FieldModel, RaggedEmbedding
from pyg_featgraph.optim import GRDA
from pyg_featgraph.search import aim_search, extend_model
from pyg_featgraph.search.aim_orders import extend_tuples
from pyg_featgraph.search.gates import GateModule
from pyg_featgraph.training import TrainingOptions, predict
from pyg_featgraph.training.module import FieldModule


@pytest.fixture(scope='module')
def parts():
    return planted('ab', 'abc', num_rows=1000)


@pytest.mark.parametrize(
    ('terms', 'pool'),
    # The triple of the second has no trace in pairs:
    [(['ab', 'abc'], None), (['ab', 'cde'], 'all')],
    ids=['best', 'all'],
)
def test_finds_a_pair_and_a_triple(terms, pool, tmp_path):
    parts = planted(*terms)
    result = aim_search(
        AIM(parts[0].info, 4),
        *parts,
        directory=tmp_path,
        max_order=3,
        pool=pool,
        max_epochs=5,
        batch_size=100,
        dim_lr=1.0,
        **OPTIONS,
    )
    truth = [tuple(term) for term in terms]
    found = result.interactions
    assert found.recall_at(None, truth) == 1
    assert found.recall_at(2, truth) == 1
    # No model can do better than 0.875, a pair alone has 0.75:
    assert list(result.stages) == STAGES
    assert result.metrics == result.stages['retrain'].metrics
    assert result.metrics['test_auc'] > 0.85
    saved = InteractionSet.load(tmp_path / 'interactions.json')
    assert scores(saved) == scores(found)
    # What was counted is what was found:
    for row in result.kept.itertuples():
        assert row.possible == 4 * comb(6, row.order)
        assert row.candidates <= row.possible
        assert row.open == sum(
            len(x.detail['functions']) for x in found.of_order(row.order)
        )
    assert result.kept['order'].tolist() == [2, 3]
    assert result.kept['candidates'][0] == result.kept['possible'][0]
    assert (result.kept['open'] < 0.3 * result.kept['candidates']).all()
    # The model is small, holds nothing else, and is the one that was saved:
    gates = result.model.interactions(by='edges')
    assert {x.fields for x in gates} == {x.fields for x in found}
    assert num_parameters(result.model) < num_parameters(AIM(parts[0].info, 4))
    loaded = FieldModel.load(result.stages['retrain'].model_path)
    assert repr(loaded) == repr(result.model)
    assert torch.equal(
        predict(loaded, parts[2]), predict(result.model, parts[2])
    )


@pytest.mark.parametrize('num_fields', [3, 6])
@pytest.mark.parametrize('order', [2, 3])
def test_candidates(num_fields, order):
    everything = [*combinations(range(num_fields), order)]
    for k in (0, 1, 2, 3):
        chosen = torch.randperm(len(everything))[:k].tolist()
        # In any order of the fields:
        pool = [everything[i][::-1] for i in chosen]
        out = extend_tuples(pool, num_fields)
        # p is the order of the candidates:
        p = order + 1
        assert len(out) <= k * (num_fields - p + 1)
        assert len({frozenset(q) for q in out}) == len(out)
        assert all(q == tuple(sorted(set(q))) for q in out)
        wanted = [
            q
            for q in combinations(range(num_fields), p)
            if any({*q} > {*one} for one in pool)
        ]
        assert out == wanted


@pytest.mark.parametrize('pool', [0, 2, None, 'all'])
def test_pool(pool, parts):
    model = make(parts)
    with torch.no_grad():
        for _, conv in model.layer.items():
            conv.gate.normal_()
        # The best by absolute value, whatever the sign and the function:
        model.layer.convs['vector-2'].gate[:2] = torch.tensor([-9.0, 8.0])
        model.layer.convs['inner-2'].gate[5:] = 0
    out = extend_model(model, 3, pool)
    before = {x.fields: x.detail for x in model.gates()}
    after = {x.fields: x.detail for x in out.gates()}
    assert before.items() <= after.items()
    names = parts[0].info.names
    gates = {
        tuple(sorted(names.index(x) for x in e.fields)): e.detail['functions']
        for e in out.gates().of_order(3)
    }
    triples = sorted(gates)
    n, size = 6, {None: 3, 'all': comb(6, 2)}.get(pool, pool)
    best = model.interactions(by='edges').top(size)
    members = [{parts[0].info.names.index(x) for x in e.fields} for e in best]
    assert triples == [
        q for q in combinations(range(n), 3) if any({*q} > m for m in members)
    ]
    if pool == 2:
        assert members == [{0, 1}, {0, 2}]
    for q in triples:
        assert [*gates[q]] == ['inner', 'vector']
    initial = [gates[q]['inner'] for q in triples]
    assert initial == pytest.approx([0.6] * len(triples), rel=2.1e-3)


@pytest.mark.parametrize('retrain', [None, 'finetune', 'scratch'])
def test_stages(retrain, parts, tmp_path):
    result = aim_search(
        make(parts),
        *parts,
        directory=tmp_path,
        hidden_channels=[4] if retrain else [],
        retrain=retrain,
        retrain_options={'max_epochs': 3, 'patience': 5},
        **SHORT,
    )
    model = result.model
    names = ['order-2', 'dimensions', 'retrain'][: 3 if retrain else 2]
    assert list(result.stages) == names
    assert {p.name for p in tmp_path.iterdir() if p.is_dir()} == set(names)
    assert result.metrics == result.stages[names[-1]].metrics
    epochs = [stage.num_epochs for stage in result.stages.values()]
    assert epochs == [2, 2, 3][: len(names)]
    # Dimensions were taken out of those that the search had:
    assert len(result.interactions) > 0
    searched = FieldModel.load(result.stages['dimensions'].model_path)
    is_open = (searched.dim_gate != 0).tolist()
    assert 0 < sum(map(sum, is_open)) < 6 * 4
    for embedding in model.embeddings.values():
        assert isinstance(embedding, RaggedEmbedding)
        for field, kept in enumerate(embedding.dims):
            assert all(is_open[field][t] for t in kept)
    kept, found = (
        {x.fields: set(x.detail['functions']) for x in interactions}
        for interactions in (model.gates(), result.interactions)
    )
    assert kept == found
    whole = model.rebuild(dims=None)
    assert num_parameters(model) < num_parameters(whole)
    assert model.dim_gate is None
    if retrain:
        assert model.mlp.hidden.lins[0].out_channels == 4
    assert predict(model, parts[2]).isfinite().all()


def test_only_inner_products(parts, tmp_path):
    """The form of AutoFIS."""
    result = aim_search(
        make(parts, functions=['inner'], function_wise=False),
        *parts,
        directory=tmp_path,
        search_dims=False,
        **{**SHORT, 'max_epochs': 4},
    )
    assert list(result.stages) == ['order-2', 'retrain']
    model = result.model
    assert [*model.layer.convs] == ['inner-2']
    (embedding,) = model.embeddings.values()
    # Fields are whole, or without any interaction:
    used = {x for entry in result.interactions for x in entry.fields}
    assert embedding.dims == [
        [0, 1, 2, 3] if name in used else [] for name in parts[0].info.names
    ]
    assert result.kept['possible'].tolist() == [comb(6, 2)]
    assert 0 < result.kept['open'][0] < comb(6, 2)


def test_all_gates_close(parts, tmp_path):
    # Nothing opens again, as gradients count for nothing:
    closed = {**SHORT, 'gate_lr': 1e-6, 'closing': 0.1}
    result = aim_search(
        make(parts), *parts, directory=tmp_path, max_order=3, **closed
    )
    assert len(result.interactions) == 0
    assert list(result.stages) == ['order-2', 'retrain']
    assert result.kept['candidates'].tolist() == [30, 0]
    assert result.kept['open'].tolist() == [0, 0]
    assert num_parameters(result.model) == 1 + parts[0].info.num_embeddings
    assert len(InteractionSet.load(tmp_path / 'interactions.json')) == 0


def watch(patch):
    """What happens to the parameters of each stage: which optimizer they
    have, whether they move, and whether there are zeros in the end.
    """
    before, seen = {}, {}

    def begin(module):
        for name, p in module.model.named_parameters():
            before[name] = p.detach().clone()

    def end(module):
        (optimizer,) = module.trainer.optimizers
        owner = {
            id(p): type(part)
            for part in getattr(optimizer, 'parts', [optimizer])
            for group in part.param_groups
            for p in group['params']
        }
        seen[stage_of(module.trainer)] = {
            name: (
                owner.get(id(p)),
                not torch.equal(p, before[name]),
                bool((p == 0).any()),
            )
            for name, p in module.model.named_parameters()
        }

    patch.setattr(FieldModule, 'on_train_start', begin)
    patch.setattr(FieldModule, 'on_train_end', end)
    return seen


def test_what_trains_the_gates(parts, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        seen = watch(patch)
        options = {'directory': tmp_path, 'max_order': 3, **SHORT}
        aim_search(make(parts), *parts, **options)
    assert list(seen) == STAGES
    searched = {
        'order-2': ['layer.convs.inner-2.gate', 'layer.convs.vector-2.gate'],
        'order-3': ['layer.convs.inner-3.gate', 'layer.convs.vector-3.gate'],
        'dimensions': ['dim_gate'],
        'retrain': [],
    }
    for stage, parameters in seen.items():
        assert set(searched[stage]) <= set(parameters)
        for name, (optimizer, has_moved, has_zeros) in parameters.items():
            if name in searched[stage]:
                # Exact zeros come from here alone:
                assert (optimizer, has_moved, has_zeros) == (GRDA, True, True)
            elif stage == 'dimensions' and name.endswith('.gate'):
                assert (optimizer, has_moved, has_zeros) == (None, False, False)
            elif stage == 'order-3' and '-3' not in name:
                # What order 2 has learned stays:
                assert (optimizer, has_moved) == (None, False), name
            else:
                assert optimizer is torch.optim.AdamW, name
                assert has_moved, name
                assert not (has_zeros and name.endswith('.gate')), name


def test_threshold(parts):
    """A gate without gradients is closed after its share of the steps."""
    model = make(parts)
    gates = [conv.gate for _, conv in model.layer.items()]
    for share in (0.25, 0.5):
        model.reset_parameters()
        module = GateModule(model, gates, TrainingOptions(), 0.3, share, 0.6)
        grda = module.make_grda(40)
        num_open = []
        for _ in range(40):
            for gate in gates:
                gate.grad = torch.zeros_like(gate)
            grda.step()
            num_open.append(sum(int(gate.count_nonzero()) for gate in gates))
        # They differ by 0.4 % in the beginning; without gradients the best of
        # them closes last:
        last = int(40 * share)
        assert num_open[last - 2] == 30
        assert num_open[last] == 0


def test_wrong_arguments(parts, tmp_path):
    options = {'directory': tmp_path / 'new', **SHORT}
    for changed, message in (
        ({'retrain': 'again'}, "'retrain' must be"),
        ({'max_order': 1}, "'max_order' must be at least 2"),
        ({'pool': 'best'}, "'pool' must be a number or 'all'"),
        ({'gate_lr': 0.0}, "'gate_lr' must be positive"),
        ({'closing': 0.0}, "'closing' must be positive"),
        ({'dim_lr': -1.0}, "'dim_lr' must be positive"),
        ({'dim_closing': 0.0}, "'dim_closing' must be positive"),
    ):
        with pytest.raises(ValueError, match=message):
            aim_search(make(parts), *parts, **{**options, **changed})
    for model in (make(parts, norm=False), make(parts, dim_gates=True)):
        with pytest.raises(ValueError, match='no gates on normalised'):
            aim_search(model, *parts, **options)
    # Nothing was written:
    assert not (tmp_path / 'new').exists()


def test_without_absent_fields(tmp_path):
    parts = planted('ab', num_rows=1000, missing=0.1)
    outs = []
    for drop_absent in (True, False):
        for part in parts:
            part.drop_absent = drop_absent
        batch = parts[0].batch(slice(0, 50))
        assert (batch.num_nodes < 50 * 6) == drop_absent
        outs.append(
            aim_search(make(parts), *parts, directory=tmp_path, **SHORT)
        )
    for result in outs:
        assert len(result.interactions) > 0
        assert np.isfinite([*result.metrics.values()]).all()
    assert outs[0].metrics != outs[1].metrics
