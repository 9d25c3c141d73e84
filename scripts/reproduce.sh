#!/usr/bin/env bash
# Evaluates those of the paper's eleven encoders that can run here, and compares the results with its two tables.
# Usage: source scripts/reproduce.sh [ENCODER ...] [--flags]   (or run it with bash; --help lists the flags)
# Encoders: sentence-bert-all sentence-bert-paraphrase sup-simcse unsup-simcse st5-base st5-large st5-xl st5-xxl
#   text-embedding-v3 llm2vec-mistral llm2vec-llama3
# Variables: DEVICE DTYPE OUT, of which a flag takes precedence

# shellcheck source=scripts/run.sh
. "$(dirname "${BASH_SOURCE[0]:-$0}")/run.sh" "utils.reproduce run" "$@"
