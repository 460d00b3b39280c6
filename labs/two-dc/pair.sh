#!/usr/bin/env bash
# Pairs the lab's two datacenters as a person would, adds a user at one of them and waits
# until the other knows it too.
#
#   labs/two-dc/pair.sh [EMAIL]       (default: demo@example.com)
set -euo pipefail

user=${1:-demo@example.com}
wait_seconds_max=${WAIT_SECONDS_MAX:-60}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

say() { printf 'pair: %s\n' "$*" >&2; }
die() {
    say "$*"
    exit 1
}

if docker compose version >/dev/null 2>&1; then
    compose=(docker compose)
elif command -v docker-compose >/dev/null; then
    compose=(docker-compose)
else
    die "this needs Docker Compose: docker compose or docker-compose"
fi
compose+=(-f "$here/compose.yaml")

farshore_at() {
    local dc=$1
    shift
    "${compose[@]}" exec -T "$dc" farshore -C /data "$@" </dev/null
}

wait_until() {
    local what=$1
    shift
    local deadline=$((SECONDS + wait_seconds_max))
    until "$@"; do
        ((SECONDS < deadline)) || die "waited $wait_seconds_max s in vain for: $what"
        sleep 1
    done
    say "$what"
}

healthy() {
    local id
    id=$("${compose[@]}" ps -q "$1")
    [[ -n $id && $(docker inspect --format '{{.State.Health.Status}}' "$id") == healthy ]]
}
knows_user() {
    local users
    users=$(farshore_at "$1" user list) && grep -qw -- "$user" <<<"$users"
}
address_of() { "${compose[@]}" port "$1" 8000; }

for dc in paris tokyo; do wait_until "$dc is healthy" healthy "$dc"; done

say "paris issues a token, tokyo adds it"
token=$(farshore_at paris token issue | tr -d '\r')
[[ -n $token ]] || die "paris gave no token"
farshore_at tokyo dc add "$token"

say "paris makes the user $user; these are its keys, at both datacenters:"
farshore_at paris user add "$user"
wait_until "tokyo knows $user" knows_user tokyo

cat <<TEXT

Try, with the keys above in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY:

  aws --endpoint-url http://$(address_of paris) --region eu s3 mb s3://hello
  aws --endpoint-url http://$(address_of paris) --region eu s3 cp README.md s3://hello/
  aws --endpoint-url http://$(address_of tokyo) --region asia s3 cp s3://hello/README.md -
TEXT
