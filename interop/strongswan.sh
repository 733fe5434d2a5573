#!/bin/bash
# Runs independent strongSwan (charon) instances, each inside a network namespace, with ESP in user space.
set -euo pipefail
STATE=${LAB_STATE:?a directory for keys, logs and sockets, not below /run}
PFX=${LAB_PREFIX:-adit-}

usage() { cat <<'USAGE'
Usage: strongswan.sh start NAME --node NODE --conf swanctl.conf [--set KEY=VALUE]... [--loglevel N]
       strongswan.sh stop NAME | crash NAME | alive NAME | log NAME
       strongswan.sh ctl NAME SWANCTL-ARGS...      e.g.  ctl branch --initiate --child net

  --set KEY=VALUE      a strongswan.conf key, e.g. --set charon.retransmit_tries=2 (repeatable)
  --loglevel N         default 2; 4 prints keys and whole messages

Each instance has a mount namespace of its own with a private /run (so /run/charon.vici and
/run/charon.pid do not collide) and a private /etc/swanctl; its files are under $LAB_STATE/NAME.
'crash' ends the daemon with SIGKILL: no DELETE is sent, so that the peer must find out by itself.
ESP goes through charon's kernel-libipsec plug-in: always UDP port 4500, tunnel mode, no ESN.
USAGE
}
CHARON=/usr/lib/ipsec/charon
PLUGINS="random nonce aes sha1 sha2 md5 openssl gmp curve25519 hmac kdf cmac xcbc ctr ccm gcm chapoly drbg pem pkcs1 pkcs8 pubkey x509 kernel-libipsec kernel-netlink socket-default vici updown counters"
die() { echo "strongswan.sh: $*" >&2; exit 1; }

nest() { # turn charon.a.b=c into nested strongswan.conf syntax
  local kv key parts p close
  for kv in "$@"; do
    key=${kv%%=*}; IFS=. read -r -a parts <<<"$key"; close=
    for ((p=0; p<${#parts[@]}-1; p++)); do printf '%s { ' "${parts[p]}"; close="$close }"; done
    printf '%s = %s\n%s\n' "${parts[-1]}" "${kv#*=}" "$close"
  done
}

start() {
  local name=$1 ns='' conf='' lvl=2 fam; local -a sets=(); shift
  while [ $# -gt 0 ]; do case $1 in
    --node) ns=$PFX$2; shift 2 ;; --conf) conf=$2; shift 2 ;;
    --set) sets+=("$2"); shift 2 ;; --loglevel) lvl=$2; shift 2 ;;
    *) die "unknown option $1" ;; esac; done
  [ -n "$ns" ] && [ -n "$conf" ] || die "--node and --conf are needed"
  [ -x $CHARON ] || die "$CHARON is missing: install strongswan-charon"
  local d=$STATE/$name
  stop "$name" >/dev/null 2>&1 || true
  case $(readlink -m "$d")/ in /run/*|/var/run/*) die "LAB_STATE must not be below /run" ;; esac
  mkdir -p "$STATE"; chmod 700 "$STATE"
  [ ! -e "$d/log" ] || cat "$d/log" >> "$STATE/$name.earlier.log"
  rm -rf "$d"
  mkdir -p "$d/run" "$d/swanctl"/{x509,x509ca,x509crl,x509ocsp,x509aa,x509ac,pubkey,private,rsa,ecdsa,bliss,pkcs8,pkcs12,conf.d}
  cp "$conf" "$d/swanctl/swanctl.conf"; chmod 600 "$d/swanctl/swanctl.conf"
  { cat <<CONF
charon {
  load_modular = no
  load = $PLUGINS
  integrity_test = no
  plugins {
    kernel-libipsec { allow_peer_ts = yes }
    openssl { load_legacy = yes }
  }
  filelog { log { path = $d/log
      time_format = %H:%M:%S
      ike_name = yes
      flush_line = yes
      default = 1
      ike = $lvl
      knl = $lvl
      chd = $lvl
      enc = $((lvl>2 ? lvl : 1))
  } }
}
CONF
    nest ${sets[@]+"${sets[@]}"}
  } > "$d/strongswan.conf"
  # A crashed predecessor leaves its policy routing rule behind.
  for fam in -4 -6; do
    while ip -n "$ns" $fam rule del pref 220 2>/dev/null; do :; done
    ip -n "$ns" $fam route flush table 220 2>/dev/null || true
  done
  : > "$d/log"
  # 'ip netns exec' gives the daemon a mount namespace of its own; make it private.
  STRONGSWAN_CONF=$d/strongswan.conf ip netns exec "$ns" setsid bash -c '
      set -e
      d=$1
      mount --make-rprivate /
      mount --bind "$d/swanctl" /etc/swanctl
      echo $$ > "$d/pid"
      mount --bind "$d/run" /run
      exec '$CHARON' >"$d/stdout" 2>&1 </dev/null
    ' _ "$d" &
  for _ in $(seq 200); do [ -S "$d/run/charon.vici" ] && break; sleep 0.05; done
  [ -S "$d/run/charon.vici" ] || { cat "$d/stdout" "$d/log" >&2 2>/dev/null; die "$name did not start"; }
  ctl "$name" --load-all --noprompt > "$d/load.log" 2>&1 || { cat "$d/load.log" >&2; die "$name: configuration not loaded"; }
  disown -a 2>/dev/null || true
}

# swanctl reads /etc/swanctl, so it gets the same private view.
ctl() {
  local name=$1; shift; local d=$STATE/$name
  [ -d "$d" ] || die "no instance $name"
  STRONGSWAN_CONF=$d/strongswan.conf unshare -m bash -c '
     mount --make-rprivate /; mount --bind "$1/swanctl" /etc/swanctl; u=$2; shift 2
     c=$1; shift; exec swanctl "$c" --uri "$u" "$@"' _ "$d" "unix://$d/run/charon.vici" "$@"
}
alive() { [ -f "$STATE/$1/pid" ] && kill -0 "$(cat "$STATE/$1/pid")" 2>/dev/null; }
stop() {
  local p; alive "$1" || return 0
  p=$(cat "$STATE/$1/pid"); kill "$p" 2>/dev/null || true
  for _ in $(seq 60); do kill -0 "$p" 2>/dev/null || break; sleep 0.05; done
  kill -9 "$p" 2>/dev/null || true; rm -f "$STATE/$1/pid"
}
crash() { alive "$1" || die "$1 is not running"; kill -9 "$(cat "$STATE/$1/pid")"; rm -f "$STATE/$1/pid"; }

cmd=${1:-}; [ $# -gt 0 ] && shift
case $cmd in
  start) [ $# -ge 1 ] || { usage >&2; exit 2; }; start "$@" ;;
  stop) stop "$1" ;;
  crash) crash "$1" ;;
  alive) alive "$1" ;;
  ctl) ctl "$@" ;;
  log) cat "$STATE/$1/log" ;;
  -h|--help|help) usage ;;
  *) usage >&2; exit 2 ;;
esac
