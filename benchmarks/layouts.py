"""A training step of a model in each layout: time and peak memory.

    python benchmarks/layouts.py graphfm
    python benchmarks/layouts.py fignn
    python benchmarks/layouts.py fives
    python benchmarks/layouts.py aim
    python benchmarks/layouts.py featnet

The forms are timed in turns within one process; the peak memory of each is
taken in a process of its own. In "masked" one field in five is missing and left
out by a mask, in "masked graph" as nodes of a graph.
"""

import argparse

import torch
from common import peak_memory, report, spread, time_interleaved
from torch.nn.functional import leaky_relu
from torch_geometric.data import Batch

from pyg_featgraph.data import FieldInfo, FieldTable
from pyg_featgraph.nn import AIM, FIVES, FeatNet, FiGNN, GraphFM

MODELS = {
    'graphfm': lambda info: GraphFM(info),
    'graphfm-paper': lambda info: GraphFM(info, variant='paper'),
    'fignn': lambda info: FiGNN(info, num_layers=3),
    # Without self-attention, as FuxiCTR has it and the states are small:
    'fignn-plain': lambda info: FiGNN(
        info, num_layers=3, input_attention=False
    ),
    'fives': lambda info: FIVES(info, max_order=4),
    # All pairs under all four functions:
    'aim': lambda info: AIM(info),
    'aim-inner': lambda info: AIM(info, functions=['inner']),
    'featnet': lambda info: FeatNet(info),
}


def make_inputs(rows, n, drop_absent=False, as_graph=False):
    """A batch of random rows, and the layout of its fields."""
    info = FieldInfo(
        tuple(f'f{i}' for i in range(n)),
        (1000,) * n,
        (1,) * n,
        ('categorical',) * n,
    )
    index = torch.randint(1, 1000, (rows, n))
    if drop_absent:
        # The first id of a field stands for "missing":
        index[torch.rand(index.size()) < 0.2] = 0
    index += 1000 * torch.arange(n)
    table = FieldTable(index.int(), torch.ones(index.size()), info)
    table.drop_absent = drop_absent
    batch = table.batch()
    if as_graph:
        batch = Batch.from_data_list(batch.to_data_list())
    return info, batch


def make(args, name):
    torch.manual_seed(0)
    info, batch = make_inputs(
        args.batch_size,
        args.fields,
        name.startswith('masked'),
        name.endswith('graph'),
    )
    model = MODELS[args.model](info)
    run = model
    if name == 'compiled':
        run = torch.compile(model, fullgraph=True)
    if name == 'plain dense':
        make_plain(model)

    def step():
        model.zero_grad()
        run(batch).sum().backward()

    return step


def make_plain(model):
    """The layers as one would write them, with all products [B, n, n, d]."""
    if isinstance(model, GraphFM):
        for conv in model.convs:
            conv.forward = PlainGraphFM(conv)
    elif isinstance(model, FIVES):
        model.conv.forward = PlainFIVES(model.conv)
    elif isinstance(model, FeatNet):
        model.conv.forward = PlainInducedSets(model.conv)
    elif isinstance(model, AIM):
        for _, conv in model.layer.items():
            conv._dense = PlainInteractions(conv)
    else:
        model.conv.forward = PlainFiGNN(model.conv)


class PlainGraphFM:
    def __init__(self, conv):
        self.conv = conv

    def __call__(self, x, *args, **kwargs):
        conv = self.conv
        v = x.unsqueeze(2) * x.unsqueeze(1)
        scale = conv.edge(x).unsqueeze(-1)
        c = torch.nn.functional.linear(v, conv.att, conv.att_bias)
        if conv.variant == 'paper':
            c = leaky_relu(c, conv.negative_slope)
            c = c.masked_fill(scale == 0, -1e30)
            alpha = c.softmax(2) * scale
        else:
            alpha = (c.relu() * scale).softmax(2)
        out = torch.einsum('bijh,bijd->bihd', alpha, v)
        out = conv.lin(out).flatten(-2)
        out = (out + conv.res(x).relu()).relu()
        out = torch.nn.functional.layer_norm(out, out.shape[-1:], eps=1e-8)
        return out * conv.norm_weight + conv.norm_bias


class PlainFIVES:
    def __init__(self, conv):
        self.conv = conv

    def __call__(self, x, edge_index, adj, *args, **kwargs):
        message = self.conv.lin(x[0])
        weight = adj / adj.sum(dim=1, keepdim=True)
        message = weight.view(1, *adj.size(), 1) * message.unsqueeze(1)
        return x[1] * message.sum(dim=2)


class PlainInteractions:
    def __init__(self, conv):
        self.conv = conv

    def __call__(self, x):
        conv = self.conv
        first, second = (x[:, conv.index[:, s]] for s in range(2))
        if conv.function == 'outer':
            return (first @ conv.weight[0]) * (second @ conv.weight[1])
        out = first * second
        if conv.weight is not None:
            out = out * conv.weight
        return out.sum(dim=-1)


class PlainInducedSets:
    """Eqs. 5 to 13 with the members [B, S, n, d] and scores [B, S, E, n]."""

    def __init__(self, conv):
        self.conv = conv

    def __call__(self, x, index, weight, *args):
        conv = self.conv
        member = weight.unsqueeze(3) * x.unsqueeze(1)
        score = (conv.query @ (member @ conv.key.mT).mT).relu()
        threshold = conv.threshold.threshold.movedim(0, -1)
        return (score - threshold).relu() @ member


class PlainFiGNN:
    def __init__(self, conv):
        self.conv = conv

    def __call__(self, x, edge_index, edge_weight, *args, **kwargs):
        conv, h = self.conv, x
        for lin_out, lin_in in zip(conv.lin_out, conv.lin_in, strict=True):
            message = lin_out(h).unsqueeze(1)
            out = (edge_weight.unsqueeze(-1) * message).sum(dim=2)
            out = lin_in(out) + conv.bias
            out = torch.gru_cell(out.flatten(0, 1), h.flatten(0, 1), *conv._gru)
            h = out.view_as(x) + x
        return h


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('model', choices=MODELS)
    parser.add_argument('--batch-size', type=int, default=1024)
    parser.add_argument('--fields', type=int, default=39)
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--json')
    parser.add_argument(
        '--forms',
        nargs='+',
        default=[
            'graph',
            'plain dense',
            'dense',
            'masked',
            'masked graph',
            'compiled',
        ],
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    memory = {name: peak_memory(make, args, name) for name in args.forms}
    steps = {name: make(args, name) for name in args.forms}
    seconds = time_interleaved(steps, args.repeats)
    rows = [
        {
            'form': name,
            'ms': spread(seconds[name], 1e3),
            'times dense': spread(
                [
                    a / b
                    for a, b in zip(
                        seconds[name], seconds['dense'], strict=True
                    )
                ],
                digits=2,
            ),
            'peak MB': f'{memory[name]:.0f}',
        }
        for name in args.forms
    ]
    report(rows, args.json, vars(args))


if __name__ == '__main__':
    main()
