#!/usr/bin/env bash
# Safety-Taxonomy: do unsafe prompts of one category lie together?
# Usage: source scripts/safety_taxonomy.sh [ENCODER] [--flags]   (or run it with bash; --help lists the flags)
# Flags: --model --data --top-k --threshold --baseline --out --device --dtype --revision --prompt --limit
#   --trust-remote-code --bootstrap --seed --no-cache --quiet --prompt-spread --help
# Variables: MODEL DATA TOP_K THRESHOLD BASELINE DEVICE DTYPE OUT, of which a flag takes precedence
# shellcheck source=scripts/as_child.sh
(return 0 2>/dev/null) && { (. "$(dirname "${BASH_SOURCE[0]:-$0}")/as_child.sh" "${BASH_SOURCE[0]:-$0}" "$@"); return $?; }
set -euo pipefail
export SAFE_EMBED_CALLED_FROM_DIR="${SAFE_EMBED_CALLED_FROM_DIR:-$PWD}"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/environment.sh
source scripts/environment.sh
arguments_are_inherited safety_taxonomy.sh && set --

set_up_on_first_use safety_taxonomy.sh "$@"
asks_for_help "$@" || "$PYTHON" -m Safety_Taxonomy.build_data "$@" >&2
exec "$PYTHON" -m Safety_Taxonomy.evaluate "$@"
