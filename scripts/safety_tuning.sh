#!/usr/bin/env bash
# Safety-Tuning: an encoder that knows more about safety than its base, evaluated beside it
# Usage: source scripts/safety_tuning.sh [BASE] [--method linear|layers] [--out FOLDER] [--flags]   (or run it with bash)
# Variables: MODEL DATA DEVICE DTYPE, of which a flag takes precedence

# shellcheck source=scripts/run.sh
. "$(dirname "${BASH_SOURCE[0]:-$0}")/run.sh" Safety_Tuning.tune "$@"
