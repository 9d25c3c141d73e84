#!/usr/bin/env bash
# Gets a contrast set: has GPT write one, downloads the one that the paper published, or names the bundled sample.
# Usage: source scripts/get_contrast_set.sh [--flags]   (or SOURCE=paper or SOURCE=sample before it; --help lists the flags)
# Variables: SOURCE TEMPLATE DATA, of which a flag takes precedence; OPENAI_API_KEY OPENAI_BASE_URL

# shellcheck source=scripts/run.sh
. "$(dirname "${BASH_SOURCE[0]:-$0}")/run.sh" "Safety_Contrast.build_data get" "$@"
