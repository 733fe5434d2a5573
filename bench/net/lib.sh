# What a contender's script is written with: source it first. See README.md.
# Set by the runner: LAB_PREFIX, LAB_STATE (a private folder), ADIT (the optimised binary).
set -euo pipefail
: "${LAB_STATE:?run it with: cargo xtask bench-net}" "${LAB_PREFIX:?}"
BENCH_NET=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$BENCH_NET/../.." && pwd)
LAN_A=172.16.1.0/24 LAN_B=192.168.11.0/24
WAN_A=198.51.100.1 WAN_B=198.51.100.2

node() { local n=$1; shift; ip netns exec "$LAB_PREFIX$n" "$@"; }
cannot_run() { echo "$*"; exit 77; } # the runner leaves the contender out, with the reason
fail() { echo "$*"; exit 1; }

# A daemon of a node; its output goes to $LAB_STATE/NODE.log. It ends when the namespaces are taken down.
daemon() { # NODE COMMAND...
  local n=$1; shift
  ip netns exec "$LAB_PREFIX$n" setsid "$@" >>"$LAB_STATE/$n.log" 2>&1 </dev/null &
  disown
}
wait_for() { # SECONDS COMMAND...: until it succeeds
  local end=$(( $(date +%s) + $1 )); shift
  until "$@" >/dev/null 2>&1; do
    [ "$(date +%s)" -lt "$end" ] || return 1
    sleep 0.1
  done
}
crosses() { node lan-a ping -q -c 1 -W 1 192.168.11.10; }
# The first packets may wait while the tunnel is negotiated.
wait_until_it_carries() {
  wait_for 15 crosses && return 0
  tail -n 20 "$LAB_STATE"/*.log 2>/dev/null || true
  fail "no ping crosses from 172.16.1.10 to 192.168.11.10"
}
