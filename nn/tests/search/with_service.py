"""Optuna's storage service, and Optuna working on the study `service` in it.

    python with_service.py serve DATABASE HOST PORT    runs the proxy in front of the database until it is killed
    python with_service.py forget DATABASE HOST PORT   the same, as if started anew before every parameter
    python with_service.py work HOST PORT TRIALS       runs that many trials
    python with_service.py dump HOST PORT              prints number, state, value and parameters of every trial
"""

import json
import sys

import optuna
from optuna.storages import GrpcStorageProxy, get_storage, run_grpc_proxy_server


def objective(trial):
    a = trial.suggest_float("a", 0.0, 1.0)
    for step in range(1, 4):
        trial.report(a / step, step)
    b = trial.suggest_float("one_minus_b", 1 - 0.99, 1 - 0.9, log=True)
    trial.set_user_attr("by", "python")
    return a + 1 - b


def forgetful(storage):
    """The same storage, which knows as little as after its start when a parameter is first set."""
    set_param, known = storage.set_trial_param, set()

    def set_anew(trial, name, *rest):
        if (trial, name) not in known:
            known.add((trial, name))
            storage.__init__(storage._backend)
        set_param(trial, name, *rest)

    storage.set_trial_param = set_anew
    return storage


def main():
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    mode, *rest = sys.argv[1:]
    if mode in ("serve", "forget"):
        storage = get_storage(rest[0])
        storage = forgetful(storage) if mode == "forget" else storage
        run_grpc_proxy_server(storage, host=rest[1], port=int(rest[2]))
        return
    storage = GrpcStorageProxy(host=rest[0], port=int(rest[1]))
    storage.wait_server_ready(timeout=600)
    study = optuna.create_study(storage=storage, study_name="service", load_if_exists=True)
    if mode == "work":
        study.optimize(objective, n_trials=int(rest[2]))
        return
    for trial in study.trials:
        print(json.dumps([trial.number, trial.state.name, trial.value, trial.params]))


main()
