#!/bin/bash
# A small internet made of network namespaces, with a private network at either end.
set -euo pipefail

PFX=${LAB_PREFIX:-adit-}

usage() {
cat <<USAGE
Usage: topology.sh up [--nat branch|head-office|both] [--second] | down | status | counters | check | sh NODE [CMD...]

  node   interface  address                            meaning
  lan-a  eth0       172.16.1.10/24   2001:db8:a:1::10  a host behind the head office
  gw-a   lan        172.16.1.1/24    2001:db8:a:1::1   the head office's gateway
         wan        198.51.100.1/24  2001:db8:100::1
  wan    to-a       198.51.100.254   2001:db8:100::fe  the internet
         to-b       203.0.113.254    2001:db8:203::fe
  gw-b   wan        203.0.113.1/24   2001:db8:203::1   the branch's gateway
         lan        192.168.11.1/24  2001:db8:b:1::1
  lan-b  eth0       192.168.11.10/24 2001:db8:b:1::10  a host behind the branch

--second adds a second branch with the same network: gw-c, wan 192.0.2.1/24, and the host lan-c
behind it with lan-b's address.

--nat puts a port-randomising NAT in front of a gateway. The NAT takes the gateway's public IPv4
address and passes UDP 500 and 4500 on to it; the gateway behind it has wan 10.99.0.2 (branch) or
10.98.0.2 (head office). These networks have no IPv6.

The internet refuses private addresses, so that only a tunnel can join the two networks; it counts
what it refuses ('counters'). 'check' proves both. Names of namespaces are \$LAB_PREFIX (default
"adit-") + node. 'up' starts from scratch; 'down' ends what still runs in the namespaces.
USAGE
}

NODES="lan-a gw-a nat-a wan nat-b gw-b lan-b gw-c lan-c"
n() { echo "$PFX$1"; }
x() { local ns=$1; shift; ip netns exec "$PFX$ns" "$@"; }
exists() { [ -e "/run/netns/$PFX$1" ]; }

down() {
  local node pid
  for node in $NODES; do
    exists "$node" || continue
    for pid in $(ip netns pids "$PFX$node" 2>/dev/null); do kill "$pid" 2>/dev/null || true; done
  done
  for node in $NODES; do
    exists "$node" || continue
    for _ in $(seq 10); do [ -z "$(ip netns pids "$PFX$node" 2>/dev/null)" ] && break; sleep 0.1; done
    for pid in $(ip netns pids "$PFX$node" 2>/dev/null); do kill -9 "$pid" 2>/dev/null || true; done
    ip netns del "$PFX$node" 2>/dev/null || true
    rm -rf "/etc/netns/$PFX$node" # files of /etc that a scenario gave the node
  done
}

link() { # NODE1 IF1 NODE2 IF2
  ip link add "$2" netns "$(n "$1")" type veth peer name "$4" netns "$(n "$3")"
  local s
  for s in "$1 $2" "$3 $4"; do
    set -- $s
    x "$1" ip link set dev "$2" up
    # Whole, correctly checksummed packets, as they are on a cable.
    x "$1" ethtool -K "$2" tx off rx off tso off gso off gro off sg off >/dev/null 2>&1 || true
  done
}

addr() { # NODE IF ADDRESS...
  local node=$1 dev=$2 a; shift 2
  for a in "$@"; do case $a in
    *:*) x "$node" ip -6 addr add "$a" dev "$dev" nodad ;;
    *)   x "$node" ip addr add "$a" dev "$dev" ;;
  esac; done
}

# A home router: its node, the gateway behind it, inner network, outer address, next hop.
nat_box() {
  local node=$1 gateway=$2 inner=$3 outer=$4 hop=$5
  link "$gateway" wan "$node" in
  addr "$gateway" wan "$inner.2/24"
  addr "$node" in "$inner.1/24"
  addr "$node" out "$outer/24"
  x "$gateway" ip route add default via "$inner.1"
  x "$node" ip route add default via "$hop"
  x "$node" sysctl -qw net.ipv4.ip_forward=1
  x "$node" nft -f - <<NFT
table ip home {
  chain inward { type nat hook prerouting priority -100; policy accept;
    iifname "out" udp dport { 500, 4500 } dnat to $inner.2
  }
  chain outward { type nat hook postrouting priority 100; policy accept;
    oifname "out" masquerade random
  }
  chain onward { type filter hook forward priority 0; policy drop;
    ct state established,related accept
    iifname "in" accept
    ct status dnat accept
  }
}
NFT
}

up() {
  local nat=none second=
  while [ $# -gt 0 ]; do case $1 in
    --nat) nat=$2; shift 2 ;;
    --second) second=yes; shift ;;
    *) usage >&2; exit 2 ;;
  esac; done
  case $nat in none|branch|head-office|both) ;; *) usage >&2; exit 2 ;; esac
  down
  local node nodes="lan-a gw-a wan gw-b lan-b"
  case $nat in head-office|both) nodes="$nodes nat-a" ;; esac
  case $nat in branch|both) nodes="$nodes nat-b" ;; esac
  [ -z "$second" ] || nodes="$nodes gw-c lan-c"
  for node in $nodes; do
    ip netns add "$(n "$node")"
    x "$node" ip link set lo up
    x "$node" sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 \
      net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 2>/dev/null || true
  done
  for node in gw-a wan gw-b; do
    x "$node" sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
  done

  link lan-a eth0 gw-a lan
  link gw-b lan lan-b eth0
  addr lan-a eth0 172.16.1.10/24 2001:db8:a:1::10/64
  addr gw-a lan 172.16.1.1/24 2001:db8:a:1::1/64
  addr gw-b lan 192.168.11.1/24 2001:db8:b:1::1/64
  addr lan-b eth0 192.168.11.10/24 2001:db8:b:1::10/64
  x lan-a ip route add default via 172.16.1.1;   x lan-a ip -6 route add default via 2001:db8:a:1::1
  x lan-b ip route add default via 192.168.11.1; x lan-b ip -6 route add default via 2001:db8:b:1::1

  case $nat in
    head-office|both) link nat-a out wan to-a; nat_box nat-a gw-a 10.98.0 198.51.100.1 198.51.100.254 ;;
    *) link gw-a wan wan to-a
       addr gw-a wan 198.51.100.1/24 2001:db8:100::1/64
       x gw-a ip route add default via 198.51.100.254 ;;
  esac
  case $nat in
    branch|both) link nat-b out wan to-b; nat_box nat-b gw-b 10.99.0 203.0.113.1 203.0.113.254 ;;
    *) link gw-b wan wan to-b
       addr gw-b wan 203.0.113.1/24 2001:db8:203::1/64
       x gw-b ip route add default via 203.0.113.254 ;;
  esac
  addr wan to-a 198.51.100.254/24 2001:db8:100::fe/64
  addr wan to-b 203.0.113.254/24 2001:db8:203::fe/64
  case $nat in none)
    x gw-a ip -6 route add default via 2001:db8:100::fe
    x gw-b ip -6 route add default via 2001:db8:203::fe ;;
  esac

  if [ -n "$second" ]; then
    x gw-c sysctl -qw net.ipv4.ip_forward=1
    link gw-c wan wan to-c
    addr gw-c wan 192.0.2.1/24
    addr wan to-c 192.0.2.254/24
    x gw-c ip route add default via 192.0.2.254
    link gw-c lan lan-c eth0
    addr gw-c lan 192.168.11.1/24
    addr lan-c eth0 192.168.11.10/24
    x lan-c ip route add default via 192.168.11.1
  fi

  # The internet carries no private addresses, and counts those that leave the head office.
  x wan nft -f - <<'NFT'
table inet internet {
  counter leaked { }
  counter plain_esp { }
  counter udp_esp { }
  # Before routing: what has no way here dies there, and would never be counted behind it.
  chain arriving { type filter hook prerouting priority -300; policy accept;
    ip saddr 172.16.1.0/24 counter name leaked drop
    ip6 saddr 2001:db8:a::/48 counter name leaked drop
  }
  chain onward { type filter hook forward priority 0; policy accept;
    ip daddr { 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 } drop
    ip saddr { 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 } drop
    ip6 daddr { 2001:db8:a::/48, 2001:db8:b::/48 } drop
    meta l4proto esp counter name plain_esp
    udp dport 4500 counter name udp_esp
  }
}
NFT
}

counters() { # packets refused because they carried an address of the head office's network; ESP packets; UDP 4500
  local c
  for c in leaked plain_esp udp_esp; do
    echo "$c $(x wan nft list counter inet internet "$c" | sed -n 's/.*packets \([0-9]*\).*/\1/p')"
  done
}

status() { local node
  for node in $NODES; do
    exists "$node" || continue
    echo "== $PFX$node"; x "$node" ip -br addr | sed 's/^/   /'
  done; }

check() {
  local bad=0
  ok()  { if "$@" >/dev/null 2>&1; then echo "ok    $*"; else echo "FAIL  $*"; bad=1; fi; }
  nok() { if "$@" >/dev/null 2>&1; then echo "FAIL  (should not pass) $*"; bad=1; else echo "ok    no path: $*"; fi; }
  ok  x gw-a ping -c1 -W2 203.0.113.254
  ok  x gw-b ping -c1 -W2 198.51.100.254
  ok  x lan-a ping -c1 -W2 172.16.1.1
  ok  x lan-b ping -c1 -W2 192.168.11.1
  nok x lan-a ping -c1 -W1 192.168.11.10
  # The counter that scenarios trust to stay at zero must see this packet.
  ok test "$(counters | awk '$1 == "leaked" { print $2 }')" = 1
  x wan nft reset counter inet internet leaked >/dev/null
  return $bad
}

case ${1:-} in
  up) shift; up "$@" ;;
  down) down ;;
  status) status ;;
  counters) counters ;;
  check) check ;;
  sh) shift; node=$1; shift; [ $# -gt 0 ] || set -- bash; exec ip netns exec "$(n "$node")" "$@" ;;
  -h|--help|help) usage ;;
  *) usage >&2; exit 2 ;;
esac
