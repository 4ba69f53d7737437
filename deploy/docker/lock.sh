#!/usr/bin/env bash
# Writes the lock files of the images anew, with the newest packages that pyproject.toml allows: deploy/docker/lock.sh
# It needs uv. The Python is that of the Dockerfile; hashes are of all files of a release, so they hold on every platform.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$(sed -n 's/^ARG BASE=python:\([0-9.]*\)-.*/\1/p' deploy/docker/Dockerfile)

lock() { # NAME, then what uv compiles
  uv pip compile --quiet --upgrade --generate-hashes --python-version "$python" --python-platform linux \
    --custom-compile-command deploy/docker/lock.sh --output-file "deploy/docker/$1.lock" "${@:2}"
}

lock cpu pyproject.toml --extra cpu --extra serve
lock gpu pyproject.toml --extra gpu --extra serve
lock build - < <(sed -n 's/^requires = \[\(.*\)\]/\1/p' pyproject.toml | tr -d '" ' | tr ',' '\n')
