#!/usr/bin/env bash
# Puts the digest that a registry gives for the base image's tag behind it in the Dockerfile: deploy/docker/pin.sh
# It needs docker with buildx, and a network; run it again for a newer base image.
set -euo pipefail
file="$(dirname "$0")/Dockerfile"
tag=$(sed -n 's/^ARG BASE=\([^@]*\).*/\1/p' "$file")
digest=$(docker buildx imagetools inspect "$tag" --format '{{.Manifest.Digest}}')
if [[ ! $digest =~ ^sha256:[0-9a-f]{64}$ ]]; then
  echo "no digest of $tag: $digest" >&2
  exit 1
fi
sed -i "s|^ARG BASE=.*|ARG BASE=$tag@$digest|" "$file"
echo "$tag@$digest"
