import numpy as np
import pandas as pd
import pytest
import torch
from fit_parts import QUIET, train
from sklearn import linear_model, metrics
from sklearn.preprocessing import OneHotEncoder

from pyg_featgraph.data import Field, FieldEncoder, FieldSchema
from pyg_featgraph.errors import DataError
from pyg_featgraph.nn import DNN, FIVES, LR, Head, MulticlassHead
from pyg_featgraph.search import fives_search
from pyg_featgraph.training import fit, predict

#: Trains a linear model to its optimum.
WHOLE = {
    'optimizer': 'LBFGS',
    'optimizer_options': {'max_iter': 200, 'line_search_fn': 'strong_wolfe'},
    'lr': 1.0,
    'linear_scale': None,
    'embedding_l2': 0.0,
    'batch_size': 9999,
    'max_epochs': 2,
    'early_stopping': False,
}


def make_tables(kind, num_rows=800, seed=0, weights=False):
    """Two columns of categories, with labels of a linear model."""
    rng = np.random.default_rng(seed)
    df = pd.DataFrame(
        {name: rng.integers(0, 4, num_rows).astype(str) for name in 'ab'}
    )
    a, b = (df[name].astype(int).to_numpy() for name in 'ab')
    noise = rng.normal(size=num_rows)
    if kind == 'binary':
        y = np.where(a - b + noise > 0, 'yes', 'no')
    elif kind == 'multiclass':
        y = np.array(['x', 'y', 'z'])[np.digitize(a + b + noise, [2, 4])]
    elif kind == 'poisson':
        y = rng.poisson(np.exp(0.3 * a - 0.2 * b))
    else:
        y = 1000 + 50 * (a - 2 * b + noise)
    df['y'] = y
    if weights:
        df['w'] = rng.integers(0, 4, num_rows)
    task = kind if kind in ('binary', 'multiclass') else 'regression'
    fields = [Field(name, 'categorical') for name in 'ab']
    schema = FieldSchema(fields, 'y', 'w' if weights else None, task)
    encoder = FieldEncoder(schema).fit(df)
    cuts = (num_rows // 2, 3 * num_rows // 4)
    frames = df[: cuts[0]], df[cuts[0] : cuts[1]], df[cuts[1] :]
    return encoder, frames, [encoder.transform(x) for x in frames]


def one_hot(frames):
    encoder = OneHotEncoder().fit(frames[0][['a', 'b']])
    return [encoder.transform(x[['a', 'b']]) for x in frames]


def test_two_classes_against_sklearn(tmp_path):
    encoder, frames, parts = make_tables('binary', weights=True)
    model = LR(parts[0].info)
    result = train(model, parts, tmp_path, **WHOLE)
    x = one_hot(frames)
    other = linear_model.LogisticRegression(C=np.inf, tol=1e-8)
    other.fit(x[0], frames[0].y, frames[0].w)
    assert encoder.classes == ('no', 'yes') == tuple(other.classes_)
    for k, name in ((1, 'valid'), (2, 'test')):
        expected, y, w = (
            other.predict_proba(x[k])[:, 1],
            frames[k].y,
            frames[k].w,
        )
        p = predict(model, parts[k])
        assert p.numpy() == pytest.approx(expected, abs=1e-4)
        p = p.double().numpy()
        assert result.metrics[f'{name}_loss'] == pytest.approx(
            metrics.log_loss(y, p, sample_weight=w), rel=1e-5
        )
        assert result.metrics[f'{name}_auc'] == pytest.approx(
            metrics.roc_auc_score(y == 'yes', expected, sample_weight=w),
            abs=1e-9,
        )


def test_several_classes_against_sklearn(tmp_path):
    encoder, frames, parts = make_tables('multiclass', weights=True)
    model = LR(parts[0].info, head=MulticlassHead(3))
    result = train(model, parts, tmp_path, **WHOLE)
    x = one_hot(frames)
    other = linear_model.LogisticRegression(C=np.inf, tol=1e-8)
    other.fit(x[0], frames[0].y, frames[0].w)
    assert encoder.classes == ('x', 'y', 'z')
    for k, name in ((1, 'valid'), (2, 'test')):
        y, w = frames[k].y, frames[k].w
        p = predict(model, parts[k])
        assert p.size() == (len(y), 3)
        assert p.numpy() == pytest.approx(other.predict_proba(x[k]), abs=5e-4)
        p = p.double().numpy()
        p /= p.sum(1, keepdims=True)
        found = {key: result.metrics[f'{name}_{key}'] for key in NAMES}
        areas = [
            metrics.roc_auc_score(y == c, p[:, k], sample_weight=w)
            for k, c in enumerate('xyz')
        ]
        assert found == {
            'loss': pytest.approx(
                metrics.log_loss(y, p, sample_weight=w), rel=1e-5
            ),
            'accuracy': pytest.approx(
                metrics.accuracy_score(
                    y, np.array(list('xyz'))[p.argmax(1)], sample_weight=w
                )
            ),
            'auc': pytest.approx(np.mean(areas), abs=1e-6),
        }


NAMES = ('loss', 'accuracy', 'auc')


def test_numbers_against_sklearn(tmp_path):
    """Of any mean and unit."""
    _, frames, parts = make_tables('regression', weights=True)
    model = LR(parts[0].info, head='regression')
    result = train(model, parts, tmp_path, **WHOLE)
    x = one_hot(frames)
    other = linear_model.LinearRegression()
    other.fit(x[0], frames[0].y, frames[0].w)
    for k, name in ((1, 'valid'), (2, 'test')):
        y, w = frames[k].y, frames[k].w
        p = predict(model, parts[k]).double().numpy()
        assert p == pytest.approx(other.predict(x[k]), abs=5e-2)
        error = metrics.mean_squared_error(y, p, sample_weight=w)
        assert result.metrics[f'{name}_rmse'] == pytest.approx(error**0.5)
        assert result.metrics[f'{name}_r2'] == pytest.approx(
            metrics.r2_score(y, p, sample_weight=w), abs=1e-6
        )
        variance = np.cov(frames[0].y, ddof=0, aweights=frames[0].w)
        assert result.metrics[f'{name}_loss'] == pytest.approx(error / variance)


def test_counts_against_sklearn(tmp_path):
    _, frames, parts = make_tables('poisson', weights=True)
    model = LR(parts[0].info, head='poisson')
    result = train(model, parts, tmp_path, **WHOLE)
    x = one_hot(frames)
    other = linear_model.PoissonRegressor(alpha=0, tol=1e-8)
    other.fit(x[0], frames[0].y, frames[0].w)
    for k, name in ((1, 'valid'), (2, 'test')):
        y, w = frames[k].y, frames[k].w
        p = predict(model, parts[k]).double().numpy()
        assert p == pytest.approx(other.predict(x[k]), rel=1e-4)
        expected = metrics.mean_poisson_deviance(y, p, sample_weight=w)
        found = result.metrics[f'{name}_deviance']
        assert found == pytest.approx(expected, rel=1e-5)


def test_order_of_rows(tmp_path):
    """The best epoch is that of the best order."""
    _, frames, parts = make_tables('regression')
    model = LR(parts[0].info, head='ranking')
    result = train(model, parts, tmp_path, lr=0.03, max_epochs=10)
    s, y = predict(model, parts[2]).double(), parts[2].y
    pairs = (y.unsqueeze(1) > y).double()
    order = s.unsqueeze(1) - s
    right = ((order > 0).double() + 0.5 * (order == 0)) * pairs
    expected = float(right.sum() / pairs.sum())
    assert result.metrics['test_auc'] == pytest.approx(expected, abs=1e-9)
    # As good as a linear model of the numbers themselves:
    x = one_hot(frames)
    other = linear_model.LinearRegression().fit(x[0], frames[0].y)
    s = torch.from_numpy(other.predict(x[2]))
    right = ((s.unsqueeze(1) > s).double() * pairs).sum() / pairs.sum()
    assert result.metrics['test_auc'] > float(right) - 0.01
    state = torch.load(tmp_path / 'best.ckpt', weights_only=True)
    best = state['callbacks']['KeepState']['best_score']
    assert best == pytest.approx(result.metrics['valid_auc'])


def doubled(table):
    """Each row as many times as its weight says, without weights."""
    rows = torch.arange(len(table)).repeat_interleave(
        table.sample_weight.long()
    )
    out = table.subset(rows)
    out.sample_weight = None
    return out


@pytest.mark.parametrize(
    'kind', ['binary', 'multiclass', 'regression', 'poisson']
)
def test_weights_are_repeated_rows(kind, tmp_path):
    """In training, in what the head knows, and in all figures."""
    _, _, parts = make_tables(kind, weights=True)
    head = MulticlassHead(3) if kind == 'multiclass' else kind
    outs = []
    for name, tables in (
        ('weights', parts),
        ('rows', [doubled(part) for part in parts]),
    ):
        torch.manual_seed(0)
        model = DNN(parts[0].info, 4, [8], head=head)
        options = {
            **{'batch_size': 9999, 'early_stopping': False, 'lr': 0.01},
            # Twice the rows would count twice beside it:
            'embedding_l2': 0.0,
        }
        result = train(model, tables, tmp_path / name, **options)
        outs.append((result.metrics, predict(model, parts[2])))
    assert outs[0][0] == pytest.approx(outs[1][0], rel=1e-6, abs=1e-6)
    torch.testing.assert_close(outs[0][1], outs[1][1], rtol=1e-5, atol=1e-6)


def test_class_weights_are_weights_of_training_rows(tmp_path):
    _, _, parts = make_tables('multiclass', weights=True)
    counts = torch.zeros(3).index_add(
        0, parts[0].y.long(), parts[0].sample_weight
    )
    balanced = counts.sum() / (3 * counts)
    for chosen, values in (
        ('balanced', balanced),
        ({0: 2.0, 2: 0.5}, torch.tensor([2.0, 1.0, 0.5])),
    ):
        weighted = parts[0].subset(slice(None))
        weighted.sample_weight = (
            weighted.sample_weight * values[parts[0].y.long()]
        )
        outs = []
        for k, (tables, option) in enumerate(
            ((parts, chosen), ([weighted, *parts[1:]], None))
        ):
            model = LR(parts[0].info, head=MulticlassHead(3))
            result = train(
                model, tables, tmp_path / str(k), class_weight=option
            )
            outs.append((result.metrics, predict(model, parts[2])))
        assert outs[0][0] == pytest.approx(outs[1][0], rel=1e-5)
        torch.testing.assert_close(outs[0][1], outs[1][1])


def test_balanced_classes_as_in_sklearn(tmp_path):
    _, frames, parts = make_tables('binary')
    model = LR(parts[0].info)
    train(model, parts, tmp_path, class_weight='balanced', **WHOLE)
    x = one_hot(frames)
    other = linear_model.LogisticRegression(
        C=np.inf, class_weight='balanced', tol=1e-8
    ).fit(x[0], frames[0].y)
    expected = other.predict_proba(x[2])[:, 1]
    assert predict(model, parts[2]).numpy() == pytest.approx(expected, abs=1e-4)


def test_label_smoothing(tmp_path):
    """It acts in training alone: the optimum is that of moved labels."""
    _, frames, parts = make_tables('binary')
    model = LR(parts[0].info)
    result = train(model, parts, tmp_path, label_smoothing=0.4, **WHOLE)
    x = one_hot(frames)
    # Each row as two: with its label, and the other one with a fifth.
    both = np.concatenate([frames[0].y == 'yes', frames[0].y == 'no'])
    weight = np.repeat([0.8, 0.2], len(frames[0]))
    other = linear_model.LogisticRegression(C=np.inf, tol=1e-8)
    from scipy.sparse import vstack

    other.fit(vstack([x[0], x[0]]), both, weight)
    p = predict(model, parts[1])
    assert p.numpy() == pytest.approx(other.predict_proba(x[1])[:, 1], abs=1e-4)
    loss = metrics.log_loss(frames[1].y, p.double().numpy())
    assert result.metrics['valid_loss'] == pytest.approx(loss, rel=1e-5)


WRONG = [
    ('binary', 'regression', {'label_smoothing': 0.1}, 'label_smoothing'),
    ('binary', 'regression', {'class_weight': 'balanced'}, 'has no classes'),
    ('binary', 'binary', {'class_weight': 'equal'}, "'balanced' or the weigh"),
    ('binary', 'binary', {'class_weight': {2: 1.0}}, 'class 2 cannot have'),
    ('binary', 'binary', {'class_weight': {1: -1.0}}, 'class 1 cannot have'),
]


@pytest.mark.parametrize(('kind', 'head', 'options', 'message'), WRONG)
def test_wrong_options_of_heads(kind, head, options, message, tmp_path):
    _, _, parts = make_tables(kind)
    with pytest.raises(ValueError, match=message):
        train(LR(parts[0].info, head=head), parts, tmp_path, **options)


def test_labels_have_to_fit_the_head(tmp_path):
    """The table, the row and the value are told, and nothing is removed."""
    (tmp_path / 'run.json').write_text('{}')
    _, _, parts = make_tables('poisson')
    for model, call in (
        (LR(parts[0].info), fit),
        (FIVES(parts[0].info, 4, 2), fives_search),
    ):
        at = int((parts[0].y > 1).nonzero()[0])
        message = f'The training rows, row {at}: .* not a label, .* 0 or 1'
        with pytest.raises(DataError, match=message):
            call(model, *parts, directory=tmp_path, **QUIET)
    assert (tmp_path / 'run.json').read_text() == '{}'
    zeros = parts[1].subset(parts[1].y == 0)
    with pytest.raises(DataError, match='validation rows all have the label 0'):
        train(LR(parts[0].info, head='poisson'), [parts[0], zeros], tmp_path)
    weightless = parts[0].subset(slice(None))
    weightless.sample_weight = torch.zeros(len(weightless))
    with pytest.raises(DataError, match='weights of the training rows are all'):
        train(
            LR(parts[0].info, head='poisson'),
            [weightless, parts[1]],
            tmp_path,
        )


def test_searches_know_heads(tmp_path):
    _, _, parts = make_tables('regression')
    model = FIVES(parts[0].info, 4, 2, head='regression')
    result = fives_search(
        model,
        *parts,
        directory=tmp_path,
        max_epochs=2,
        retrain='scratch',
        lr=0.01,
        **QUIET,
    )
    assert result.metrics['valid_r2'] > 0.3


class Absolute(Head):
    """A head of one's own: the absolute error."""

    name = 'absolute'
    wanted = 'a number'

    def losses(self, out, y):
        return (out - y).abs()

    def predict(self, out):
        return out

    def merge(self, outs):
        return outs.mean(0)

    def wrong(self, y):
        return torch.zeros_like(y, dtype=torch.bool)


def test_a_head_of_ones_own(tmp_path):
    _, _, parts = make_tables('poisson')
    model = LR(parts[0].info, head=Absolute())
    result = train(model, parts, tmp_path, lr=0.01)
    assert set(result.metrics) == {'valid_loss', 'test_loss'}
    error = (predict(model, parts[2]) - parts[2].y).abs().mean().item()
    assert result.metrics['test_loss'] == pytest.approx(error, rel=1e-5)
