#!/usr/bin/env python3
"""A path between two network namespaces, in user space: delay, loss and a rate, the same for every packet, whatever it carries.

    link.py [--delay MS] [--loss PERCENT] [--rate MBIT] [--queue KIB] [--seed N] ONE OTHER

Makes the tun devices ONE and OTHER, prints "ready", and passes packets from each to the other until it gets SIGTERM. Whoever started it moves the devices to where they belong and gives them addresses. --delay is one way, --loss holds each way.
Needs root; for kernels without sch_netem, and good for some ten thousand packets a second. What comes of it is printed at the end.
"""
import argparse, collections, fcntl, os, random, select, signal, struct, sys, time

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
PACKET_BYTES_MAX = 65536
# Packets that are taken from one device before the other has its turn.
BATCH = 64


def device(name):
    """Without offloads: the kernel gives packets as they would be on a wire, checksums included."""
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22s", name.encode(), IFF_TUN | IFF_NO_PI, b""))
    return tun


class Way:
    """One direction: a queue that empties at the rate, then the delay."""

    def __init__(self, source, sink, options, chance):
        self.source, self.sink, self.chance = source, sink, chance
        self.delay, self.loss = options.delay / 1000, options.loss / 100
        self.seconds_per_byte = 8 / (options.rate * 1e6) if options.rate else 0
        self.queue_seconds = options.queue * 1024 * self.seconds_per_byte
        self.free_at = 0.0
        self.waiting = collections.deque()
        self.counts = collections.Counter()

    def take(self):
        for _ in range(BATCH):
            try:
                packet = os.read(self.source, PACKET_BYTES_MAX)
            except BlockingIOError:
                return
            now = time.monotonic()
            self.counts["seen"] += 1
            if self.chance.random() < self.loss:
                self.counts["lost"] += 1
                continue
            begin = max(now, self.free_at)
            if self.seconds_per_byte and begin - now > self.queue_seconds:
                self.counts["overflowed"] += 1
                continue
            self.free_at = begin + len(packet) * self.seconds_per_byte
            self.waiting.append((self.free_at + self.delay, packet))

    def give(self):
        now = time.monotonic()
        while self.waiting and self.waiting[0][0] <= now:
            try:
                os.write(self.sink, self.waiting.popleft()[1])
            except OSError:
                # The device is down, or full: as a wire has it, the packet is gone.
                self.counts["undelivered"] += 1


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--delay", type=float, default=0, metavar="MS")
    arguments.add_argument("--loss", type=float, default=0, metavar="PERCENT")
    arguments.add_argument("--rate", type=float, default=0, metavar="MBIT", help="0: as fast as it goes")
    arguments.add_argument("--queue", type=float, default=256, metavar="KIB", help="before the rate; what comes when it is full is lost")
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("one")
    arguments.add_argument("other")
    options = arguments.parse_args()
    one, other = device(options.one), device(options.other)
    chance = random.Random(options.seed)
    ways = [Way(one, other, options, chance), Way(other, one, options, chance)]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    print("ready", flush=True)
    poll = select.poll()
    for ready in (one, other):
        poll.register(ready, select.POLLIN)
    by_source = {way.source: way for way in ways}
    try:
        while True:
            due = min((way.waiting[0][0] for way in ways if way.waiting), default=None)
            wait = None if due is None else max(0.0, due - time.monotonic()) * 1000
            for ready, _ in poll.poll(wait):
                by_source[ready].take()
            for way in ways:
                way.give()
    finally:
        for way, name in zip(ways, ("there", "back")):
            print(name, dict(way.counts), flush=True)


main()
