#!/usr/bin/env bash
# Sets up and runs every check: ruff, mypy, shellcheck if it is installed, the tests.
# Usage: bash scripts/test.sh [PYTEST ARGUMENTS]
(return 0 2>/dev/null) && { echo "run it: bash scripts/test.sh" >&2; return 2; }
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/environment.sh
source scripts/environment.sh

if asks_for_help "$@"; then
    show_help test.sh
    exit 0
fi
bash setup.sh --dev
PYTHON=$(environment_python)
if [ "${CI-}" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    # Only in CI: elsewhere the user chooses what to install, and checks that need a missing tool are skipped.
    for tool in zsh shellcheck chromium pdflatex; do
        package=${tool/pdflatex/texlive-latex-recommended}
        command -v "$tool" >/dev/null ||
            { apt-get -qq update && apt-get -qq -y install "$package"; } >/dev/null 2>&1 ||
            echo "test.sh: could not install $tool; the checks that need it are skipped" >&2
    done
fi
"$PYTHON" -m ruff check .
"$PYTHON" -m mypy
if command -v shellcheck >/dev/null; then
    shellcheck -x -P SCRIPTDIR setup.sh scripts/*.sh .ci/run
else
    echo "test.sh: shellcheck is not installed; the scripts are not checked" >&2
fi
# A worker for each core, up to four; a file stays with one worker, so that what its tests share is made once.
exec "$PYTHON" -m pytest -n auto --maxprocesses 4 --dist loadfile "$@"
