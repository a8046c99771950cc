#!/usr/bin/env bash
# Measures the main job on this machine: control, edge and agents as processes of their own, nginx as the app.
#
#   cargo build --release --workspace && loadtest/main-job.sh
#
# Prints times from publish to the first answer and from delete to 404, 1 GiB down and up with the peak memory, requests lost
# when one agent is killed and another drains under 200 requests/s, and the demo's start. Needs nginx and curl, 4 GiB of disk
# and two minutes. All traffic stays on loopback.
. "$(dirname "$0")/fabric.sh"
head -c 1073741824 /dev/urandom > www/big
agent a1; first=$!
until_true linked a1
echo "idle: control $(memory $control_id) edge $(memory $edge_id) agent $(memory $first)"

begin=$(now_ms)
"$bin/adit" app publish wiki --host wiki.localhost --origin "http://127.0.0.1:$app" --access passthrough >/dev/null
until_true answers 200
echo "publish to first 200: $(($(now_ms) - begin)) ms, the command's own start included"

sum=$(sha256sum <www/big)
begin=$(now_ms); get "$url/big" -o down
echo "1 GiB down: $(($(now_ms) - begin)) ms, hash $([ "$sum" = "$(sha256sum <down)" ] && echo equal || echo DIFFERS)"
begin=$(now_ms); get -T www/big "$url/put/known" -o /dev/null
echo "1 GiB up: $(($(now_ms) - begin)) ms, hash $([ "$sum" = "$(sha256sum <www/put/known)" ] && echo equal || echo DIFFERS)"
begin=$(now_ms); get -T - -H 'Transfer-Encoding: chunked' "$url/put/chunked" -o /dev/null <www/big
echo "1 GiB up, chunked: $(($(now_ms) - begin)) ms, hash $([ "$sum" = "$(sha256sum <www/put/chunked)" ] && echo equal || echo DIFFERS)"
echo "peak: edge $(memory $edge_id) agent $(memory $first)"

agent a2; second=$!
until_true linked a2
"$bin/adit-loadtest" --ca control/ca.pem --connect "127.0.0.1:$edge" --rate 200 --duration 30s "$url/" >load.txt 2>&1 &
load=$!
sleep 6; kill -9 $first; echo 'a1 killed'
sleep 6; agent a3; until_true linked a3
sleep 3; kill -TERM $second; wait $second; echo "a2 drained, exit $?"
wait $load; cat load.txt

begin=$(now_ms)
"$bin/adit" app delete wiki >/dev/null
until_true answers 404
echo "delete to 404: $(($(now_ms) - begin)) ms"

begin=$(now_ms)
"$bin/adit" demo --port 0 >demo.log 2>&1 &
demo=$!
until_true grep -q curl demo.log
code=$(sh -c "$(grep curl demo.log) -s -o /dev/null -w '%{http_code}'")
echo "demo: start to first $code: $(($(now_ms) - begin)) ms, memory $(memory $demo)"
