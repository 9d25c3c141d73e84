#!/usr/bin/env bash
# The paper's eleven encoders: runs those that can run here, and sets the paper's two tables beside ours.
# Usage: source scripts/reproduce.sh [ENCODER ...] [--flags]   (or run it with bash; --help lists the flags)
# shellcheck source=scripts/as_child.sh
(return 0 2>/dev/null) && { (. "$(dirname "${BASH_SOURCE[0]:-$0}")/as_child.sh" "${BASH_SOURCE[0]:-$0}" "$@"); return $?; }
set -euo pipefail
export SAFE_EMBED_CALLED_FROM_DIR="${SAFE_EMBED_CALLED_FROM_DIR:-$PWD}"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/environment.sh
source scripts/environment.sh
arguments_are_inherited reproduce.sh && set --

set_up_on_first_use
if asks_for_help "$@"; then
    exec "$PYTHON" -m utils.reproduce --help
fi
runnable=$("$PYTHON" -m utils.reproduce plan "$@")

# The flags that the evaluations take too; then the paper's settings as flags, so that no variable changes them (auto
# takes the paper's average similarity for its encoders). `plan` has refused whatever else there could be.
flags=()
flag=
for argument in "$@"; do
    if [ -n "$flag" ]; then
        [ "$flag" = --format ] || flags+=("$flag" "$argument")
        flag=
        continue
    fi
    case "$argument" in
        -- | --format=*) ;;
        --no-cache | --*=*) flags+=("$argument") ;;
        --*) flag=$argument ;;
    esac
done
flags+=(--data paper --baseline auto --top-k 10)

journal=$(mktemp -d)
trap 'rm -rf "$journal"' EXIT
trap 'exit 130' INT # also where the evaluation, just starting, does not notice
export SAFE_EMBED_ERROR_FILE=$journal/error
tasks="Safety_Challenging Safety_Taxonomy"
if [ -n "$runnable" ]; then
    for task in $tasks; do
        "$PYTHON" -m "$task.build_data" "${flags[@]}" >&2
    done
fi
for encoder in $runnable; do
    : >"$journal/error"
    status=0
    for task in $tasks; do
        echo "reproduce.sh: $task with $encoder" >&2
        "$PYTHON" -m "$task.evaluate" --model "$encoder" "${flags[@]}" >/dev/null || status=$?
        [ "$status" = 0 ] || break
    done
    case "$status" in
        130) exit 130 ;;
        137) echo "killed (status 137), most likely for want of memory" >"$journal/error" ;;
        0) ;;
        *) [ -s "$journal/error" ] || echo "ended with status $status" >"$journal/error" ;;
    esac
    printf '%s\t%s\n' "$encoder" "$(cat "$journal/error")" >>"$journal/ran"
done
"$PYTHON" -m utils.reproduce table --ran "$journal/ran" "$@"
