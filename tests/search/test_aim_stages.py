"""The stages of the search of AIM one by one."""

import math

import pytest
import torch
from aim_parts import SHORT, make, planted
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback

from pyg_featgraph.interactions import InteractionSet
from pyg_featgraph.nn import AIM, Nodes
from pyg_featgraph.nn.gates import shared_gates
from pyg_featgraph.optim import GRDA, RowWiseAdagrad
from pyg_featgraph.search import (
    AIMOptions,
    Search,
    aim_search,
    extend_model,
    retrain_compact,
    search_dimensions,
    search_order,
)
from pyg_featgraph.search.aim_dimensions import resistance, with_dim_gates
from pyg_featgraph.search.gates import MAX_MOVE, GateModule
from pyg_featgraph.training import FieldDataModule, TrainingOptions
from pyg_featgraph.training.options import split_options


@pytest.fixture(scope='module')
def parts():
    return planted('ab', 'abc', num_rows=1000)


def gates_of(model):
    return [conv.gate for _, conv in model.layer.items()]


def test_stages_by_hand_are_the_search(parts, tmp_path):
    options = {'max_order': 3, 'hidden_channels': [4], **SHORT}
    whole = aim_search(make(parts), *parts, directory=tmp_path / '1', **options)
    options, rest = split_options(AIMOptions(), options)
    model, folder = make(parts), tmp_path / '2'
    folders = ('order-*', 'dimensions', 'retrain')
    search = Search(model, parts, folder, options, False, folders, 4, rest)
    with search:
        assert search_order(search, model, 2, options) == 30
        model = extend_model(model, 3, None, options.seed)
        assert search_order(search, model, 3, options) == 8
        assert search_order(search, model, 4, options) == 0
        small = search_dimensions(search, model, options).compact()
        # Values of gates are those of the search of interactions:
        found = shared_gates(model.gates(), small.gates())
        dims = small.config['dims']
        small = retrain_compact(search, model, found, dims, options)
    assert list(search.stages) == list(whole.stages)
    for name, stage in search.stages.items():
        assert stage.metrics == whole.stages[name].metrics
    for name, value in whole.model.state_dict().items():
        assert torch.equal(small.state_dict()[name], value)


class Moves(Callback):
    """How far gates move in each step."""

    def __init__(self):
        self.moves = []

    def on_train_batch_start(self, trainer, module, *args):
        self.before = [gate.detach().clone() for gate in module.gates]

    def on_train_batch_end(self, trainer, module, *args):
        after = [
            trainer.optimizers[0].parts[0].state[gate]['dual']
            for gate in module.gates
        ]
        if hasattr(self, 'duals'):
            self.moves.append(
                max(
                    float((x - y).abs().max())
                    for x, y in zip(after, self.duals, strict=True)
                )
            )
        self.duals = [x.clone() for x in after]


def test_gates_do_not_jump(parts, tmp_path):
    """A rate that is too high moves them by a share of their beginning."""
    model, moves = make(parts), Moves()
    start = max(float(x.detach().abs().max()) for x in gates_of(model))
    module = GateModule(
        model, gates_of(model), TrainingOptions(), 1e4, 0.5, 0.6
    )
    trainer = Trainer(
        default_root_dir=tmp_path,
        max_epochs=2,
        accelerator='cpu',
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        callbacks=[moves],
    )
    trainer.fit(module, datamodule=FieldDataModule(*parts, batch_size=50))
    assert max(moves.moves) == pytest.approx(MAX_MOVE * start, rel=1e-3)


def test_rate_and_threshold_of_gates(parts):
    """In units of what balances the threshold, if there is a resistance."""
    model = make(parts)
    args = (model, gates_of(model), TrainingOptions())
    start = max(float(gate.detach().abs().max()) for gate in gates_of(model))
    for closing, size in ((0.5, None), (0.2, 0.01)):
        module = GateModule(*args, 3.0, closing, 0.6, size)
        grda = module.make_grda(200)
        rate = 3.0 if size is None else 3.0 / (closing * 200 * size)
        (group,) = grda.param_groups
        assert group['lr'] == pytest.approx(rate)
        # The threshold after the share of steps is the initial gate:
        threshold = group['c'] * rate**0.5 * (closing * 200 * rate) ** 0.6
        assert threshold == pytest.approx(start)
    for num_steps in (math.inf, 0):
        with pytest.raises(ValueError, match='needs to know its number of'):
            module.make_grda(num_steps)


def test_resistance_is_that_of_half_closed_gates(parts):
    model = with_dim_gates(make(parts))
    (gate,) = model.architecture_parameters()
    before = gate.detach().clone()
    batches = [parts[0].batch(slice(k, k + 50)) for k in (0, 50, 100)]
    model.train()
    out = resistance(model, gate, batches)
    # Gates are as they were:
    assert torch.equal(gate, before)
    assert gate.requires_grad
    with torch.no_grad():
        gate.copy_(before / 2)
    grads = [
        torch.autograd.grad(model.loss(batch), gate)[0] for batch in batches
    ]
    mean = torch.stack(grads).mean(dim=0)
    assert out == pytest.approx(float(mean.square().mean() ** 0.5), rel=1e-4)


def test_interactions_keep_their_size_without_norm(parts):
    """Of node vectors with unit variance, about: products of independent
    signs under each function.
    """
    functions = ['inner', 'outer', 'vector', 'scalar']
    torch.manual_seed(0)
    model = AIM(parts[0].info, 16, functions=functions, embedding_std=1.0)
    with torch.no_grad():
        for gate in gates_of(model):
            gate.copy_(torch.linspace(0.5, 1.0, len(gate)))
    expected = torch.cat(gates_of(model)).detach()
    out = with_dim_gates(model)
    assert not any(gate.requires_grad for gate in gates_of(out))
    x = torch.randn(4000, 6, 16)
    values = out.layer(x, Nodes((x,)))
    ratio = values.std(dim=0) / expected
    assert ratio.min() > 0.85
    assert ratio.max() < 1.15


def test_a_search_with_sparse_tables(parts, tmp_path):
    """Gates, dense and sparse parameters: three optimizers as one."""
    options = {'directory': tmp_path, 'search_dims': False, **SHORT}
    seen = []

    class Watch(Callback):
        def on_train_end(self, trainer, *args):
            (optimizer,) = trainer.optimizers
            seen.append([type(x) for x in getattr(optimizer, 'parts', [])])

    result = aim_search(
        make(parts, sparse=True), *parts, callbacks=[Watch()], **options
    )
    assert seen == [
        [GRDA, torch.optim.AdamW, RowWiseAdagrad],
        [torch.optim.AdamW, RowWiseAdagrad],
    ]
    assert len(result.interactions) > 0


def test_steps_are_counted_as_the_trainer_counts_them(parts, tmp_path):
    """Gates close at the same share of a shorter search."""
    rates = []
    original = GateModule.make_grda

    def spy(self, num_steps):
        rates.append(num_steps)
        return original(self, num_steps)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GateModule, 'make_grda', spy)
        for options, num_steps in (
            ({'max_epochs': 2}, 16),
            ({'max_epochs': 2, 'accumulate_grad_batches': 3}, 6),
            ({'max_epochs': 2, 'limit_train_batches': 4}, 8),
            ({'max_epochs': None, 'max_steps': 5}, 5),
        ):
            rates.clear()
            aim_search(
                make(parts),
                *parts,
                directory=tmp_path,
                retrain=None,
                search_dims=False,
                **{**SHORT, **options},
            )
            assert rates == [num_steps]


def test_fast_dev_run_leaves_no_trace(parts, tmp_path):
    options = {'directory': tmp_path, 'fast_dev_run': True, **SHORT}
    result = aim_search(make(parts), *parts, **options)
    assert result.model.info == parts[0].info
    assert not list(tmp_path.iterdir())


def test_no_result_of_an_earlier_search_is_left(parts, tmp_path):
    options = {'directory': tmp_path, **SHORT}
    aim_search(make(parts), *parts, **options)
    assert len(InteractionSet.load(tmp_path / 'interactions.json')) > 0

    class Crash(Exception):
        pass

    class Now(Callback):
        def on_train_start(self, *args):
            raise Crash

    with pytest.raises(Crash):
        aim_search(make(parts), *parts, callbacks=[Now()], seed=5, **options)
    left = {path.name for path in tmp_path.rglob('*') if path.is_file()}
    assert left == {'run.json', 'run.lock'}
