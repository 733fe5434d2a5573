#!/bin/bash
# Host - gateway - gateway - host, in network namespaces, all on one machine.
set -euo pipefail
PFX=${LAB_PREFIX:?a prefix for the names of the namespaces}

usage() { cat <<'USAGE'
Usage: topology.sh up off|on|gro | down

  lan-a  eth0  172.16.1.10     gw-a  lan  172.16.1.1      gw-b  wan  198.51.100.2    lan-b  eth0  192.168.11.10
                                     wan  198.51.100.1          lan  192.168.11.1

  off  no link offloads anywhere: every frame is a packet of at most 1500 bytes, as on a cable
  on   as the kernel makes the links, with GRO: segmentation may be left to whoever comes last, as between virtual machines
  gro  as off, but the gateways' own interfaces merge what arrives, as a network card's driver does
USAGE
}

NODES="lan-a gw-a gw-b lan-b"
x() { local ns=$1; shift; ip netns exec "$PFX$ns" "$@"; }
pids() { local n; for n in $NODES; do [ ! -e "/run/netns/$PFX$n" ] || ip netns pids "$PFX$n" 2>/dev/null || true; done; }

down() {
  local node pid
  for pid in $(pids); do kill "$pid" 2>/dev/null || true; done
  for _ in $(seq 20); do [ -n "$(pids)" ] || break; sleep 0.1; done
  for pid in $(pids); do kill -9 "$pid" 2>/dev/null || true; done
  for node in $NODES; do
    [ ! -e "/run/netns/$PFX$node" ] || ip netns del "$PFX$node" 2>/dev/null || true
  done
}

link() { # NODE1 IF1 ADDRESS1 NODE2 IF2 ADDRESS2
  ip link add "$2" netns "$PFX$1" type veth peer name "$5" netns "$PFX$4"
  x "$1" ip addr add "$3" dev "$2"; x "$1" ip link set dev "$2" up
  x "$4" ip addr add "$6" dev "$5"; x "$4" ip link set dev "$5" up
}

offloads() { # NODE INTERFACE SETTING
  case $3 in
    off) x "$1" ethtool -K "$2" tx off rx off sg off tso off gso off gro off ;;
    on) x "$1" ethtool -K "$2" gro on ;;
    gro) case $1 in
        gw-*) x "$1" ethtool -K "$2" tx off sg off tso off gso off gro on ;;
        *) x "$1" ethtool -K "$2" tx off rx off sg off tso off gso off gro off ;;
      esac ;;
  esac >/dev/null 2>&1 || { echo "ethtool cannot set the offloads of $2 in $1 to $3"; exit 1; }
}

up() {
  case ${1:-} in off|on|gro) ;; *) usage >&2; exit 2 ;; esac
  down
  local n
  for n in $NODES; do
    ip netns add "$PFX$n"
    x "$n" ip link set lo up
    x "$n" sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1 \
      net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 2>/dev/null || true
  done
  for n in gw-a gw-b; do x "$n" sysctl -qw net.ipv4.ip_forward=1; done
  link lan-a eth0 172.16.1.10/24 gw-a lan 172.16.1.1/24
  link gw-a wan 198.51.100.1/24 gw-b wan 198.51.100.2/24
  link gw-b lan 192.168.11.1/24 lan-b eth0 192.168.11.10/24
  x lan-a ip route add default via 172.16.1.1
  x lan-b ip route add default via 192.168.11.1
  for n in "lan-a eth0" "gw-a lan" "gw-a wan" "gw-b wan" "gw-b lan" "lan-b eth0"; do offloads $n "$1"; done
}

case ${1:-} in
  up) shift; up "$@" ;;
  down) down ;;
  -h|--help|help) usage ;;
  *) usage >&2; exit 2 ;;
esac
