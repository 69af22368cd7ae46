#!/usr/bin/env bash
# What no seed decides is noticed: the order of a hash set, a counter of the process and the host's clock, each planted, change
# the trace of a run, and the comparison says so. Needs a simulator with planted bugs.
#   .ci/leaks.sh [SIMULATOR]
set -euo pipefail
cd "$(dirname "$0")/.."
sim=${1:-target/release/matrixkv-sim}

# differs BUG ARGUMENTS: the comparison fails, and because of the traces.
differs() {
    local bug=$1 said status=0
    shift
    said=$("$sim" twice --seeds 0..1 --seconds 10 --bug "$bug" "$@") || status=$?
    [ "$status" -eq 1 ] && grep -qE '^seed [0-9]+: trace [0-9a-f]{16}( alone)?, ' <<<"$said" || {
        printf '%s\n' "$said"
        echo "$bug is not noticed"
        exit 1
    }
    echo "$bug: $(grep -m 1 '^seed' <<<"$said")"
}

differs leak-hash-order
differs leak-real-clock
# Two fresh processes count alike.
differs leak-global-counter --together 2
