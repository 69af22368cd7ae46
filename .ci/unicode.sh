#!/usr/bin/env bash
# Real input: Debian's UnicodeData.txt goes in through all four nodes while the node that leads the shard is killed with
# -9 and started again; then every key is read back through every node, byte for byte. Needs the release binary, curl
# and the package `unicode-data`.
set -euo pipefail
cd "$(dirname "$0")/.."
binary=${MATRIXKV:-target/release/matrixkv}
source=${UNICODE_DATA:-/usr/share/unicode/UnicodeData.txt}
[ -x "$binary" ] || { echo "$binary is missing: cargo build --release"; exit 1; }
[ -r "$source" ] || { echo "$source is missing: apt-get install unicode-data"; exit 1; }

work=$(mktemp -d)
pids=()
cleanup() {
    for pid in ${pids[@]+"${pids[@]}"} ${load:-}; do kill -9 "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

fail() {
    echo "FAILED: $*"
    tail -n 8 "$work"/*.log "$work"/*.out 2>/dev/null || true
    exit 1
}
# within SECONDS WHAT COMMAND...: repeats the command until it succeeds.
within() {
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || fail "not so in time: $what"
        sleep 0.1
    done
    echo "ok: $what"
}

# Ten ports a node, from a base below the ports that the system hands out by itself.
is_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
is_free_block() { for port in $(seq "$1" $(($1 + 39))); do ! is_taken "$port" || return 1; done; }
base=
for _ in $(seq 50); do
    candidate=$((20000 + RANDOM % 200 * 50))
    if is_free_block $candidate; then base=$candidate && break; fi
done
[ -n "$base" ] || fail "no block of free ports was found"

http() { echo "127.0.0.1:$((base + 10 * $1))"; }
all=$(http 0),$(http 1),$(http 2),$(http 3)
config() {
    local at=$((base + 10 * $1))
    echo "addr-raft = \"127.0.0.1:$((at + 1))\""
    echo "addr-client = \"127.0.0.1:$((at + 2))\""
    echo "dir-data = \"$work/node$1\""
    echo "[prophet]"
    echo "name = \"node$1\""
    if [ "$1" -eq 3 ]; then
        echo "external-etcd = [\"http://127.0.0.1:$((base + 4))\", \"http://127.0.0.1:$((base + 14))\"]"
        return
    fi
    echo "prophet-node = true"
    echo "rpc-addr = \"127.0.0.1:$((at + 3))\""
    echo "[prophet.embed-etcd]"
    [ "$1" -eq 0 ] || echo "join = \"http://127.0.0.1:$((base + 5))\""
    echo "client-urls = \"http://127.0.0.1:$((at + 4))\""
    echo "peer-urls = \"http://127.0.0.1:$((at + 5))\""
}
start() {
    "$binary" --addr="$(http "$1")" --cfg="$work/node$1.toml" >>"$work/node$1.log" 2>&1 </dev/null &
    pids[$1]=$!
}
is_ready() { "$binary" ctl --node "$(http "$1")" health --ready; }
has_three_voters() { [ "$(curl -s -m 4 "http://$(http 0)/shards" | grep -o '"learner":false' | wc -l)" -eq 3 ]; }

for i in 0 1 2 3; do config $i >"$work/node$i.toml"; done
for i in 0 1 2 3; do start $i; done
for i in 0 1 2 3; do within 60 "node$i is ready" is_ready $i; done
within 60 "the shard has three voters" has_three_voters

awk -F';' '{ key = $1; sub(/^[^;]*;/, ""); print key "\t" $0 }' "$source" >"$work/pairs"
records=$(wc -l <"$work/pairs")
[ "$records" -gt 30000 ] || fail "$source has only $records records"
echo "loading $records records through $all"
"$binary" ctl --node "$all" load "$work/pairs" >"$work/load.out" 2>&1 </dev/null &
load=$!
# The load goes through the file in order: this key is in when about a tenth is.
early=$(sed -n "$((records / 10))p" "$work/pairs" | cut -f 1)
within 60 "a tenth is in" "$binary" ctl --node "$all" get "$early"

store_of() { curl -s -m 8 "http://$(http "$1")/shards?local=true" | sed 's/^{"store-id":\([0-9]*\),.*/\1/'; }
leader=$(curl -s -m 8 "http://$(http 3)/shards" | grep -o '"store-id":[0-9]*,"role":"L"' | grep -o '[0-9]*' | head -n 1)
victim=
for i in 0 1 2 3; do if [ "$(store_of $i)" = "$leader" ]; then victim=$i; fi; done
[ -n "$victim" ] || fail "no node leads the shard"
kill -0 $load 2>/dev/null || fail "the load was over before the leader could be killed"
echo "node$victim leads the shard; killing it with -9"
kill -9 "${pids[$victim]}"
wait "${pids[$victim]}" 2>/dev/null || true
sleep 2
kill -0 $load 2>/dev/null || fail "the load was over while the leader was dead"
start "$victim"

status=0
wait $load || status=$?
load=
tail -n 5 "$work/load.out"
[ $status -eq 0 ] || fail "the load ended with $status"
within 60 "node$victim is ready again" is_ready "$victim"
"$binary" ctl --node "$all" verify "$work/pairs" || fail "what was read is not what was written"

for i in 0 1 2 3; do kill -TERM "${pids[$i]}"; done
for i in 0 1 2 3; do
    status=0
    wait "${pids[$i]}" || status=$?
    [ $status -eq 0 ] || fail "node$i was asked to stop and ended with $status"
done
pids=()
echo "all $records records are there, through every node"
