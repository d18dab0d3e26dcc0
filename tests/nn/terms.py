"""A model and a table of which all effects are known."""

import torch

from pyg_featgraph.data import FieldInfo, FieldTable


class Terms(torch.nn.Module):
    """A sum of products of fields, and a square."""

    def __init__(self, terms):
        super().__init__()
        self.terms = terms
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, batch):
        x = batch.slot_value
        out = self.weight * x[:, 1] ** 2
        for fields, weight in self.terms.items():
            out = out + weight * x[:, list(fields)].prod(dim=-1)
        return out


def signs(num_rows, num_fields=4):
    """Independent values with unit variance."""
    ones = (1,) * num_fields
    kinds = ('categorical',) * num_fields
    info = FieldInfo(tuple('abcd'[:num_fields]), ones, ones, kinds)
    generator = torch.Generator().manual_seed(0)
    value = torch.randint(0, 2, (num_rows, num_fields), generator=generator)
    zeros = torch.zeros(num_rows, num_fields).int()
    return FieldTable(zeros, value * 2.0 - 1, info)
