#!/usr/bin/env bash
# Tests with `curl -u` for parts that the SDKs do not use: headers, methods, bare paths.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
# shellcheck source=tests/acceptance/check.bash
source tests/acceptance/check.bash

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
prefix=/containerregistries

# ask PATH OPTION...: leaves headers and body in the folder, prints the status.
ask() {
  curl -sS -D "$folder/headers" -o "$folder/body" -w '%{http_code}' "${@:2}" "$SERVER_URL$1"
}
header() { sed -n "s/^$1: \(.*\)\r$/\1/Ip" "$folder/headers"; }
error_code() { jq -r '.messages[0].errorCode' "$folder/body"; }

same "making a registry" 201 "$(ask $prefix/registries -u "$ADMIN" --json '{"properties": {"name": "curl-rest", "location": "de/fra"}}')"
registry=$(jq -r .id "$folder/body")

for base in "$prefix" ""; do
  same "HEAD of a taken name" 200 "$(ask "$base/names/curl-rest" -u "$ADMIN" -I)"
  same "HEAD of a free name" 404 "$(ask "$base/names/curl-free" -u "$ADMIN" -I)"
  same "HEAD of an impossible name" 400 "$(ask "$base/names/No_name" -u "$ADMIN" -I)"
  same "the registry" 200 "$(ask "$base/registries/$registry" -u "$ADMIN")"
  same "a link's prefix" 200 "$(ask "$base/registries/$registry/tokens" -u "$ADMIN")"
  same "a link" "$SERVER_URL$base/registries/$registry/tokens?offset=0&limit=100" "$(jq -r ._links.self "$folder/body")"
done

same "no credentials" 401 "$(ask $prefix/registries)"
same "the challenges" 'Basic realm="wharfinger", charset="UTF-8"
Bearer realm="wharfinger"' "$(header www-authenticate)"
same "the type of an error" application/json "$(header content-type)"

for method in OPTIONS POST; do
  same "$method of one registry" 405 "$(ask "$prefix/registries/$registry" -u "$ADMIN" -X "$method")"
  same "its code" method-not-allowed "$(error_code)"
  same "its Allow" "DELETE GET HEAD PATCH PUT" "$(header allow | tr -d ' ' | tr ',' '\n' | sort | xargs)"
done
same "no such path" 404 "$(ask $prefix/nothing -u "$ADMIN")"
same "a body that is no JSON by its type" 415 "$(ask $prefix/registries -u "$ADMIN" -H 'Content-Type: text/plain' -d x)"
same "a body that is no JSON" 400 "$(ask $prefix/registries -u "$ADMIN" --json '{')"
same "a type without a body" 200 "$(ask $prefix/registries -u "$ADMIN" -H 'Content-Type: application/json')"

for path in repositories/team%2Fapp repositories/team%2Fapp/artifacts; do
  same "$path" 404 "$(ask "$prefix/registries/$registry/$path" -u "$ADMIN")"
  holds "$path: $(cat "$folder/body")" grep -q 'ask the registry itself' "$folder/body"
done
same "DELETE of a repository" 404 "$(ask "$prefix/registries/$registry/repositories/app" -u "$ADMIN" -X DELETE)"
same "a vulnerability" 404 "$(ask $prefix/vulnerabilities/CVE-2021-44228 -u "$ADMIN")"

same "making a token" 201 "$(ask "$prefix/registries/$registry/tokens" -u "$ADMIN" --json '{"properties": {"name": "curl"}}')"
same "an answer with a secret" no-store "$(header cache-control)"
same "a token at the API" 401 "$(ask $prefix/registries -u "curl:$(jq -r .properties.credentials.password "$folder/body")")"
same "deleting the registry" 204 "$(ask "$prefix/registries/$registry" -u "$ADMIN" -X DELETE)"
same "its body" 0 "$(stat -c %s "$folder/body" 2>/dev/null || echo 0)"
passed
