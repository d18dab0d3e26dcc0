r"""The command :obj:`featgraph`: trainings, searches and what comes of them.

.. code-block:: sh

    featgraph train --config run.yaml --output runs/mine
    featgraph interactions runs/mine | head
    featgraph score runs/mine new.csv -o scores.csv

A configuration has the sections of
:func:`~pyg_featgraph.command.training.train` or
:func:`~pyg_featgraph.command.training.search`. Classes stand with their
options; what is not there has its default:

.. code-block:: yaml

    data:
      class_path: TableFiles
      init_args: {train: table.csv}
    schema:
      label: clicked
      defaults: {min_count: 5}
    model:
      class_path: GraphFM
      init_args: {num_layers: 2}
    training: {lr: 3.0e-3, patience: 3}
    trainer: {max_epochs: 30}
    output: runs/mine

Each value can be told on the command line as well, as in
:obj:`--data.train other.csv` or :obj:`--model FM`. The folder of a result
holds its whole configuration, with all defaults, as :obj:`config.yaml`:
:obj:`featgraph train --config runs/mine/config.yaml` repeats it, and goes on
with it if it was stopped, with :obj:`--resume`.
"""

from pyg_featgraph.command.main import main

__all__ = ['main']
