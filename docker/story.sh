#!/usr/bin/env bash
# The first story on real containers: up, write on one node, read on the others, stop one, start it, kill one, read
# everything, start it again, down. Exit status 0 told, 1 it went another way, 77 there is no engine to tell it on.
#   SKIP_BUILD=1   use the image that is there
set -euo pipefail
cd "$(dirname "$0")/.."

timeout 20 docker info >/dev/null 2>&1 || { echo "skipped: no docker engine answers"; exit 77; }
if docker compose version >/dev/null 2>&1; then
    compose=(docker compose)
elif command -v docker-compose >/dev/null; then
    compose=(docker-compose)
else
    echo "skipped: there is no docker compose"
    exit 77
fi
compose+=(-p matrixkv-story)
echo "engine $(docker version -f '{{.Server.Version}}'), ${compose[*]} $("${compose[@]}" version --short)"

cleanup() { timeout 90 "${compose[@]}" down -v --remove-orphans >/dev/null 2>&1 || true; }
trap cleanup EXIT
trap 'exit 1' INT TERM
cleanup

fail() {
    echo "FAILED: $*"
    for port in 8080 8081 8082 8083; do
        for path in "/get?key=k1" /ready /shards; do echo "$port $path: $(ask "$port" "$path" || true)"; done
    done
    "${compose[@]}" ps || true
    "${compose[@]}" logs --tail 20 || true
    exit 1
}
# within SECONDS WHAT COMMAND...: repeats the command until it succeeds.
within() {
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || fail "not so in time: $what"
        sleep 0.2
    done
    echo "ok: $what"
}

ask() { curl -s -m 8 "http://127.0.0.1:$1$2" "${@:3}"; }
is_ready() { ask "$1" /ready -f; }
writes() { [ "$(ask "$1" /set -d "{\"key\":\"$2\",\"value\":\"$3\"}")" = "{\"key\":\"$2\",\"error\":\"\"}" ]; }
reads() { [ "$(ask "$1" "/get?key=$2")" = "{\"key\":\"$2\",\"value\":\"$3\",\"error\":\"\",\"found\":true}" ]; }
has_three_voters() { [ "$(ask 8080 /shards | grep -o '"learner":false' | wc -l)" -eq 3 ]; }
# curl says 7 where nobody listens.
refuses() {
    local status=0
    ask "$1" /health || status=$?
    [ $status -eq 7 ]
}
container() { "${compose[@]}" ps -a -q "$1"; }
inspect() { docker inspect -f "$2" "$(container "$1")"; }
is_healthy() { [ "$(inspect "$1" '{{.State.Health.Status}}')" = healthy ]; }

for port in 8080 8081 8082 8083; do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
        echo "FAILED: port $port is in use (by \`matrixkv demo\`, or a cluster that is up?); the story needs 8080 to 8083"
        exit 1
    fi
done

[ -n "${SKIP_BUILD:-}" ] || bash docker/build.sh
"${compose[@]}" up -d
for port in 8080 8081 8082 8083; do within 60 "the node at $port is ready" is_ready $port; done
within 60 "the first shard has three voters" has_three_voters
within 30 "the health check passes" is_healthy node1
[ "$(inspect node1 '{{.Config.User}}')" = 10001:10001 ] || fail "it runs as another user than 10001"

within 20 "a write on node0" writes 8080 k1 v1
for port in 8081 8082 8083; do within 10 "read at $port" reads $port k1 v1; done

"${compose[@]}" stop node3
[ "$(inspect node3 '{{.State.ExitCode}}')" = 0 ] || fail "node3 was asked to stop and did not end in order"
within 10 "node3 refuses" refuses 8083
within 20 "a write while node3 is stopped" writes 8081 k2 v2
for port in 8080 8081 8082; do within 10 "read at $port" reads $port k2 v2; done
"${compose[@]}" start node3
within 60 "node3 is ready again" is_ready 8083
within 10 "node3 reads what was written meanwhile" reads 8083 k2 v2

docker kill -s KILL "$(container node0)" >/dev/null
within 10 "node0 refuses" refuses 8080
within 20 "a write while node0 is dead" writes 8082 k3 v3
for port in 8081 8082 8083; do
    for n in 1 2 3; do within 10 "read k$n at $port" reads $port k$n v$n; done
done
"${compose[@]}" start node0
within 60 "node0 is ready again" is_ready 8080
for n in 1 2 3; do within 10 "read k$n at 8080" reads 8080 k$n v$n; done

"${compose[@]}" stop
"${compose[@]}" start
for port in 8080 8081 8082 8083; do within 60 "after all were stopped, $port is ready" is_ready $port; done
for n in 1 2 3; do within 10 "read k$n at 8083" reads 8083 k$n v$n; done
"${compose[@]}" down -v
echo "the container story is told"
