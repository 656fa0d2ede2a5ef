#!/usr/bin/env bash
# Makes the registries and tokens that a file describes, as often as you like: provision.sh [FILE]
#
#   WHARFINGER_URL       where the server is, for example https://wharfinger.example.com
#   WHARFINGER_ACCOUNT   name:password of an account that may write
#   SECRETS_DIR          where the passwords of new tokens go, one file each (default: secrets)
#
# What is not as described is put right with PUT, under ids that follow from the names; all else is left
# alone, and so is what the file does not mention. Ends with a status other than 0 if the server refuses.

set -euo pipefail

file=${1:-$(dirname "${BASH_SOURCE[0]}")/registries.json}
base=${WHARFINGER_URL:?says where the server is}
base=${base%/}/containerregistries
account=${WHARFINGER_ACCOUNT:?is name:password of an account that may write}
secrets=${SECRETS_DIR:-secrets}
changes=0

umask 077
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

say() { printf '%s\n' "$*"; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# call METHOD PATH [BODY]: the answer goes to $folder/answer, its status to `status`.
call() {
  local quoted=${account//\\/\\\\}
  # By file and standard input: a command line can be read by everybody on the machine.
  local options=(--silent --show-error --config - --request "$1" --output "$folder/answer" --write-out '%{http_code}' --max-time 60)
  if (($# > 2)); then
    printf '%s' "$3" >"$folder/body"
    options+=(--header 'Content-Type: application/json' --data-binary "@$folder/body")
  fi
  : >"$folder/answer"
  status=$(printf 'user = "%s"\n' "${quoted//\"/\\\"}" | curl "${options[@]}" -- "$base$2") ||
    die "no answer from $base"
}

# Ends with the server's own words.
refused() {
  die "$1: $status$(jq -r '.messages[]? | "\n  \(.errorCode): \(.message)"' "$folder/answer" 2>/dev/null)"
}

# An id that follows from a text: the form of a UUID of version 5, so the same on every machine.
id_of() {
  local hash
  hash=$(printf 'wharfinger/%s' "$1" | sha1sum)
  printf '%s-%s-5%s-a%s-%s\n' "${hash:0:8}" "${hash:8:4}" "${hash:13:3}" "${hash:17:3}" "${hash:20:12}"
}

# What PUT would leave behind if it were given $1, to be compared with what is there.
registry_view='{
  name, location,
  garbageCollectionSchedule: (.garbageCollectionSchedule // null),
  scanning: (if .features.vulnerabilityScanning.enabled == false then false else true end),
  apiSubnetAllowList: (.apiSubnetAllowList // [])
}'
token_view='{
  name, scopes: (.scopes // []), status: (.status // "enabled"),
  expiryDate: (.expiryDate // null)
}'

# ensure WHAT PATH PROPERTIES VIEW: puts it there unless it is there already. Sets `made` to 1 if it is new.
ensure() {
  local what=$1 path=$2 properties=$3 view=$4 wanted found was
  made=0
  call GET "$path"
  was=$status
  case $was in
    404) ;;
    200)
      wanted=$(jq -S "$view" <<<"$properties")
      found=$(jq -S ".properties | $view" "$folder/answer")
      if [[ $wanted == "$found" ]]; then
        return
      fi
      ;;
    *) refused "$what" ;;
  esac
  call PUT "$path" "$(jq '{properties: .}' <<<"$properties")"
  case $status in
    201) made=1 && say "made $what" ;;
    200) say "changed $what" ;;
    *) refused "$what" ;;
  esac
  changes=$((changes + 1))
}

provision_token() {
  local registry_name=$1 registry=$2 properties=$3 name id
  name=$(jq -r .name <<<"$properties")
  id=$(jq -r '.id // empty' <<<"$properties")
  id=${id:-$(id_of "$registry_name/$name")}
  ensure "token $registry_name/$name ($id)" "/registries/$registry/tokens/$id" \
    "$(jq 'del(.id)' <<<"$properties")" "$token_view"
  if ((made)); then
    mkdir -p "$secrets"
    # Written beside and moved, so that nobody finds half a secret.
    jq -j .properties.credentials.password "$folder/answer" >"$folder/secret"
    mv -f "$folder/secret" "$secrets/$registry_name.$name"
    say "  its password is in $secrets/$registry_name.$name"
  fi
}

provision_registry() {
  local entry=$1 name id properties token
  name=$(jq -r .name <<<"$entry")
  id=$(jq -r '.id // empty' <<<"$entry")
  id=${id:-$(id_of "$name")}
  properties=$(jq 'del(.id, .tokens)' <<<"$entry")
  ensure "registry $name ($id)" "/registries/$id" "$properties" "$registry_view"
  while IFS= read -r token; do
    provision_token "$name" "$id" "$token"
  done < <(jq -c '.tokens[]?' <<<"$entry")
}

for tool in curl jq sha1sum; do
  command -v "$tool" >/dev/null || die "$tool is needed"
done
jq -e '.registries | type == "array"' "$file" >/dev/null || die "$file has no list \"registries\""
while IFS= read -r entry; do
  provision_registry "$entry"
done < <(jq -c '.registries[]' "$file")

if ((changes)); then
  say "changes: $changes"
else
  say "nothing to do"
fi
