#!/usr/bin/env bash
# Safety-Detection: what is left of a detector of unsafe prompts when it meets another dataset?
# Usage: source scripts/safety_detection.sh [ENCODER] [--flags]   (or run it with bash; --help lists the flags)
# Flags: --model --data --top-k --threshold --baseline --out --device --dtype --revision --prompt --limit
#   --trust-remote-code --bootstrap --seed --no-cache --quiet --prompt-spread --label --detectors --help
# Variables: MODEL DATA TOP_K THRESHOLD BASELINE DEVICE DTYPE OUT, of which a flag takes precedence
# shellcheck source=scripts/as_child.sh
(return 0 2>/dev/null) && { (. "$(dirname "${BASH_SOURCE[0]:-$0}")/as_child.sh" "${BASH_SOURCE[0]:-$0}" "$@"); return $?; }
set -euo pipefail
export SAFE_EMBED_CALLED_FROM_DIR="${SAFE_EMBED_CALLED_FROM_DIR:-$PWD}"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/environment.sh
source scripts/environment.sh
arguments_are_inherited safety_detection.sh && set --

set_up_on_first_use safety_detection.sh "$@"
asks_for_help "$@" || "$PYTHON" -m Safety_Detection.build_data "$@" >&2
exec "$PYTHON" -m Safety_Detection.evaluate "$@"
