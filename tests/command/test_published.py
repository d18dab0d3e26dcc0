import json
import re
import warnings
from pathlib import Path

import published_samples
import pytest
import yaml

from pyg_featgraph.command import main
from pyg_featgraph.interactions import InteractionSet

FOLDER = Path(__file__).parents[2] / 'benchmarks' / 'published'
CONFIGS = sorted(FOLDER.glob('*.yaml'))
SMALL = {
    'GraphFM': ['--model.hidden_channels', '4'],
    'FIVES': ['--model.embedding_dim', '2'],
    'AIM': ['--model.embedding_dim', '2', '--search.hidden_channels', '[4]'],
    'FeatNet': ['--model.num_subsets', '2', '--model.num_queries', '2'],
    'AutoInt': ['--model.hidden_channels', '4'],
    'DeepFM': ['--model.hidden_channels', '[4]'],
}


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_configurations_of_published_tables(path, tmp_path):
    values = yaml.safe_load(path.read_text())
    data = values['data']
    name = Path(data['init_args']['root']).name
    make = {'ml-1m': 'movielens'}.get(name, name)
    getattr(published_samples, make)(tmp_path)
    command = 'search' if 'search' in values else 'train'
    args = [
        command,
        *('--config', str(path)),
        *('--data.root', str(tmp_path)),
        *('--output', str(tmp_path / 'out')),
        *('--trainer.max_epochs', '1'),
        *('--trainer.accelerator', 'cpu'),
        *('--trainer.enable_progress_bar', 'false'),
        *SMALL[values['model']['class_path']],
    ]
    if 'crosses' in values:
        found = InteractionSet.from_matrix(
            [[0, 1, 2], [1, 0, 3], [2, 3, 0]],
            {'criteo': ('I1', 'C1', 'C2'), 'avazu': ('C1', 'C14', 'C15')}[name],
        )
        found.save(tmp_path / 'found.json')
        args += ['--crosses.interactions', str(tmp_path / 'found.json')]
    if command == 'search':
        args += ['--search.retrain_options', '{max_epochs: 1}']
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='.* were published')
        assert main(args) == 0
    metrics = json.loads((tmp_path / 'out' / 'metrics.json').read_text())
    assert 0 <= metrics['test_auc'] <= 1
    # What cannot be seen in a run this small:
    text = path.read_text()
    published = re.search(r'test AUC\s+(?:# )?(\.\d{4})', text)
    readme = (FOLDER / 'README.md').read_text()
    (row,) = [x for x in readme.splitlines() if f'[{path.stem}]' in x]
    assert published[1] in row


def test_sizes_fit_the_data_sets():
    sizes = {'criteo': 39, 'avazu': 23, 'movielens': 7}
    for name, size in sizes.items():
        text = (FOLDER / f'graphfm_{name}.yaml').read_text()
        m = yaml.safe_load(text)['model']['init_args']['m']
        assert m[0] == size  # The first layer has all fields.
