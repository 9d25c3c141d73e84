#!/usr/bin/env bash
# Gets a contrast set: has GPT write one, downloads the one that the paper published, or names the bundled sample.
# Usage: source scripts/get_contrast_set.sh [--flags]   (or SOURCE=paper or SOURCE=sample before it; --help lists the flags)
# Flags: --source --template --gpt-model --data --categories --limit --temperature --seed --concurrency --attempts --max-cost --price
#   --batch --dry-run --out --quiet --help
# Variables: SOURCE TEMPLATE DATA, of which a flag takes precedence; OPENAI_API_KEY OPENAI_BASE_URL
# shellcheck source=scripts/as_child.sh
(return 0 2>/dev/null) && { (. "$(dirname "${BASH_SOURCE[0]:-$0}")/as_child.sh" "${BASH_SOURCE[0]:-$0}" "$@"); return $?; }
set -euo pipefail
export SAFE_EMBED_CALLED_FROM_DIR="${SAFE_EMBED_CALLED_FROM_DIR:-$PWD}"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/environment.sh
source scripts/environment.sh
arguments_are_inherited get_contrast_set.sh && set --

set_up_on_first_use get_contrast_set.sh "$@"
exec "$PYTHON" -m Safety_Contrast.build_data get "$@"
