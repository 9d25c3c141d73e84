#!/usr/bin/env bash
# Safety-Detection: what is left of a detector of unsafe prompts when it meets another dataset?
# Usage: source scripts/safety_detection.sh [ENCODER] [--flags]   (or run it with bash; --help lists the flags)
# Variables: MODEL DATA TOP_K DEVICE DTYPE OUT, of which a flag takes precedence

# shellcheck source=scripts/run.sh
. "$(dirname "${BASH_SOURCE[0]:-$0}")/run.sh" Safety_Detection.evaluate "$@"
