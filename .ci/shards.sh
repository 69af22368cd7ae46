#!/usr/bin/env bash
# Many shards on real processes: Debian's UnicodeData.txt goes into a demo cluster whose shards split at 1024 bytes, node3
# is killed and stays away past its time, and returns. Each time the cluster must become whole, even and calm, and at the
# end every key must be there through every node. Prints how long each took. Needs the release binary and the package
# `unicode-data`. CALM is how many seconds nothing may move at the end.
set -euo pipefail
cd "$(dirname "$0")/.."
binary=${MATRIXKV:-target/release/matrixkv}
source=${UNICODE_DATA:-/usr/share/unicode/UnicodeData.txt}
calm=${CALM:-30}
[ -x "$binary" ] || { echo "$binary is missing: cargo build --release"; exit 1; }
[ -r "$source" ] || { echo "$source is missing: apt-get install unicode-data"; exit 1; }

work=$(mktemp -d)
demo="" node3=""
cleanup() {
    [ -z "$node3" ] || kill -9 "$node3" 2>/dev/null || true
    [ -z "$demo" ] || kill -INT "$demo" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

nodes=127.0.0.1:8080,127.0.0.1:8081,127.0.0.1:8082,127.0.0.1:8083
without3=127.0.0.1:8080,127.0.0.1:8081,127.0.0.1:8082
ctl() { "$binary" ctl --node "$@"; }
fail() { echo "FAILED: $*"; tail -n 5 "$work"/*.log; exit 1; }
cpu() { for pid in "$@"; do cat "/proc/$pid/stat"; done | awk '{sum += $14 + $15} END {print sum}'; }

"$binary" demo --dir "$work/data" >"$work/demo.log" 2>&1 &
demo=$!
for _ in $(seq 300); do
    sleep 0.2
    grep -q "kill -9" "$work/demo.log" && break
done
awk -F';' '{print $1 "\t" $0}' "$source" >"$work/pairs"

ctl $nodes load "$work/pairs" || fail "the load"
ctl $nodes settled --calm 5 --wait 300 || fail "not settled after the load"

pid=$(pgrep -P "$demo" -f -- '--addr=127.0.0.1:8083')
command=$(tr '\0' ' ' <"/proc/$pid/cmdline")
kill -9 "$pid"
killed=$(date +%s%N)
until ctl $without3 verify "$work/pairs" >/dev/null 2>&1; do :; done
echo "every key answers through the other three $((($(date +%s%N) - killed) / 1000000)) ms after kill -9, the reading included"
sleep 12
ctl $without3 settled --calm 5 --wait 300 || fail "not settled without node3"

$command >"$work/node3.log" 2>&1 &
node3=$!
ctl $without3 settled --calm "$calm" --wait 400 || fail "not settled after node3 came back"
pids="$(pgrep -P "$demo" | paste -sd' ') $node3"
before=$(cpu $pids)
sleep 10
echo "idle: $(($(cpu $pids) - before)) hundredths of a second of CPU in 10 s, all four together"
for pid in $pids; do grep VmRSS "/proc/$pid/status"; done
du -sm "$work"/data/*/store.redb 2>/dev/null || true
ctl $nodes verify "$work/pairs" || fail "keys differ"
echo "ok"
