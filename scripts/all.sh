#!/usr/bin/env bash
# Runs the paper's three tasks, then writes the report.
# Usage: source scripts/all.sh [ENCODER] [--flags]   (or run it with bash; --help lists the flags)
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
arguments_are_inherited all.sh && set --

set_up_on_first_use all.sh "$@"
exec "$PYTHON" -m scripts.all_tasks "$@"
