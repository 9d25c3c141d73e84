#!/usr/bin/env bash
# Evaluates those of the paper's eleven encoders that can run here, and compares the results with its two tables.
# Usage: source scripts/reproduce.sh [ENCODER ...] [--flags]   (or run it with bash; --help lists the flags)
# Encoders: sentence-bert-all sentence-bert-paraphrase sup-simcse unsup-simcse st5-base st5-large st5-xl st5-xxl
#   text-embedding-v3 llm2vec-mistral llm2vec-llama3
# Flags: --device --dtype --out --no-cache --format --help
# Variables: DEVICE DTYPE OUT, of which a flag takes precedence
# shellcheck source=scripts/as_child.sh
(return 0 2>/dev/null) && { (. "$(dirname "${BASH_SOURCE[0]:-$0}")/as_child.sh" "${BASH_SOURCE[0]:-$0}" "$@"); return $?; }
set -euo pipefail
export SAFE_EMBED_CALLED_FROM_DIR="${SAFE_EMBED_CALLED_FROM_DIR:-$PWD}"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/environment.sh
source scripts/environment.sh
arguments_are_inherited reproduce.sh && set --

set_up_on_first_use reproduce.sh "$@"
exec "$PYTHON" -m utils.reproduce run "$@"
