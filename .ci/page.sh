#!/usr/bin/env bash
# Looks at the page of a run in a real browser: everything that the run had is on it, a click shows what was clicked, it needs
# nothing beside itself, and 100,000 events are drawn. Status 77 where there is no browser.
#   .ci/page.sh [SIMULATOR]
set -euo pipefail
cd "$(dirname "$0")/.."
sim=${1:-target/release/matrixkv-sim}
# shellcheck source=.ci/browser.sh
. .ci/browser.sh

page=$folder/run.html
"$sim" replay --seed 7 --html "$page"
if sed '/^<script id="run"/d' "$page" | grep -E '(src|href)=|https?://|@import|fetch\('; then
    echo "the page asks for something beside itself"
    exit 1
fi

dom "$page"
demand 'data-counts="\{"messages":[0-9]{4,},"events":[0-9]{3,},"asks":[0-9]{3,},"violations":0\}"'
demand '<span id="verdict" class="verdict passed">passed</span>'
demand 'cargo run --release -p matrixkv-sim -- run --seed 7 --seconds 60'
demand '<option value="[0-9]+">'
echo "drawn of it: $(attribute drawn)"

# A click shows what was hit, and what came before it there.
for what in arrow dot bar; do
    dom "$page#from=20&span=10&click=$what"
    demand 'data-selected="\{"what":"[a-z]'
    demand '<dt>what</dt><dd>[a-z]'
    demand '<ol id="before"><li'
    echo "clicked: $(attribute selected)"
done

"$sim" replay --seed 7 --seconds 120 --html "$page"
dom "$page"
demand 'data-counts'
counts=$(attribute counts)
total=$(grep -oE '[0-9]+' <<<"$counts" | { sum=0; while read -r n; do sum=$((sum + n)); done; echo "$sum"; })
echo "$counts: $total events; of the whole run was drawn: $(attribute drawn)"
[ "$total" -ge 100000 ] || { echo "too few events to tell"; exit 1; }
