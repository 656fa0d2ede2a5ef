# shellcheck shell=bash
# What scripts/check and scripts/test share: the stages that both have, and what runs a list of stages.
#
# A stage NAME is a function `stage_NAME` and a line in the caller's array `stages` ("NAME  what it does").
# It runs in a process group of its own, under strict mode, and fails by ending with a non-zero status.
# One that starts something sets a trap on EXIT to stop it: the trap runs on failure and on Ctrl-C too.

# Writes a line to the terminal which is easy to find between the output of the tools.
say() { printf '== %s\n' "$*"; }

complain() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

stage_format() { cargo fmt --all --check; }

stage_clippy() { cargo clippy --all-targets --locked -- -D warnings; }

stage_doc() {
  RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --document-private-items --locked
}

# shellcheck disable=SC2154 # The caller's array.
stage_names() {
  local line
  for line in "${stages[@]}"; do printf '%s\n' "${line%% *}"; done
}

list_stages() {
  local line name
  for line in "${stages[@]}"; do
    read -r name line <<<"$line"
    printf '%-12s %s\n' "$name" "$line"
  done
}

# Refuses a list of names with one that is no stage, before anything has run.
require_known() {
  local name
  for name in "$@"; do
    if ! stage_names | grep -x -- "$name" >/dev/null; then
      complain "no stage is called '$name'; there are: $(stage_names | tr '\n' ' ')"
      return 2
    fi
  done
}

minutes() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }

# Runs one stage and leaves its status in `stage_status`. The caller must not test this call: in a tested
# call bash would not end the stage at its first failing command.
run_stage() {
  local child
  # Job control gives the stage a process group, so that Ctrl-C and TERM reach all of it exactly once and
  # the shell that holds its EXIT trap has the time to clean up.
  set -m
  (
    set +m
    trap 'exit 130' INT
    trap 'exit 143' TERM
    set -euo pipefail
    "stage_$1"
  ) </dev/null &
  child=$!
  set +m
  trap 'stopped_by=INT; kill -TERM -- "-$child" 2>/dev/null || true' INT
  trap 'stopped_by=TERM; kill -TERM -- "-$child" 2>/dev/null || true' TERM HUP
  stage_status=0
  wait "$child" || stage_status=$?
  # A signal ends `wait`, not the stage, which is still cleaning up.
  while kill -0 "$child" 2>/dev/null; do
    stage_status=0
    wait "$child" || stage_status=$?
  done
  trap - INT TERM HUP
}

# Runs the named stages in this order and prints what each took. One that fails does not keep the others
# from running, so that one run shows all that is wrong; but nothing can be expected to work after `system`.
run_stages() {
  local name began all_began=$SECONDS failed=() table=() result
  stopped_by=
  for name in "$@"; do
    if [[ -n $stopped_by || " ${failed[*]-} " == *" system "* ]]; then
      table+=("$(printf '%-12s %-12s %7s' "$name" 'NOT RUN' '-')")
      continue
    fi
    say "$name"
    began=$SECONDS
    run_stage "$name"
    if [[ -n $stopped_by ]]; then
      result=INTERRUPTED
    elif ((stage_status == 0)); then
      result=ok
    else
      result="FAILED ($stage_status)"
      failed+=("$name")
    fi
    table+=("$(printf '%-12s %-12s %7s' "$name" "$result" "$(minutes $((SECONDS - began)))")")
  done
  say "what each stage took, in minutes:seconds"
  printf '%s\n' "${table[@]}"
  printf '%-12s %-12s %7s\n' total '' "$(minutes $((SECONDS - all_began)))"
  if [[ -n $stopped_by ]]; then
    complain "interrupted"
    return 130
  elif ((${#failed[@]})); then
    complain "failed: ${failed[*]}"
    return 1
  fi
}
