#!/usr/bin/env bash
# A failing seed from end to end: the hunt finds it, shrinking leaves a handful of faults, the page shows where it went wrong,
# and the file that is left fails with the bug and passes without. Needs a simulator with planted bugs.
#   .ci/failing.sh [SIMULATOR [BUG]]
set -euo pipefail
cd "$(dirname "$0")/.."
sim=${1:-target/release/matrixkv-sim}
bug=${2:-forget-vote}
# shellcheck source=.ci/browser.sh
. .ci/browser.sh

"$sim" bite --bug "$bug" --shrink-to "$folder"
plan=$folder/$bug.toml
faults=$(grep -c '^\[\[fault\]\]' "$plan" || true)
echo "$faults faults are left"
[ "$faults" -le 5 ] || exit 1

"$sim" run --plan "$plan" --without-bug >"$folder/without.txt" || { cat "$folder/without.txt"; exit 1; }
echo "without the bug: $(head -n 1 "$folder/without.txt")"
if "$sim" run --plan "$plan" >"$folder/with.txt"; then
    echo "with the bug it passes"
    exit 1
fi
echo "with the bug: $(sed -n 2p "$folder/with.txt")"

"$sim" replay --plan "$plan" --html "$folder/run.html" || true
dom "$folder/run.html#violation"
demand '<span id="verdict" class="verdict failed">failed</span>'
demand '<span id="first" class="wrong">\[[A-Za-z]+\] at [0-9.]+ s</span>'
demand "run --plan .*$bug.toml --bug $bug"
demand 'data-selected="\{"what":'
echo "on the page: $(attribute selected)"
