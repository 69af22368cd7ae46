#!/usr/bin/env bash
# Measures on this machine what README.md says of many shards, on four nodes of one's own: the pause of writes while a shard
# is split; CPU of an idle cluster and memory of a replica at some thousand shards; how soon every shard answers after a
# store was killed with -9, and how soon its replicas are rebuilt elsewhere. Needs the release binary, curl and the package
# `unicode-data`. Whatever else runs on the machine shows in the figures.
set -euo pipefail
cd "$(dirname "$0")/.."
. .ci/nodes.sh

cpu() { for pid in "${pids[@]}"; do cat "/proc/$pid/stat"; done | awk '{ sum += $14 + $15 } END { print sum }'; }
rss() { for pid in "${pids[@]}"; do grep VmRSS "/proc/$pid/status"; done | awk '{ sum += $2 } END { print sum }'; }
shards() { curl -s -m 8 "http://$(http 0)/shards"; }
count() { shards | grep -o '"shard-id":' | wc -l; }
millis() { echo $(($(date +%s%N) / 1000000)); }
empty_folders() { rm -rf "$work"/node?; }
# Memory of a cluster that has just been started over what is on disk, and is quiet.
restarted_rss() {
    stop_all
    start_all
    ctl "$all" settled --calm 10 --wait 300 || fail "not settled after the start"
}

say "shards of 1 MiB under writes of 16 clients, split meanwhile"
node_arguments=(--shard-capacity=1048576)
start_all
ctl "$all" bench --clients 16 --keys 20000 --value-bytes 1000 --seconds 30 || fail "the bench"
stop_all
empty_folders

say "few shards"
node_arguments=()
start_all
ctl "$all" load "$work/pairs" || fail "the load"
restarted_rss
few=$(count) few_rss=$(rss)
stop_all
empty_folders

say "many shards"
node_arguments=(--shard-capacity=1024)
start_all
ctl "$all" load "$work/pairs" || fail "the load"
ctl "$all" settled --calm 10 --wait 300 || fail "not settled after the load"
loaded_rss=$(rss)
restarted_rss
many=$(count) many_rss=$(rss)
before=$(cpu)
sleep 30
used=$(($(cpu) - before))
echo "idle: $((used / 30)).$((used % 30 / 3)) hundredths of a core, all four nodes together, at $many shards"
echo "memory of all four: $few_rss KiB at $few shards, $many_rss KiB at $many ($loaded_rss KiB before they were restarted):" \
    "$(((many_rss - few_rss) * 100 / (3 * (many - few)) / 100)) KiB a replica"

# A key of every shard: the one that it begins with.
shards | grep -o '"start":"[^"]*"' | cut -d '"' -f 4 >"$work/starts"
awk -F '\t' 'NR == FNR { starts[$1] = 1; next } $1 in starts' "$work/starts" "$work/pairs" >"$work/firsts"
echo "reading a key of $(wc -l <"$work/firsts") shards through node0, while all is well:"
ctl "$(http 0)" verify "$work/firsts" || fail "keys differ"
kill_hard 3
killed=$(millis)
ctl "$(http 0)" verify "$work/firsts" || fail "keys differ"
echo "every shard answers $(($(millis) - killed)) ms after the kill -9 of node3, the reading included"
ctl "$without3" settled --stores 3 --even 1000 --calm 0 --wait 300 || fail "not rebuilt"
echo "every shard has three voters again $(($(millis) - killed)) ms after the kill; 10 s of these until it is held for Down"
