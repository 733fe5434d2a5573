#!/bin/bash
# A branch gateway with the Linux kernel's own ESP: Debian's kernel in QEMU (no KVM needed), strongSwan on top.
set -euo pipefail
PFX=${LAB_PREFIX:-adit-}
STATE=${LAB_STATE:?a directory for keys, logs and sockets}
CACHE=${LAB_CACHE:-/var/tmp/adit-interop-kernel}
W=$STATE/kernel-peer
NS=${PFX}gw-b

usage() { cat <<'USAGE'
Usage: kernel-peer.sh build                      once: unpack Debian's cloud kernel, make an initramfs
       kernel-peer.sh start --conf swanctl.conf  take over gw-b's addresses: eth0 = wan, eth1 = lan
       kernel-peer.sh run 'COMMAND'              run a shell command inside, print its output
       kernel-peer.sh stop | console

strongSwan's user-space plug-in always wraps ESP in UDP and has no extended sequence numbers; the
kernel speaks plain ESP (protocol 50) and ESN. Boots in about 6 s, 80 MB in $LAB_CACHE.
USAGE
}
die() { echo "kernel-peer.sh: $*" >&2; exit 1; }
x() { ip netns exec "$NS" "$@"; }

MODULES="jitterentropy_rng drbg virtio_pci virtio_console virtio_net virtio_rng esp4 esp6 xfrm_user tunnel4 authenc authencesn echainiv seqiv gcm ctr cbc ghash-generic ghash_clmulni_intel aesni_intel hmac sha1_generic sha256_generic sha512_generic sha256_ssse3 sha512_ssse3 sha1_ssse3 des_generic crypto_null"

copy_with_libraries() {
  local f l
  for f in "$@"; do
    mkdir -p "$R$(dirname "$f")"; cp -L "$f" "$R$f"
    for l in $(ldd "$f" 2>/dev/null | grep -o '/[^ )]*'); do
      [ -e "$R$l" ] || { mkdir -p "$R$(dirname "$l")"; cp -L "$l" "$R$l"; }
    done
  done
}

build() {
  [ ! -e "$CACHE/complete" ] || return 0
  mkdir -p "$CACHE"
  local deb pkg v m ko order='' oss
  deb=$(ls "$CACHE"/linux-image-*.deb 2>/dev/null | tail -1 || true)
  if [ -z "$deb" ]; then
    pkg=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | awk '/Depends:/{print $2; exit}')
    if [ -z "$pkg" ]; then
      apt-get update -q >"$CACHE/update.log" 2>&1 || true
      pkg=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | awk '/Depends:/{print $2; exit}')
    fi
    [ -n "$pkg" ] || die "apt knows no linux-image-cloud-amd64"
    (cd "$CACHE" && apt-get download -q "$pkg" >download.log 2>&1) || { cat "$CACHE/download.log" >&2; die "cannot download the kernel package $pkg"; }
    deb=$(ls "$CACHE"/linux-image-*.deb | tail -1)
  fi
  R=$CACHE/root
  rm -rf "$CACHE/k" "$R"; mkdir -p "$CACHE/k"; dpkg-deb -x "$deb" "$CACHE/k"
  v=$(basename "$(ls -d "$CACHE"/k/lib/modules/*)")
  mkdir -p "$R"/{bin,sbin,proc,sys,dev,run,tmp,etc/ssl,usr/sbin,usr/lib/ssl,var/log,lib/modules/"$v"}; ln -s /run "$R/var/run"
  cp /bin/busybox "$R/bin/busybox"
  depmod -b "$CACHE/k" "$v"
  for m in $MODULES; do
    for ko in $(modprobe -d "$CACHE/k" -S "$v" --show-depends "$m" 2>/dev/null | awk '$1=="insmod"{print $2}'); do
      case " $order " in *" $ko "*) ;; *) order="$order $ko"; cp "$ko" "$R/lib/modules/$v/" ;; esac
    done
  done
  for ko in $order; do echo "/lib/modules/$v/$(basename "$ko")"; done > "$R/etc/modules"
  copy_with_libraries "$(readlink -f "$(command -v ip)")" "$(command -v swanctl)" /usr/lib/ipsec/charon /usr/lib/ipsec/plugins/*.so /usr/lib/ipsec/lib*.so.0
  mv "$R$(readlink -f "$(command -v ip)")" "$R/usr/sbin/iproute2"
  cp -L "$(ldconfig -p | awk '/libgcc_s.so.1.*x86-64/{print $NF; exit}')" "$R/lib/" 2>/dev/null || true
  oss=$(find /usr/lib -path '*ossl-modules/legacy.so' | head -1); [ -z "$oss" ] || copy_with_libraries "$oss"
  cp /usr/lib/ipsec/_updown "$R/usr/lib/ipsec/" 2>/dev/null || true
  mkdir -p "$R/etc/swanctl"/{x509,x509ca,x509crl,x509ocsp,x509aa,x509ac,pubkey,private,rsa,ecdsa,bliss,pkcs8,pkcs12,conf.d}
  cp /etc/ssl/openssl.cnf "$R/etc/ssl/"; cp /etc/ssl/openssl.cnf "$R/usr/lib/ssl/"
  printf 'root:x:0:0:root:/:/bin/sh\n' > "$R/etc/passwd"; printf 'root:x:0:\n' > "$R/etc/group"
  cat > "$R/etc/strongswan.conf" <<'C'
charon {
  load_modular = no
  load = random nonce aes sha1 sha2 md5 openssl gmp curve25519 hmac kdf gcm pem pkcs1 pkcs8 pubkey x509 kernel-netlink socket-default vici updown counters
  integrity_test = no
  filelog { log { path = /var/log/charon
     default = 1
     ike = 2
     cfg = 2
     flush_line = yes } }
}
C
  echo 'ip() { /usr/sbin/iproute2 "$@"; }' > "$R/etc/shrc"   # busybox would prefer its own small "ip"
  cat > "$R/init" <<'I'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev; mount -t tmpfs t /run; mount -t tmpfs t /tmp
export PATH=/bin:/sbin:/usr/sbin:/usr/bin
while read -r m; do insmod "$m" 2>/dev/null; done < /etc/modules
. /etc/shrc
ip link set lo up
. /cfg/net
echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
cp /cfg/swanctl.conf /etc/swanctl/
/usr/lib/ipsec/charon >/var/log/charon.out 2>&1 &
n=0; while [ ! -S /run/charon.vici ] && [ $n -lt 100 ]; do sleep 0.1; n=$((n+1)); done
swanctl --load-all --noprompt >/var/log/load 2>&1
n=0; while ! ls /dev/vport*p1 >/dev/null 2>&1 && [ $n -lt 50 ]; do sleep 0.1; n=$((n+1)); done
V=$(ls /dev/vport*p1 | head -1); echo "READY $V"
exec 5<>$V
while :; do sh <&5 >&5 2>&1; sleep 0.2; done
I
  chmod +x "$R/init"
  (cd "$R" && find . | cpio -o -H newc 2>/dev/null) > "$CACHE/initrd.cpio"
  cp "$CACHE"/k/boot/vmlinuz-* "$CACHE/vmlinuz"; rm -rf "$R" "$CACHE/k"
  touch "$CACHE/complete"
}

start() {
  local conf='' d a mac
  while [ $# -gt 0 ]; do case $1 in --conf) conf=$2 ;; *) die "unknown option $1" ;; esac; shift 2; done
  [ -n "$conf" ] || die "--conf is needed"
  build
  rm -rf "$W"; mkdir -p "$W/cfg/cfg"
  { local i=0
    for d in wan lan; do
      echo "ip link set dev eth$i up"
      for a in $(x ip -o addr show dev $d scope global | awk '{print $4}'); do
        case $a in *:*) echo "ip -6 addr add $a dev eth$i nodad" ;; *) echo "ip addr add $a dev eth$i" ;; esac
      done
      i=$((i+1))
    done
    x ip -4 route show default | sed 's/dev wan.*/dev eth0/; s/^/ip route add /'
    x ip -6 route show default | sed 's/dev wan.*/dev eth0/; s/^/ip -6 route add /'
  } > "$W/cfg/cfg/net"
  for d in wan lan; do
    x ip addr flush dev $d scope global
    x ip tuntap add tap-$d mode tap; x ip link add br-$d type bridge
    x ip link set dev tap-$d master br-$d; x ip link set dev $d master br-$d
    x ip link set dev tap-$d up; x ip link set dev br-$d up
  done
  cp "$conf" "$W/cfg/cfg/swanctl.conf"
  (cd "$W/cfg" && find . | cpio -o -H newc 2>/dev/null) > "$W/cfg.cpio"
  cat "$CACHE/initrd.cpio" "$W/cfg.cpio" > "$W/initrd"
  mac=$(printf '52:54:00:00:%02x' $((RANDOM%256)))
  local plain=csum=off,gso=off,host_tso4=off,host_tso6=off,guest_csum=off,guest_tso4=off,guest_tso6=off,mrg_rxbuf=off,romfile=
  x setsid qemu-system-x86_64 -M q35,accel=tcg -cpu max -smp 1 -m 384 -display none -nodefaults -no-user-config -no-reboot \
    -kernel "$CACHE/vmlinuz" -initrd "$W/initrd" -append "console=ttyS0 quiet panic=-1 mitigations=off tsc=unstable random.trust_cpu=on" \
    -device virtio-rng-pci \
    -netdev tap,id=w,ifname=tap-wan,script=no,downscript=no -device virtio-net-pci,netdev=w,mac="$mac":01,$plain \
    -netdev tap,id=l,ifname=tap-lan,script=no,downscript=no -device virtio-net-pci,netdev=l,mac="$mac":02,$plain \
    -serial file:"$W/console" -device virtio-serial-pci -chardev socket,id=s,path="$W/shell",server=on,wait=off \
    -device virtserialport,chardev=s,nr=1 >"$W/qemu.log" 2>&1 </dev/null &
  echo $! > "$W/pid"; disown -a
  for _ in $(seq 900); do
    grep -q READY "$W/console" 2>/dev/null && return 0
    kill -0 "$(cat "$W/pid")" 2>/dev/null || die "the emulator ended: $(cat "$W/qemu.log" "$W/console")"
    sleep 0.1
  done
  die "no boot within 90 s; see $W/console"
}

run() { python3 - "$W/shell" "$1" <<'P'
import socket, sys, time
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.settimeout(60)
mark = "END%d" % time.time_ns()
s.sendall((". /etc/shrc\n%s\nr=$?; echo; echo %s$r\n" % (sys.argv[2], mark)).encode()); b = b""
while True:
    d = s.recv(65536)
    if not d: break
    b += d
    i = b.rfind(mark.encode())
    if i >= 0 and b.find(b"\n", i) > 0: break
text, rc = b.decode(errors="replace").rsplit(mark, 1)
sys.stdout.write(text.replace("\r", "").rstrip("\n") + "\n"); sys.exit(int(rc.split()[0]))
P
}

stop() {
  [ -f "$W/pid" ] || return 0
  local p; p=$(cat "$W/pid"); kill "$p" 2>/dev/null || true
  for _ in $(seq 30); do kill -0 "$p" 2>/dev/null || break; sleep 0.1; done
  kill -9 "$p" 2>/dev/null || true; rm -f "$W/pid"
}

case ${1:-} in
  build) build ;;
  start) shift; start "$@" ;;
  run) run "$2" ;;
  stop) stop ;;
  console) cat "$W/console" ;;
  -h|--help|help) usage ;;
  *) usage >&2; exit 2 ;;
esac
