import math

import pytest
import torch
from model_zoo import MODELS
from torch import nn
from torch.testing import assert_close
from torch_geometric.data import Batch

from pyg_featgraph.errors import DataError
from pyg_featgraph.nn import (
    AIM,
    DNN,
    BinaryHead,
    FieldModel,
    MulticlassHead,
    PoissonHead,
    RankingHead,
    RegressionHead,
    make_head,
)

HEADS = {
    'binary': BinaryHead(),
    'multiclass': MulticlassHead(3),
    'regression': RegressionHead(),
    'poisson': PoissonHead(),
    'ranking': RankingHead(),
}


@pytest.fixture
def draw():
    torch.manual_seed(0)
    out = torch.randn(20, dtype=torch.double)
    weight = torch.rand(20, dtype=torch.double) + 0.1
    return out, weight


def labels(name, size=20):
    generator = torch.Generator().manual_seed(1)
    if name == 'regression':
        return 5 + 3 * torch.randn(size, generator=generator).double()
    high = {'binary': 2, 'multiclass': 3, 'poisson': 5, 'ranking': 3}[name]
    return torch.randint(high, (size,), generator=generator).double()


def outputs(name, out):
    if name != 'multiclass':
        return out
    return torch.stack([out, out.sin(), -0.3 * out], dim=-1)


def row_loss(name, head, out, y):
    if name == 'binary':
        p = 1 / (1 + math.exp(-out))
        return -math.log(p if y == 1 else 1 - p)
    if name == 'multiclass':
        total = sum(math.exp(x) for x in out)
        return -math.log(math.exp(out[int(y)]) / total)
    if name == 'regression':
        return (out - (float(y) - float(head.mean)) / float(head.std)) ** 2
    mean = math.exp(out) * math.exp(float(head.log_rate))
    return mean - y * math.log(mean)


@pytest.mark.parametrize(
    'name', ['binary', 'multiclass', 'regression', 'poisson']
)
@pytest.mark.parametrize('weighted', [False, True])
def test_losses_by_a_loop(name, weighted, draw):
    out, weight = draw
    out, y = outputs(name, out), labels(name)
    head = make_head(HEADS[name]).double()
    head.adapt(y, weight if weighted else None)
    total = count = 0.0
    for b in range(20):
        w = float(weight[b]) if weighted else 1.0
        total += w * row_loss(name, head, out[b].tolist(), float(y[b]))
        count += w
    loss = head.loss(out, y, weight if weighted else None)
    assert float(loss) == pytest.approx(total / count, rel=1e-12)


@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('size', [20, 2050])
def test_ranking_loss_by_a_loop(weighted, size):
    torch.manual_seed(0)
    out, weight = torch.randn(size).double(), torch.rand(size).double()
    y = labels('ranking', size)
    total = count = 0.0
    # Pairs are made within 2,048 rows:
    parts = [range(20)] if size == 20 else [range(2048), range(2048, 2050)]
    for part in parts:
        s, w = out[part], weight[part] if weighted else torch.ones(len(part))
        better = (y[part].unsqueeze(1) > y[part]).nonzero()
        for i, j in better.tolist() if size == 20 else []:
            pair = float(w[i] * w[j])
            total += pair * math.log1p(math.exp(float(s[j] - s[i])))
            count += pair
        if size > 20:
            i, j = better.t()
            pair = (w[i] * w[j]).double()
            total += float((pair * (1 + (s[j] - s[i]).exp()).log()).sum())
            count += float(pair.sum())
    loss = RankingHead().loss(out, y, weight if weighted else None)
    assert float(loss) == pytest.approx(total / count, rel=1e-12)


def test_ranking_without_pairs():
    out = torch.randn(4, requires_grad=True)
    loss = RankingHead().loss(out, torch.ones(4))
    loss.backward()
    assert loss == 0
    assert not out.grad.any()


@pytest.mark.parametrize('name', HEADS)
def test_merging_is_the_mean_of_predictions(name):
    torch.manual_seed(0)
    size = (4, 6, 3) if name == 'multiclass' else (4, 6)
    outs = 3 * torch.randn(size, dtype=torch.double)
    head = make_head(HEADS[name]).double()
    head.adapt(labels(name))
    mean = head.predict(outs).mean(dim=0)
    assert_close(head.predict(head.merge(outs)), mean)


def test_predictions():
    x = torch.tensor([-1.0, 2.0])
    assert_close(BinaryHead().predict(x), 1 / (1 + (-x).exp()))
    assert_close(RankingHead().predict(x), x)
    head = RegressionHead()
    assert_close(head.predict(x), x)
    head.adapt(torch.tensor([2.0, 4.0, 100.0]), torch.tensor([1.0, 1.0, 0.0]))
    assert_close(head.predict(x), x + 3)
    head.adapt(torch.tensor([2.0, 2.0]))
    assert_close(head.predict(x), x + 2)
    head = PoissonHead()
    head.adapt(torch.tensor([2.0, 4.0, 100.0]), torch.tensor([1.0, 1.0, 0.0]))
    assert_close(head.predict(x), 3 * x.exp())
    head.adapt(torch.zeros(2))
    assert_close(head.predict(x), x.exp())


def test_labels_are_smoothed_in_training_only(draw):
    out, _ = draw
    y = labels('binary')
    head = BinaryHead(label_smoothing=0.2)
    plain = BinaryHead().loss(out, y)
    smooth = torch.where(y == 1, 0.9, 0.1).double()
    loss = nn.functional.binary_cross_entropy_with_logits(out, smooth)
    assert_close(head.loss(out, y), loss)
    assert_close(head.eval().loss(out, y), plain)

    out, y = outputs('multiclass', out), labels('multiclass')
    head = MulticlassHead(3, label_smoothing=0.3)
    p = nn.functional.one_hot(y.long(), 3) * 0.7 + 0.1
    assert_close(head.loss(out, y), -(p * out.log_softmax(1)).sum(1).mean())
    assert_close(head.eval().loss(out, y), MulticlassHead(3).loss(out, y))


@pytest.mark.parametrize(
    ('name', 'value', 'message'),
    [
        ('binary', 2.0, '0 or 1'),
        ('multiclass', 3.0, 'from 0 to 2'),
        ('multiclass', 0.5, 'from 0 to 2'),
        ('multiclass', -1.0, 'from 0 to 2'),
        ('regression', math.inf, 'a finite number'),
        ('poisson', -0.5, 'not negative'),
        ('poisson', math.nan, 'not negative'),
        ('ranking', math.nan, 'a finite number'),
    ],
)
def test_labels_that_a_head_cannot_have(name, value, message):
    y = labels(name)
    HEADS[name].check(y)
    y[7] = value
    with pytest.raises(DataError, match=f"'clicks', row 'r7'.*{message}"):
        HEADS[name].check(y, "Column 'clicks'", [f'r{i}' for i in range(20)])


def test_unknown_heads():
    with pytest.raises(ValueError, match=r"one of .*'binary'.*got 'softmax'"):
        make_head('softmax')
    with pytest.raises(ValueError, match='pass a MulticlassHead'):
        make_head('multiclass')
    with pytest.raises(ValueError, match="'num_classes' must be a whole"):
        MulticlassHead(1)


@pytest.mark.parametrize('name', MODELS)
def test_every_model_has_several_outputs(name, table):
    torch.manual_seed(0)
    model = MODELS[name](table.info)
    config = model.config | {'head': MulticlassHead(3)}
    model = type(model)(table.info, **config)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    batch = table[:16]
    batch.y = torch.arange(16.0) % 3
    out = model(batch)
    assert out.size() == (16, 3)
    assert not torch.allclose(out[:, 0], out[:, 1])
    model.loss(batch).backward()
    graph = Batch.from_data_list(batch.to_data_list())
    model.eval()
    assert_close(model(graph), model(batch))


def test_what_a_head_knows_is_saved(table, tmp_path):
    model = DNN(table.info, head='regression')
    model.head.adapt(labels('regression'))
    model.save(tmp_path / 'model')
    loaded = FieldModel.load(tmp_path / 'model')
    assert isinstance(loaded.head, RegressionHead)
    assert_close(loaded.head.mean, model.head.mean)
    assert model.head.mean > 3

    model = AIM(table.info, 4, head=MulticlassHead(3))
    nn.init.normal_(model.linear.table.weight)
    model.eval()
    compact = model.compact()
    assert isinstance(compact.head, MulticlassHead)
    assert_close(compact(table[:9]), model(table[:9]))
