#!/usr/bin/env bash
# Chaos on real processes: a seed's plan of kills, pauses and cuts, plans that the simulator printed or that come with
# it, and a page of each that is looked at; with a bug planted in every node, the same command must say so.
#   .ci/chaos.sh [SIMULATOR SERVER [BUG]]
set -euo pipefail
cd "$(dirname "$0")/.."
sim=${1:-target/release/matrixkv-sim}
server=${2:-target/release/matrixkv}
bug=${3:-}
# Leaders that are cut off while clients still reach them.
cut_off=cfg/plans/leaders-cut-off.toml
# A bug may hide in so many runs of it, but not in all: real processes have luck of their own.
RUNS_OF_A_BUG=3

if [ -n "$bug" ]; then
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    for run in $(seq "$RUNS_OF_A_BUG"); do
        status=0
        "$sim" chaos --plan "$cut_off" --bug "$bug" --server "$server" --dir "$folder/nodes" >"$folder/said.txt" || status=$?
        if grep -q '^\[L\] at' "$folder/said.txt"; then
            [ "$status" -eq 1 ] || { echo "it says so, but ends with $status"; exit 1; }
            echo "$bug: run $run says $(grep -m 1 '^\[L\] at' "$folder/said.txt" | cut -c1-200)"
            exit 0
        fi
        echo "$bug: run $run does not show it, and ends with $status"
    done
    tail -n 20 "$folder/said.txt"
    exit 1
fi

# shellcheck source=.ci/browser.sh
. .ci/browser.sh

# passes NAME ARGUMENTS: such a run passes, was harmed, and its page and its history say the same as it does.
passes() {
    local name=$1
    shift
    "$sim" chaos "$@" --server "$server" --dir "$folder/nodes" --history "$folder/$name.jsonl" --html "$folder/$name.html" \
        >"$folder/said.txt" || { cat "$folder/said.txt"; exit 1; }
    grep -E '^(seed|.*operations)' "$folder/said.txt"
    "$sim" check "$folder/$name.jsonl"
    dom "$folder/$name.html"
    demand '<span id="verdict" class="verdict passed">passed</span>'
    demand 'data-counts="\{"messages":[0-9]+,"events":[0-9]+,"asks":[0-9]{3,},"violations":0\}"'
    echo "on the page: $(attribute counts)"
}

passes seed --seed "$(date +%s)" --seconds 40
"$sim" plan --seed 7 --seconds 40 >"$folder/plan.toml"
passes plan --plan "$folder/plan.toml"
passes leaders --plan "$cut_off"
passes strangers --plan cfg/plans/strangers.toml
# Six say enough to be refused; one of them may find a node that is just away.
grep -E '^ *(fault stranger|strangers refused) +[5-9]$' "$folder/said.txt" | tee "$folder/strangers.txt"
[ "$(wc -l <"$folder/strangers.txt")" -eq 2 ] || { echo "strangers were not refused"; exit 1; }
