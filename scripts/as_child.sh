# shellcheck shell=bash
# Usage: . as_child.sh SCRIPT ARGUMENTS... (in a subshell of bash or zsh)
# Runs SCRIPT as a child process. A script that is sourced does this first, so that it can't change its caller's shell.
# The settings are exported here, because a caller need not have exported them; arguments_are_inherited reads CALLED_*.
export MODEL DATA TOP_K THRESHOLD BASELINE DEVICE DTYPE OUT SOURCE TEMPLATE \
    SAFE_EMBED_DATA_DIR SAFE_EMBED_CACHE_DIR OPENAI_API_KEY OPENAI_BASE_URL SAFE_EMBED_SERVE_TOKEN HF_TOKEN HUGGINGFACE_TOKEN HUGGING_FACE_HUB_TOKEN HF_ENDPOINT \
    HF_HOME HF_HUB_OFFLINE \
    CALLED_FROM="${BASH_SOURCE[2]-}:${BASH_LINENO[1]-}${funcfiletrace[2]-}" \
    CALLED_AS="${BASH_EXECUTION_STRING-}${ZSH_EXECUTION_STRING-}"
command bash "$@"
