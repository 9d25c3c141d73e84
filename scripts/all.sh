#!/usr/bin/env bash
# Every task, one after the other, then the report.
# Usage: source scripts/all.sh [ENCODER] [--flags]   (or run it with bash; --help lists the flags)
(return 0 2>/dev/null) && { (export MODEL DATA TOP_K THRESHOLD BASELINE DEVICE DTYPE OUT SOURCE \
    SAFE_EMBED_DATA_DIR SAFE_EMBED_CACHE_DIR OPENAI_API_KEY OPENAI_BASE_URL HF_TOKEN HF_ENDPOINT HF_HOME HF_HUB_OFFLINE
    CALLED_FROM="${BASH_SOURCE[1]-}:${BASH_LINENO[0]-}${funcfiletrace[1]-}" \
        CALLED_AS="${BASH_EXECUTION_STRING-}${ZSH_EXECUTION_STRING-}" \
        command bash "${BASH_SOURCE[0]:-$0}" "$@"); return $?; }
set -euo pipefail
export SAFE_EMBED_CALLED_FROM_DIR="${SAFE_EMBED_CALLED_FROM_DIR:-$PWD}"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/environment.sh
source scripts/environment.sh
arguments_are_inherited all.sh && set --

set_up_on_first_use
exec "$PYTHON" -m scripts.all_tasks "$@"
