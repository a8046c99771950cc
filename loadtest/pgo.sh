#!/usr/bin/env bash
# Builds `adit` as it is measured to be fastest: by a profile of its own work (PGO). Takes two builds and a minute of load.
#
#   loadtest/pgo.sh
#
# Leaves target/pgo/adit. Needs llvm-profdata of the LLVM that rustc has (`rustup component add llvm-tools`, or by `rustc -vV` Debian's llvm-22 for
# Rust 1.95), nginx and curl.
set -euo pipefail
cd "$(dirname "$0")/.."

major=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
host=$(rustc -vV | sed -n 's/^host: //p')
# One of another LLVM reads no profile of this one's, so a program without a version in its name is not asked.
for profdata in "$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata" "llvm-profdata-$major" "/usr/lib/llvm-$major/bin/llvm-profdata"; do
    ! command -v "$profdata" >/dev/null || break
done
for program in "$profdata" nginx curl; do
    PATH=$PATH:/usr/sbin command -v "$program" >/dev/null || { echo "no $program; see the top of $0" >&2; exit 1; }
done

out=$(realpath -m "${CARGO_TARGET_DIR:-target}")/pgo
profile=$out/profile
rm -rf "$profile"
mkdir -p "$profile"
export CARGO_PROFILE_RELEASE_DEBUG=false CARGO_PROFILE_RELEASE_SPLIT_DEBUGINFO=off
# A target that is named keeps the flags away from build scripts.
build() { RUSTFLAGS=$1 cargo build --release --locked --bin adit --target "$host" --target-dir "$out/$2"; }

build "-Cprofile-generate=$profile" counting
cargo build --release --locked -p adit-loadtest
loadtest=${CARGO_TARGET_DIR:-target}/release/adit-loadtest
work=$(mktemp -d)
files=$(mktemp -d)
trap 'kill ${target-} ${origin-} ${launched-} 2>/dev/null; wait 2>/dev/null; rm -rf "$work" "$files"' EXIT
chmod 755 "$work" "$files"

free_ports() { python3 -c 'import socket; s = [socket.create_server(("127.0.0.1", 0)) for _ in range(8)]; print(*(one.getsockname()[1] for one in s))'; }
# Targets stay for as long as their standard input does.
mkfifo "$work/stays"
exec 9<>"$work/stays"
# launch NAME: starts loadtest/targets/NAME and waits for its `ready` line; sets $port and $launched.
launch() {
    mkdir -p "$work/$1"
    : >"$work/$1.said" # The target is started beside this, and may open it later than it is read.
    WORK=$work/$1 PORTS=$(free_ports) loadtest/targets/"$1" run <"$work/stays" 9<&- >"$work/$1.said" &
    launched=$!
    for _ in $(seq 600); do
        port=$(sed -n 's/^ready [a-z]*:\/\/[^:]*:\([0-9]*\).*/\1/p' "$work/$1.said")
        [ -z "$port" ] || return 0
        sleep 0.1
    done
    echo "$1 is not ready within a minute" >&2
    exit 1
}
export HOST=load.localhost ORIGIN_ROOT=$files CACHE=$work CORES=$(nproc) ADIT=$out/counting/$host/release/adit
launch origin
origin=$launched
export ORIGIN_PORT=$port
launch adit
target=$launched
ca=$(sed -n 's/^ready .* ca=\([^ ]*\).*/\1/p' "$work/adit.said")
# What edges mostly do: small answers over both versions, long ones, uploads.
"$loadtest" run bars --loads small-h1,small-h2,download,upload-8 --url "https://$HOST:$port" --connect "127.0.0.1:$port" --ca "$ca"
kill "$target"
wait "$target" || true

"$profdata" merge -o "$out/adit.profdata" "$profile"
build "-Cprofile-use=$out/adit.profdata" built
cp "$out/built/$host/release/adit" "$out/adit"
echo "$out/adit"
