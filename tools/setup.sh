# Sourced by ./warifu and ./check, with $root set: finds a Python, then lets bootstrap.py make .venv.
# shellcheck shell=sh

proven="3.11 3.12 3.13" # what docs/decisions/0020 has a table of; pyproject.toml names them too

version_of() { # version_of PYTHON: as 3.11; nothing when it does not run, or is not CPython
    "$1" -c 'import sys; sys.stdout.write("%d.%d" % sys.version_info[:2] if sys.implementation.name == "cpython" else "")' \
        2>/dev/null || true
}

is_proven() { # is_proven VERSION
    case " $proven " in *" ${1:-none} "*) return 0 ;; *) return 1 ;; esac
}

is_later() { # is_later VERSION: than what is proven, or one of it
    [ "${1%%.*}" = 3 ] && [ "${1#3.}" -ge 11 ]
}

tell_unproven() { # tell_unproven VERSION
    echo "warifu: proven on Python $proven, not yet on $1: ./check tells" >&2
}

named_python() { # the one in WARIFU_PYTHON, or none
    version=$(version_of "$WARIFU_PYTHON")
    if ! is_later "$version"; then
        echo "warifu: setup.failed: WARIFU_PYTHON=$WARIFU_PYTHON is not a CPython 3.11 or later: name one that is, or leave it out" >&2
        return 1
    fi
    is_proven "$version" || tell_unproven "$version"
    printf '%s\n' "$WARIFU_PYTHON"
}

find_python() { # a proven one rather than a later one
    if [ -n "${WARIFU_PYTHON:-}" ]; then
        named_python
        return
    fi
    for candidate in python3 python3.13 python3.12 python3.11 python; do
        if is_proven "$(version_of "$candidate")"; then
            printf '%s\n' "$candidate"
            return 0
        fi
    done
    for candidate in python3 python; do
        version=$(version_of "$candidate")
        if is_later "$version"; then
            tell_unproven "$version"
            printf '%s\n' "$candidate"
            return 0
        fi
    done
    version=$(version_of python3)
    echo "warifu: setup.failed: no CPython 3.11 or later on PATH${version:+ (python3 is $version)}: install one" \
        "(Debian: apt-get install python3), or name one in WARIFU_PYTHON" >&2
    return 1
}

set_up() { # set_up [--dev]
    python=$(find_python) || return 1
    "$python" "$root/tools/bootstrap.py" "$@"
}
