#!/usr/bin/env bash
# What links over QUIC are worth on a path that loses packets: 20 requests of 100 KiB at once, by links over QUIC and by links over TCP in turns.
#
#   cargo build --release --workspace && loadtest/lossy.sh [LOSS_PERCENT [RTT_MS [ROUNDS [SECONDS]]]]
#
# 1 % each way, 40 ms, 4 rounds of 10 s; TCP by CUBIC, or what TCP_CONGESTION says. The agents and the origin are in a network namespace at the other end of link.py, which treats
# every packet alike. Users, who sit beside the edge, are not on that path. Prints the percentiles of each, and ends with 1 unless
# QUIC's p95 is 1.5 times better, by all rounds together. Needs root, iproute2 and python3; without root it says so, and ends with 0.
set -u
# What Linux comes with. TCP is treated by it, at both ends.
control_of_tcp=${TCP_CONGESTION-cubic}
loss=${1:-1} rtt=${2:-40} rounds=${3:-4} seconds=${4:-10}
better_at_least=1.5
here=$(realpath "$(dirname "$0")")
bin=${BIN:-$(realpath "${CARGO_TARGET_DIR:-$here/../target}")/release}
if [ "$(id -u)" -ne 0 ] || [ ! -c /dev/net/tun ]; then
    echo 'NOT RUN: a path that loses packets takes root, and /dev/net/tun'
    exit 0
fi
work=$(mktemp -d)
far=adit-lossy-$$ near_device=al$(($$ % 100000))n far_device=al$(($$ % 100000))f
near_address=198.18.79.1 far_address=198.18.79.2
clean() {
    kill $(jobs -p) 2>/dev/null
    # What runs there is no job itself, but a child of one.
    ip netns pids "$far" 2>/dev/null | xargs -r kill 2>/dev/null
    wait 2>/dev/null
    ip netns del "$far" 2>/dev/null
    rm -rf "$work"
}
trap clean EXIT
trap 'exit 1' INT TERM
cd "$work" || exit 1

until_true() {
    local end=$((SECONDS + 60))
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || { echo "gave up on: $*" >&2; tail -n 5 ./*.log >&2; exit 1; }
        sleep 0.05
    done
}
port() { python3 -c "import socket; s = socket.socket(); s.bind(('$near_address', 0)); print(s.getsockname()[1])"; }
there() { ip netns exec "$far" "$@"; }

ip netns add "$far" || exit 1
python3 "$here/link.py" --delay "$(awk "BEGIN { print $rtt / 2 }")" --loss "$loss" "$near_device" "$far_device" >link.txt 2>link.log &
link_id=$!
until_true grep -q ready link.txt
ip link set "$far_device" netns "$far"
ip addr add "$near_address/30" dev "$near_device" && ip link set "$near_device" up
there ip addr add "$far_address/30" dev "$far_device" && there ip link set "$far_device" up && there ip link set lo up
ip route replace 198.18.79.0/30 dev "$near_device" src "$near_address" congctl "$control_of_tcp"
there ip route replace 198.18.79.0/30 dev "$far_device" src "$far_address" congctl "$control_of_tcp"

control=$near_address:$(port) edge=$near_address:$(port)
"$bin/adit" control --data-dir control --domain localhost --listen "$control" --advertise "$control" --admin 127.0.0.1:0 >control.log 2>&1 &
export ADIT_PROFILE=control/operator.toml
until_true "$bin/adit" status
"$bin/adit" token create --role edge >edge.token 2>/dev/null
"$bin/adit" edge --data-dir edge --join-file edge.token --https "$edge" --http off --admin 127.0.0.1:0 --advertise "$edge" >edge.log 2>&1 &
there "$bin/adit-loadtest" origin --listen 127.0.0.1:9000 >origin.log 2>&1 &
for over in quic tcp; do
    "$bin/adit" group create "$over" >/dev/null
    "$bin/adit" token create --group "$over" >"$over.token" 2>/dev/null
    there "$bin/adit" agent --data-dir "$over" --name "$over" --join-file "$over.token" --transport "$over" --admin 127.0.0.1:0 >"$over.log" 2>&1 &
    "$bin/adit" app publish "$over" --group "$over" --host "$over.localhost" --origin http://127.0.0.1:9000 --access passthrough >/dev/null
done
sed "s/^duration.*/duration = \"${seconds}s\"/" "$here/scenarios/lossy.toml" >lossy.toml
load() { # TRANSPORT
    "$bin/adit-loadtest" run lossy.toml --url "https://$1.localhost:${edge##*:}" --connect "$edge" --ca control/ca.pem --json
}
answers() {
    [ "$(curl -s -o /dev/null -w '%{http_code}' --cacert control/ca.pem --resolve "$1.localhost:${edge##*:}:$near_address" "https://$1.localhost:${edge##*:}/bytes/10")" = 200 ]
}
for over in quic tcp; do until_true answers $over; done

wrong=0
for round in $(seq "$rounds"); do
    for over in quic tcp; do
        load $over >"$over.$round.json" || { echo "WRONG: requests failed over $over"; wrong=1; }
    done
done
kill $link_id
until_true grep -q back link.txt
echo "tcp by $control_of_tcp, $loss % lost each way, $rtt ms: $(tail -n 2 link.txt | tr '\n' ' ')"
python3 - "$better_at_least" <<'END' || wrong=1
import glob, json, statistics, sys
tallies = {over: [json.load(open(name))[0]["tally"] for name in sorted(glob.glob(f"{over}.*.json"))] for over in ("quic", "tcp")}
def median(over, measure): return statistics.median(measure(tally) for tally in tallies[over])
for over in tallies:
    figures = " ".join(f"{name} {median(over, lambda tally: tally['latency_ms'][name]):.0f} ms," for name in ("p50", "p95", "p99", "max"))
    print(f"{over:5} {figures} {median(over, lambda tally: tally['requests_per_second']):.1f} requests/s (medians of {len(tallies[over])} rounds)")
better = median("tcp", lambda tally: tally["latency_ms"]["p95"]) / median("quic", lambda tally: tally["latency_ms"]["p95"])
bar = float(sys.argv[1])
print(f"p95 over quic is {better:.2f} times better than over tcp: {'met' if better >= bar else 'MISSED'}, {bar} is wanted")
sys.exit(better < bar)
END
exit $wrong
