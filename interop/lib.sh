# What a scenario's test is written with: source it first. See README.md for the whole list.
# Set by the runner: ADIT (the binary), LAB_PREFIX, LAB_STATE, PORTS (host or packet); by the test's own place: SCENARIO.
set -euo pipefail
: "${LAB_STATE:?run scenarios with: cargo xtask interop}" "${LAB_PREFIX:?}"
INTEROP=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
SCENARIO=$(cd "$(dirname "$0")" && pwd)
CONTROL=$LAB_STATE/control
ADIT_LOG=$LAB_STATE/adit.log
ADIT_PID=
LAN_A=172.16.1.10 LAN_B=192.168.11.10
LAN_A6=2001:db8:a:1::10 LAN_B6=2001:db8:b:1::10

say() { echo "-- $*"; }
cannot_run() { echo "$*"; exit 77; } # the runner reports it as skipped, with the reason
fail() { echo "FAILED: $*"; exit 1; }
exec 3>&1 # where the test reports to, whatever a command's own output is sent to
trap 'echo "FAILED: line $LINENO of $0: $BASH_COMMAND" >&3' ERR

# --- the world ---------------------------------------------------------------------------------------------

world() { rm -f "$LAB_STATE/cards"; "$INTEROP/topology.sh" up "$@"; }
node() { local n=$1; shift; ip netns exec "$LAB_PREFIX$n" "$@"; }
internet_counter() { "$INTEROP/topology.sh" counters | awk -v c="$1" '$1 == c { print $2 }'; }

# Nothing of the head office's network may have left it unprotected.
no_leak() {
  local leaked; leaked=$(internet_counter leaked)
  [ "$leaked" = 0 ] || fail "$leaked packets of the head office's network reached the internet unencrypted"
}

# NODE INTERFACE ADDRESS [GATEWAY]: this IPv4 address and no other.
readdress() {
  node "$1" ip -4 addr flush dev "$2"
  node "$1" ip addr add "$3" dev "$2"
  [ $# -lt 4 ] || node "$1" ip route replace default via "$4"
}

# --- adit, in gw-a -----------------------------------------------------------------------------------------

ports_are() { [ "${PORTS:-host}" = "$1" ]; }

# With PORTS=packet the kernel of gw-a loses the addresses of its network cards, and adit's configuration gets them:
# a line 'CARD PROPERTIES' for each in the file 'cards', which outlives adit.
take_cards() {
  local card address network gateway line
  [ ! -e "$LAB_STATE/cards" ] || return 0
  for card in lan wan; do
    line="Port=Packet"
    address=$(node gw-a ip -4 -o addr show dev $card | awk '{ print $4; exit }')
    network=$(node gw-a ip -4 route show dev $card proto kernel | awk '{ print $1; exit }')
    gateway=$(node gw-a ip -4 route show default dev $card | awk '{ print $3; exit }')
    line+="${address:+ IP=${address%/*} Network=$network}${gateway:+ DefaultGateway=$gateway}"
    address=$(node gw-a ip -6 -o addr show dev $card scope global | awk '{ print $4; exit }')
    network=$(node gw-a ip -6 route show dev $card proto kernel | awk '!/^fe80/ { print $1; exit }')
    gateway=$(node gw-a ip -6 route show default dev $card | awk '{ print $3; exit }')
    line+="${address:+ EnableIPv6=Yes IPv6IP=${address%/*} IPv6Network=$network}${gateway:+ IPv6DefaultGateway=$gateway}"
    echo "$card $line" >> "$LAB_STATE/cards"
  done
  for card in lan wan; do
    node gw-a ip addr flush dev $card
    node gw-a sysctl -qw net.ipv6.conf.$card.disable_ipv6=1
  done
  node gw-a sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0
}

# The configuration of CONFIG for the kind of ports: what it says of an Ethernet stays, the addresses come in addition.
configuration() {
  local card properties text
  text=$(cat "$1")
  if ports_are packet; then
    take_cards
    while read -r card properties; do
      if grep -qE "^add (Interface )?Ethernet $card\b" <<<"$text"; then
        text=$(sed -E "s#^(add (Interface )?Ethernet $card\b.*)#\1 $properties#" <<<"$text")
      else
        text="add Ethernet $card $properties"$'\n'"$text"
      fi
    done < "$LAB_STATE/cards"
  fi
  echo "$text"
}

start_adit() { # [CONFIG]
  local config=$LAB_STATE/running.adit before
  mkdir -p "$LAB_STATE/adit"
  install -m 600 /dev/null "$config" # it holds a key: for nobody else's eyes
  configuration "${1:-$SCENARIO/head-office.adit}" > "$config"
  touch "$ADIT_LOG"; before=$(wc -l < "$ADIT_LOG")
  # Not through a function: its process, not a subshell's, is to be signalled.
  ip netns exec "${LAB_PREFIX}gw-a" "$ADIT" run "$config" --control "$CONTROL" --state "$LAB_STATE/adit" >>"$ADIT_LOG" 2>&1 3>&- &
  ADIT_PID=$!
  adit_ready() { tail -n +$((before + 1)) "$ADIT_LOG" | grep -q '^adit ready'; }
  for _ in $(seq 100); do
    adit_ready && return 0
    kill -0 "$ADIT_PID" 2>/dev/null || break
    sleep 0.1
  done
  tail -40 "$ADIT_LOG"; fail "adit did not become ready"
}
stop_adit() { # ends it in good order; its exit status must be 0
  local status=0
  kill -TERM "$ADIT_PID"; wait "$ADIT_PID" || status=$?
  ADIT_PID=
  [ "$status" = 0 ] || fail "adit ended with status $status after SIGTERM"
}
crash_adit() { kill -KILL "$ADIT_PID"; wait "$ADIT_PID" 2>/dev/null || true; ADIT_PID=; }
adit_cli() { "$ADIT" cli --control "$CONTROL" "$@"; }
adit_alive() { [ -n "$ADIT_PID" ] && kill -0 "$ADIT_PID" 2>/dev/null || fail "adit is not running any more"; }

# --- strongSwan, in gw-b -----------------------------------------------------------------------------------

start_branch() { "$INTEROP/strongswan.sh" start branch --node gw-b --conf "${CONF:-$SCENARIO/branch.swanctl.conf}" "$@" 3>&-; }
# strongSwan in gw-c of 'world --second'
start_second() { "$INTEROP/strongswan.sh" start second --node gw-c --conf "$SCENARIO/second.swanctl.conf" "$@" 3>&-; }
stop_branch() { "$INTEROP/strongswan.sh" stop branch; }
crash_branch() { "$INTEROP/strongswan.sh" crash branch; }
branch() { "$INTEROP/strongswan.sh" ctl branch "$@"; }
branch_log() { "$INTEROP/strongswan.sh" log branch; }
# A changed swanctl.conf for the running daemon, from standard input.
reconfigure_branch() { cat > "$LAB_STATE/branch/swanctl/swanctl.conf"; branch --load-all --noprompt >/dev/null; }
initiate() { branch --initiate --child "${1:-net}" --timeout 15 > "$LAB_STATE/initiate.log" 2>&1; }
initiate_ok() { initiate "$@" || { tail -15 "$LAB_STATE/initiate.log"; fail "strongSwan could not bring up ${1:-net}"; }; }
initiate_refused() { if initiate "$@"; then tail -5 "$LAB_STATE/initiate.log"; fail "strongSwan brought up ${1:-net}, which had to be refused"; fi; }
terminate_branch() { branch --terminate --ike hq --timeout 5 >/dev/null 2>&1 || true; }
branch_children() { branch --list-sas 2>/dev/null | grep -c 'INSTALLED' || true; } # how many child SAs strongSwan has
branch_has() { [ "$(branch_children)" = "$1" ]; }
branch_log_count() { branch_log | grep -cE -- "$1" || true; }

# --- traffic and what to expect ----------------------------------------------------------------------------

ping_ok() { # NODE ADDRESS [PING-OPTIONS]
  local from=$1 to=$2; shift 2
  node "$from" ping -q -c 3 -i 0.2 -W 2 "$@" "$to" > "$LAB_STATE/ping.log" 2>&1 \
    || { cat "$LAB_STATE/ping.log"; fail "no answer: $from -> $to ($*)"; }
  say "ping $from -> $to $*: $(grep -o '[0-9]* received' "$LAB_STATE/ping.log")"
}
ping_fails() {
  local from=$1 to=$2; shift 2
  if node "$from" ping -q -c 2 -i 0.2 -W 1 "$@" "$to" >/dev/null 2>&1; then fail "an answer, where there must be none: $from -> $to"; fi
}
# The first packets wait while the tunnel is negotiated: the answer may take some seconds.
ping_brings_up() {
  local from=$1 to=$2; shift 2
  node "$from" ping -q -c 1 -W 10 "$@" "$to" >/dev/null 2>&1 || wait_for 10 node "$from" ping -q -c 1 -W 1 "$@" "$to" \
    || fail "$from -> $to does not bring the tunnel up"
}
ping_both_ways() { ping_ok lan-a $LAN_B; ping_ok lan-b $LAN_A; ping_ok lan-a $LAN_B -s 1300; ping_ok lan-b $LAN_A -s 4000; }

# FROM TO ADDRESS [transfer.py options]; transfers in the background: 'wait_transfers'
transfer() {
  local from=$1 to=$2 address=$3; shift 3
  "$INTEROP/transfer.py" --from "$LAB_PREFIX$from" --to "$LAB_PREFIX$to" --address "$address" "$@" \
    || fail "transfer $from -> $to"
}
transfer_both_ways() { transfer lan-a lan-b $LAN_B "$@"; transfer lan-b lan-a $LAN_A "$@"; }

# 'serve NODE --name N --tcp PORTS --udp PORTS' answers whoever asks with 'N PEER PORT OWN-ADDRESS PORT'; 'ask NODE tcp|udp
# ADDRESS PORT' prints that, or why there is none.
serve() {
  local node=$1 log; shift
  log=$LAB_STATE/serve.$node.log
  node "$node" "$INTEROP/talk.py" serve "$@" > "$log" 2>&1 3>&- &
  wait_for 5 grep -q ready "$log" || { cat "$log"; fail "no server in $node"; }
}
ask() { local node=$1; shift; node "$node" "$INTEROP/talk.py" ask "$@" 2>&1 || true; }
# EXTENDED-REGEX NODE tcp|udp ADDRESS PORT ...: what the answer is like
ask_ok() {
  local pattern=$1 answer; shift
  answer=$(ask "$@")
  say "$*: $answer"
  expect_in "$answer" "$pattern"
}
TRANSFERS=()
transfer_in_background() { transfer "$@" & TRANSFERS+=($!); }
wait_transfers() { local t; for t in "${TRANSFERS[@]}"; do wait "$t" || fail "a transfer broke"; done; TRANSFERS=(); }

wait_for() { # SECONDS COMMAND...: until it succeeds
  local end=$(( $(date +%s) + $1 )); shift
  until "$@" >/dev/null 2>&1; do
    [ "$(date +%s)" -lt "$end" ] || return 1
    sleep 0.2
  done
}
expect_in() { # TEXT EXTENDED-REGEX: without regard to case
  grep -qiE -- "$2" <<<"$1" || { echo "$1"; fail "nothing above matches /$2/"; }
}
expect_not_in() { if grep -qiE -- "$2" <<<"$1"; then echo "$1"; fail "something above matches /$2/"; fi; }
log_lines() { grep -cE -- "$1" "$ADIT_LOG" || true; } # EXTENDED-REGEX: how many
expect_log() { # EXTENDED-REGEX [SECONDS]
  wait_for "${2:-5}" grep -qE -- "$1" "$ADIT_LOG" || { tail -30 "$ADIT_LOG"; fail "adit's log has no /$1/"; }
}
