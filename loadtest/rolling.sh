#!/usr/bin/env bash
# Restarts everything in turns while users ask, and counts what they lose.
#
#   cargo build --release --workspace && loadtest/rolling.sh [AGENT_ROUNDS [EDGE_ROUNDS]]
#
# Two agents are drained and started again AGENT_ROUNDS times each (10) under 300 requests/s and 20 downloads of 20 s; then two edges change
# hands EDGE_ROUNDS times each (5: a new process takes over from the one that serves) under 150 requests/s through either, 20 downloads and
# 10 WebSockets through either, which the one that leaves closes with 1001 (going away) at its limit, and not before. Ends with 1 when anything
# failed. Needs nginx, curl and python3-websockets; takes some fifteen minutes. All traffic stays on loopback.
. "$(dirname "$0")/fabric.sh"
agent_rounds=${1:-10} edge_rounds=${2:-5}
wrong=()
must() { local what=$1; shift; "$@" || { wrong+=("$what"); echo "WRONG: $what"; }; }
# More than the buffers on the way hold: an agent that left early would cut it.
head -c 20000000 /dev/urandom > www/slow
sum=$(sha256sum <www/slow)

sockets=$(realpath "$OLDPWD/loadtest/sockets.py")
chat=$(port)
/usr/bin/python3 "$sockets" serve "$chat" &
second_edge=$(port)
"$bin/adit" token create --role edge >second.token 2>/dev/null
edge_one() { "$bin/adit" edge --data-dir edge --https "127.0.0.1:$edge" --http off --admin 127.0.0.1:0 --advertise "127.0.0.1:$edge" >>edge.log 2>&1 & }
edge_two() { "$bin/adit" edge --data-dir second --name e2 --join-file second.token --https "127.0.0.1:$second_edge" --http off --admin 127.0.0.1:0 --advertise "127.0.0.1:$second_edge" >>second.log 2>&1 & }
edge_two; second_id=$!
# One uplink for each worker of both edges. What control shows of an agent may be half a second old, so the agent itself is asked.
workers=$(($(nproc) < 8 ? $(nproc) : 8))
declare -A admin=([a1]=$(port) [a2]=$(port))
agent() { "$bin/adit" agent --data-dir "$1" --name "$1" --join-file agent.token --admin "127.0.0.1:${admin[$1]}" $agent_flags >>"$1.log" 2>&1 & }
both() { curl -s "http://127.0.0.1:${admin[$1]}/metrics" | awk '/^agent_uplinks\{.*state="up"/ { up += $NF } END { exit up < 2 * '"$workers"' }'; }
agent a1; a1=$!
agent a2; a2=$!
until_true both a1; until_true both a2
"$bin/adit" app publish wiki --host wiki.localhost --origin "http://127.0.0.1:$app" --access passthrough >/dev/null
"$bin/adit" app publish chat --host chat.localhost --origin "http://127.0.0.1:$chat" --access passthrough >/dev/null
until_true answers 200
resolve() { echo "wiki.localhost:$1:127.0.0.1"; }
second_url=https://wiki.localhost:$second_edge
second_answers() { [ "$(get --resolve "$(resolve "$second_edge")" -o /dev/null -w '%{http_code}' "$second_url/")" = 200 ]; }
until_true second_answers

# Users who download one file after the other, 20 s each and each a second later than the one before, until the file `over` is there: so
# there always are some that have most of their way before them.
downloads() { # URL NAME
    for user in $(seq 20); do
        (sleep "$user"
        while [ ! -e over ]; do
            get --limit-rate 1000k --fail "$1/slow" | sha256sum | grep -q "${sum%% *}" && echo well || echo lost
        done >"downloads.$2.$user") &
    done
}
# Requests at this rate, ten seconds after ten seconds, until the file `over` is there. Ends with 1 if any was lost.
load() { # PORT RATE NAME
    local code=0
    while [ ! -e over ]; do
        "$bin/adit-loadtest" --ca control/ca.pem --connect "127.0.0.1:$1" --rate "$2" --duration 10s "https://wiki.localhost:$1/" >>"$3.txt" 2>&1 || code=1
    done
    return $code
}
# How long an edge lets what is under way go on: `drain_deadline`, as it is without a setting.
limit_ms=30000
# WebSockets through one edge. Each that ends does so with 1001, not before its edge's limit and a few seconds behind it at most.
sockets_of() { # NAME
    local closed early=0 late=0 other
    closed=$(grep -c '^closed 1001 ' "sockets.$1")
    other=$(grep -vc '^closed 1001 ' "sockets.$1")
    while read -r _ _ at; do
        local left=0 begun
        while read -r begun; do [ "$begun" -le "$at" ] && left=$((at - begun)); done <"began.$1"
        [ $left -ge $((limit_ms - 500)) ] || early=$((early + 1))
        [ $left -le $((limit_ms + 5000)) ] || late=$((late + 1))
    done < <(grep '^closed 1001 ' "sockets.$1")
    echo "WebSockets of the $1 edge: $closed closed with 1001, $early of them before the limit, $late late, $other ended otherwise"
    must "WebSockets of the $1 edge ended otherwise than with 1001" [ "$other" -eq 0 ]
    must "WebSockets of the $1 edge were closed before the limit" [ "$early" -eq 0 ]
    must "WebSockets of the $1 edge were closed late" [ "$late" -eq 0 ]
    must "no WebSocket of the $1 edge was closed" [ "$closed" -gt 0 ]
}
told() { # NAMES OF LOADS
    for name in "$@"; do echo "== $name"; grep -hE 'answered|failed' "$name.txt" | sort | uniq -c; done
    local well lost
    well=$(cat downloads.*.* | grep -c well) lost=$(cat downloads.*.* | grep -c lost)
    echo "downloads of 20 s: $well well, $lost lost"
    must 'downloads were lost' [ "$lost" -eq 0 ]
    must 'no download ended' [ "$well" -gt 0 ]
    rm -f over downloads.*
}
restart() { # NAME ID: sets $restarted
    kill -TERM "$2"; wait "$2"; local code=$?
    must "the drain of $1 ended with $code" [ $code -eq 0 ]
    agent "$1"; restarted=$!
    until_true both "$1"
}

echo "agents: 2 x $agent_rounds restarts"
downloads "$url" agents
load "$edge" 300 agents & asking=$!
began=$(now_ms)
for round in $(seq "$agent_rounds"); do
    restart a1 "$a1"; a1=$restarted
    restart a2 "$a2"; a2=$restarted
    echo "round $round: $((($(now_ms) - began) / 1000)) s"
done
touch over
wait $asking; code=$?
must 'requests were lost while agents were restarted' [ $code -eq 0 ]
sleep 21
told agents

echo "edges: 2 x $edge_rounds hand-overs"
downloads "$url" edges
load "$edge" 150 first & first=$!
load "$second_edge" 150 second & second=$!
hold() { /usr/bin/python3 "$sockets" hold "wss://chat.localhost:$1/" control/ca.pem "$1" 10 over >"sockets.$2" & }
hold "$edge" first; first_sockets=$!
hold "$second_edge" second; second_sockets=$!
sleep 2
for round in $(seq "$edge_rounds"); do
    before=$edge_id; now_ms >>began.first; edge_one; edge_id=$!
    wait "$before"; code=$?
    must "the first edge ended with $code" [ $code -eq 0 ]
    before=$second_id; now_ms >>began.second; edge_two; second_id=$!
    wait "$before"; code=$?
    must "the second edge ended with $code" [ $code -eq 0 ]
    echo "round $round"
done
# Until users have heard of the last one.
sleep 2
touch over
wait $first; code=$?; must 'requests were lost at the first edge' [ $code -eq 0 ]
wait $second; code=$?; must 'requests were lost at the second edge' [ $code -eq 0 ]
wait $first_sockets $second_sockets
sleep 21
told first second
sockets_of first
sockets_of second

if [ ${#wrong[@]} -gt 0 ]; then
    printf 'not as it must be: %s\n' "${wrong[@]}"
    exit 1
fi
echo 'all as it must be'
