#!/usr/bin/env bash
# Makes the registries and tokens that a file describes, as often as you like:
#
#   provision.sh [FILE]                  makes what is missing and puts right what differs
#   provision.sh --prune [--yes] [FILE]  then removes what the file no longer has: lists it and asks, unless --yes
#
#   SERVER_URL       where the server is, for example https://wharfinger.example.com
#   SERVER_ACCOUNT   name:password of an account that may write, and delete with --prune
#   SECRETS_DIR          where the passwords of new tokens go, one file each (default: secrets)
#
# Each entry is sent with PUT, under an id that follows from its name. The server decides whether anything changes, so
# no member can be forgotten here. Ends with a status other than 0 if the server refuses an entry.

set -euo pipefail

prune='' yes=''
while [[ ${1:-} == -* ]]; do
  case $1 in
    --prune) prune=1 ;;
    --yes) yes=1 ;;
    *)
      printf '%s: unknown option %s; the options are --prune and --yes\n' "${0##*/}" "$1" >&2
      exit 2
      ;;
  esac
  shift
done
file=${1:-$(dirname "${BASH_SOURCE[0]}")/registries.json}
base=${SERVER_URL:?says where the server is}
base=${base%/}/containerregistries
account=${SERVER_ACCOUNT:?is name:password of an account that may write}
secrets=${SECRETS_DIR:-secrets}
changes=0

umask 077
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

say() { printf '%s\n' "$*"; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# call METHOD PATH [BODY]: the answer goes to $folder/answer, its status to `status`, its ETag to `tag`.
call() {
  local quoted=${account//\\/\\\\}
  # By file and standard input: a command line can be read by everybody on the machine.
  local options=(--silent --show-error --config - --request "$1" --output "$folder/answer" --dump-header "$folder/head"
    --write-out '%{http_code}' --max-time 60)
  if (($# > 2)); then
    printf '%s' "$3" >"$folder/body"
    options+=(--header 'Content-Type: application/json' --data-binary "@$folder/body")
  fi
  : >"$folder/answer"
  status=$(printf 'user = "%s"\n' "${quoted//\"/\\\"}" | curl "${options[@]}" -- "$base$2") ||
    die "no answer from $base"
  tag=$(tr -d '\r' <"$folder/head" | sed -n 's/^[Ee][Tt][Aa][Gg]: *//p')
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

# ensure WHAT PATH PROPERTIES: puts it there. Sets `made` to 1 if it is new.
ensure() {
  local what=$1 path=$2 properties=$3 before
  made=0
  call GET "$path"
  case $status in
    200 | 404) before=$tag ;;
    *) refused "$what" ;;
  esac
  call PUT "$path" "$(jq '{properties: .}' <<<"$properties")"
  case $status in
    201) made=1 && say "made $what" ;;
    200)
      # The ETag stays when nothing changes.
      if [[ $tag == "$before" ]]; then return; fi
      say "changed $what"
      ;;
    *) refused "$what" ;;
  esac
  changes=$((changes + 1))
  jq -r '.metadata.warnings[]? | "  its scopes[\(.scope)]: \(.message)"' "$folder/answer"
}

provision_token() {
  local registry_name=$1 registry=$2 properties=$3 name id
  name=$(jq -r .name <<<"$properties")
  id=$(jq -r '.id // empty' <<<"$properties")
  id=${id:-$(id_of "$registry_name/$name")}
  ensure "token $registry_name/$name ($id)" "/registries/$registry/tokens/$id" \
    "$(jq 'del(.id)' <<<"$properties")"
  keep "/registries/$registry/tokens/$id"
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
  ensure "registry $name ($id)" "/registries/$id" "$properties"
  keep "/registries/$id"
  while IFS= read -r token; do
    provision_token "$name" "$id" "$token"
  done < <(jq -c '.tokens[]?' <<<"$entry")
}

# Notes that the file has this entry.
keep() { printf '%s\n' "$1" >>"$folder/kept"; }

# each PATH: a line `id name` for each element of a list, page by page.
each() {
  local query='limit=1000' next
  while :; do
    call GET "$1?$query"
    [[ $status == 200 ]] || refused "the list $1"
    jq -r '.items[] | "\(.id) \(.properties.name)"' "$folder/answer"
    next=$(jq -r '._links.next // empty' "$folder/answer")
    [[ -n $next ]] || return 0
    query=${next#*\?}
  done
}

# Lists what this script made and the file no longer has. It knows what it made by the id, which follows from the name;
# what others made, or has an id of its own, is left alone.
find_unwanted() {
  local id name token registries tokens
  registries=$(each /registries)
  while read -r id name; do
    [[ $id == "$(id_of "$name")" ]] || grep -qxF "/registries/$id" "$folder/kept" || continue
    if ! grep -qxF "/registries/$id" "$folder/kept"; then
      printf '/registries/%s registry %s with all of its tokens\n' "$id" "$name"
      continue
    fi
    tokens=$(each "/registries/$id/tokens")
    while read -r token token_name; do
      if [[ $token == "$(id_of "$name/$token_name")" ]] && ! grep -qxF "/registries/$id/tokens/$token" "$folder/kept"; then
        printf '/registries/%s/tokens/%s token %s/%s\n' "$id" "$token" "$name" "$token_name"
      fi
    done <<<"$tokens"
  done <<<"$registries"
}

remove_unwanted() {
  local unwanted path what answer
  unwanted=$(find_unwanted)
  [[ -n $unwanted ]] || return 0
  say "not in $file:"
  while read -r path what; do say "  $what (${path##*/})"; done <<<"$unwanted"
  if [[ -z $yes ]]; then
    [[ -t 0 ]] || die "nothing was removed: to remove these without being asked, add --yes"
    read -rp 'Remove these? [y/N] ' answer
    [[ $answer == [yY] ]] || die "nothing was removed"
  fi
  while read -r path what; do
    call DELETE "$path"
    [[ $status == 20[024] || $status == 404 ]] || refused "$what"
    say "removed $what"
    changes=$((changes + 1))
  done <<<"$unwanted"
}

for tool in curl jq sha1sum; do
  command -v "$tool" >/dev/null || die "$tool is needed"
done
jq -e '.registries | type == "array"' "$file" >/dev/null || die "$file has no list \"registries\""
# Two entries of one name would undo each other on each run.
twice=$(jq -r '[.registries[] | .name as $registry | .name, (.tokens[]? | "\($registry)/\(.name)")]
  | group_by(ascii_downcase?)[] | select(length > 1) | first' "$file")
[[ -z $twice ]] || die "$file has more than one entry for ${twice//$'\n'/, }"
: >"$folder/kept"
while IFS= read -r entry; do
  provision_registry "$entry"
done < <(jq -c '.registries[]' "$file")
if [[ -n $prune ]]; then remove_unwanted; fi

if ((changes)); then
  say "changes: $changes"
else
  say "nothing to do"
fi
