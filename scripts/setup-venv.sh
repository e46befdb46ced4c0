#!/bin/sh
# Makes the virtual environment in folder $1 and installs the project into it, editable, with the
# extras in $2 (may be empty). $PYTHON names the interpreter; without it the first one that will do.
set -eu

venv=$1
extras=$2

# Debian and Ubuntu ship Python without ensurepip unless python3-venv is installed, and the stand-in
# commands of version managers exist without working: so each candidate is tried, not looked up.
is_usable() {
    "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        if is_usable "$PYTHON"; then
            command -v "$PYTHON"
            return
        fi
        echo "PYTHON=$PYTHON is no Python 3.11 or newer with the venv module." >&2
        exit 1
    fi
    for candidate in python3 python3.14 python3.13 python3.12 python3.11 python; do
        if is_usable "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    echo "ocimlpack needs Python 3.11 or newer with the venv module, and none was found." \
        "Install it (Debian, Ubuntu: apt install python3-venv) or say PYTHON=/path/to/python3." >&2
    exit 1
}

if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    python=$(find_python)
    echo "Setting up $venv with $("$python" -V)"
    "$python" -m venv --clear "$venv"
    echo '*' >"$venv/.gitignore"
fi
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    --editable ".${extras:+[$extras]}"
