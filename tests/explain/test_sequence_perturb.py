import numpy as np
import pytest
import torch

from pyg_featgraph.errors import DataError
from pyg_featgraph.explain import (
    ImagePerturbation,
    TokenPerturbation,
    grid_segments,
)


def draw(d, n=15):
    masks = torch.rand(n, d) > 0.4
    masks[0], masks[1] = True, False
    return masks


class LSTM(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(9, 4, padding_idx=0)
        self.lstm = torch.nn.LSTM(4, 6, batch_first=True)
        self.dropout = torch.nn.Dropout(0.5)
        self.lin = torch.nn.Linear(6, 1)

    def forward(self, x):
        x, _ = self.lstm(self.embedding(x))
        return self.lin(self.dropout(x[:, -1]))


def test_ids_match_a_loop():
    model = LSTM()
    sequences = [[3, 5, 3, 8], torch.tensor([1, 2, 2, 7, 6, 1])]
    rows = TokenPerturbation(model, sequences, mask_token=0)
    assert len(rows) == 2
    assert rows.names(0) == ['0: 3', '1: 5', '2: 3', '3: 8']
    for row, tokens in enumerate(sequences):
        masks = draw(len(tokens))
        out = rows.logits(row, masks)
        assert model.training
        assert model.dropout.training
        model.eval()
        expected = []
        for mask in masks.tolist():
            ids = [
                int(token) if on else 0
                for on, token in zip(mask, tokens, strict=True)
            ]
            expected.append(model(torch.tensor([ids]))[0, 0].detach())
        model.train()
        torch.testing.assert_close(out, torch.stack(expected))
        assert len(out.unique()) > 3


def test_kept_tokens_are_no_features():
    words = ['[PAD]', '[CLS]', '[MASK]', 'good', 'not', 'film']
    rows = TokenPerturbation(
        lambda x: x.double().std(dim=1),
        [[1, 4, 3, 3, 0, 0]],
        mask_token=2,
        words=words,
        keep=[0, 1],
        output='logit',
    )
    assert rows.names(0) == ['1: not', '2: good', '3: good']
    masks = torch.tensor([[True, False, True], [False, True, True]])
    expected = torch.tensor([[1, 4, 2, 3, 0, 0], [1, 2, 3, 3, 0, 0]])
    assert torch.equal(rows.perturb(0, masks), expected)


def test_words_match_a_loop():
    def model(sentences):
        assert all(isinstance(words, list) for words in sentences)
        texts = [' '.join(words) for words in sentences]
        return np.array([0.9 if 'not good' in x else 0.2 for x in texts])

    sentences = [['it', 'is', 'not', 'good'], ['so', 'so']]
    rows = TokenPerturbation(model, sentences, '_', output='probability')
    assert rows.names(1) == ['0: so', '1: so']
    masks = draw(4)
    expected = [
        np.log(9.0) if mask[2] and mask[3] else np.log(0.25)
        for mask in masks.tolist()
    ]
    np.testing.assert_allclose(rows.logits(0, masks), expected, rtol=1e-6)


def test_other_sequences_are_refused():
    for sequences in (['not good'], [[1, 2]], [[1.5, 2.0]]):
        with pytest.raises(DataError, match='0 must be a list of str'):
            TokenPerturbation(len, sequences, '_', output='value')
    with pytest.raises(DataError, match='1 must be a list of int'):
        TokenPerturbation(len, [[1], ['a']], 0, output='value')


@pytest.fixture
def images():
    return torch.rand(2, 3, 7, 8)


@pytest.fixture
def segments():
    labels = torch.tensor([2, 5, 9, 40])
    return labels[torch.randint(0, 4, (2, 7, 8))]


COLOUR = torch.tensor([0.1, 0.2, 0.7])


@pytest.mark.parametrize('fill', ['image', 'region', 0.5, COLOUR])
def test_images_match_a_loop(images, segments, fill):
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3),
        torch.nn.BatchNorm2d(4),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(120, 2),
    )
    rows = ImagePerturbation(model, images, segments, fill, batch_size=4)
    assert len(rows) == 2
    for row in range(2):
        labels = sorted({int(x) for x in segments[row].flatten()})
        assert rows.names(row) == [f'region {x}' for x in labels]
        masks = draw(len(labels))
        out = rows.logits(row, masks)
        assert all(module.training for module in model.modules())
        model.eval()
        for mask, z in zip(masks.tolist(), out, strict=True):
            image = images[row].clone()
            for c in range(3):
                for on, label in zip(mask, labels, strict=True):
                    where = segments[row] == label
                    colour = {
                        'image': images[row, c].mean(),
                        'region': images[row, c][where].mean(),
                    }.get(fill if isinstance(fill, str) else '')
                    if colour is None:
                        colour = COLOUR[c] if fill is COLOUR else fill
                    if not on:
                        image[c][where] = colour
            one, two = model(image.unsqueeze(0))[0].detach()
            torch.testing.assert_close(z, two - one)
        model.train()


def test_one_map_for_all_images(images):
    grid = grid_segments(7, 8, 2, 3)
    rows = ImagePerturbation(
        lambda x: x.flatten(1).sum(1), images, grid, 0.0, output='value'
    )
    for row in range(2):
        assert rows.names(row) == [f'region {i}' for i in range(6)]
        masks = torch.eye(6).bool()
        expected = torch.stack(
            [images[row][:, grid == i].sum() for i in range(6)]
        )
        torch.testing.assert_close(rows.logits(row, masks), expected)


def test_grid():
    expected = [
        [0, 0, 1, 1],
        [0, 0, 1, 1],
        [0, 0, 1, 1],
        [2, 2, 3, 3],
        [2, 2, 3, 3],
    ]
    assert grid_segments(5, 4, 2, 2).tolist() == expected
    assert grid_segments(3, 2, 3, 2).flatten().tolist() == list(range(6))
    for down, across in ((0, 1), (1, 0), (4, 1), (1, 3)):
        with pytest.raises(ValueError, match='does not fit into 3 x 2'):
            grid_segments(3, 2, down, across)


def test_image_errors(images, segments):
    def build(images=images, segments=segments, fill='image'):
        return ImagePerturbation(len, images, segments, fill, output='value')

    with pytest.raises(DataError, match="'images' must be"):
        build(images[0])
    with pytest.raises(DataError, match="'images' must be"):
        build((images * 255).byte())
    with pytest.raises(
        DataError, match=r"'segments' must be integers \[7, 8\]"
    ):
        build(segments=segments[:, :5])
    with pytest.raises(DataError, match="'segments' must be integers"):
        build(segments=segments.float())
    with pytest.raises(ValueError, match="'fill' must be"):
        build(fill='mean')
