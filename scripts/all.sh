#!/usr/bin/env bash
# Runs the paper's three tasks, then writes the report.
# Usage: source scripts/all.sh [ENCODER] [--flags]   (or run it with bash; --help lists the flags)
# Variables: MODEL DATA TOP_K THRESHOLD BASELINE DEVICE DTYPE OUT, of which a flag takes precedence

# shellcheck source=scripts/run.sh
. "$(dirname "${BASH_SOURCE[0]:-$0}")/run.sh" scripts.all_tasks "$@"
