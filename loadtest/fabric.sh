# Sourced by the scripts beside it: starts control, an edge and nginx as processes of their own, in a folder that is removed at
# the end, and gives names to what is asked again and again. Needs release binaries, nginx, curl and python3.
set -u
# Scripts that need other flags set them before.
edge_flags=${edge_flags-} agent_flags=${agent_flags-}
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

mkdir www && echo 'from nginx' > www/index.html
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
"$bin/adit" edge --data-dir edge --join-file edge.token --https "127.0.0.1:$edge" --http off --admin 127.0.0.1:0 --advertise "127.0.0.1:$edge" $edge_flags >edge.log 2>&1 &
edge_id=$!
agent() { "$bin/adit" agent --data-dir "$1" --name "$1" --join-file agent.token --admin 127.0.0.1:0 $agent_flags >"$1.log" 2>&1 & }
