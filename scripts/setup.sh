#!/bin/sh
# Make the virtual environment .venv with nst-rt in it, on a machine that has only Python.
# On Debian and its kin, as root, missing system packages are installed; elsewhere they are named.
set -eu
python=${1:-python3}

system_packages() {
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
    else
        echo "setup: please install $* (Debian, Ubuntu: sudo apt-get install $*) and try again" >&2
        exit 1
    fi
}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "setup: Python 3.11 or newer is needed; make PYTHON=/path/to/python chooses one" >&2
    exit 1
}
"$python" -c 'import ensurepip, venv' 2>/dev/null || system_packages python3-venv
test -x .venv/bin/python || "$python" -m venv .venv
echo "setup: installing PyTorch, OpenCV, OpenVINO and the rest, a few minutes and GB the first time"
.venv/bin/python -m pip install -q --disable-pip-version-check -e '.[test]'
# What OpenCV's wheel takes from the system.
.venv/bin/python -c 'import cv2' 2>/dev/null || system_packages libgl1 libglib2.0-0 libxcb1
