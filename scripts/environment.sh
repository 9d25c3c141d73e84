# shellcheck shell=bash
# Finds the Python environment that the scripts run in. The scripts source this file in a child process, with the
# repository's root as the working directory; it is never sourced in a user's shell.

environment_prefix() { # prints the active environment, else .venv, else nothing
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

required_by() { # required_by REQUIREMENTS_FILE: prints its lines and those of the files that it includes
    cat "$1"
    sed -n 's/^-r //p' "$1" | while read -r included; do cat "$included"; done
}

is_installed() { # is_installed REQUIREMENTS_FILE: whether exactly this list was installed
    [ -n "$(environment_prefix)" ] && required_by "$1" | cmp -s - "$(installed_stamp "$1")"
}

set_up_on_first_use() { # set_up_on_first_use SCRIPT_NAME ARGUMENTS...: only shows help if nothing else is asked for
    if ! is_installed requirements.txt; then
        if asks_for_help "$@"; then
            show_help "$1"
            echo "The flags are shown once the packages are installed: source setup.sh"
            exit 0
        fi
        bash setup.sh >&2
    fi
    PYTHON=$(environment_python)
    export PYTHON
}

show_help() { # show_help SCRIPT_NAME: prints the text at the beginning of a script
    sed -En '2,/^([^#]|$)/s/^# //p' "scripts/$1"
}

asks_for_help() { # asks_for_help ARGUMENTS...
    case " $* " in
        *' -h '* | *' --help '*) return 0 ;;
        *) return 1 ;;
    esac
}
