#!/usr/bin/python3
"""Sends bytes over one TCP connection between two network namespaces and compares SHA-256 sums.

  transfer.py --from NAMESPACE --to NAMESPACE --address IP [--megabytes 100] [--rate MB/s]

Fails when the connection breaks, when nothing moves for --stall seconds, or when what arrived is not
what was sent. The data is a keyed stream, so that neither end can succeed by repeating a block.
"""
import argparse
import hashlib
import os
import socket
import subprocess
import sys
import time

BLOCK = 64 * 1024


def stream(megabytes):
    seed, left, number = os.urandom(16), megabytes * 1_000_000, 0
    noise = os.urandom(BLOCK - 24)
    while left:
        block = (seed + number.to_bytes(8, "big") + noise)[:left]
        yield block
        left -= len(block)
        number += 1


def receive(address, stall):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as listener:
        listener.settimeout(stall)
        listener.bind((address, 0))
        listener.listen(1)
        print(listener.getsockname()[1], flush=True)
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(stall)
            digest, count = hashlib.sha256(), 0
            while True:
                try:
                    block = connection.recv(BLOCK)
                except OSError as error:
                    sys.exit("after %d bytes received: %s" % (count, error))
                if not block:
                    break
                digest.update(block)
                count += len(block)
            connection.sendall(b"done")  # the sender may go: everything has arrived
    print(digest.hexdigest(), count, flush=True)


def send(address, port, megabytes, rate, stall):
    digest, count, begin = hashlib.sha256(), 0, time.monotonic()
    with socket.create_connection((address, port), timeout=stall) as connection:
        try:
            for block in stream(megabytes):
                connection.sendall(block)
                digest.update(block)
                count += len(block)
                if rate:
                    time.sleep(max(0.0, begin + count / (rate * 1e6) - time.monotonic()))
            connection.shutdown(socket.SHUT_WR)
            if connection.recv(4) != b"done":
                sys.exit("after %d bytes sent: the receiver hung up" % count)
        except OSError as error:
            sys.exit("after %d bytes sent: %s" % (count, error))
    print(digest.hexdigest(), count, flush=True)


def between(options):
    me = os.path.abspath(__file__)
    common = ["--address", options.address, "--stall", str(options.stall)]
    begin = time.monotonic()
    receiver = subprocess.Popen(
        ["ip", "netns", "exec", options.to, sys.executable, me, "--role", "receive"] + common,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    port = receiver.stdout.readline().strip()
    if not port:
        sys.exit("receiver: " + receiver.stderr.read())
    sender = subprocess.run(
        ["ip", "netns", "exec", getattr(options, "from"), sys.executable, me, "--role", "send", "--port", port,
         "--megabytes", str(options.megabytes), "--rate", str(options.rate)] + common,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if sender.returncode:
        receiver.terminate()
        sys.exit("sender: %s receiver: %s" % (sender.stderr.strip(), receiver.communicate()[1].strip()))
    arrived, trouble = receiver.communicate()
    if arrived != sender.stdout:
        sys.exit("sent %r, arrived %r %s" % (sender.stdout, arrived, trouble))
    seconds = time.monotonic() - begin
    print("%d MB to %s in %.1f s (%.0f Mbit/s), SHA-256 equal"
          % (options.megabytes, options.address, seconds, options.megabytes * 8 / seconds))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--from")
    p.add_argument("--to")
    p.add_argument("--address", required=True)
    p.add_argument("--megabytes", type=int, default=100)
    p.add_argument("--rate", type=float, default=0.0, help="MB per second; 0: as fast as it goes")
    p.add_argument("--stall", type=float, default=15.0, help="seconds without progress that are too many")
    p.add_argument("--role", choices=["receive", "send"], help=argparse.SUPPRESS)
    p.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = p.parse_args()
    if options.role == "receive":
        receive(options.address, options.stall)
    elif options.role == "send":
        send(options.address, options.port, options.megabytes, options.rate, options.stall)
    else:
        between(options)


main()
