#!/bin/bash
# wireguard-go: ChaCha20-Poly1305, which is all it has; UDP 51820. WIREGUARD_GO names another binary than Debian's.
. "$(dirname "$0")/lib.sh"
program=${WIREGUARD_GO:-wireguard-go}

umask 077
for n in gw-a gw-b; do wg genkey | tee "$LAB_STATE/$n.key" | wg pubkey > "$LAB_STATE/$n.pub"; done

gateway() { # NODE PEER REMOTE-LAN REMOTE-WAN
  # Its control socket has a fixed place below /run: a private one for each node.
  mkdir -p "$LAB_STATE/$1.run"
  node "$1" bash -c '
    set -e
    mount --make-rprivate /
    mount --bind "$1" /run
    setsid "$7" -f wg0 >>"$2" 2>&1 </dev/null &
    for _ in $(seq 100); do [ -S /run/wireguard/wg0.sock ] && break; sleep 0.05; done
    wg set wg0 listen-port 51820 private-key "$3" peer "$4" allowed-ips "$5" endpoint "$6:51820"
  ' _ "$LAB_STATE/$1.run" "$LAB_STATE/$1.log" "$LAB_STATE/$1.key" "$(cat "$LAB_STATE/$2.pub")" "$3" "$4" "$program"
  node "$1" ip link set dev wg0 mtu 1420 up
  node "$1" ip route add "$3" dev wg0
}
gateway gw-a gw-b "$LAN_B" "$WAN_B"
gateway gw-b gw-a "$LAN_A" "$WAN_A"
wait_until_it_carries
