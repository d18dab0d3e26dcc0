import io
import json
import os
import re
import signal
import sys
from textwrap import dedent

import pandas as pd
import pytest

from pyg_featgraph.command import main
from pyg_featgraph.command.results import COMMANDS
from pyg_featgraph.crossing import CrossFeatures
from pyg_featgraph.data import FieldEncoder
from pyg_featgraph.datasets import Diamonds, PlantedInteractions
from pyg_featgraph.explain import glider
from pyg_featgraph.interactions import InteractionSet
from pyg_featgraph.nn import FM, FieldModel
from pyg_featgraph.nn.config import Configurable
from pyg_featgraph.training import predict
from pyg_featgraph.training.state import KeepState

QUIET = (
    '--trainer.accelerator=cpu',
    '--trainer.enable_progress_bar=false',
    '--trainer.max_epochs=2',
)


@pytest.fixture(scope='module')
def frame():
    planted = PlantedInteractions(
        600, {2: 1}, num_numeric=2, num_categorical=2, seed=1
    )
    return planted.frame()


@pytest.fixture(scope='module')
def source(frame, tmp_path_factory):
    folder = tmp_path_factory.mktemp('source')
    frame.to_csv(folder / 'all.csv', index=False)
    config = f"""
        data:
          class_path: TableFiles
          init_args: {{train: {folder / 'all.csv'}}}
        schema:
          label: label
          defaults: {{min_count: 2, transform: quantile}}
          fields: {{I1: {{bins: [7]}}}}
          drop: [C2]
        model:
          class_path: FM
          init_args: {{embedding_dim: 3}}
        training: {{lr: 0.02, early_stopping: false}}
        split: {{test: 0.2}}
    """
    (folder / 'run.yaml').write_text(config)
    return folder


@pytest.fixture(scope='module')
def result(source):
    """What a training with all that can be written has written."""
    args = ['--config', str(source / 'run.yaml'), '--predictions', *QUIET]
    args += ['--output', str(source / 'out')]
    assert main(['train', *args]) == 0
    return source / 'out'


def figures(folder):
    return json.loads((folder / 'metrics.json').read_text())


def fails(capfd, *args):
    """The one line by which a command tells what is wrong."""
    assert main([*map(str, args)]) == 2
    out, err = capfd.readouterr()
    assert out == ''
    # A warning may stand before it:
    err = err[err.index(f'featgraph {args[0]}') :]
    assert err.startswith(f'featgraph {args[0]}: error: ')
    assert err.count('\n') == 1
    return err


def test_what_a_training_writes(result, frame):
    encoder = FieldEncoder.load(result / 'encoder.parquet')
    assert encoder.schema.names == ('I1', 'I2', 'C1')
    assert [x.bins for x in encoder.schema] == [(7,), (50,), ()]
    assert encoder.schema.fields[2].min_count == 2
    model = FieldModel.load(result / 'model.safetensors')
    assert type(model) is FM
    assert model.config['embedding_dim'] == 3
    assert figures(result)['num_epochs'] == 2
    scores = pd.read_csv(result / 'predictions.csv')
    assert len(scores) == 120  # A fifth of all rows.
    logs = -(scores['probability'].where(scores['label'] == 1)).dropna()
    assert ((scores['probability'] > 0) & (scores['probability'] < 1)).all()
    assert len(logs) == scores['label'].sum() > 0


def test_a_configuration_repeats_its_result(result, tmp_path):
    text = (result / 'config.yaml').read_text()
    assert 'early_stopping: false' in text  # The default is another one.
    assert f'output: {result}' in text
    args = ['--config', str(result / 'config.yaml')]
    for number in (1, 2):
        out = tmp_path / str(number)
        assert main(['train', *args, '--output', str(out)]) == 0
        assert figures(out) == figures(result)
        args = ['--config', str(out / 'config.yaml')]
    other = str(tmp_path / 'other')
    seed = ['--training.seed', '1', '--output', other]
    assert main(['train', *args, *seed]) == 0
    assert figures(tmp_path / 'other') != figures(result)


def test_a_killed_training_goes_on(
    source, result, tmp_path, monkeypatch, capfd
):
    save = KeepState.on_train_batch_end

    def kill(self, trainer, *args):
        if trainer.global_step == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        save(self, trainer, *args)

    args = ['train', '--config', source / 'run.yaml', '--output', tmp_path]
    args = [*map(str, args), '--predictions', *QUIET]
    (tmp_path / 'metrics.json').write_text('{}')
    monkeypatch.setattr(KeepState, 'on_train_batch_end', kill)
    with pytest.raises(SystemExit) as stop:
        main(args)
    monkeypatch.undo()
    assert stop.value.code == 128 + signal.SIGTERM
    assert 'after 5 steps' in capfd.readouterr().err
    assert not (tmp_path / 'metrics.json').exists()  # Nor that of before.
    # The folder itself knows how to go on:
    again = ['train', '--config', str(tmp_path / 'config.yaml'), '--resume']
    assert main(again) == 0
    assert figures(tmp_path) == figures(result)
    capfd.readouterr()
    assert "'lr' has changed" in fails(capfd, *again, '--training.lr', '0.5')
    assert 'lr: 0.02' in (tmp_path / 'config.yaml').read_text()


def test_scores(result, frame, tmp_path, capfd):
    frame = frame.drop(columns=['label', 'C2'])
    frame[:50].to_parquet(tmp_path / 'new.parquet')
    args = ['score', str(result), str(tmp_path / 'new.parquet')]
    assert main([*args, '-o', str(tmp_path / 'scores.csv')]) == 0
    assert capfd.readouterr() == ('', '')
    encoder = FieldEncoder.load(result / 'encoder.parquet')
    model = FieldModel.load(result / 'model.safetensors')
    expected = predict(model, encoder.transform(frame[:50])).tolist()
    scores = pd.read_csv(tmp_path / 'scores.csv')
    assert scores['probability'].tolist() == pytest.approx(expected, abs=1e-6)
    assert main([*args, '-o', str(tmp_path / 'scores.parquet')]) == 0
    scores = pd.read_parquet(tmp_path / 'scores.parquet')
    assert scores['probability'].tolist() == expected
    capfd.readouterr()
    assert main(args) == 0
    printed = pd.read_csv(io.StringIO(capfd.readouterr().out))
    assert printed['probability'].tolist() == pytest.approx(expected, abs=1e-6)
    # Nothing is left of a file that cannot be written:
    assert 'no such folder' in fails(capfd, *args, '-o', tmp_path / 'no/x.csv')


def test_rankings(result, source, capfd):
    args = ['interactions', str(result), '--rows', '50', '--top', '2']
    assert main(args) == 0
    lines = capfd.readouterr().out.splitlines()
    found = InteractionSet.load(result / 'interactions.json')
    assert len(found) == 3
    assert [line.split(maxsplit=2)[2] for line in lines] == [
        ' x '.join(x.fields) for x in found.top(2)
    ]
    assert (result / 'interactions.png').read_bytes()[:4] == b'\x89PNG'
    assert 'has no edge weights' in fails(capfd, *args, '--by', 'edges')
    assert "'by' must be one of" in fails(capfd, *args, '--by', 'magic')


def test_glider_and_crosses_of_it(result, source, tmp_path, monkeypatch):
    # Fewer samples than anybody would take:
    monkeypatch.setattr(
        'pyg_featgraph.command.results.glider',
        lambda *args, **kwargs: glider(
            *args, num_samples=(200, 50, 50), progress=False, **kwargs
        ),
    )
    args = ['interactions', str(result), '--by', 'glider']
    args += ['--table', str(source / 'all.csv'), '--rows', '2']
    assert main(args) == 0
    path = result / 'interactions-glider.json'
    (found, *_) = InteractionSet.load(path)
    assert found.source.startswith('GLIDER')
    config = ['--config', str(source / 'run.yaml'), *QUIET]
    config += ['--crosses.interactions', str(path), '--crosses.top', '1']
    assert main(['train', *config, '--output', str(tmp_path)]) == 0
    (cross,) = CrossFeatures.load(tmp_path / 'crosses.parquet').names_
    encoder = FieldEncoder.load(tmp_path / 'encoder.parquet')
    assert encoder.schema.names == ('I1', 'I2', 'C1', cross)
    scores = str(tmp_path / 'scores.csv')
    table = str(source / 'all.csv')
    assert main(['score', str(tmp_path), table, '-o', scores]) == 0
    assert len(pd.read_csv(scores)) == 600
    # Another run takes the place of all of it:
    config += ['--crosses', 'null']
    assert main(['train', *config, '--output', str(tmp_path)]) == 0
    assert not (tmp_path / 'crosses.parquet').exists()


def test_a_search(source, tmp_path, capfd):
    config = ['--config', str(source / 'search.yaml'), *QUIET]
    text = (source / 'run.yaml').read_text()
    text = text.replace('class_path: FM', 'class_path: FIVES')
    text = text.replace(
        'training: {lr: 0.02, early_stopping: false}',
        'search: {class_path: FIVESOptions, init_args: {lr: 0.02}}',
    )
    (source / 'search.yaml').write_text(text)
    out = ['--output', str(tmp_path / 'a')]
    assert main(['search', *config, *out]) == 0
    again = ['--config', str(tmp_path / 'a' / 'config.yaml')]
    assert main(['search', *again, '--output', str(tmp_path / 'b')]) == 0
    assert figures(tmp_path / 'a') == figures(tmp_path / 'b')
    capfd.readouterr()
    # What the search has found, and not something else:
    found = (tmp_path / 'a' / 'interactions.json').read_bytes()
    assert main(['interactions', str(tmp_path / 'a')]) == 0
    assert '1 ' in capfd.readouterr().out
    assert (tmp_path / 'a' / 'interactions.json').read_bytes() == found
    wrong = ['--search', 'AIMOptions', *out]
    error = fails(capfd, 'search', *config, *wrong)
    assert 'AIMOptions belong to the model AIM (got FIVES)' in error


def test_a_trial_leaves_no_trace(result, tmp_path, capfd):
    before = {path: path.read_bytes() for path in result.iterdir()}
    args = ['--config', str(result / 'config.yaml')]
    args += ['--trainer.fast_dev_run', 'true', '--training.lr', '1']
    assert main(['train', *args]) == 0
    assert {path: path.read_bytes() for path in result.iterdir()} == before


def test_models_of_ones_own(source, tmp_path, monkeypatch):
    code = 'from pyg_featgraph.nn import FM\nclass Mine(FM):\n    pass\n'
    (tmp_path / 'models_of_mine.py').write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    args = ['--config', str(source / 'run.yaml'), *QUIET]
    args += ['--model', 'models_of_mine.Mine', '--output', str(tmp_path)]
    assert main(['train', *args]) == 0
    # As in another process:
    monkeypatch.delitem(sys.modules, 'models_of_mine')
    monkeypatch.delitem(Configurable._registry, 'models_of_mine.Mine')
    scores = str(tmp_path / 'scores.csv')
    table = str(source / 'all.csv')
    assert main(['score', str(tmp_path), table, '-o', scores]) == 0


def test_files_of_parts_and_other_tasks(tmp_path, capfd):
    frame = pd.DataFrame(
        {'a': [*'xyz'] * 40, 'b': range(120), 'weight': [1.0, 2.0] * 60}
    )
    frame['kind'] = frame['a'].map({'x': 'one', 'y': 'two', 'z': 'three'})
    parts = {'train': frame[:80], 'valid': frame[80:100], 'test': frame[100:]}
    args = ['--model', 'FM', '--model.embedding_dim', '2', *QUIET]
    args += ['--schema.weight', 'weight', '--predictions']
    args += ['--data', 'TableFiles']
    for name, part in parts.items():
        part.to_csv(tmp_path / f'{name}.csv', index=False)
        args += [f'--data.{name}', str(tmp_path / f'{name}.csv')]
    for label, task in (('kind', 'multiclass'), ('b', 'regression')):
        out = tmp_path / task
        now = ['--schema.label', label, '--schema.task', task]
        assert main(['train', *args, *now, '--output', str(out)]) == 0
        assert len(pd.read_csv(out / 'predictions.csv')) == 20
        encoder = FieldEncoder.load(out / 'encoder.parquet')
        assert (encoder.schema.label, encoder.schema.weight) == (
            label,
            'weight',
        )
    names = list(pd.read_csv(tmp_path / 'multiclass' / 'predictions.csv'))
    assert names == ['one', 'three', 'two', 'label']
    labels = pd.read_csv(tmp_path / 'multiclass' / 'predictions.csv')['label']
    assert labels.tolist() == frame['kind'][100:].tolist()
    assert 'valid_rmse' in figures(tmp_path / 'regression')
    capfd.readouterr()
    # Labels of other rows need not be known ones, nor be there:
    new = tmp_path / 'new.csv'
    frame[:3].assign(kind='four').to_csv(new, index=False)
    assert main(['score', str(tmp_path / 'multiclass'), str(new)]) == 0
    scores = pd.read_csv(io.StringIO(capfd.readouterr().out))
    assert scores.sum(axis=1).tolist() == pytest.approx([1] * 3, abs=1e-5)


WRONG = {
    'an option of a model': (
        ['--model.embeding_dim', '3'],
        "'model' has no option 'embeding_dim'",
    ),
    'a type': (['--model.embedding_dim', 'x'], '\'model\'|"embedding_dim"'),
    'a class': (['--model', 'GrapFM'], "'model': there is no class 'GrapFM'"),
    'a reader': (['--data', 'Critero'], "'data': there is no class 'Critero'"),
    'an option of a reader': (
        ['--data.trian', 'x.csv'],
        "'data' has no option 'trian'",
    ),
    'a file': (['--data.train', 'nowhere.csv'], "no file 'nowhere.csv'"),
    'an option of the training': (['--training.lrr', '1'], '--training.lrr'),
    'a beginning of one': (['--training.patienc', '1'], '--training.patienc'),
    'a trainer': (['--trainer.max_epoch', '1'], '--trainer.max_epoch'),
    'a value': (['--training.patience', '0'], "'patience' must be positive"),
    'an option of fields': (
        ['--schema.defaults', '{min_cuont: 3}'],
        "'min_cuont' is not an option",
    ),
    'a column': (['--schema.fields', '{Q: {}}'], r"no columns \['Q'\] among"),
    'a label': (['--schema.label', 'lable'], 'lable'),
    'an argument of a trainer': (
        ['--trainer.accelerator', 'cpu', '--trainer.devices', '0'],
        "'trainer': ",
    ),
    'shares': (['--split.test', '0.95'], "'valid' and 'test' must be shares"),
}


@pytest.mark.parametrize('name', WRONG)
def test_mistakes_have_one_line(name, source, tmp_path, capfd):
    args, message = WRONG[name]
    config = ['--config', source / 'run.yaml', '--output', tmp_path / 'out']
    error = fails(capfd, 'train', *config, *args)
    assert re.search(message, error)
    assert not (tmp_path / 'out' / 'config.yaml').exists()


def test_mistakes_in_files_and_folders(source, tmp_path, capfd):
    text = dedent((source / 'run.yaml').read_text())
    path = tmp_path / 'run.yaml'
    out = ['--output', tmp_path / 'out']
    path.write_text(text + 'trianing: {lr: 1}\n')
    assert 'trianing' in fails(capfd, 'train', '--config', path, *out)
    path.write_text(text.replace('lr: 0.02', 'lrr: 0.02'))
    assert 'lrr' in fails(capfd, 'train', '--config', path, *out)
    path.write_text(text.replace('{', '['))
    fails(capfd, 'train', '--config', path, *out)
    assert 'none.yaml' in fails(capfd, 'train', '--config', 'none.yaml', *out)
    assert 'output' in fails(capfd, 'train', '--config', source / 'run.yaml')
    for name in ('interactions', 'export'):
        assert 'holds no result' in fails(capfd, name, tmp_path)
    assert 'holds no result' in fails(capfd, 'score', tmp_path, 'x.csv')
    assert 'there is no command' in fails(capfd, 'trian')


def test_without_its_extra(monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, 'jsonargparse', None)
    error = fails(capfd, 'train', '--help')
    assert "pip install 'pyg-featgraph[cli]'" in error


def test_commands_are_listed(capfd):
    assert main(['--help']) == main([]) == 0
    out, err = capfd.readouterr()
    assert err == ''
    for name in COMMANDS:
        assert re.search(f'^  {name} ', out, re.MULTILINE)


@pytest.mark.parametrize('name', ['train', 'search', 'score'])
def test_help_is_that_of_the_docstrings(name, capfd):
    with pytest.raises(SystemExit) as stop:
        main([name, '--help'])
    assert stop.value.code == 0
    text = ' '.join(capfd.readouterr().out.split())
    assert ':obj:' not in text
    expected = {
        'train': 'The learning rate.',
        'search': 'FIVESOptions or AIMOptions',
        'score': 'in their order: for each',
    }
    assert expected[name] in text


@pytest.mark.parametrize('name', ['interactions', 'score'])
def test_pipes_may_end_early(name, result, source, monkeypatch, capfd):
    """As with `featgraph interactions DIR | head -1`."""
    args = [name, str(result)]
    args += [str(source / 'all.csv')] if name == 'score' else ['--rows', '9']
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, 'w') as stdout:
        monkeypatch.setattr(sys, 'stdout', stdout)
        assert main(args) == 128 + signal.SIGPIPE
    out, err = capfd.readouterr()
    assert out == ''
    assert 'rror' not in err.replace('standard error', '')


def test_readers_keep_what_they_know(real_data, tmp_path):
    args = ['--data', 'Diamonds', '--data.root', str(real_data / 'diamonds')]
    args += ['--split.rows', '300', *QUIET]
    # Another test may have made an LR of its own:
    args += ['--model', 'pyg_featgraph.nn.LR']
    assert main(['train', *args, '--output', str(tmp_path)]) == 0
    schema = FieldEncoder.load(tmp_path / 'encoder.parquet').schema
    assert (schema.label, schema.task) == (Diamonds.label, 'regression')
