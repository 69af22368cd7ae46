#!/usr/bin/env bash
# Makes the image `matrixkv`: from source where the base images can be had, else around a static binary that is built
# here.
#   IMAGE=NAME                      another name for the image
#   BUILD_IMAGE=, RUNTIME_IMAGE=    other base images
#   PREBUILT=1                      do not look for base images
set -euo pipefail
cd "$(dirname "$0")/.."
image=${IMAGE:-matrixkv}
build_image=${BUILD_IMAGE:-rust:1.95-bookworm}
runtime_image=${RUNTIME_IMAGE:-debian:bookworm-slim}
target=x86_64-unknown-linux-gnu
docker version >/dev/null || { echo "docker: no engine answers"; exit 1; }

is_to_be_had() { docker image inspect "$1" >/dev/null 2>&1 || timeout 300 docker pull -q "$1" >/dev/null 2>&1; }

if [ -z "${PREBUILT:-}" ] && is_to_be_had "$runtime_image" && is_to_be_had "$build_image"; then
    echo "docker: building $image from source on $build_image and $runtime_image"
    docker build -t "$image" -f docker/Dockerfile \
        --build-arg "BUILD_IMAGE=$build_image" --build-arg "RUNTIME_IMAGE=$runtime_image" .
    exit
fi

echo "docker: building a static binary here, and $image around it without a base image"
# Replaces the workspace's own flags, so the simulator's cfg is said again. The target is named, so that the flags do
# not hold for build scripts and macros, which cannot be static.
RUSTFLAGS="--cfg madsim -C target-feature=+crt-static" \
    cargo build --release --locked --package matrixkv --bin matrixkv --target "$target"
trap 'rm -f docker/prebuilt/matrixkv' EXIT
install -m 0755 "target/$target/release/matrixkv" docker/prebuilt/matrixkv
# Without BuildKit, which would want to look base images up that this stage does not use.
DOCKER_BUILDKIT=0 docker build --target prebuilt -t "$image" -f docker/Dockerfile .
