#!/bin/sh
# The container's entry: `start` (the default) makes the DC in /data when that is empty and
# serves it; any other arguments go to farshore as they are.
set -eu

if [ "${1:-start}" != start ]; then
    exec farshore "$@"
fi

data=${FARSHORE_DATA:-/data}
if [ -z "$(find "$data" -mindepth 1 -maxdepth 1 ! -name lost+found -print -quit)" ]; then
    name=${FARSHORE_NAME:?"set FARSHORE_NAME to the name of this datacenter, e.g. paris"}
    peer_port=${FARSHORE_PEER_PORT:-7000}
    echo "farshore: $data is empty, making the datacenter $name in it" >&2
    farshore init "$data" --name "$name" \
        --region "${FARSHORE_REGION:-$name}" \
        --s3 "0.0.0.0:${FARSHORE_S3_PORT:-8000}" \
        --peer "0.0.0.0:$peer_port" \
        --advertise "${FARSHORE_ADVERTISE:-$(hostname):$peer_port}" \
        --admin 127.0.0.1:9000
fi
exec farshore serve "$data"
