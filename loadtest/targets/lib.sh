# Sourced by every target; README.md beside it has the contract. Gives `start`, `start_nginx`, `serve` and smaller ones.
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/../sign_in.sh"
PATH=$PATH:/usr/sbin:/sbin
ulimit -n "$(ulimit -Hn)"
read -r -a ports <<<"${PORTS-}"
started=() cookie=

not_here() { echo "not-here $*"; exit 0; }
# need PROGRAM PACKAGE
need() { command -v "$1" >/dev/null || not_here "no $1; it comes with the Debian package $2"; }

# start NAME COMMAND...: runs it until the target ends; $pid is its process.
start() {
    local name=$1
    shift
    "$@" >"$WORK/$name.log" 2>&1 </dev/null &
    pid=$!
    started+=("$pid")
}

stop() {
    trap - EXIT
    [ ${#started[@]} -eq 0 ] || kill "${started[@]}" 2>/dev/null || true
    # Whoever starts a target kills its process group when this takes too long.
    wait || true
}
trap stop EXIT
trap 'exit 0' TERM INT HUP

# until_true COMMAND...: tries it for 50 s.
until_true() {
    local end=$((SECONDS + 50))
    until "$@"; do
        [ $SECONDS -lt $end ] || { echo "gave up on: $*" >&2; tail -n 5 "$WORK"/*.log >&2; exit 1; }
        sleep 0.05
    done
}
# takes_grpc: the origin is asked over HTTP/2, because the load is gRPC.
takes_grpc() { [ "${ORIGIN_SPEAKS-}" = h2c ]; }
# with_grpc VERSIONS: adds gRPC where this run forwards it.
with_grpc() { if takes_grpc; then echo "$1,grpc"; else echo "$1"; fi; }

# answers PORT CA: the whole path up to the origin works.
answers() {
    curl -sS -f -o /dev/null --max-time 5 --resolve "$HOST:$1:127.0.0.1" --cacert "$2" -H "cookie: $cookie" "https://$HOST:$1/1k" 2>"$WORK/curl.log"
}

# serve PORT CA VERSIONS NAME=PID...: says that the target is ready, and stays.
serve() {
    local port=$1 ca=$2 versions=$3 standing
    shift 3
    until_true answers "$port" "$ca"
    echo "ready https://$HOST:$port ca=$ca http=$versions${cookie:+ cookie=$cookie} $*"
    stay
}
stay() {
    # A background command reads /dev/null unless it is told otherwise.
    exec 3<&0
    cat <&3 >/dev/null &
    standing=$!
    started+=("$standing")
    wait -n || true
    kill -0 "$standing" 2>/dev/null || exit 0
    echo "a process of the target has ended" >&2
    tail -n 5 "$WORK"/*.log >&2
    exit 1
}

# start_nginx NAME <SERVERS: nginx with a worker for each core, nothing logged, and connections that stay open.
start_nginx() {
    local folder=$WORK/$1 user=
    mkdir -p "$folder"
    # Workers of a master that runs as root would be nobody, and could not read the folders.
    [ "$(id -u)" -ne 0 ] || user='user root;'
    {
        cat <<END
$user daemon off; pid nginx.pid; error_log stderr; worker_processes $CORES;
events { worker_connections 4096; }
http {
    access_log off; sendfile on; tcp_nopush on; server_tokens off;
    keepalive_requests 100000000; keepalive_timeout 300s; client_max_body_size 0;
    ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:tls:10m; ssl_session_timeout 1h;
    client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
    map \$http_upgrade \$connection_or_upgrade { default upgrade; '' ''; }
END
        cat
        echo '}'
    } >"$folder/nginx.conf"
    start "$1" nginx -e stderr -p "$folder" -c nginx.conf
}
nginx_version() { nginx -v 2>&1 | sed 's/.*: //'; }

# nginx_tls PORT: what a server needs to take TLS from users.
nginx_tls() {
    cat <<END
    listen 127.0.0.1:$1 ssl http2 reuseport backlog=4096; server_name $HOST;
    ssl_certificate $CERTIFICATE; ssl_certificate_key $KEY;
END
}
# nginx_forward SCHEME: passes all on to the upstream `next`; bodies of requests stream, as they do in the others, and an origin that
# wants its answer passed on at once is heard by the next nginx too.
nginx_forward() {
    if takes_grpc; then
        echo "location / { grpc_pass ${1/http/grpc}://next; }"
        return
    fi
    cat <<END
    location / {
        proxy_pass $1://next; proxy_http_version 1.1; proxy_request_buffering off; proxy_pass_header X-Accel-Buffering;
        proxy_set_header Host \$host; proxy_set_header X-Forwarded-For \$remote_addr; proxy_set_header X-Forwarded-Proto \$scheme;
        proxy_set_header Upgrade \$http_upgrade; proxy_set_header Connection \$connection_or_upgrade;
    }
END
}
# nginx_upstream PORT: where `next` is, over connections that stay open.
nginx_upstream() { echo "upstream next { server 127.0.0.1:$1; keepalive 128; keepalive_requests 100000000; keepalive_timeout 300s; }"; }
# nginx_front PORT NEXT: servers of one hop, TLS from users and plain HTTP to the port NEXT.
nginx_front() {
    nginx_upstream "$2"
    echo 'server {'
    nginx_tls "$1"
    nginx_forward http
    echo '}'
}
