#!/usr/bin/env bash
# examples/provision does what its README says, against the server that scripts/with-server names.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tests/acceptance/check.bash
source tests/acceptance/check.bash

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export SECRETS_DIR=$folder/secrets
export SERVER_ACCOUNT=$ADMIN
file=$folder/registries.json
cp examples/provision/registries.json "$file"

provision() { examples/provision/provision.sh "$file" >"$folder/out" 2>&1; }
expect() { holds "$1: $(cat "$folder/out")" grep -qF -- "$2" "$folder/out"; }
api() { curl -sS -u "$ADMIN" "${@:2}" "$SERVER_URL/containerregistries$1"; }
edit() { jq "$1" "$file" >"$folder/edited" && mv "$folder/edited" "$file"; }
everything() { api /registries | jq -S .items && api "/registries/$registry/tokens" | jq -S .items; }
token_id() { api "/registries/$registry/tokens" | jq -r --arg name "$1" '.items[] | select(.properties.name == $name).id'; }
# A list of registry or token as text, without the members that every change touches.
without_metadata() { jq -S 'map(del(.metadata.lastModifiedBy, .metadata.lastModifiedByUserId, .metadata.lastModifiedDate))' <<<"$1"; }

# The first run makes it all.
holds "first run: $(cat "$folder/out" 2>&1)" provision
expect "first run" "changes: 3"
registry=$(api '/registries?filter.name=team-a' | jq -r '.items[0].id')
same "tokens" 2 "$(api "/registries/$registry/tokens" | jq .total)"
for name in ci-push cluster-pull; do
  secret=$SECRETS_DIR/team-a.$name
  same "mode of $secret" 600 "$(stat -c %a "$secret")"
  holds "$secret holds a password" test -s "$secret"
  refuses "a password is in the output" grep -qF -- "$(cat "$secret")" "$folder/out"
done
refuses "the account's password is in the output" grep -qF -- "${ADMIN#*:}" "$folder/out"

# The second changes nothing, not even the time of the last change.
before=$(everything)
secrets_before=$(cat "$SECRETS_DIR"/*)
holds "second run" provision
same "second run says" "nothing to do" "$(cat "$folder/out")"
same "second run left" "$before" "$(everything)"
same "passwords" "$secrets_before" "$(cat "$SECRETS_DIR"/*)"

# An edited file changes exactly the edited members.
before=$(api "/registries/$registry/tokens" | jq .items)
edit '.registries[0].tokens[1].scopes[0].name = "team/*"'
holds "third run" provision
expect "third run" "changed token team-a/cluster-pull"
expect "third run" "changes: 1"
now=$(api "/registries/$registry/tokens" | jq .items)
same "third run left" \
  "$(jq '.[1].properties.scopes[0].name = "team/*"' <<<"$(without_metadata "$before")" | jq -S .)" \
  "$(without_metadata "$now")"
same "password of a changed token" "$secrets_before" "$(cat "$SECRETS_DIR"/*)"
edit '.registries[0].apiSubnetAllowList = ["10.1.0.0/16"]'
holds "fourth run" provision
expect "fourth run" "changed registry team-a"
same "subnets" '["10.1.0.0/16"]' "$(api "/registries/$registry" | jq -c .properties.apiSubnetAllowList)"

# A deleted token comes back under its id, with a new password.
id=$(token_id ci-push)
old=$(cat "$SECRETS_DIR/team-a.ci-push")
api "/registries/$registry/tokens/$id" -X DELETE
holds "fifth run" provision
expect "fifth run" "made token team-a/ci-push ($id)"
expect "fifth run" "changes: 1"
same "id" "$id" "$(token_id ci-push)"
holds "a new password" test "$old" != "$(cat "$SECRETS_DIR/team-a.ci-push")"

# An id of one's own is taken as it is.
own=0b6c7c1e-2f57-4d6e-9f0a-5f5d2a0f7c11
edit ".registries[0].tokens += [{\"id\": \"$own\", \"name\": \"own-id\"}]"
holds "a run with an id" provision
same "own id" "$own" "$(token_id own-id)"
holds "a run after it" provision
same "a run after it says" "nothing to do" "$(cat "$folder/out")"

# A time in another zone is the same time.
edit '.registries[0].tokens[0].expiryDate = "2036-01-01T02:00:00+02:00"'
holds "a run with another zone" provision
same "a run with another zone says" "nothing to do" "$(cat "$folder/out")"

# Each property that the API knows is sent, and the second run leaves it alone. The document says which there are.
values='{
  "registry": {
    "apiSubnetAllowList": ["10.2.0.0/16"], "defaultTokenLife": "P90D", "maximumTokenLife": "P3650D",
    "maximumSecretAge": "P30D", "tokenVerifier": "pinned", "frozen": true,
    "labels": {"team": "payments"},
    "features": {"vulnerabilityScanning": {"enabled": true, "properties": {"a": 1}}},
    "garbageCollectionSchedule": {"days": ["Monday"], "time": "05:00:00Z"}
  },
  "token": {
    "allowedCidrs": ["10.3.0.0/16"], "expiryDate": "2031-01-01T00:00:00Z", "status": "disabled",
    "labels": {"team": "payments"},
    "scopes": [{"actions": ["delete"], "name": "app/*", "type": "repository"}]
  }
}'
cp "$file" "$folder/before"
for kind in registry token; do
  schema=Post${kind^}Properties
  place=.registries[0]
  [[ $kind == registry ]] || place=.registries[0].tokens[0]
  members=$(jq -r --arg schema "$schema" '.components.schemas[$schema].properties | del(.name, .location) | keys[]' openapi/registries.json)
  holds "members of $schema" test -n "$members"
  while read -r member; do
    value=$(jq -ec --arg kind "$kind" --arg member "$member" '.[$kind][$member]' <<<"$values") ||
      value=$(jq -ec --arg schema "$schema" --arg member "$member" \
        '.components.schemas[$schema].properties[$member].example' openapi/registries.json) ||
      fail "$schema.$member is new: give it an example in the document, or a value here"
    edit "$place.$member = $value"
    holds "a run with $member" provision
    expect "a run with $member" "changed $kind"
    path="/registries/$registry"
    [[ $kind == registry ]] || path+=/tokens/$(token_id ci-push)
    same "$member" "$(jq -Sc . <<<"$value")" "$(api "$path" | jq -Sc ".properties.$member")"
    holds "a run after $member" provision
    same "a run after $member says" "nothing to do" "$(cat "$folder/out")"
  done <<<"$members"
done
for member in maximumSecretAges scope; do
  edit ".registries[0].$member = null"
  refuses "an unknown member did not fail" provision
  expect "an unknown member" "$member"
  edit "del(.registries[0].$member)"
done

# Entries taken out of the file are removed on request alone; entries that others made are never removed.
api "/registries/$registry/tokens" -X POST -H 'Content-Type: application/json' -d '{"properties": {"name": "by-hand"}}' >"$folder/by-hand"
edit '.registries += [{"name": "short-lived", "location": "de/fra", "tokens": [{"name": "one"}]}]'
holds "a run with another registry" provision
edit 'del(.registries[1]) | del(.registries[0].tokens[1, 2])'
holds "a run without --prune" provision
same "a run without --prune says" "nothing to do" "$(cat "$folder/out")"
refuses "--prune without a yes did not fail" examples/provision/provision.sh --prune "$file" >"$folder/out" 2>&1 </dev/null
expect "--prune without a yes" "token team-a/cluster-pull"
expect "--prune without a yes" "registry short-lived with all of its tokens"
same "tokens after it" 4 "$(api "/registries/$registry/tokens" | jq .total)"
holds "--prune --yes" examples/provision/provision.sh --prune --yes "$file" >"$folder/out" 2>&1
expect "--prune --yes" "removed token team-a/cluster-pull"
expect "--prune --yes" "changes: 2"
same "tokens that are left" "by-hand ci-push own-id" \
  "$(api "/registries/$registry/tokens" | jq -r '[.items[].properties.name] | sort | join(" ")')"
same "registries of that name" 0 "$(api '/registries?filter.name=short-lived' | jq '.items | length')"
holds "--prune again" examples/provision/provision.sh --prune --yes "$file" >"$folder/out" 2>&1
same "--prune again says" "nothing to do" "$(cat "$folder/out")"
cp "$folder/before" "$file"

# Two entries of one name would undo each other on each run. Scopes that grant nothing are told of.
edit '.registries[0].tokens += [{"name": "CI-push", "status": "disabled"}]'
refuses "two tokens of one name did not fail" provision
expect "two tokens of one name" "more than one entry for team-a/ci-push"
cp "$folder/before" "$file"
edit '.registries[0].tokens += [{"name": "typo", "scopes": [{"type": "repo", "name": "a", "actions": ["pull"]}]}]'
holds "a scope that grants nothing" provision
expect "a scope that grants nothing" 'its scopes[0]: the type "repo" grants nothing'
edit 'del(.registries[0].tokens[-1])'
holds "the end of it" examples/provision/provision.sh --prune --yes "$file" >"$folder/out" 2>&1

# A refusal is reported in the server's words, and the run fails.
cp "$folder/before" "$file"
edit '.registries[0].location = "de/txl"'
refuses "a refused change did not fail" provision
expect "a refused change" "invalid-location"
export SERVER_ACCOUNT=$ANALYST
edit '.registries[0].location = "de/fra" | .registries[0].apiSubnetAllowList = []'
refuses "a run without the right did not fail" provision
expect "a run without the right" "forbidden"
export SERVER_ACCOUNT=admin:wrong
refuses "a run with a wrong password did not fail" provision
expect "a run with a wrong password" "unauthenticated"

api "/registries/$registry" -X DELETE
passed
