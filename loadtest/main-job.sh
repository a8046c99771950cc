#!/usr/bin/env bash
# Measures the main job on this machine: control, edge and agents as processes of their own, nginx as the app.
#
#   cargo build --release --workspace && loadtest/main-job.sh
#
# Prints times from publish to the first answer and from delete to 404, 1 GiB down and up with the peak memory, requests lost
# when one agent is killed and another drains under 200 requests/s, and the demo's start. Needs nginx and curl, 4 GiB of disk
# and two minutes. All traffic stays on loopback.
#
# Ends with 1, and the list of what is not as it must be, when a hash differs, a request is lost, a drain or the demo fails, a process
# holds 100 MiB or more, or publishing or deleting takes more than a second to reach users.
. "$(dirname "$0")/fabric.sh"
memory_kib_max=$((100 * 1024)) reach_ms_max=1000
wrong=()
must() { local what=$1; shift; "$@" || { wrong+=("$what"); echo "WRONG: $what"; }; }
peak_kib() { awk '/VmHWM/ { print $2 }' "/proc/$1/status"; }
must_be_small() { local kib; kib=$(peak_kib "$2"); must "$1 held ${kib:-unknown} KiB" [ "${kib:-$memory_kib_max}" -lt $memory_kib_max ]; }
must_be_soon() { must "$1 took $2 ms" [ "$2" -le $reach_ms_max ]; }
# Says whether the hash on standard input is that of the original, and holds it against it if not.
compare() { [ "$sum" = "$(sha256sum)" ] && echo equal || { echo DIFFERS; return 1; }; }
head -c 1073741824 /dev/urandom > www/big
agent a1; first=$!
until_true linked a1
echo "idle: control $(memory $control_id) edge $(memory $edge_id) agent $(memory $first)"

begin=$(now_ms)
"$bin/adit" app publish wiki --host wiki.localhost --origin "http://127.0.0.1:$app" --access passthrough >/dev/null
until_true answers 200
took=$(($(now_ms) - begin))
echo "publish to first 200: $took ms, the command's own start included"
must_be_soon 'publish to first 200' $took

sum=$(sha256sum <www/big)
moved() { # NAME BEGIN FILE: tells of a GiB that has arrived in FILE
    echo -n "1 GiB $1: $(($(now_ms) - $2)) ms, hash "
    must "the hash of 1 GiB $1" compare <"$3"
}
begin=$(now_ms); must 'the download' get --fail "$url/big" -o down; moved down $begin down
begin=$(now_ms); must 'the upload' get --fail -T www/big "$url/put/known" -o /dev/null; moved up $begin www/put/known
begin=$(now_ms); must 'the chunked upload' get --fail -T - -H 'Transfer-Encoding: chunked' "$url/put/chunked" -o /dev/null <www/big
moved 'up, chunked' $begin www/put/chunked
echo "peak: edge $(memory $edge_id) agent $(memory $first)"
must_be_small edge $edge_id; must_be_small a1 $first; must_be_small control $control_id

agent a2; second=$!
until_true linked a2
"$bin/adit-loadtest" --ca control/ca.pem --connect "127.0.0.1:$edge" --rate 200 --duration 30s "$url/" >load.txt 2>&1 &
load=$!
sleep 6; kill -9 $first; echo 'a1 killed'
sleep 6; agent a3; until_true linked a3
sleep 3; kill -TERM $second; wait $second; code=$?; echo "a2 drained, exit $code"
must 'the drain of a2' [ $code -eq 0 ]
wait $load; code=$?; cat load.txt
must 'requests were lost' [ $code -eq 0 ]
must 'the load did not run' grep -q '^answered' load.txt
must_be_small edge $edge_id

begin=$(now_ms)
"$bin/adit" app delete wiki >/dev/null
until_true answers 404
took=$(($(now_ms) - begin))
echo "delete to 404: $took ms"
must_be_soon 'delete to 404' $took

begin=$(now_ms)
"$bin/adit" demo --port 0 >demo.log 2>&1 &
demo=$!
until_true grep -q curl demo.log
code=$(sh -c "$(grep curl demo.log) -s -o /dev/null -w '%{http_code}'")
echo "demo: start to first $code: $(($(now_ms) - begin)) ms, memory $(memory $demo)"
must "the demo's first answer is $code" [ "$code" = 200 ]

if [ ${#wrong[@]} -gt 0 ]; then
    printf 'not as it must be: %s\n' "${wrong[@]}"
    exit 1
fi
echo 'all as it must be'
