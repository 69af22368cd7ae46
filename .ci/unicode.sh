#!/usr/bin/env bash
# Real input: Debian's UnicodeData.txt goes in through all four nodes while the node that leads the shard is killed with
# -9 and started again; then every key is read back through every node, byte for byte. Needs the release binary, curl
# and the package `unicode-data`.
set -euo pipefail
cd "$(dirname "$0")/.."
. .ci/nodes.sh
start_all

say "loading $records records through $all"
ctl "$all" load "$work/pairs" >"$work/load.out" 2>&1 </dev/null &
load=$!
# The load goes through the file in order: this key is in when about a tenth is.
early=$(sed -n "$((records / 10))p" "$work/pairs" | cut -f 1)
within 60 "a tenth is in" ctl "$all" get "$early"

store_of() { curl -s -m 8 "http://$(http "$1")/shards?local=true" | sed 's/^{"store-id":\([0-9]*\),.*/\1/'; }
leader=$(curl -s -m 8 "http://$(http 3)/shards" | grep -o '"store-id":[0-9]*,"role":"L"' | grep -o '[0-9]*' | head -n 1)
victim=
for i in 0 1 2 3; do if [ "$(store_of $i)" = "$leader" ]; then victim=$i; fi; done
[ -n "$victim" ] || fail "no node leads the shard"
kill -0 $load 2>/dev/null || fail "the load was over before the leader could be killed"
say "node$victim leads the shard; killing it with -9"
kill_hard "$victim"
sleep 2
kill -0 $load 2>/dev/null || fail "the load was over while the leader was dead"
start "$victim"

status=0
wait $load || status=$?
load=
tail -n 5 "$work/load.out"
[ $status -eq 0 ] || fail "the load ended with $status"
within 60 "node$victim is ready again" is_ready "$victim"
ctl "$all" verify "$work/pairs" || fail "what was read is not what was written"

stop_all
echo "all $records records are there, through every node"
