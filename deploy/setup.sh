#!/usr/bin/env bash
# Builds the environment in .venv, or with the argument `base` only what the open model and its page
# need, without a compiler; make runs it when pyproject.toml or constraints.txt has changed. It can
# be stopped and run again at any point.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

step() {
    printf '\n== %s\n' "$*"
}

# An interpreter is run, not just looked up: a version manager's shim exists and may still fail.
is_supported() {
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1
}

find_python() {
    if [[ -n ${PYTHON:-} ]]; then
        is_supported "$PYTHON" || fail "PYTHON=$PYTHON is not a working Python 3.10 to 3.13."
        echo "$PYTHON"
        return
    fi
    local candidate
    for candidate in python3.11 python3.12 python3.13 python3.10 python3 python; do
        if is_supported "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    fail "no Python 3.10 to 3.13 found; install one or name it, such as PYTHON=/path/to/python3.11."
}

check_compiler() {
    local compiler=${CXX:-c++}
    command -v "${compiler%% *}" >/dev/null ||
        fail "no C++ compiler found ($compiler), and mmcv's operators, which the closed model needs, are compiled here; install one (Debian: apt-get install g++) or set CXX."
    local headers
    headers=$("$1" -c 'import sysconfig; print(sysconfig.get_path("include"))')
    [[ -f $headers/Python.h ]] ||
        fail "$1 has no C headers ($headers/Python.h); install them (Debian: apt-get install python3-dev)."
}

install() {
    .venv/bin/python -m pip install --disable-pip-version-check --no-input -c constraints.txt "$@"
}

# mmcv and imaug (of mmdet) ask for both flavours of OpenCV, which are installed into one folder. The
# other one needs the libraries of a desktop.
keep_one_opencv() {
    .venv/bin/python -m pip uninstall --quiet --yes opencv-python opencv-python-headless
    install --quiet --no-deps opencv-python-headless
}

check_requirements() {
    local broken
    broken=$(.venv/bin/python -m pip check --disable-pip-version-check |
        grep -v -e ' requires opencv-python, which is not installed' -e '^No broken') || true
    [[ -z $broken ]] || fail "the packages do not go together: $broken"
}

mmcv_has_operators() {
    .venv/bin/python -c 'from mmcv.ops import RoIAlign, batched_nms, nms, nms_rotated'
}

# Reduces pip's and the compiler's output to one line for each file compiled.
show_progress() {
    local line
    while IFS= read -r line; do
        if [[ $line =~ \[([0-9]+/[0-9]+)\] ]]; then
            printf 'mmcv: %s compiled, %d:%02d min\n' \
                "${BASH_REMATCH[1]}" $((SECONDS / 60)) $((SECONDS % 60))
        elif [[ $line =~ ^(Collecting|Successfully|ERROR) ]]; then
            printf '%s\n' "$line"
        fi
    done
}

install_mmcv() {
    local log=.venv/mmcv-build.log
    SECONDS=0
    # Where there is a GPU but no nvcc, mmcv would try to compile CUDA code and fail.
    if ! command -v nvcc >/dev/null && [[ -z ${CUDA_HOME:-} ]]; then
        local -x CUDA_VISIBLE_DEVICES=
    fi
    # No build isolation: in an isolated build there is no torch, and mmcv leaves its operators out.
    install -v --no-build-isolation "$@" onedl-mmcv 2>&1 | tee "$log" | show_progress || {
        tail -n 40 "$log" >&2
        fail "mmcv did not build; the whole output is in $log."
    }
}

only_base=
case ${1:-} in
    '') ;;
    base) only_base=1 ;;
    *) fail "unknown argument $1: give it base, or none for all." ;;
esac
python=$(find_python)
if ! { is_supported .venv/bin/python && .venv/bin/python -m pip --version >/dev/null 2>&1; }; then
    step "New environment .venv with $("$python" --version)"
    "$python" -m venv --clear .venv ||
        fail "$python cannot make an environment; install its venv module (Debian: apt-get install python3-venv)."
fi

[[ -n $only_base ]] || check_compiler .venv/bin/python

step "PyTorch"
bash deploy/install_torch.sh .venv/bin/python constraints.txt

if [[ -n $only_base ]]; then
    step "The project and what the open model needs"
    install setuptools wheel
    install --no-build-isolation -e .
    step "Ready: .venv, for the open model"
    exit
fi

step "The build tools"
install setuptools wheel packaging ninja psutil

step "mmcv's operators: compiled once, about 10 minutes on two cores; pip keeps the result"
install_mmcv

step "The project and its other dependencies"
install --no-build-isolation -e '.[closed,train,cvat,dev]'

step "OpenCV once, without windows"
keep_one_opencv

if ! mmcv_has_operators 2>/dev/null; then
    step "The mmcv that pip had kept was made for another torch or without one: compiling it anew"
    install_mmcv --no-cache-dir --no-deps --force-reinstall
    mmcv_has_operators || fail "mmcv was installed but its operators do not import; the reason is above."
fi

check_requirements
step "Ready: .venv"
