#!/bin/bash
# adit.sh udp|esp: two daemons on the host port, AES-256-GCM, ESP in UDP 4500 or as IP protocol 50.
. "$(dirname "$0")/lib.sh"
: "${ADIT:?}"
case ${1:-} in udp) traversal=On ;; esp) traversal=Off ;; *) fail "adit.sh udp|esp" ;; esac

gateway() { # NODE LAN WAN REMOTE-LAN REMOTE-WAN
  local config=$LAB_STATE/$1.adit
  ( umask 077; cat > "$config" ) <<CONF
add PSK key Type=ASCII PSKAscii=of-a-benchmark-and-known-to-everybody
add IPsecAlgorithms gcm AESGCMEnabled=Yes AESGCMMinKeySize=256 AESGCMKeySize=256 AESGCMMaxKeySize=256
    AESEnabled=No
add IPsecTunnel tunnel LocalNetwork=$2 RemoteNetwork=$4 RemoteEndpoint=$5 PSK=key
    IPsecAlgorithms=gcm NATTraversal=$traversal
add IPPolicy Name=out SourceInterface=lan SourceNetwork=$2 DestinationInterface=tunnel DestinationNetwork=$4
    Service=all_services Action=Allow
add IPPolicy Name=in SourceInterface=tunnel SourceNetwork=$4 DestinationInterface=lan DestinationNetwork=$2
    Service=all_services Action=Allow
CONF
  daemon "$1" "$ADIT" run "$config" --control "$LAB_STATE/$1.control" --state "$LAB_STATE/$1.state"
}
gateway gw-a "$LAN_A" "$WAN_A" "$LAN_B" "$WAN_B"
gateway gw-b "$LAN_B" "$WAN_B" "$LAN_A" "$WAN_A"
for n in gw-a gw-b; do
  wait_for 10 grep -q '^adit ready' "$LAB_STATE/$n.log" || { tail -n 20 "$LAB_STATE/$n.log"; fail "adit in $n did not become ready"; }
done
wait_until_it_carries
