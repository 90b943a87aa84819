# Sourced by ./warifu and ./check, with $root set: finds a Python, then lets bootstrap.py make .venv.
# shellcheck shell=sh

find_python() {
    for candidate in ${WARIFU_PYTHON:-} python3 python3.11 python3.12 python3.13 python3.14 python; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            printf '%s\n' "$candidate"
            return 0
        fi
    done
    echo "warifu: setup.failed: no Python >= 3.11 on PATH: install one (Debian: apt-get install python3), or name it in WARIFU_PYTHON" >&2
    return 1
}

set_up() { # set_up [--dev]
    python=$(find_python) || return 1
    "$python" "$root/tools/bootstrap.py" "$@"
}
