#!/usr/bin/env bash
# Installs the native peers: MKL and OpenBLAS from PyPI into target/peers, oneDNN 3 out of a wheel of
# PyPI's paddlepaddle (190 MB, the only one that has it with OpenMP), and, where this user may install
# packages, BLIS and libxsmm from Debian. Prints how to tell the benchmarks where they are.
set -euo pipefail
cd "$(dirname "$0")/../.."

peers=$PWD/target/peers
[ -x "$peers/bin/python" ] || python3 -m venv "$peers" >&2
for package in mkl scipy-openblas32; do
    "$peers/bin/python" -m pip install --quiet --disable-pip-version-check "$package" >&2 ||
        echo "setup.sh: pip could not install $package: it will be named as absent" >&2
done

if [ ! -f "$peers/onednn/libdnnl.so.3" ]; then
    "$peers/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps \
        --dest "$peers/wheels" paddlepaddle >&2 &&
        "$peers/bin/python" - "$peers" <<'PYTHON' ||
import glob, os, sys, zipfile
peers = sys.argv[1]
os.makedirs(f"{peers}/onednn", exist_ok=True)
with zipfile.ZipFile(glob.glob(f"{peers}/wheels/paddlepaddle-*.whl")[0]) as wheel:
    with open(f"{peers}/onednn/libdnnl.so.3", "wb") as library:
        library.write(wheel.read("paddle/libs/libdnnl.so.3"))
PYTHON
        echo "setup.sh: could not get oneDNN: it will be named as absent" >&2
    rm -rf "$peers/wheels"
fi

debian() { # debian <package> <peer>
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "setup.sh: $2 needs Debian's $1, which only root can install" >&2
        return 1
    fi
    { apt-get update -q && apt-get install -y -q --no-install-recommends "$1"; } >&2 && return
    echo "setup.sh: apt could not install $1: $2 will be named as absent" >&2
    return 1
}

ldconfig -p | grep -q libblis.so || debian libblis4-pthread BLIS || true

# Debian has libxsmm as archives only. Linked with its stand-in for a BLAS, it falls back on nobody's.
if [ ! -f "$peers/lib/libxsmm.so.1" ] && ! ldconfig -p | grep -q libxsmm.so; then
    archive() { dpkg -L libxsmm-dev 2>/dev/null | grep "/$1.a$"; }
    if archive libxsmm >/dev/null || debian libxsmm-dev libxsmm; then
        "${CC:-cc}" -shared -o "$peers/lib/libxsmm.so.1" \
            -Wl,--whole-archive "$(archive libxsmm)" -Wl,--no-whole-archive \
            "$(archive libxsmmnoblas)" -lpthread -ldl -lm -lrt >&2 ||
            echo "setup.sh: could not link libxsmm: it will be named as absent" >&2
    fi
fi

openblas=$("$peers/bin/python" -c 'import scipy_openblas32 as o; print(o.get_lib_dir())' || true)
echo "export TILEWISE_PEERS=$peers/lib${openblas:+:$openblas}:$peers/onednn"
