#!/usr/bin/env bash
# Makes a Debian base image with Python, for engines that have no image registry.
#
# The image comes from Debian packages alone (debootstrap, then `docker import`),
# fetched from the mirror that this host's apt is configured with.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: labs/base-image.sh [--force] [--suite SUITE] [--mirror URI] [NAME]

  NAME            the image to make (default: farshore-base:bookworm)
  --force         make it anew when it exists
  --suite SUITE   the Debian release (default: bookworm)
  --mirror URI    the Debian mirror (default: the one in this host's apt sources)

Needs root (debootstrap changes root), apt and a Docker engine.
TEXT
}

say() { printf 'base-image: %s\n' "$*" >&2; }
die() {
    say "$*"
    exit 1
}

image=farshore-base:bookworm
suite=bookworm
mirror=
force=no
while (($#)); do
    case $1 in
        --force) force=yes ;;
        --suite) suite=${2:?--suite needs a value} && shift ;;
        --mirror) mirror=${2:?--mirror needs a value} && shift ;;
        -h | --help) usage && exit 0 ;;
        -*) usage >&2 && exit 2 ;;
        *) image=$1 ;;
    esac
    shift
done

command -v docker >/dev/null || die "no docker command here: install the Docker client"
docker version >/dev/null 2>&1 || die "the Docker engine does not answer: is it running, may you use it?"
if [[ $force == no ]] && docker image inspect "$image" >/dev/null 2>&1; then
    say "$image is there already (--force makes it anew)"
    exit 0
fi
[[ $(id -u) == 0 ]] || die "run this as root: debootstrap has to change root"
command -v apt-get >/dev/null || die "this needs a host with apt; on others use a python:3.11-slim image"

# apt's own view of its sources, whichever format they are written in: URI RELEASE COMPONENT
sources=$(apt-get indextargets --format "\$(REPO_URI) \$(RELEASE) \$(COMPONENT)" 'Created-By: Packages')
uri_of() { awk -v release="$1" '$2 == release && $3 == "main" { print $1; exit }' <<<"$sources"; }

[[ -n $mirror ]] || mirror=$(uri_of "$suite")
[[ -n $mirror ]] || die "no apt source of this host has $suite: name a Debian mirror with --mirror URI"
updates=$(uri_of "$suite-updates")
security=$(uri_of "$suite-security")
[[ -n $security ]] || say "note: no $suite-security in this host's apt sources, so the image gets none of its updates"

# What apt uses as a proxy, debootstrap has to be told by the environment.
proxy=
eval "$(apt-config shell proxy Acquire::http::Proxy)"
if [[ -n $proxy && $proxy != DIRECT ]]; then
    export http_proxy=${http_proxy:-$proxy}
fi

if ! command -v debootstrap >/dev/null; then
    say "installing debootstrap"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends debootstrap >/dev/null
fi

work=$(mktemp -d "${TMPDIR:-/var/tmp}/farshore-base.XXXXXX")
root=$work/root
log=$work/log
cleanup() {
    status=$?
    if ((status)) && [[ -s $log ]]; then
        say "failed; the last lines of the log:"
        tail -n 20 "$log" >&2
    fi
    local place
    for place in "$root/proc" "$root/sys" "$root/dev/pts" "$root/dev"; do
        if mountpoint -q "$place"; then umount -l "$place"; fi
    done
    rm -rf --one-file-system "$work"
    exit "$status"
}
trap cleanup EXIT

say "fetching $suite from $mirror (a minute or two)"
packages=python3,python3-venv,ca-certificates
debootstrap --variant=minbase --include="$packages" "$suite" "$root" "$mirror" >"$log" 2>&1

{
    echo "deb $mirror $suite main"
    if [[ -n $updates ]]; then echo "deb $updates $suite-updates main"; fi
    if [[ -n $security ]]; then echo "deb $security $suite-security main"; fi
} >"$root/etc/apt/sources.list"

inside() { DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 chroot "$root" "$@" >>"$log" 2>&1; }

say "applying updates"
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
inside apt-get update
inside apt-get -y upgrade
inside apt-get clean

say "removing caches, manuals and translations"
find "$root/usr/share/doc" -type f ! -name copyright -delete
find "$root/usr/share/doc" -type d -empty -delete
rm -rf "$root"/usr/share/{man,info,locale,lintian}/* "$root"/var/cache/{apt,debconf,ldconfig}/* \
    "$root"/var/lib/apt/lists/* "$root"/var/log/* "$root"/tmp/* "$root"/var/tmp/*
rm -f "$root"/etc/{resolv.conf,hostname,machine-id} "$root"/var/lib/dpkg/*-old
find "$root/usr/lib/python3"* -type d -name __pycache__ -prune -exec rm -rf {} +

say "importing $image"
tar --numeric-owner --exclude='./dev/*' --exclude='./proc/*' --exclude='./sys/*' -C "$root" -c . |
    docker import --change 'ENV LANG=C.UTF-8' --change 'CMD ["python3"]' - "$image" >>"$log"

bytes=$(docker image inspect --format '{{.Size}}' "$image")
say "made $image: $((bytes / 1000000)) MB, $(docker run --rm --network none "$image" python3 --version)"
