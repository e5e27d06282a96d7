"""Works on the study `test` of a journal with the real Optuna.

    python with_optuna.py JOURNAL TRIALS   runs that many trials, after two that are asked for
    python with_optuna.py JOURNAL          prints number, state, value and parameters of every trial as JSON
"""

import json
import math
import sys

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend


def objective(trial):
    alpha = trial.suggest_float("alpha", 1e-4, 1.0, log=True)
    trial.suggest_float("one_minus_beta", 1 - 0.999, 1 - 0.9, log=True)
    units = trial.suggest_int("units", 1, 64, log=True)
    trial.suggest_int("layers", -2, 4)
    trial.suggest_float("dropout", 0.0, 0.5, step=0.1)
    trial.suggest_categorical("kind", ["relu", 'a "quoted" \U0001f980 <b>'])
    trial.suggest_categorical("clip", [None, True, 3, 0.5])
    trial.report(float("nan"), 1)
    trial.report(float("inf"), 2)
    trial.set_user_attr("nested", {"a": [1, float("-inf"), "NaN"]})
    if trial.number == 3:
        return float("nan")
    return (math.log10(alpha) + 2.3) ** 2 + units


def main():
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = JournalStorage(JournalFileBackend(sys.argv[1]))
    study = optuna.create_study(storage=storage, study_name="test", load_if_exists=True)
    if len(sys.argv) > 2:
        study.enqueue_trial({"alpha": 0.005, "kind": "relu"})
        study.optimize(objective, n_trials=int(sys.argv[2]))
        study.enqueue_trial({"alpha": 0.25, "clip": None})
        return
    for trial in study.trials:
        print(json.dumps([trial.number, trial.state.name, trial.value, trial.params]))


main()
