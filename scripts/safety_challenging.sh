#!/usr/bin/env bash
# Safety-Challenging: does the encoder tell an unsafe prompt from a safe one that shares its words?
# Usage: source scripts/safety_challenging.sh [ENCODER] [--flags]   (or run it with bash; --help lists the flags)
# Variables: MODEL DATA THRESHOLD BASELINE DEVICE DTYPE OUT, of which a flag takes precedence

# shellcheck source=scripts/run.sh
. "$(dirname "${BASH_SOURCE[0]:-$0}")/run.sh" Safety_Challenging.evaluate "$@"
