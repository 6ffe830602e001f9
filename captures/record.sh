#!/bin/bash
# Records captures/shop.pcap and captures/checkout.pcapng anew: the builtin shop, driven by real clients on the
# loopback interface of a network namespace of its own, under tcpdump. Needs root, iproute2, tcpdump, editcap (Debian:
# wireshark-common), curl, python3. Leaves nothing behind but the two files.
#
#   captures/record.sh [SECONDS]        default 30
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-30}
space=meshbed-record-$$
port=8080
work=$(mktemp -d)
children=()

cleanup() {
    trap - EXIT INT TERM
    for child in "${children[@]}"; do kill "$child" 2>/dev/null || true; done
    wait 2>/dev/null || true
    ip netns del "$space" 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

cargo build --example shop
ip netns add "$space"
inside() { ip netns exec "$space" "$@"; }
inside ip link set lo up

# The shop serves until its standard input ends.
mkfifo "$work/keep"
ip netns exec "$space" "${CARGO_TARGET_DIR:-target}/debug/examples/shop" --port $port --seed 1 <"$work/keep" >"$work/shop.out" &
children+=($!)
exec 9>"$work/keep"
for _ in $(seq 50); do
    inside curl -sf -o /dev/null http://127.0.0.1:$port/healthz && break
    sleep 0.1
done

# record FILE INTERFACE DRIVE...: tcpdump on the front's port while the rest runs.
record() {
    local file=$1 interface=$2
    shift 2
    # Called directly, not through a function, so that $! is tcpdump itself.
    ip netns exec "$space" tcpdump -Z root -i "$interface" -U -s 0 -B 8192 -w "$file" "tcp port $port" 2>"$work/tcpdump.err" &
    local dump=$!
    children+=($dump)
    until grep -q "listening on" "$work/tcpdump.err"; do sleep 0.05; done
    inside python3 captures/drive.py "$@"
    sleep 0.5
    kill -TERM $dump
    wait $dump || true
    grep -E "captured|dropped" "$work/tcpdump.err"
}

record "$work/shop.pcap" lo browse "http://127.0.0.1:$port" "$seconds"
# On "any" packets come in Linux cooked frames; editcap makes the file pcapng.
record "$work/checkout.pcap" any buy "http://127.0.0.1:$port" 30
editcap -F pcapng "$work/checkout.pcap" "$work/checkout.pcapng"
mv "$work/shop.pcap" captures/shop.pcap
mv "$work/checkout.pcapng" captures/checkout.pcapng
ls -l captures/shop.pcap captures/checkout.pcapng
