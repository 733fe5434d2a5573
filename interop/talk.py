#!/usr/bin/python3
"""Says who is heard, over TCP and UDP, and asks.

  talk.py serve --name NAME [--tcp PORT[,PORT...]] [--udp PORT[,PORT...]]
  talk.py ask tcp|udp ADDRESS PORT [--source ADDRESS[:PORT]] [--wait SECONDS] [--bytes N]
  talk.py forge SOURCE DESTINATION [COUNT]     ICMP echo requests under a false address

The answer is 'NAME PEER PORT OWN-ADDRESS PORT', with as many more bytes as were asked for.
"""
import argparse
import socket
import struct
import sys
import threading


def ports(text):
    return [int(port) for port in text.split(",") if port]


def answer(name, peer, own, question):
    words = question.split()
    more = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
    return f"{name} {peer[0]} {peer[1]} {own[0]} {own[1]}\n".encode() + b"." * more


def serve_tcp(name, port):
    listener = socket.create_server(("", port))

    def one(connection, peer):
        with connection:
            connection.settimeout(30)
            try:
                connection.sendall(answer(name, peer, connection.getsockname(), connection.recv(100)))
            except OSError:
                pass

    while True:
        threading.Thread(target=one, args=listener.accept(), daemon=True).start()


def serve_udp(name, port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO: the answer leaves from the address that was asked
    s.bind(("", port))
    while True:
        question, more, _, peer = s.recvmsg(2048, 512)
        own = next((socket.inet_ntoa(data[8:12]) for _, kind, data in more if kind == 8), "?")
        info = [(socket.IPPROTO_IP, 8, struct.pack("=I4s4s", 0, socket.inet_aton(own), bytes(4)))]
        s.sendmsg([answer(name, peer, (own, port), question)], info, 0, peer)


def serve(arguments):
    for kind, numbers in ((serve_tcp, arguments.tcp), (serve_udp, arguments.udp)):
        for port in ports(numbers):
            threading.Thread(target=kind, args=(arguments.name, port), daemon=True).start()
    print("ready", flush=True)
    threading.Event().wait()


def ask(arguments):
    kind = socket.SOCK_STREAM if arguments.protocol == "tcp" else socket.SOCK_DGRAM
    s = socket.socket(socket.AF_INET, kind)
    s.settimeout(arguments.wait)
    if arguments.source:
        address, _, port = arguments.source.partition(":")
        s.bind((address, int(port or 0)))
    try:
        s.connect((arguments.address, arguments.port))
        s.sendall(f"who {arguments.bytes}".encode())
        heard = b""
        while True:
            data = s.recv(65536)
            heard += data
            if not data or kind == socket.SOCK_DGRAM:
                break
        line, _, rest = heard.partition(b"\n")
        if kind == socket.SOCK_STREAM and len(rest) != arguments.bytes:
            print(f"only {len(rest)} of {arguments.bytes} bytes")
            return 1
        print(line.decode())
        return 0
    except TimeoutError:
        print("silence")
    except OSError as error:
        print(error.strerror or error)
    return 1


def sum16(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def forge(arguments):
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    for number in range(arguments.count):
        echo = struct.pack("!BBHHH", 8, 0, 0, 4711, number) + b"forged!!"
        echo = echo[:2] + struct.pack("!H", sum16(echo)) + echo[4:]
        ends = socket.inet_aton(arguments.source) + socket.inet_aton(arguments.destination)
        s.sendto(struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(echo), number + 1, 0, 64, 1, 0) + ends + echo,
                 (arguments.destination, 0))
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("serve")
    verb.add_argument("--name", default="server")
    verb.add_argument("--tcp", default="")
    verb.add_argument("--udp", default="")
    verb = verbs.add_parser("ask")
    verb.add_argument("protocol", choices=("tcp", "udp"))
    verb.add_argument("address")
    verb.add_argument("port", type=int)
    verb.add_argument("--source")
    verb.add_argument("--wait", type=float, default=3)
    verb.add_argument("--bytes", type=int, default=0)
    verb = verbs.add_parser("forge")
    verb.add_argument("source")
    verb.add_argument("destination")
    verb.add_argument("count", type=int, nargs="?", default=3)
    arguments = parser.parse_args()
    return {"serve": serve, "ask": ask, "forge": forge}[arguments.verb](arguments)


if __name__ == "__main__":
    sys.exit(main())
