import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import pyg_featgraph


def other_file_system(path):
    """A folder on another file system than that of temporary files."""
    for folder in (Path('/dev/shm'), Path.cwd()):
        if folder.is_dir() and folder.stat().st_dev != path.stat().st_dev:
            return folder
    return path


@pytest.mark.parametrize(
    'kills', [4, pytest.param(150, marks=pytest.mark.slow)]
)
def test_killed_runs_end_as_if_nothing_had_been(kills, tmp_path):
    script = Path(__file__).with_name('kill_many.py')
    root = Path(pyg_featgraph.__file__).parents[1]
    with tempfile.TemporaryDirectory(dir=other_file_system(tmp_path)) as folder:
        done = subprocess.run(
            [sys.executable, script, folder, str(kills)],
            env={
                **os.environ,
                'PYTHONPATH': str(root),
                'OMP_NUM_THREADS': '1',
                'TMPDIR': str(tmp_path),
            },
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout.splitlines()[-1])
    print(counts)
    assert counts['kills'] >= kills
    assert counts['aimed'] > kills // 5
    assert counts['failed'] == counts['wrong'] == counts['left'] == 0, (
        counts,
        done.stderr,
    )
