# shellcheck shell=bash
# Finds the Python environment that the scripts run in. Sourced by them after they have become a child process
# of their own, with the repository's root as working directory; never sourced into a user's shell.

environment_prefix() { # the active environment, else .venv, else nothing
    local prefix
    for prefix in "${VIRTUAL_ENV-}" "${CONDA_PREFIX-}" "$PWD/.venv"; do
        if [ -n "$prefix" ] && [ -x "$prefix/bin/python" ]; then
            echo "$prefix"
            return 0
        fi
    done
}

environment_python() {
    echo "$(environment_prefix)/bin/python"
}

installed_stamp() { # installed_stamp REQUIREMENTS_FILE
    echo "$(environment_prefix)/safe-embed-$1"
}

required_by() { # required_by REQUIREMENTS_FILE: its lines and those of the files that it includes
    cat "$1"
    sed -n 's/^-r //p' "$1" | while read -r included; do cat "$included"; done
}

is_installed() { # is_installed REQUIREMENTS_FILE: was just this list installed here?
    [ -n "$(environment_prefix)" ] && required_by "$1" | cmp -s - "$(installed_stamp "$1")"
}

set_up_on_first_use() {
    is_installed requirements.txt || bash setup.sh >&2
    PYTHON=$(environment_python)
    export PYTHON
}

asks_for_help() { # asks_for_help ARGUMENTS...
    case " $* " in
        *' -h '* | *' --help '*) return 0 ;;
        *) return 1 ;;
    esac
}

# A script that is sourced without arguments sees those of its caller. The scripts' first line notes where it was
# sourced (CALLED_FROM, FILE:LINE) or the whole command string of `bash -c` (CALLED_AS); where that text shows
# the script's name with nothing after it, the arguments are the caller's and not meant for us.
arguments_are_inherited() { # arguments_are_inherited SCRIPT_NAME
    local place text after
    [ -n "${CALLED_FROM+set}" ] || return 1
    place=${CALLED_FROM#:}
    if [ -f "${place%:*}" ]; then
        text=$(sed -n "${place##*:}p" "${place%:*}")
    else
        text=${CALLED_AS-}
    fi
    case "$text" in
        *"$1"*) after=${text##*"$1"} ;;
        *) return 1 ;;
    esac
    unset CALLED_FROM CALLED_AS
    after=${after#[\"\']}
    after=${after#"${after%%[![:blank:]]*}"}
    case "$after" in
        '' | [\;\&\|\#\)\}\<\>]* | [0-9][\<\>]* | $'\n'*) return 0 ;;
        *) return 1 ;;
    esac
}
