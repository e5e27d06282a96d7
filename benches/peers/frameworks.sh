#!/usr/bin/env bash
# Times our operations beside PyTorch, JAX, TensorFlow and PaddlePaddle, in rotation, each of them in a
# process of its own. What is missing is installed first, from PyPI by name into target/peers: 8 GB, most
# of it what PyTorch's wheel brings for GPUs. Each is installed by itself, so that one that fails leaves
# the others. TILEWISE_PYTHON names an interpreter that has them already: then nothing is installed.
#
#   benches/peers/frameworks.sh                                    a record of what they are used for most
#   benches/peers/frameworks.sh memory --only adam --threads 2     whatever else `compare` is to do
set -euo pipefail
cd "$(dirname "$0")/../.."

if [ -z "${TILEWISE_PYTHON:-}" ]; then
    peers=$PWD/target/peers
    [ -x "$peers/bin/python" ] || python3 -m venv "$peers"
    export TILEWISE_PYTHON=$peers/bin/python
    has() { # has <module>: without importing it, which takes seconds
        "$TILEWISE_PYTHON" -c "import importlib.util as u, sys; sys.exit(u.find_spec('$1') is None)"
    }
    for wanted in torch:torch jax:"jax jaxlib" optax:optax tensorflow:tensorflow-cpu paddle:paddlepaddle; do
        has "${wanted%%:*}" && continue
        echo "frameworks.sh: installing ${wanted#*:}" >&2
        # Several packages are several words.
        # shellcheck disable=SC2086
        "$TILEWISE_PYTHON" -m pip install --quiet --disable-pip-version-check ${wanted#*:} >&2 ||
            echo "frameworks.sh: pip could not install ${wanted#*:}: it will be named as absent" >&2
    done
fi

[ $# -gt 0 ] || set -- all --only training_step,batch_norm,softmax,cross_entropy,adam --record
exec cargo run --release -p tilewise-benches --bin compare -- \
    "$@" --workers torch,jax,tensorflow,paddle
