#!/bin/bash
# charon with ESP in user space (kernel-libipsec, a TUN device, UDP 4500), AES-256-GCM.
. "$(dirname "$0")/lib.sh"

gateway() { # NODE LAN WAN REMOTE-LAN REMOTE-WAN
  ( umask 077; cat > "$LAB_STATE/$1.conf" ) <<CONF
connections {
  bench {
    version = 2
    local_addrs = $3
    remote_addrs = $5
    proposals = aes256gcm16-prfsha256-curve25519
    local { auth = psk
      id = $3 }
    remote { auth = psk
      id = $5 }
    children { net {
      local_ts = $2
      remote_ts = $4
      esp_proposals = aes256gcm16
    } }
  }
}
secrets { ike { secret = "of-a-benchmark-and-known-to-everybody" } }
CONF
  "$ROOT/interop/strongswan.sh" start "$1" --node "$1" --conf "$LAB_STATE/$1.conf" --loglevel 1
}
gateway gw-a "$LAN_A" "$WAN_A" "$LAN_B" "$WAN_B"
gateway gw-b "$LAN_B" "$WAN_B" "$LAN_A" "$WAN_A"
"$ROOT/interop/strongswan.sh" ctl gw-a --initiate --child net --timeout 15 > "$LAB_STATE/initiate.log" 2>&1 \
  || { tail -n 15 "$LAB_STATE/initiate.log"; fail "strongSwan could not bring the tunnel up"; }
wait_until_it_carries
