#!/usr/bin/env bash
# Writes the lock files of the images anew, with the newest packages that pyproject.toml allows: deploy/docker/lock.sh
# It needs uv. The Python is that of the Dockerfile, and the glibc that of its Debian. Hashes are of all files of a release,
# so one lock holds for both architectures as long as these need the same packages, which is checked.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$(sed -n 's/^ARG BASE=python:\([0-9.]*\)-.*/\1/p' deploy/docker/Dockerfile)
other=$(mktemp)
trap 'rm -f "$other"' EXIT

compile() { # ARCHITECTURE FILE, then what uv compiles
  uv pip compile --quiet --generate-hashes --python-version "$python" --python-platform "$1-manylinux_2_36" \
    --custom-compile-command deploy/docker/lock.sh --output-file "$2" "${@:3}"
}

lock() { # NAME, then what uv compiles, from standard input where that is -
  local input
  input=$([ "${*: -1}" != - ] || cat)
  compile x86_64 "deploy/docker/$1.lock" --upgrade "${@:2}" <<<"$input"
  cp "deploy/docker/$1.lock" "$other" # what stands there is preferred
  compile aarch64 "$other" "${@:2}" <<<"$input"
  cmp "deploy/docker/$1.lock" "$other" || {
    echo "deploy/docker/$1.lock: on aarch64 other packages are needed; lock each architecture by itself" >&2
    exit 1
  }
}

lock cpu pyproject.toml --extra cpu --extra serve
lock gpu pyproject.toml --extra gpu --extra serve
lock build - < <(sed -n 's/^requires = \[\(.*\)\]/\1/p' pyproject.toml | tr -d '" ' | tr ',' '\n')
