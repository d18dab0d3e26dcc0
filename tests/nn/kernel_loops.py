"""What the kernels compute, one number after the other."""

import torch
from torch.nn.functional import leaky_relu


def scores_by_loops(x, weight, bias, att, att_bias):
    out = []
    for row in x:
        for x_i in row:
            for x_j in row:
                hidden = (weight @ (x_i * x_j) + bias).relu()
                out.append((hidden @ att + att_bias[0]).sigmoid())
    n = x.size(1)
    return torch.stack(out).view(-1, n, n)


def attention_by_loops(
    x, att, bias, scale, keep, drop, slope=0.2, scale_logits=False
):
    size, n, _ = x.size()
    heads = att.size(0)
    scale = scale.expand(size, heads, n, n)
    keep = torch.ones(1, 1, 1, 1) if keep is None else keep
    keep = keep.expand(size, heads, n, n) > 0
    out = []
    for b, i, h in (
        (b, i, h) for b in range(size) for i in range(n) for h in range(heads)
    ):
        exp = {}
        for j in range(n):
            if not keep[b, h, i, j]:
                continue
            c = leaky_relu(att[h] @ (x[b, i] * x[b, j]) + bias[h], slope)
            c = c * scale[b, h, i, j] if scale_logits else c
            exp[j] = c.exp()
        summed = torch.zeros_like(x[0, 0])
        total = sum(exp.values())
        for j, e in exp.items():
            alpha = e / total
            if not scale_logits:
                alpha = alpha * scale[b, h, i, j]
            if drop is not None:
                alpha = alpha * drop[b, h, i, j]
            summed = summed + alpha * x[b, j]
        out.append(summed * x[b, i])
    return torch.stack(out).view(size, n, heads, -1)


def sets_by_loops(x, weight, query, threshold):
    size, n, _ = x.size()
    num_sets, num_queries, _ = query.size()
    rows = []
    for b in range(size):
        for s in range(num_sets):
            for e in range(num_queries):
                out = torch.zeros_like(x[0, 0])
                for j in range(n):
                    member = weight[b, j, s] * x[b, j]
                    score = (member * query[s, e]).sum() - threshold[j, s, e]
                    out = out + score.relu() * member
                rows.append(out)
    return torch.stack(rows).view(size, *query.size())


def gather_and_multiply(x, weight, tuples):
    product = x[:, torch.tensor(tuples)].prod(dim=2)
    return (product if weight is None else product * weight).sum(2)


def values_by_loops(query, key, value):
    size, n, heads, d = query.size()
    out = []
    for b, i, h in (
        (b, i, h) for b in range(size) for i in range(n) for h in range(heads)
    ):
        logit = [query[b, i, h] @ key[b, j, h] / d**0.5 for j in range(n)]
        exp = [v.exp() for v in logit]
        total = sum(exp)
        out.append(sum(e / total * value[b, j, h] for j, e in enumerate(exp)))
    return torch.stack(out).view(query.size())


def gru_by_loops(x, state, first, w_i, w_h, b_i, b_h):
    d = x.size(1)
    out = []
    for a, h, residual in zip(x, state, first, strict=True):
        new = []
        for k in range(d):
            reset, update, candidate = k, d + k, 2 * d + k
            z_r, z_u = (
                w_i[g] @ a + b_i[g] + w_h[g] @ h + b_h[g]
                for g in (reset, update)
            )
            r, u = 1 / (1 + (-z_r).exp()), 1 / (1 + (-z_u).exp())
            inner = w_h[candidate] @ h + b_h[candidate]
            c = (w_i[candidate] @ a + b_i[candidate] + r * inner).tanh()
            new.append((1 - u) * c + u * h[k] + residual[k])
        out.append(torch.stack(new))
    return torch.stack(out)


def softmax_by_loops(target, source, keep, slope):
    (size, n), m = target.size(), source.size(1)
    out = []
    for b in range(size):
        for i in range(n):
            exp = [target.new_zeros(())] * m
            for j in range(m):
                if keep is None or keep[b, i, j]:
                    z = target[b, i] + source[b, j]
                    exp[j] = (z if z > 0 else slope * z).exp()
            total = sum(exp)
            out += [e / total if total > 0 else e for e in exp]
    return torch.stack(out).view(size, n, m)
