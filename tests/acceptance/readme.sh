#!/usr/bin/env bash
# Runs the examples for the public SDKs in docs/CLIENTS.md as they are: tests/acceptance/readme.sh
#
# SERVER_URL and ADMIN say where and as whom, as scripts/with-server sets them.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export PASSWORD=${ADMIN#*:}

# block LANGUAGE: the page's only block in it, for this server's address.
block() {
  sed -n "/^\`\`\`$1\$/,/^\`\`\`\$/{/^\`\`\`/d;p}" docs/CLIENTS.md | sed "s#http://127.0.0.1:8080#$SERVER_URL#"
}

checks=0
expect() {
  if [[ $2 != "ci-pull 44" ]]; then
    printf 'the example in %s printed: %s\n' "$1" "$2" >&2
    exit 1
  fi
  checks=$((checks + 1))
}

block python >"$folder/example.py"
for version in 2.0.0 1.1.0; do
  # Each makes a registry of the same name: a changed name lets the second run beside the first.
  sed "s/python-demo/python-demo-${version//./-}/" "$folder/example.py" >"$folder/run.py"
  expect "Python $version" "$(".cache/acceptance/python-$version/bin/python" "$folder/run.py")"
done

block js >tests/acceptance/node/node_modules/readme-example.cjs
expect Node "$(node tests/acceptance/node/node_modules/readme-example.cjs)"

printf '%s checks passed\n' "$checks"
