# Sourced by the scripts beside it: four nodes of one's own, as processes on free ports, with the demo's down-times. They
# and the folder $work are gone when the script ends.
binary=${MATRIXKV:-target/release/matrixkv}
source=${UNICODE_DATA:-/usr/share/unicode/UnicodeData.txt}
[ -x "$binary" ] || { echo "$binary is missing: cargo build --release"; exit 1; }
[ -r "$source" ] || { echo "$source is missing: apt-get install unicode-data"; exit 1; }

work=$(mktemp -d)
pids=()
# Arguments of every node, and what every node's configuration has besides.
node_arguments=() node_limits=""
cleanup() {
    for pid in ${pids[@]+"${pids[@]}"} ${load:-}; do kill -9 "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

script_began=$SECONDS
say() { printf '%4d s  %s\n' $((SECONDS - script_began)) "$*"; }
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
    say "$what"
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
without3=$(http 0),$(http 1),$(http 2)
config() {
    local at=$((base + 10 * $1))
    echo "addr-raft = \"127.0.0.1:$((at + 1))\""
    echo "addr-client = \"127.0.0.1:$((at + 2))\""
    echo "dir-data = \"$work/node$1\""
    echo "$node_limits"
    echo "[replication]"
    echo "max-peer-down-time = \"15s\""
    echo "[prophet.schedule]"
    echo "max-container-down-time = \"10s\""
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
    config "$1" >"$work/node$1.toml"
    "$binary" --addr="$(http "$1")" --cfg="$work/node$1.toml" ${node_arguments[@]+"${node_arguments[@]}"} \
        >>"$work/node$1.log" 2>&1 </dev/null &
    pids[$1]=$!
}
# stop NODE: in order.
stop() {
    local status=0
    kill -TERM "${pids[$1]}"
    wait "${pids[$1]}" || status=$?
    [ $status -eq 0 ] || fail "node$1 was asked to stop and ended with $status"
    unset "pids[$1]"
}
kill_hard() {
    kill -9 "${pids[$1]}"
    wait "${pids[$1]}" 2>/dev/null || true
    unset "pids[$1]"
}
ctl() { "$binary" ctl --node "$@"; }
is_ready() { ctl "$(http "$1")" health --ready; }
# Every shard has three voters, as a node that leads Prophet knows it.
has_three_voters() { ctl "$(http 0)" settled --even 1000 --calm 0 --wait 0; }
start_all() {
    for i in 0 1 2 3; do start $i; done
    for i in 0 1 2 3; do within 60 "node$i is ready" is_ready $i; done
    within 60 "every shard has three voters" has_three_voters
}
stop_all() { for i in 0 1 2 3; do stop $i; done; }

# The records of Debian's UnicodeData.txt as lines of key and value.
awk -F';' '{ key = $1; sub(/^[^;]*;/, ""); print key "\t" $0 }' "$source" >"$work/pairs"
records=$(wc -l <"$work/pairs")
[ "$records" -gt 30000 ] || fail "$source has only $records records"
