import io

import pandas as pd
import pytest

from pyg_featgraph.command import main
from pyg_featgraph.datasets import PlantedInteractions
from pyg_featgraph.interactions import Interaction, InteractionSet
from pyg_featgraph.serve import Scorer


@pytest.mark.parametrize('crossed', [False, True])
def test_what_is_exported_scores_as_the_command_does(crossed, tmp_path, capfd):
    planted = PlantedInteractions(
        200, {2: 1}, num_numeric=2, num_categorical=2, seed=1
    )
    table, out = str(tmp_path / 'all.csv'), tmp_path / 'out'
    frame = planted.frame()
    frame.to_csv(table, index=False)
    args = ['--data.train', table, '--schema.label', 'label']
    args += ['--model', 'FM', '--output', str(out), '--trainer.max_epochs=1']
    if crossed:
        pairs = InteractionSet([Interaction(('C1', 'I2'), 1.0)])
        pairs.save(tmp_path / 'pairs.json')
        args += ['--crosses.interactions', str(tmp_path / 'pairs.json')]
    assert main(['train', *args]) == 0
    capfd.readouterr()
    assert main(['score', str(out), table]) == 0
    scores = pd.read_csv(io.StringIO(capfd.readouterr().out))['probability']
    assert main(['export', str(out), '--formats', '[onnx]']) == 0
    assert capfd.readouterr().out == f'{out / "export"}\n'
    assert not (out / 'export' / 'model.pt2').exists()
    exported = Scorer(out / 'export').score(frame)
    assert (out / 'crosses.parquet').exists() == crossed
    assert exported.tolist() == pytest.approx(scores.tolist(), abs=1e-5)
    assert main(['export', str(out), '--formats', '[pt3]']) == 2
    assert 'pt3' in capfd.readouterr().err
