# shellcheck shell=bash
# Shared by scripts/check and scripts/test: the stages that both have, and the functions that run a list of stages.
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

# Writes the processor seconds of all that this shell has run and waited for into `spent`. Servers that go on by
# themselves are not among it.
measure_processor() {
  local user system file
  file=$(mktemp)
  # In a subshell `times` would tell of that.
  times >"$file"
  read -r user system < <(tail -n 1 "$file")
  rm "$file"
  spent=$(awk -F'[ms ]+' '{ print int($1 * 60 + $2 + $3 * 60 + $4) }' <<<"$user $system")
}

# Runs one stage and appends `NAME RESULT SECONDS PROCESSOR_SECONDS` to the file `table`.
measure_stage() {
  local began=$SECONDS result spent before
  measure_processor
  before=$spent
  run_stage "$1"
  measure_processor
  if [[ -n $stopped_by ]]; then
    result=INTERRUPTED
  elif ((stage_status == 0)); then
    result=ok
  else
    result="FAILED($stage_status)"
  fi
  printf '%s %s %s %s\n' "$1" "$result" $((SECONDS - began)) $((spent - before)) >>"$table"
}

# Runs the named stages in this order. One that fails does not keep the others from running, so that one run shows all
# that is wrong; but nothing can be expected to work after `system`.
run_in_turn() {
  local name
  for name in "$@"; do
    [[ -z $stopped_by ]] || return 0
    say "$name"
    measure_stage "$name"
    if [[ $name == system ]] && ((stage_status)); then return 0; fi
  done
}

# Runs lanes of stages side by side: each argument is one lane, whose stages run in turn. The output of a stage is
# printed when it has ended.
run_lanes() {
  local lane pid lanes=() logs
  logs=$(mktemp -d)
  for lane in "$@"; do
    (
      for name in $lane; do
        [[ -z $stopped_by ]] || break
        measure_stage "$name" >"$logs/$name" 2>&1
        # One at a time, or the outputs would mix.
        flock "$logs" bash -c 'printf "== %s\n" "$1"; cat "$2"' print "$(tail -n 1 "$table")" "$logs/$name"
      done
    ) &
    lanes+=($!)
  done
  say "side by side, each printed at its end: $*"
  trap 'stopped_by=INT; kill -TERM "${lanes[@]}" 2>/dev/null || true' INT TERM HUP
  for pid in "${lanes[@]}"; do
    # A signal ends `wait`, not the lane, which is still cleaning up.
    while kill -0 "$pid" 2>/dev/null; do wait "$pid" || true; done
  done
  trap - INT TERM HUP
  rm -rf "$logs"
}

# Prints what each of the named stages took. Fails unless all of them are in the file `table` as passed.
report() {
  local name result seconds processor failed=() missing=()
  say "the time that each stage took, and its processor time, in minutes:seconds"
  for name in "$@"; do
    if read -r result seconds processor < <(sed -n "s/^$name //p" "$table"); then
      printf '%-12s %-12s %7s %7s\n' "$name" "$result" "$(minutes "$seconds")" "$(minutes "$processor")"
      [[ $result == ok ]] || failed+=("$name")
    else
      printf '%-12s %-12s %7s\n' "$name" 'NOT RUN' '-'
      missing+=("$name")
    fi
  done
  printf '%-12s %-12s %7s\n' 'wall clock' '' "$(minutes "$SECONDS")"
  if [[ -n $stopped_by ]]; then
    complain "interrupted"
    return 130
  elif ((${#failed[@]} + ${#missing[@]})); then
    complain "failed: ${failed[*]-}${missing[*]+; not run: ${missing[*]}}"
    return 1
  fi
}

stopped_by=
table=$(mktemp)
trap 'rm -f "$table"' EXIT
