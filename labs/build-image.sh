#!/usr/bin/env bash
# Builds the farshore image on hosts where only the host itself can reach a package index.
#
# The wheels are fetched on the host, by its own pip with its own settings (index, proxy, CA
# bundle), for the image's Python and platform, and handed to the build in labs/wheelhouse of
# a temporary build context. The build then needs no network at all. With an ordinary network
# `docker build .` does as well.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: labs/build-image.sh [--base IMAGE] [TAG]

  TAG            the image to make (default: farshore:dev)
  --base IMAGE   the Python image to build on (default: farshore-base:bookworm, which
                 labs/base-image.sh makes when it is not there)

PYTHON names the host's Python whose pip fetches the wheels (default: .venv's, or python3).
TEXT
}

say() { printf 'build-image: %s\n' "$*" >&2; }
die() {
    say "$*"
    exit 1
}

tag=farshore:dev
base=farshore-base:bookworm
while (($#)); do
    case $1 in
        --base) base=${2:?--base needs a value} && shift ;;
        -h | --help) usage && exit 0 ;;
        -*) usage >&2 && exit 2 ;;
        *) tag=$1 ;;
    esac
    shift
done

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-}
if [[ -z $python ]]; then
    python=python3
    if [[ -x $here/.venv/bin/python ]]; then python=$here/.venv/bin/python; fi
fi
"$python" -m pip --version >/dev/null 2>&1 || die "$python has no pip: set PYTHON to one that has"

if ! docker image inspect "$base" >/dev/null 2>&1; then
    [[ $base == farshore-base:bookworm ]] || die "there is no image $base: pull or make it first"
    "$here/labs/base-image.sh" "$base"
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/farshore-image.XXXXXX")
trap 'rm -rf "$work"' EXIT

# What the image wants, told by the image: version, machine, glibc, then the requirements.
wants=$work/wants
docker run --rm -i --network none --entrypoint python3 "$base" -c '
import os, platform, sys, tomllib
project = tomllib.load(sys.stdin.buffer)
print(*sys.version_info[:2], sep=".")
print(platform.machine())
print(os.confstr("CS_GNU_LIBC_VERSION").split()[1].split(".")[1])
print(*project["project"]["dependencies"], *project["build-system"]["requires"], "pip", sep="\n")
' <"$here/pyproject.toml" >"$wants"
{
    read -r version
    read -r machine
    read -r glibc
    cat >"$work/requirements.txt"
} <"$wants"

platforms=()
for ((minor = glibc; minor >= 17; minor--)); do
    platforms+=(--platform "manylinux_2_${minor}_$machine")
done
platforms+=(--platform "manylinux2014_$machine" --platform "linux_$machine")

say "fetching the wheels for Python $version on $machine"
mkdir -p "$work/context/labs/wheelhouse"
"$python" -m pip download --quiet --only-binary :all: --implementation cp \
    --python-version "$version" "${platforms[@]}" \
    --constraint "$here/constraints.txt" --requirement "$work/requirements.txt" \
    --dest "$work/context/labs/wheelhouse"

for item in Dockerfile .dockerignore pyproject.toml constraints.txt README.md LICENSE labs/entrypoint.sh \
    tokens dc gateway replicator notary admin; do
    if [[ -e $here/$item ]]; then cp -R "$here/$item" "$work/context/$item"; fi
done

say "building $tag on $base"
docker build --quiet --network none --build-arg "PYTHON_IMAGE=$base" --tag "$tag" "$work/context" >/dev/null
bytes=$(docker image inspect --format '{{.Size}}' "$tag")
say "made $tag: $((bytes / 1000000)) MB"
