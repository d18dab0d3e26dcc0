"""Does MADEX find what a black box uses, and how fast?

    python benchmarks/madex.py functions
    python benchmarks/madex.py fidelity
    python benchmarks/madex.py speed

"functions" trains black boxes on functions with a known interaction and ranks
interactions at random places (Tables 9 and 10 of the GLIDER paper). "fidelity"
explains a graph network and a sequence model by linear models with none, one
and all of the interactions that help (Table 5). "speed" trains the perceptrons
of the same rows together and one by one.
"""

import argparse
import copy
import math
import statistics

import torch
import torch.nn.functional as F
from common import report, spread, time_interleaved
from torch_geometric.data import Data
from torch_geometric.nn import GCN
from torch_geometric.utils import stochastic_blockmodel_graph
from xgboost import XGBRegressor

from pyg_featgraph.explain import (
    NodePerturbation,
    TokenPerturbation,
    detect_interactions,
    fit_mlps,
    lime_masks,
    madex,
    r_precision,
)

#: Each function and its interaction, of ten features from 0.
FUNCTIONS = {
    'F1': (lambda x: 10 * x[:, 0] * x[:, 1] + x[:, 2:].sum(1), (0, 1)),
    'F2': (lambda x: x[:, 0] * x[:, 1] + x[:, 2:].sum(1), (0, 1)),
    'F3': (
        lambda x: (x[:, 0] + x[:, 1]).abs().exp() + x[:, 2:].sum(1),
        (0, 1),
    ),
    'F4': (
        lambda x: 10 * x[:, 0] * x[:, 1] * x[:, 2] + x[:, 3:].sum(1),
        (0, 1, 2),
    ),
}
SIGMA = 0.6
SAMPLES = (5000, 500, 500)


class LSTM(torch.nn.Module):
    """Reads the features one by one."""

    def __init__(self, channels=64):
        super().__init__()
        self.lstm = torch.nn.LSTM(1, channels, batch_first=True)
        self.lin = torch.nn.Linear(channels, 1)

    def forward(self, x):
        return self.lin(self.lstm(x.unsqueeze(2))[0][:, -1]).squeeze(1)


def train_tree(x, y, seed):
    model = XGBRegressor(random_state=seed, n_jobs=torch.get_num_threads())
    model.fit(x.numpy(), y.numpy())
    return lambda z: torch.from_numpy(model.predict(z.numpy()))


def train_mlp(x, y, seed):
    parts = (x[None, :-1000], y[None, :-1000], x[None, -1000:], y[None, -1000:])
    mlp = fit_mlps(*parts, lr=1e-3, l1=0.0, seeds=[seed])
    return lambda z: mlp(z[None])[0].detach()


def train_lstm(x, y, seed, epochs=20):
    torch.manual_seed(seed)
    model = LSTM()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(100):
            optimizer.zero_grad()
            F.mse_loss(model(x[rows]), y[rows]).backward()
            optimizer.step()
        schedule.step()
    return lambda z: model(z).detach()


BOXES = {'tree': train_tree, 'MLP': train_mlp, 'LSTM': train_lstm}


def near(at, num_samples, generator):
    """Samples of a normal distribution cut off at one standard deviation."""
    share = torch.rand(
        num_samples, len(at), generator=generator, dtype=torch.double
    )
    # The share of the distribution below a point is uniform:
    low = 0.5 * (1 + math.erf(-1 / math.sqrt(2)))
    cut = torch.special.ndtri(low + (1 - 2 * low) * share)
    return (at + SIGMA * cut).float()


def functions(args):
    scores = {}
    for trial in range(args.trials):
        generator = torch.Generator().manual_seed(trial)
        x = torch.rand(10_000, 10, generator=generator) * 2 - 1
        for name, (function, truth) in FUNCTIONS.items():
            y = function(x)
            test = torch.rand(2000, 10, generator=generator) * 2 - 1
            places = torch.rand(args.places, 10, generator=generator) * 2 - 1
            around = torch.stack(
                [near(place, sum(SAMPLES), generator) for place in places]
            )
            for box, train in BOXES.items():
                predict = train(x, y, trial)
                error = (predict(test) - function(test)).square().mean()
                values = {'R2': 1 - float(error / function(test).var())}
                labels = torch.stack([predict(z) for z in around])
                for detector in ('nid', 'gradient_nid'):
                    if detector == 'gradient_nid' and len(truth) > 2:
                        continue
                    rankings, _ = detect_interactions(
                        around, labels, detector, SAMPLES, at=places
                    )
                    values[detector] = statistics.mean(
                        r_precision([q for q, _ in ranking], [truth])
                        for ranking in rankings
                    )
                print(trial, name, box, values, flush=True)
                for key, value in values.items():
                    entry = scores.setdefault((name, box), {})
                    entry.setdefault(key, []).append(value)
    return table(scores, ('function', 'black box'))


def fidelity(args):
    scores = {}
    for trial in range(args.trials):
        for name, make in (('GCN', node_rows), ('LSTM', sentence_rows)):
            perturbation, accuracy = make(trial, args.places)
            local = madex(
                perturbation,
                kernel_width=0.25,
                threshold=True,
                seed=trial,
                progress=False,
            )
            found = [x for x in local if x.num_selected]
            errors = [
                {
                    'k = 0': x.fidelity[0],
                    'k = 1': x.fidelity[1],
                    'k = L': x.fidelity[-1],
                    'L': x.num_selected,
                    'perceptron': x.mse,
                }
                for x in found
            ]
            values = {
                key: statistics.mean(x[key] for x in errors)
                for key in errors[0]
            }
            values['with interactions'] = len(found) / len(local)
            values['accuracy'] = accuracy
            print(trial, name, values, flush=True)
            for key, value in values.items():
                entry = scores.setdefault((name,), {})
                entry.setdefault(key, []).append(value)
    return table(scores, ('black box',))


def node_rows(seed, num_rows):
    """Nodes of a graph with communities, and a network that tells them."""
    torch.manual_seed(seed)
    y = torch.arange(4).repeat_interleave(100)
    probs = 0.006 + 0.054 * torch.eye(4)
    edge_index = stochastic_blockmodel_graph([100] * 4, probs)
    # A node alone does not tell its community:
    x = 0.5 * torch.randn(4, 16)[y] + torch.randn(400, 16)
    data = Data(x, edge_index, y=y)
    order = torch.randperm(data.num_nodes)
    train, test = order[:280], order[280:]
    model = GCN(16, 32, num_layers=2, out_channels=4, dropout=0.5)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, weight_decay=5e-4)
    for _ in range(200):
        optimizer.zero_grad()
        out = model(data.x, data.edge_index)
        F.cross_entropy(out[train], data.y[train]).backward()
        optimizer.step()
    out = model.eval()(data.x, data.edge_index)
    accuracy = float((out[test].argmax(1) == data.y[test]).float().mean())
    nodes = test[:num_rows]
    target = out[nodes].argmax(dim=1)
    perturbation = NodePerturbation(
        model, data, nodes, num_hops=2, target=target
    )
    return perturbation, accuracy


WORDS = ['the', 'a', 'film', 'plot', 'cast', 'was', 'is', 'and', 'it', 'so']
MOODS = {'good': 1.0, 'great': 2.0, 'bad': -1.0, 'awful': -2.0}


def sentences(num, generator, length=12):
    """Words with moods, which a "not" before them turns, and whether the sum
    of all moods is positive.
    """
    words = ['<mask>', *WORDS, *MOODS, 'not']
    moods = [0.0] * (1 + len(WORDS)) + [*MOODS.values(), 0.0]
    index = torch.randint(1, len(words), (num, length), generator=generator)
    is_not = torch.rand(num, length, generator=generator) < 0.15
    index[is_not] = len(words) - 1
    mood = torch.tensor(moods)[index]
    turned = F.pad(index[:, :-1] == len(words) - 1, (1, 0))
    total = torch.where(turned, -mood, mood).sum(dim=1)
    return words, index, (total > 0).float()


class SentenceLSTM(torch.nn.Module):
    def __init__(self, num_words, channels=48):
        super().__init__()
        self.embedding = torch.nn.Embedding(num_words, 16)
        self.lstm = torch.nn.LSTM(16, channels, batch_first=True)
        self.lin = torch.nn.Linear(channels, 1)

    def forward(self, index):
        return self.lin(self.lstm(self.embedding(index))[0][:, -1]).squeeze(1)


def sentence_rows(seed, num_rows):
    """Sentences, and a network that tells their mood."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    words, index, y = sentences(9000, generator)
    model = SentenceLSTM(len(words))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(10):
        for rows in torch.randperm(8000).split(64):
            # It has to know masked words as well:
            part = index[rows]
            part = part * (torch.rand(part.size()) > 0.1)
            optimizer.zero_grad()
            F.binary_cross_entropy_with_logits(model(part), y[rows]).backward()
            optimizer.step()
    with torch.no_grad():
        accuracy = float(((model(index[8000:]) > 0) == y[8000:]).float().mean())
    rows = index[8000 : 8000 + num_rows]
    return TokenPerturbation(model, rows, 0, words=words), accuracy


def speed(args):
    generator = torch.Generator().manual_seed(0)
    x = torch.stack(
        [lime_masks(sum(SAMPLES), 39, generator) for _ in range(args.places)]
    )
    weight = torch.randn(args.places, 1, 39, generator=generator)
    pair = torch.randn(args.places, 3, generator=generator)
    on = x.float()
    # Each row has main effects and three pairs:
    y = (on * weight).sum(dim=2)
    for i in range(3):
        y += pair[:, i : i + 1] * on[..., 2 * i] * on[..., 2 * i + 1]
    train, val = slice(0, 5000), slice(5000, 5500)

    def together():
        for rows in torch.arange(args.places).split(16):
            fit_mlps(x[rows, train], y[rows, train], x[rows, val], y[rows, val])

    def alone():
        for r in range(args.places):
            one_by_one(on[r, train], y[r, train], on[r, val], y[r, val], r)

    seconds = time_interleaved(
        {'together': together, 'one by one': alone}, args.trials
    )
    return [
        {
            'perceptrons': name,
            's per row': spread(values, 1 / args.places, 2),
            'times together': spread(
                [
                    a / b
                    for a, b in zip(values, seconds['together'], strict=True)
                ],
                digits=2,
            ),
        }
        for name, values in seconds.items()
    ]


def one_by_one(x, y, x_val, y_val, seed):
    """A perceptron as one would write it."""
    torch.manual_seed(seed)
    net = torch.nn.Sequential(
        torch.nn.Linear(39, 256),
        torch.nn.ReLU(),
        torch.nn.Linear(256, 128),
        torch.nn.ReLU(),
        torch.nn.Linear(128, 64),
        torch.nn.ReLU(),
        torch.nn.Linear(64, 1),
        torch.nn.Flatten(0),
    )
    weights = [p for p in net.parameters() if p.dim() == 2]
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    lowest, bad = math.inf, 0
    for _ in range(100):
        for inputs, target in zip(x.split(100), y.split(100), strict=True):
            optimizer.zero_grad()
            loss = F.mse_loss(net(inputs), target)
            loss += 1e-4 * sum(w.abs().sum() for w in weights)
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            error = float(F.mse_loss(net(x_val), y_val))
        bad += 1
        if error < lowest:
            lowest, bad, best = error, 0, copy.deepcopy(net.state_dict())
        if bad > 5:
            break
    net.load_state_dict(best)
    return net


def table(scores, names):
    rows = []
    for key, values in scores.items():
        row = dict(zip(names, key, strict=True))
        for name, numbers in values.items():
            row[name] = f'{statistics.mean(numbers):.3g}'
            if len(numbers) > 1:
                row[name] += f' ± {statistics.stdev(numbers):.2g}'
        rows.append(row)
    return rows


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    questions = {'functions': functions, 'fidelity': fidelity, 'speed': speed}
    parser.add_argument('question', choices=questions)
    parser.add_argument('--trials', type=int, default=3)
    parser.add_argument(
        '--places', type=int, default=20, help='places or rows of a trial'
    )
    parser.add_argument('--json')
    args = parser.parse_args()
    report(questions[args.question](args), args.json, vars(args))


if __name__ == '__main__':
    main()
