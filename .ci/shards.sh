#!/usr/bin/env bash
# Many shards on real processes. Debian's UnicodeData.txt goes into four nodes whose shards split at 1024 bytes; node3 is
# killed with -9 in the middle of the load, stays away past its time, and returns. Then every shard must have three voters,
# shards and leaders must be even within 20 %, and nothing may move for a while; every key must answer through every node; no
# row of a destroyed replica may be left on any disk; and files that are mostly free must shrink at the next start. Needs the
# release binary, curl and the package `unicode-data`.
#   CALM=SECONDS   how long nothing may move at the end (default 300)
set -euo pipefail
cd "$(dirname "$0")/.."
. .ci/nodes.sh
calm=${CALM:-300}
node_arguments=(--shard-capacity=1024)
start_all

ctl "$without3" load "$work/pairs" >"$work/load.out" 2>&1 </dev/null &
load=$!
# The load goes through the file in order: this key is in when about a third is.
third=$(sed -n "$((records / 3))p" "$work/pairs" | cut -f 1)
within 120 "a third of $records records is in" ctl "$without3" get "$third"
kill -0 "$load" 2>/dev/null || fail "the load was over before node3 could be killed"
kill_hard 3
say "node3 is killed with -9"
status=0
wait "$load" || status=$?
load=""
cat "$work/load.out"
[ $status -eq 0 ] || fail "the load ended with $status"

ctl "$without3" settled --stores 3 --calm 5 --wait 300 || fail "not settled without node3"
say "settled on three stores"
ctl "$without3" verify "$work/pairs" || fail "keys differ without node3"
start 3
say "node3 is started again"
ctl "$without3" settled --stores 4 --calm "$calm" --wait 600 || fail "not settled after node3 came back"
shards=$(curl -s -m 8 "http://$(http 0)/shards" | grep -o '"shard-id":' | wc -l)
[ "$shards" -gt 2000 ] || fail "only $shards shards; some thousand were to be expected"
say "$shards shards are settled on four stores"
ctl "$all" verify "$work/pairs" || fail "keys differ"

# To have a file that is mostly free: node3 gives away every replica, and what it held is swept.
store3=$(curl -s -m 8 "http://$(http 3)/shards?local=true" | sed 's/^{"store-id":\([0-9]*\),.*/\1/')
ctl "$without3" drain "$store3" --wait 300 || fail "node3 is not drained"
say "node3 is drained"
stop_all
say "stopped; what is on disk:"
# What lies there adds up, and nothing of destroyed replicas is left.
inspect_all() {
    for i in 0 1 2 3; do
        echo "node$i"
        "$binary" inspect --swept "$work/node$i" | sed "s|$work/||" || fail "the data of node$i does not add up"
    done
}
size() { stat -c %s "$work/node$1/store.redb"; }
inspect_all
before=$(size 3)
# So that files of a few megabytes are worth it.
node_limits='limits.file-slack-max = "256KB"'
start_all
after=$(size 3)
ctl "$without3" undrain "$store3" || fail "node3 is not used again"
grep -h "mostly free" "$work"/node?.log | sed 's/.*compacted/compacted/' || true
say "node3's store.redb: $before bytes before the start, $after after"
[ "$after" -lt $((before / 2)) ] || fail "it did not shrink"
ctl "$all" verify "$work/pairs" || fail "keys differ after the start"
stop_all
say "ok"
