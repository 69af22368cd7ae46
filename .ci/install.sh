#!/usr/bin/env bash
# Installs what the checks need beside Rust, where it is missing. No docker: without an engine its story is skipped.
set -euo pipefail
command -v cargo >/dev/null || { echo "there is no cargo here: install Rust 1.95 or later"; exit 1; }
missing=()
command -v curl >/dev/null || missing+=(curl)
command -v cc >/dev/null || missing+=(gcc libc6-dev)
[ -r /usr/share/unicode/UnicodeData.txt ] || missing+=(unicode-data)
# Looks at the pages that the simulator draws.
command -v chromium >/dev/null || missing+=(chromium)
if [ ${#missing[@]} -gt 0 ]; then
    echo "installing ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi
cargo --version
cargo clippy --version
cargo fmt --version
curl --version | head -n 1
