#!/usr/bin/env bash
# Compares encoders that have been evaluated: differences with p-values, and a ranking with ties.
# Usage: source scripts/compare.sh [ENCODER ...] [--flags]   (or run it with bash; --help lists the flags)
# Variables: OUT, of which the flag takes precedence

# shellcheck source=scripts/run.sh
. "$(dirname "${BASH_SOURCE[0]:-$0}")/run.sh" utils.compare "$@"
