#!/bin/bash
# The kernel forwards; no tunnel. What the machine and its links can do.
. "$(dirname "$0")/lib.sh"
node gw-a ip route add "$LAN_B" via "$WAN_B"
node gw-b ip route add "$LAN_A" via "$WAN_A"
wait_until_it_carries
