# Of up, down and kdc: the settings, and which processes are the lab's.
LAB_DIR=$(realpath -m "${LAB_DIR:-${TMPDIR:-/tmp}/kerberos-lab}")
LAB_ADDR=${LAB_ADDR:-127.88.0.1}
LAB_REALM=${LAB_REALM:-LAB.TEST}
LAB_USER_PASSWORD=${LAB_USER_PASSWORD:-Lab-User-1!}
LAB_CROWD=${LAB_CROWD:-0}
LAB_GROUPS=${LAB_GROUPS:-0}
LAB_SOCKET=${LAB_SOCKET:-}
PATH=$PATH:/usr/sbin:/sbin

say() { echo "kerberos lab: $*" >&2; }
die() { say "$*"; exit 1; }

lab_is_ours() { [ -O "$LAB_DIR/.kerberos-lab" ]; }

# The lab's own processes. A pid file may outlive its process and the number be
# given to another one, so a pid counts only if it has files in LAB_DIR open.
KDC_PID=$LAB_DIR/dc/run/samba.pid
WEB_PID=$LAB_DIR/web/run/httpd.pid
lab_pids() { # [pid file...]
    local file pid
    [ $# -gt 0 ] || set -- "$KDC_PID" "$WEB_PID"
    for file in "$@"; do
        pid=$(cat "$file" 2>/dev/null) && [ -n "$pid" ] || continue
        ! ls -l "/proc/$pid/fd" 2>/dev/null | grep -qF " $LAB_DIR/" || echo "$pid"
    done
}

lab_running() { [ "$(lab_pids | wc -l)" = 2 ]; }

lab_stop() { # [pid file...]: those processes, or all
    local signal pids
    for signal in TERM KILL; do
        pids=$(lab_pids "$@")
        [ -n "$pids" ] || return 0
        kill -s $signal $pids 2>/dev/null || true
        for _ in $(seq 100); do
            [ -n "$(lab_pids "$@")" ] || return 0
            sleep 0.1
        done
    done
}

# Samba puts itself into the background and writes a pid file.
lab_start_kdc() {
    (cd / && samba -D -M single --configfile="$LAB_DIR/dc/smb.conf" </dev/null >"$LAB_DIR/dc/log/start" 2>&1)
}

# Until the KDC gives the agent a ticket.
lab_await_kdc() {
    local cache=$LAB_DIR/probe.cc
    for _ in $(seq 200); do
        if KRB5_CONFIG=$LAB_DIR/krb5.conf timeout 5 \
            kinit -c "FILE:$cache" -k -t "$LAB_DIR/keytabs/agent.keytab" "svc-agent@$LAB_REALM" 2>/dev/null; then
            rm -f "$cache"
            return 0
        fi
        sleep 0.1
    done
    tail -n 5 "$LAB_DIR/dc/log/samba.log" >&2
    die "the KDC does not answer"
}
