#!/usr/bin/env bash
# Compares encoders that have been evaluated: differences with p-values, and a ranking with ties.
# Usage: source scripts/compare.sh [ENCODER ...] [--flags]   (or run it with bash; --help lists the flags)
# Flags: --reference --data --task --metric --format --out --with --gate --seed --help
# Variables: OUT, of which the flag takes precedence
# shellcheck source=scripts/as_child.sh
(return 0 2>/dev/null) && { (. "$(dirname "${BASH_SOURCE[0]:-$0}")/as_child.sh" "${BASH_SOURCE[0]:-$0}" "$@"); return $?; }
set -euo pipefail
export SAFE_EMBED_CALLED_FROM_DIR="${SAFE_EMBED_CALLED_FROM_DIR:-$PWD}"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/environment.sh
source scripts/environment.sh
arguments_are_inherited compare.sh && set --

set_up_on_first_use compare.sh "$@"
exec "$PYTHON" -m utils.compare "$@"
