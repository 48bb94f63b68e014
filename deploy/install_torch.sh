#!/usr/bin/env bash
# Installs torch, in its CPU build where one can be had: what pip finds on Linux by itself is the CUDA
# build, several GB with its libraries. Asked are what pip is set up with, then uv, which knows where
# PyTorch publishes its builds. Where neither finds one, or there is an NVIDIA GPU, it is pip's choice.
#
# Usage: install_torch.sh PYTHON CONSTRAINTS
set -euo pipefail
python=$1
constraints=$2
version=$(sed -n 's/^torch==//p' "$constraints")

install() {
    "$python" -m pip install --disable-pip-version-check --no-input -c "$constraints" "$@"
}

is_installed() {
    "$python" - "$version" 2>/dev/null <<'END'
import importlib.metadata, sys
sys.exit(importlib.metadata.version("torch").partition("+")[0] != sys.argv[1])
END
}

install_cpu_build() {
    install --no-deps "torch==$version+cpu" 2>/dev/null && return
    local folder path
    folder=$(mktemp -d)
    # The certificates that pip was given; a server that is not to be reached is not tried for long.
    local -x UV_HTTP_RETRIES=${UV_HTTP_RETRIES:-1}
    [[ -z ${PIP_CERT:-} ]] || local -x SSL_CERT_FILE=${SSL_CERT_FILE:-$PIP_CERT}
    # By its path: a bare name uv would look for in places of its own.
    path=$("$python" -c 'import sys; print(sys.executable)')
    install --quiet --target "$folder" uv &&
        "$folder/bin/uv" pip install --python "$path" --no-cache --no-deps \
            --torch-backend cpu --constraint "$constraints" torch
    local code=$?
    rm -rf "$folder"
    return "$code"
}

if ! is_installed && [[ $(uname -s) == Linux ]] && ! command -v nvidia-smi >/dev/null; then
    install_cpu_build ||
        echo "install_torch: no CPU build of torch is to be had here, so pip's own choice is installed; name an index or a folder that has one in PIP_EXTRA_INDEX_URL or PIP_FIND_LINKS." >&2
fi
install torch # what it depends on, too
