"""FeatNet in plain loops, and random parts of it."""

from itertools import product

import torch

from pyg_featgraph.data import FieldBatch, FieldInfo
from pyg_featgraph.nn import FeatNet, InducedSetConv

B, N, D, S, E = 5, 4, 3, 2, 3
# A category without vocabulary, a pair of slots, and categories:
INFO = FieldInfo(
    ('b', 'd', 'a', 'c'),
    (1, 5, 3, 4),
    (1, 2, 1, 1),
    ('categorical', 'multi', 'categorical', 'categorical'),
)
# Rows of four, two, no, three and four fields:
DROP = {5, 7, 8, 9, 10, 11, 12}

# What subsets may share, as options of the operator and of the model:
SHARES = [
    {},
    {'share_queries': True, 'share_keys': False},
    {'share_thresholds': False},
]


def randomise(module, std=0.7):
    module.double()
    for name, parameter in module.named_parameters():
        torch.nn.init.normal_(parameter, std=std)
        if 'threshold' in name:
            # Thresholds of about 0.1, which prune some of all scores:
            parameter.data.sub_(2)
    return module


def soft(w, tau):
    """Eq. 4."""
    g = 1 / (1 + torch.exp(-tau))
    sign = 1 if w > 0 else -1 if w < 0 else 0
    return sign * (abs(w) - g).clamp(min=0)


def subset_weights(edge, x, field):
    """Eqs. 2 to 4, one node and one subset after the other."""
    w1, w2, tau = edge.weight, edge.mix, edge.threshold.weight
    rows = []
    for j in range(len(x)):
        hidden = [
            1
            / (
                1
                + torch.exp(-sum(w * v for w, v in zip(row, x[j], strict=True)))
            )
            for row in w1
        ]
        rows.append([])
        for s in range(len(w2)):
            p = sum(w * h for w, h in zip(w2[s], hidden, strict=True)).clamp(
                min=0
            )
            rows[-1].append(soft(p, tau[field[j], s]))
    return torch.stack([torch.stack(row) for row in rows])


def attention(conv, x, weight, row, field, size):
    """Eqs. 5, 6 and 11 to 13; the combinations, and the scores by place."""
    outs, scores = [], {}
    shape = conv.num_subsets, conv.num_queries
    for b, s, e in product(range(size), *map(range, shape)):
        query, key, tau = (
            value[min(s, len(value) - 1)]
            for value in (
                conv.query,
                conv.key,
                conv.threshold.weight.transpose(0, 1),
            )
        )
        out = x.new_zeros(x.size(1))
        for j in range(len(x)):
            if row[j] != b:
                continue
            vector = weight[j, s] * x[j]
            score = (query[e] @ (key @ vector)).clamp(min=0)
            score = soft(score, tau[field[j], e])
            scores[b, s, e, int(field[j])] = score
            out = out + score * vector
        outs.append(out)
    return torch.stack(outs).view(size, *shape, -1), scores


def to_rows(x, row, field, size=B, n=N):
    out = x.new_zeros(size, n, x.size(1))
    return out.index_put((row, field), x)


def random_weights(num):
    """Subset weights with zeros."""
    weight = torch.randn(num, S, dtype=torch.double).relu()
    assert (weight == 0).any()
    return weight.requires_grad_()


def random_nodes(num):
    return torch.randn(num, D, dtype=torch.double, requires_grad=True)


def make_conv(**options):
    return randomise(InducedSetConv(D, N, S, E, **options))


def make_batch(size=6, drop=0.0):
    field = INFO.slot_field
    low, sizes = torch.tensor(INFO.offsets)[field], torch.tensor(INFO.sizes)
    index = low + (torch.rand(size, INFO.num_slots) * sizes[field]).long()
    value = torch.randn(size, INFO.num_slots).double()
    y = torch.arange(size).remainder(2).double()
    batch = FieldBatch.from_rows(index, value, INFO, y)
    if drop > 0:
        batch.mask = torch.rand(size, N) > drop
    return batch


def make_model(info=INFO, **options):
    model = randomise(
        FeatNet(info, D, S, E, 2, hidden_channels=[5, 4], **options)
    )
    # No subset is without members, and some of them are pruned:
    weight = model.edge.mix.data
    weight.copy_(torch.tensor([[1.5, -0.7], [-0.4, 1.2]]))
    return model


def float_model(info, **options):
    options = {'num_subsets': 3, 'num_queries': 4, **options}
    model = FeatNet(info, 4, hidden_channels=[8], **options)
    randomise(model, 0.5)
    # No subset is without members:
    model.edge.mix.data.abs_()
    return model.float()


def model_by_loops(model, batch):
    """The logits of Eqs. 1 to 15."""
    table, size = model.embedding.weight, batch.num_graphs
    present = torch.ones(size, N, dtype=torch.bool)
    if batch.mask is not None:
        present = batch.mask
    row, field = present.nonzero().unbind(1)
    x = []
    for b, i in zip(row.tolist(), field.tolist(), strict=True):
        slots = (INFO.slot_field == i).nonzero().flatten().tolist()
        x.append(
            sum(
                batch.slot_value[b, s] * table[batch.slot_index[b, s]]
                for s in slots
            )
        )
    x = torch.stack(x)
    weight = subset_weights(model.edge, x, field)
    combined, _ = attention(model.conv, x, weight, row, field, size)
    logits = []
    for b in range(size):
        parts = []
        for s in range(S):
            a = torch.cat(list(combined[b, s]))
            for weight, bias in zip(
                model.mlp.weights, model.mlp.biases, strict=True
            ):
                a = (a @ weight[s] + bias[s, 0]).clamp(min=0)
            parts.append(a)
        logits.append(
            model.lin.weight[0] @ torch.cat(parts) + model.lin.bias[0]
        )
    return torch.cat(logits)
