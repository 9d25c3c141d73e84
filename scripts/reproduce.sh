#!/usr/bin/env bash
# Evaluates those of the paper's eleven encoders that can run here, and compares the results with its two tables.
# Usage: source scripts/reproduce.sh [ENCODER ...] [--flags]   (or run it with bash; --help lists the flags)
# shellcheck source=scripts/as_child.sh
(return 0 2>/dev/null) && { (. "$(dirname "${BASH_SOURCE[0]:-$0}")/as_child.sh" "${BASH_SOURCE[0]:-$0}" "$@"); return $?; }
set -euo pipefail
export SAFE_EMBED_CALLED_FROM_DIR="${SAFE_EMBED_CALLED_FROM_DIR:-$PWD}"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/environment.sh
source scripts/environment.sh
arguments_are_inherited reproduce.sh && set --

set_up_on_first_use
exec "$PYTHON" -m utils.reproduce run "$@"
