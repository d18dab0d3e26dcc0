"""Settings of contestants on tables: files, and how they are chosen."""

import json
import warnings
from functools import partial

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from comparison import tasks
from pyg_featgraph.files import replacing

#: Validation rows of this seed choose the settings.
SEED = 0


def read(path, contestant):
    """The settings of a file, or those without tuning."""
    if not path.exists():
        return dict(contestant.defaults)
    return json.loads(path.read_text())['settings']


def choose(path, contestant, table, trials, folder):
    """Writes the settings that suit validation rows best. A search that was
    stopped goes on.

    Args:
        path: Where the settings go.
        contestant: A `Contestant`.
        table: A `Table`, whose test rows are not looked at.
        trials: How many settings are tried, the defaults among them.
        folder: For what has been tried.
    """
    folder.mkdir(parents=True, exist_ok=True)
    search = contestant.tune or partial(_search, contestant)
    chosen, loss = search(table, trials, SEED, folder)
    facts = {'settings': chosen, 'valid loss': loss, 'trials': trials}
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(facts, indent=1) + '\n')


def _search(contestant, table, trials, seed, folder):
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name='settings',
        storage=JournalStorage(JournalFileBackend(str(folder / 'trials.log'))),
        sampler=optuna.samplers.TPESampler(seed=seed),
        load_if_exists=True,
    )

    def loss(settings):
        outcome = contestant.run(table, settings, seed)
        return tasks.loss(table.task, table.labels[1], outcome.valid)

    # Not a trial of Optuna, as defaults need not lie in the space:
    if 'default' not in study.user_attrs:
        study.set_user_attr('default', loss(dict(contestant.defaults)))
    while 1 + sum(t.state.is_finished() for t in study.trials) < trials:
        trial = study.ask(dict(contestant.space))
        try:
            value = loss({**contestant.defaults, **trial.params})
        except Exception as error:
            # Some settings may not be possible; the others go on.
            warnings.warn(f'{trial.params}: {error}', stacklevel=2)
            study.tell(trial, state=TrialState.FAIL)
        else:
            study.tell(trial, value)
    default = study.user_attrs['default']
    if study.get_trials(states=(TrialState.COMPLETE,)) and (
        study.best_value < default
    ):
        return {**contestant.defaults, **study.best_params}, study.best_value
    return dict(contestant.defaults), default
