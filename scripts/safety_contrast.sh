#!/usr/bin/env bash
# Safety-Contrast: how near to an unsafe prompt can a small safe edit stay?
# Usage: source scripts/safety_contrast.sh [ENCODER] [--flags]   (or run it with bash; --help lists the flags)
# Variables: MODEL DATA THRESHOLD BASELINE DEVICE DTYPE OUT, of which a flag takes precedence

# shellcheck source=scripts/run.sh
. "$(dirname "${BASH_SOURCE[0]:-$0}")/run.sh" Safety_Contrast.evaluate "$@"
