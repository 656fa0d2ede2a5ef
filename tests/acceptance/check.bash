# shellcheck shell=bash
# Shared by the acceptance tests in bash: checks that are counted, and the count at the end.

checks=0
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }

# same WHAT WANTED FOUND
same() {
  [[ $2 == "$3" ]] || fail "$1: wanted '$2', found '$3'"
  checks=$((checks + 1))
}

# holds WHAT COMMAND...
holds() {
  local what=$1
  shift
  "$@" || fail "$what"
  checks=$((checks + 1))
}

# refuses WHAT COMMAND...: the command must fail
refuses() {
  local what=$1
  shift
  if "$@"; then fail "$what"; fi
  checks=$((checks + 1))
}

passed() { printf '%d checks passed\n' "$checks"; }
