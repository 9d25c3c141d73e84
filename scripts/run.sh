# shellcheck shell=bash
# What every script does. Its last line is: . run.sh "COMMAND" "$@"
# Runs `python -m COMMAND ARGUMENTS` in the repository, which is set up on first use; an evaluation's data come first. A
# script that is sourced, in bash or zsh, does all that in a child process, so that its caller's shell stays as it is.
if [ "${BASH_SOURCE[1]-}" = "$0" ]; then # the script is run, not sourced
    set -euo pipefail
    export SAFE_EMBED_CALLED_FROM_DIR="${SAFE_EMBED_CALLED_FROM_DIR:-$PWD}"
    script=$(basename "$0")
    cd "$(dirname "${BASH_SOURCE[0]}")/.."
    # shellcheck source=scripts/environment.sh
    source scripts/environment.sh
    read -ra command <<<"$1"
    shift
    set_up_on_first_use "$script" "$@"
    if [ "${command[0]##*.}" = evaluate ] && ! asks_for_help "$@"; then
        "$PYTHON" -m "${command[0]%.evaluate}.build_data" "$@" >/dev/null # the evaluation says what it found
    fi
    exec "$PYTHON" -m "${command[@]}" "$@"
fi
(
    # A caller need not have exported these.
    export MODEL DATA TOP_K THRESHOLD BASELINE DEVICE DTYPE OUT SOURCE TEMPLATE \
        SAFE_EMBED_DATA_DIR SAFE_EMBED_CACHE_DIR OPENAI_API_KEY OPENAI_BASE_URL SAFE_EMBED_SERVE_TOKEN \
        HF_TOKEN HUGGINGFACE_TOKEN HUGGING_FACE_HUB_TOKEN HF_ENDPOINT HF_HOME HF_HUB_OFFLINE
    shift
    # A script that is sourced without arguments sees its caller's. They are its own for certain at a prompt, and in the
    # text of `bash -c` if that shell has no arguments of its own; elsewhere none is taken.
    whose='?' text=${BASH_EXECUTION_STRING-}${ZSH_EXECUTION_STRING-}
    if [ -n "${ZSH_VERSION-}" ]; then
        setopt no_ksh_arrays
        # shellcheck disable=SC2154
        script=${funcfiletrace[1]%:*}
        case $ZSH_EVAL_CONTEXT,$- in
            toplevel:file,* | toplevel:file:file,*i*) whose=ours ;; # `zsh SCRIPT`, or at a prompt
            cmdarg:file:file,*) whose=text ;;
        esac
    else
        script=${BASH_SOURCE[1]}
        case ${BASH_SOURCE[2]-},$- in
            ,*i*) whose=ours ;;
            ,*c*) whose=text ;;
        esac
    fi
    if [ "$whose" = text ]; then
        case $(ps -ww -o args= -p $$ 2>/dev/null) in *"$text") whose=ours ;; esac
    fi
    if [ "$whose" != ours ] && [ $# -gt 0 ]; then
        echo "${script##*/}: takes no arguments here, as they may be those of what sources it; set MODEL=... before it," \
            "or run it with bash" >&2
        set --
    fi
    exec bash "$script" "$@"
)
