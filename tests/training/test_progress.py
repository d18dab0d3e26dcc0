import os
import re
import subprocess
import sys
from contextlib import suppress
from threading import Thread

import pytest
from lightning.pytorch import Trainer

from pyg_featgraph.nn import FIVES, FM
from pyg_featgraph.progress import progress_bar
from pyg_featgraph.search import fives_search
from pyg_featgraph.training import (
    EpochProgress,
    FieldDataModule,
    FieldModule,
    fit,
)

TRAINING = """
import sys
import torch
from pyg_featgraph.data import FieldInfo, FieldTable
from pyg_featgraph.nn import FM
from pyg_featgraph.training import fit

info = FieldInfo('abc', (2, 2, 2), (1, 1, 1), ('categorical',) * 3)
index = torch.randint(0, 2, (200, 3)) + torch.tensor([0, 2, 4])
y = torch.arange(200.0) % 2
table = FieldTable(index.int(), torch.ones(200, 3), info, y)
fit(
    FM(info, 4),
    table,
    table,
    table,
    directory=sys.argv[1],
    accelerator='cpu',
    max_epochs=3,
    early_stopping=False,
)
"""
FIGURES = r'train_loss [\d.]+, valid_loss [\d.]+, valid_auc [\d.]+ \(.* s\)'


def test_lines_where_there_is_no_terminal(tmp_path):
    # A process, as no other test may have told Lightning to be quiet:
    command = [sys.executable, '-W', 'ignore', '-c', TRAINING]
    command.append(str(tmp_path))
    done = subprocess.run(command, capture_output=True, check=True)
    assert done.stdout == b''
    assert b'\r' not in done.stderr
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 3
    for epoch, line in enumerate(lines, start=1):
        assert re.fullmatch(f'FM, epoch {epoch} of 3: {FIGURES}', line)


def search(table, path):
    parts = table.split([0.5, 0.3, 0.2])
    options = {'accelerator': 'cpu', 'max_epochs': 2, 'retrain': 'scratch'}
    fives_search(FIVES(table.info, 2), *parts, directory=path, **options)


def test_stages_of_a_search_have_names(table, tmp_path, capfd):
    search(table, tmp_path)
    out, err = capfd.readouterr()
    assert out == ''
    lines = [
        f'FIVES, {stage}, epoch {epoch} of 2: {FIGURES}'
        for stage in ('search', 'scratch')
        for epoch in (1, 2)
    ]
    assert re.fullmatch('\n'.join(lines), err.strip())


@pytest.mark.skipif(os.name == 'nt', reason='there are no such terminals')
def test_bars_on_a_terminal(table, tmp_path, monkeypatch, capfd):
    import termios

    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (25, 120))
    shown = []

    def read():
        # An error is how Linux tells that nobody writes any more:
        with suppress(OSError):
            while part := os.read(ours, 1000):
                shown.append(part)

    reader = Thread(target=read)
    reader.start()
    with open(theirs, 'w') as terminal:
        monkeypatch.setattr(sys, 'stderr', terminal)
        search(table, tmp_path)
    reader.join()
    os.close(ours)
    assert capfd.readouterr() == ('', '')
    text = b''.join(shown).decode()
    assert re.search(
        r'\rFIVES, search, epoch 2 of 2: 100%\|.*valid_auc=0', text
    )
    assert 'FIVES, scratch, test: ' in text
    # The stages have a bar of their own, and nothing has lines:
    assert re.search(r'scratch: 100%\|.* 2/2 ', text)
    assert 'valid_auc 0' not in text


def test_a_bar_can_be_switched_off_or_be_ones_own(table, tmp_path, capfd):
    train, valid = table.split([0.5, 0.5])
    options = {'directory': tmp_path, 'accelerator': 'cpu', 'max_epochs': 1}
    model = FM(table.info, 2)
    fit(model, train, valid, enable_progress_bar=False, **options)
    assert capfd.readouterr() == ('', '')
    own = EpochProgress('mine')
    fit(model, train, valid, callbacks=own, **options)
    out, err = capfd.readouterr()
    assert out == ''
    assert re.fullmatch(r'mine, epoch 1 of 1: .*\n', err)


def test_it_serves_other_trainers(table, capfd):
    train, valid = table.split([0.5, 0.5])
    trainer = Trainer(
        max_steps=3,
        accelerator='cpu',
        logger=False,
        enable_checkpointing=False,
        callbacks=EpochProgress(),
    )
    data = FieldDataModule(train, valid, batch_size=10)
    trainer.fit(FieldModule(FM(table.info, 2)), datamodule=data)
    out, err = capfd.readouterr()
    assert out == ''
    assert 'FM, epoch 1: train_loss' in err


def test_bars_of_other_work_are_off_too(capfd):
    assert sum(progress_bar(range(5), desc='rows')) == 10
    assert capfd.readouterr() == ('', '')
