#!/usr/bin/env bash
# Measures what long bodies and slow readers cost on this machine: an edge and an agent of one worker each, so that all goes over
# one link, and nginx as the app.
#
#   cargo build --release --workspace && loadtest/http.sh
#
# Prints 10 GiB down and up with the peak memory, and the throughput of 49 downloads beside a reader who stalls, against the same
# without one, in turns; and pages of 10,000 links, untouched and translated in turns. Needs nginx, curl, python3, 12 GiB of disk and ten minutes. All traffic stays on loopback.
edge_flags='--workers 1' agent_flags='--workers 1'
. "$(dirname "$0")/fabric.sh"
truncate -s 10G www/big && head -c 67108864 /dev/urandom > www/part && truncate -s 1G www/long
agent a1; agent_id=$!
until_true linked a1
"$bin/adit" app publish wiki --host wiki.localhost --origin "http://127.0.0.1:$app" --access passthrough >/dev/null
until_true answers 200
echo "idle: edge $(memory $edge_id) agent $(memory $agent_id)"

# 49 downloads at once, in MB/s.
downloads() {
    local begin
    begin=$(now_ms)
    for _ in $(seq 49); do printf 'url=%s/part\noutput=/dev/null\n' "$url"; done >list
    get --parallel --parallel-immediate --parallel-max 49 -K list 2>/dev/null
    echo $((49 * 67109 / ($(now_ms) - begin)))
}
# Asks for a long file and reads nothing of it, for a minute at most.
stall() {
    exec python3 - "$edge" control/ca.pem <<'X'
import socket, ssl, sys, time
context = ssl.create_default_context(cafile=sys.argv[2])
raw = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
user = context.wrap_socket(raw, server_hostname="wiki.localhost")
user.sendall(b"GET /long HTTP/1.1\r\nhost: wiki.localhost\r\n\r\n")
time.sleep(60)
X
}
beside() {
    stall & local reader=$!
    sleep 1
    downloads
    kill $reader; wait $reader 2>/dev/null
}
for round in 1 2 3 4 5 6; do
    # Which comes first changes, as the machine may tire.
    if [ $((round % 2)) = 1 ]; then alone=$(downloads) stalled=$(beside); else stalled=$(beside) alone=$(downloads); fi
    echo "49 downloads: $alone MB/s alone, $stalled MB/s beside a stalled reader: $((100 * stalled / alone)) %"
done
echo "peak so far: edge $(memory $edge_id) agent $(memory $agent_id)"

# Pages of 10,000 links, one after the other on one connection, in MB/s and CPU-ms of the agent a page.
mkdir www/links
python3 - "$app" >www/links/index.html <<'X'
import sys
link = f'<li class="item"><a href="http://127.0.0.1:{sys.argv[1]}/page/1234?x=1" title="A page">Some words about it</a></li>\n'
print("<!doctype html><title>links</title><ul>" + link * 10_000 + "</ul>", end="")
X
"$bin/adit" app publish links --host links.localhost --origin "http://127.0.0.1:$app" --access passthrough --translate-bodies true >/dev/null
links() { get "https://$1.localhost:$edge/links/index.html"; }
until_true eval 'links links | grep -q "https://links.localhost:$edge/page/1234"'
page=$(wc -c <www/links/index.html) pages=200
echo "a page of $page bytes and 10,000 links: $(links links | grep -c "https://links.localhost:$edge/page/") translated, $(links wiki | cmp - www/links/index.html && echo untouched elsewhere)"
ticks() { awk '{print $14 + $15}' "/proc/$agent_id/stat"; }
reads() {
    local begin spent
    begin=$(now_ms) spent=$(ticks)
    for _ in $(seq $pages); do printf 'url=https://%s.localhost:%s/links/index.html\noutput=/dev/null\n' "$1" "$edge"; done >list
    get -K list
    echo "$((pages * page / 1000 / ($(now_ms) - begin))) MB/s, $(((($(ticks) - spent) * 1000 / $(getconf CLK_TCK)) / pages)) CPU-ms of the agent a page"
}
for round in 1 2 3 4; do
    echo "round $round: untouched $(reads wiki); translated $(reads links); agent $(memory $agent_id)"
done

sum=$(sha256sum <www/big)
begin=$(now_ms); got=$(get "$url/big" | sha256sum)
echo "10 GiB down: $(($(now_ms) - begin)) ms, hash $([ "$sum" = "$got" ] && echo equal || echo DIFFERS)"
begin=$(now_ms); get -T www/big "$url/put/big" -o /dev/null
echo "10 GiB up: $(($(now_ms) - begin)) ms, hash $([ "$sum" = "$(sha256sum <www/put/big)" ] && echo equal || echo DIFFERS)"
echo "peak: edge $(memory $edge_id) agent $(memory $agent_id)"
