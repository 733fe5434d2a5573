#!/bin/bash
# OpenVPN in user space, one peer to one peer over TLS, data in AES-256-GCM over UDP 1194.
. "$(dirname "$0")/lib.sh"

umask 077
for n in gw-a gw-b; do
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$n" \
    -keyout "$LAB_STATE/$n.key" -out "$LAB_STATE/$n.crt" 2> "$LAB_STATE/openssl.log" || fail "$(cat "$LAB_STATE/openssl.log")"
done
fingerprint() { openssl x509 -noout -fingerprint -sha256 -in "$LAB_STATE/$1.crt" | cut -d= -f2; }

gateway() { # NODE PEER ROLE INNER PEER-INNER REMOTE-LAN WAN REMOTE-WAN
  daemon "$1" openvpn --dev tun0 --dev-type tun --topology p2p --ifconfig "$4" "$5" --route "${6%/*}" 255.255.255.0 \
    --local "$7" --remote "$8" --port 1194 --proto udp --"$3" --cert "$LAB_STATE/$1.crt" --key "$LAB_STATE/$1.key" \
    --peer-fingerprint "$(fingerprint "$2")" --dh none --data-ciphers AES-256-GCM --cipher AES-256-GCM \
    --tun-mtu 1420 --mssfix 0 --disable-dco --verb 3
}
gateway gw-a gw-b tls-server 10.9.0.1 10.9.0.2 "$LAN_B" "$WAN_A" "$WAN_B"
gateway gw-b gw-a tls-client 10.9.0.2 10.9.0.1 "$LAN_A" "$WAN_B" "$WAN_A"
wait_until_it_carries
