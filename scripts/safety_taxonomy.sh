#!/usr/bin/env bash
# Safety-Taxonomy: do unsafe prompts of one category lie together?
# Usage: source scripts/safety_taxonomy.sh [ENCODER] [--flags]   (or run it with bash; --help lists the flags)
# Variables: MODEL DATA TOP_K DEVICE DTYPE OUT, of which a flag takes precedence

# shellcheck source=scripts/run.sh
. "$(dirname "${BASH_SOURCE[0]:-$0}")/run.sh" Safety_Taxonomy.evaluate "$@"
