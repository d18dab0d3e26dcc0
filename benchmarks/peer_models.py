"""Models of this library and of others, for peers.py.

An entry makes a model for a table of ids and returns the function that gives
its outputs, of logits or of probabilities, with the model. All have 16 numbers
for each field, three layers or steps and two heads where they have such, and
tables with as many ids.
"""

from typing import NamedTuple

import torch

from pyg_featgraph.data import FieldInfo, FieldTable
from pyg_featgraph.nn import (
    AIM,
    FIVES,
    AutoInt,
    DeepFM,
    FeatNet,
    FiGNN,
    GraphFM,
)

DIM, LAYERS, HEADS = 16, 3, 2


class Contestant(NamedTuple):
    """A model with its input: :obj:`run()` gives the outputs."""

    model: torch.nn.Module
    run: object
    gives_logits: bool


class Entry(NamedTuple):
    """What makes a contestant, and the peer it is compared with."""

    make: object
    peer: str | None = None


def random_ids(num_rows, sizes):
    """Ids that count from zero within each field."""
    rng = torch.Generator().manual_seed(1)
    columns = [torch.randint(n, (num_rows,), generator=rng) for n in sizes]
    return torch.stack(columns, dim=1)


def ours(make):
    def contestant(index, sizes):
        num = len(sizes)
        info = FieldInfo(
            tuple(f'f{i}' for i in range(num)),
            tuple(sizes),
            (1,) * num,
            ('categorical',) * num,
        )
        start = torch.tensor([0, *sizes[:-1]]).cumsum(0)
        table = FieldTable(
            (index + start).int(), torch.ones(index.size()), info
        )
        model, batch = make(info), table.batch()
        return Contestant(model, lambda: model(batch).flatten(), True)

    return contestant


def deepctr(name, **kwargs):
    """DeepCTR-Torch, without its penalties of parameters."""

    def contestant(index, sizes):
        from deepctr_torch import models
        from deepctr_torch.inputs import SparseFeat

        columns = [
            SparseFeat(f'f{i}', n, embedding_dim=DIM)
            for i, n in enumerate(sizes)
        ]
        model = getattr(models, name)(columns, columns, **kwargs)
        # Its own training takes ids as floats, too:
        x = index.float()
        return Contestant(model, lambda: model(x).flatten(), False)

    return contestant


class IdFields:
    """What models of RecBole ask a dataset for."""

    def __init__(self, sizes):
        from recbole.utils import FeatureSource, FeatureType

        self.sizes = {f'f{i}': n for i, n in enumerate(sizes)}
        self.field2type = dict.fromkeys(self.sizes, FeatureType.TOKEN)
        self.field2source = dict.fromkeys(self.sizes, FeatureSource.INTERACTION)

    def fields(self, source=None):
        return list(self.sizes)

    def num(self, name):
        return self.sizes[name]


def recbole(name, **kwargs):
    """RecBole, its models without its data classes."""

    def contestant(index, sizes):
        from recbole.model import context_aware_recommender

        config = {
            'LABEL_FIELD': 'label',
            'embedding_size': DIM,
            'device': torch.device('cpu'),
            'double_tower': None,
            'numerical_features': [],
            **kwargs,
        }
        cls = getattr(context_aware_recommender, name)
        model = cls(config, IdFields(sizes))
        rows = {f'f{i}': column for i, column in enumerate(index.t())}
        return Contestant(model, lambda: model(rows), True)

    return contestant


def ft_transformer(index, sizes):
    """FT-Transformer of PyTorch Frame."""
    import torch_frame
    from torch_frame.data.stats import StatType
    from torch_frame.nn.encoder import EmbeddingEncoder
    from torch_frame.nn.models import FTTransformer

    names = [f'f{i}' for i in range(len(sizes))]
    stats = {
        name: {StatType.COUNT: (list(range(n)), [1] * n)}
        for name, n in zip(names, sizes, strict=True)
    }
    columns = {torch_frame.categorical: names}
    frame = torch_frame.TensorFrame({torch_frame.categorical: index}, columns)
    encoders = {torch_frame.categorical: EmbeddingEncoder()}
    model = FTTransformer(DIM, 1, LAYERS, stats, columns, encoders)
    return Contestant(model, lambda: model(frame).flatten(), True)


GRAPHFM = {
    'embedding_dim': DIM,
    'num_layers': LAYERS,
    'heads': HEADS,
    'variant': 'paper',
}
AUTOINT = {'att_layer_num': LAYERS, 'att_head_num': HEADS}
FIGNN = {'embedding_dim': DIM, 'num_layers': LAYERS, 'heads': HEADS}

CONTESTANTS = {
    'GraphFM': Entry(
        ours(lambda info: GraphFM(info, hidden_channels=DIM, **GRAPHFM)),
        'DeepCTR-Torch AutoInt',
    ),
    'GraphFM, default': Entry(ours(GraphFM), 'DeepCTR-Torch AutoInt'),
    'AutoInt': Entry(
        ours(lambda info: AutoInt(info, DIM, DIM, LAYERS, HEADS)),
        'DeepCTR-Torch AutoInt',
    ),
    'Fi-GNN': Entry(
        ours(lambda info: FiGNN(info, **FIGNN, input_attention=False)),
        'RecBole FiGNN',
    ),
    'Fi-GNN, input attention': Entry(
        ours(lambda info: FiGNN(info, **FIGNN, hidden_channels=DIM)),
        'RecBole FiGNN',
    ),
    'FIVES': Entry(
        ours(lambda info: FIVES(info, DIM, max_order=4)),
        'DeepCTR-Torch AutoInt',
    ),
    'AIM': Entry(ours(AIM), 'DeepCTR-Torch AutoInt'),
    'AIM, inner': Entry(
        ours(lambda info: AIM(info, functions=['inner'])),
        'DeepCTR-Torch AutoInt',
    ),
    'FeatNet': Entry(ours(FeatNet), 'DeepCTR-Torch AutoInt'),
    'DeepFM': Entry(ours(DeepFM), 'DeepCTR-Torch DeepFM'),
    'DeepCTR-Torch AutoInt': Entry(
        deepctr('AutoInt', **AUTOINT, dnn_hidden_units=(128, 128)),
    ),
    'DeepCTR-Torch AutoInt, attention only': Entry(
        deepctr('AutoInt', **AUTOINT, dnn_hidden_units=()),
    ),
    'DeepCTR-Torch DeepFM': Entry(deepctr('DeepFM')),
    'RecBole FiGNN': Entry(
        recbole(
            'FiGNN',
            attention_size=DIM,
            # The first of its layers is the attention:
            n_layers=LAYERS + 1,
            num_heads=HEADS,
            hidden_dropout_prob=0.0,
            attn_dropout_prob=0.0,
        ),
    ),
    'RecBole AutoInt': Entry(
        recbole(
            'AutoInt',
            attention_size=DIM,
            n_layers=LAYERS,
            num_heads=HEADS,
            mlp_hidden_size=[128, 128],
            dropout_probs=[0.0, 0.0, 0.0],
            has_residual=True,
        ),
    ),
    'PyTorch Frame FTTransformer': Entry(ft_transformer),
}
