#!/usr/bin/env bash
# Installs what Safe-Embed needs, pinned. Usage: source setup.sh   (or run it with bash)
# Goes into the active conda or virtual environment, else into .venv. A second call changes nothing.
# --dev adds what the tests need.
(return 0 2>/dev/null) && { (export VIRTUAL_ENV CONDA_PREFIX; command bash "${BASH_SOURCE[0]:-$0}" "$@"); return $?; }
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=scripts/environment.sh
source scripts/environment.sh

fail() {
    echo "setup.sh: $1" >&2
    exit "${2:-2}"
}

runs_new_enough_python() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_new_enough_python() {
    local candidate
    for candidate in python3 python3.14 python3.13 python3.12 python3.11 python; do
        if command -v "$candidate" >/dev/null && runs_new_enough_python "$candidate"; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

install() { # install REQUIREMENTS_FILE WHAT
    local log free_mb started=$SECONDS
    log=$(environment_prefix)/safe-embed-setup.log
    free_mb=$(df -Pm "$(environment_prefix)" | awk 'NR == 2 { print $4 }')
    [ "$free_mb" -ge 3000 ] ||
        fail "$(environment_prefix): $free_mb MB free, 3000 needed (8000 for the CUDA build of torch); free some space and run again"
    echo "Safe-Embed: installing $2 into $(environment_prefix)"
    echo "            1 to 10 minutes by network; torch is the large one (log: $log)"
    if ! "$(environment_python)" -m pip install --disable-pip-version-check --no-input --retries 2 --timeout 20 \
        -r "$1" >"$log" 2>&1; then
        if grep -qi 'no space left' "$log"; then
            fail "the disk is full; free some space and run again (log: $log)"
        elif grep -qiE 'connection|temporary failure|timed out|name resolution|network is unreachable' "$log"; then
            fail "no network: pip could not reach the package index; check the connection or PIP_INDEX_URL and run again (log: $log)"
        fi
        fail "pip could not install $1: $(grep -m1 -i 'error' "$log" || tail -n 1 "$log") (log: $log)"
    fi
    required_by "$1" >"$(installed_stamp "$1")"
    echo "Safe-Embed: ready in $((SECONDS - started)) s"
}

case "${1-}" in
    '' | --dev) ;;
    -h | --help)
        sed -n '2,4s/^# //p' setup.sh
        exit 0
        ;;
    *) fail "unknown option $1; the only one is --dev" ;;
esac

if [ -z "$(environment_prefix)" ]; then
    python=$(find_new_enough_python) ||
        fail "no Python 3.11 or newer on the PATH (found: $(python3 --version 2>&1 || echo none)); install one and run again"
    "$python" -m venv .venv ||
        fail "$python could not make a virtual environment in .venv; on Debian or Ubuntu, install python3-venv and run again"
fi
runs_new_enough_python "$(environment_python)" ||
    fail "$(environment_prefix) has $("$(environment_python)" --version 2>&1), 3.11 or newer is needed; activate another environment or deactivate this one, and run again"

if is_installed requirements.txt; then
    [ "${SAFE_EMBED_SETUP_QUIET-}" ] || echo "Safe-Embed: $(environment_prefix) is up to date"
else
    install requirements.txt "the packages of requirements.txt"
fi
if [ "${1-}" = --dev ] && ! is_installed requirements-dev.txt; then
    install requirements-dev.txt "what the tests need"
fi
