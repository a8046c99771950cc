#!/usr/bin/env bash
# Measures the main job on this machine: control, edge and agents as processes of their own, nginx as the app.
#
#   cargo build --release --workspace && loadtest/main-job.sh
#
# Prints times from publish to the first answer and from delete to 404, 1 GiB down and up with the peak memory, requests lost
# when one agent is killed and another drains under 200 requests/s, and the demo's start. Needs nginx and curl, 4 GiB of disk
# and two minutes. All traffic stays on loopback.
set -u
cd "$(dirname "$0")/.."
bin=$(realpath "${CARGO_TARGET_DIR:-target}")/release
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; wait 2>/dev/null; rm -rf "$work"' EXIT
chmod 755 "$work"
cd "$work" || exit 1

port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
now_ms() { echo $(($(date +%s%N) / 1000000)); }
memory() { grep -E 'VmHWM|VmRSS' "/proc/$1/status" | tr -s '\t ' ' ' | tr '\n' ' '; }
# Tries a command for a minute at most.
until_true() {
    local end=$(($(now_ms) + 60000))
    until "$@"; do [ "$(now_ms)" -lt $end ] || { echo "gave up on: $*" >&2; exit 1; }; done
}
control=$(port) edge=$(port) app=$(port)
url=https://wiki.localhost:$edge
get() { curl -s --cacert control/ca.pem "$@"; }
answers() { [ "$(get -o /dev/null -w '%{http_code}' "$url/")" = "$1" ]; }
linked() { "$bin/adit" agent show "$1" --output json 2>/dev/null | grep -q edges/; }

mkdir www && echo 'from nginx' > www/index.html && head -c 1073741824 /dev/urandom > www/big
as=; [ "$(id -u)" -ne 0 ] || as='user root;'
cat > nginx.conf <<X
$as daemon off; pid nginx.pid; error_log stderr; worker_processes 1; events {}
http { access_log off; client_max_body_size 0; client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
server { listen 127.0.0.1:$app; root www; location /put/ { dav_methods PUT; create_full_put_path on; } } }
X
PATH=$PATH:/usr/sbin nginx -e stderr -p . -c nginx.conf 2>nginx.log &
"$bin/adit" control --data-dir control --domain localhost --listen "127.0.0.1:$control" --advertise "127.0.0.1:$control" --admin 127.0.0.1:0 >control.log 2>&1 &
control_id=$!
export ADIT_PROFILE=control/operator.toml
until_true "$bin/adit" status >/dev/null 2>&1
"$bin/adit" token create --role edge >edge.token 2>/dev/null
"$bin/adit" token create --group default --uses 3 >agent.token 2>/dev/null
"$bin/adit" edge --data-dir edge --join-file edge.token --https "127.0.0.1:$edge" --http off --admin 127.0.0.1:0 --advertise "127.0.0.1:$edge" >edge.log 2>&1 &
edge_id=$!
agent() { "$bin/adit" agent --data-dir "$1" --name "$1" --join-file agent.token --admin 127.0.0.1:0 >"$1.log" 2>&1 & }
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
