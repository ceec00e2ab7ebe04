"""What hostile peers send, and how: for scripts/hostile.py, which tells what each of them is."""

import asyncio
import gzip
import os
import random
import signal
import ssl
import struct
import time

from hostile_kafka import batch, kafka, metadata, produce, record

FLOOD = 10_000

# What each process of attackers plays.
PARTS = {
    "quick": ("noise", "lengths", "counts", "pipelines"),
    "bombs": ("bombs",),
    "slow": ("claims", "parts", "half-open", "stalls"),
    "flood": ("flood",),
}
KINDS = tuple(kind for part in PARTS.values() for kind in part)

MQTT_CONNECT = b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04evil"


def native_hello():
    body = b"\x01brkl\x01\x01\x04evil\x00\x01\x80\x80\x40\x10\x00"
    return bytes([len(body)]) + body


def begin(protocol):
    return {"native": native_hello(), "kafka": b"", "mqtt": MQTT_CONNECT}[protocol]


def lengths(protocol):
    return {
        "native": [b"\xff\xff\xff\x7f\0", native_hello() + b"\xff\xff\xff\x7f\0"],
        "kafka": [b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\xff\xff\xff\xff"],
        "mqtt": [b"\x10\xff\xff\xff\x7f", MQTT_CONNECT + b"\x30\xff\xff\xff\x7f", MQTT_CONNECT + b"\x30\xff\xff\xff\xff\xff"],
    }[protocol]


def counts(protocol):
    huge = struct.pack(">i", 0x7FFFFFFF)
    return {
        "native": [native_hello() + b"\x0a\x0c\x01\x01t\xff\xff\xff\xff\x0f\xff", native_hello() + b"\x07\x1c\x01\xff\xff\xff\xff\x0f"],
        "kafka": [kafka(3, 4, huge), kafka(1, 4, struct.pack(">iiiib", -1, 1, 1, 1, 0) + huge), kafka(19, 2, huge)],
        "mqtt": [MQTT_CONNECT + b"\x82\x05\x00\x01\xff\xff\x00", MQTT_CONNECT + b"\x30\x03\xff\xffx"],
    }[protocol]


def claim(protocol):
    """A frame as large as may be, but for all of it."""
    return {
        "native": native_hello() + b"\xff\xff\x3f\x04",
        "kafka": struct.pack(">i", 8 << 20) + b"\0\0\0\3",
        "mqtt": b"\x10\xff\xff\x07\x00\x04MQTT",
    }[protocol]


def piece(protocol):
    """The same, with much of it: what has come is held."""
    return claim(protocol) + bytes(200_000 if protocol == "kafka" else 60_000)


def pipeline(protocol):
    """What is sent again and again without reading an answer."""
    return {
        "native": b"\x02\x02\x01" * 2_000,
        "kafka": kafka(18, 0, b"") * 500 + metadata("honest") * 100,
        "mqtt": b"\xc0\x00" * 5_000,
    }[protocol]


def bombs():
    zeros = [record(bytes(size)) for size in (60_000_000, 80_000_000)]
    return [metadata("bombs") + produce("bombs", batch(gzip.compress(plain, 9), codec=1)) for plain in zeros]


def half_hello():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    out = ssl.MemoryBIO()
    side = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname="localhost")
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        pass
    hello = out.read()
    return hello[: len(hello) // 2]


class Attackers:
    """Coroutines of one process, until its time is over."""

    def __init__(self, ports, seconds, seed):
        self.ports, self.until = ports, time.monotonic() + seconds
        self.random, self.done = random.Random(seed), {}
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.tls.check_hostname, self.tls.verify_mode = False, ssl.CERT_NONE

    def left(self):
        return self.until - time.monotonic()

    def count(self, kind):
        self.done[kind] = self.done.get(kind, 0) + 1

    async def connect(self, port, address, tls=False):
        context = {"ssl": self.tls} if tls else {}
        wait = asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0), **context)
        return await asyncio.wait_for(wait, 10)

    async def send(self, kind, place, payload, address, hold=0.0):
        """One connection: this, then what comes for a while, then its end."""
        protocol, tls, port = place
        try:
            reader, writer = await self.connect(port, address, tls)
        except (OSError, asyncio.TimeoutError):
            return await asyncio.sleep(0.05)
        try:
            writer.write(payload)
            await asyncio.wait_for(writer.drain(), 5)
            await asyncio.wait_for(reader.read(4_096), max(0.2, min(hold, self.left())))
        except (OSError, asyncio.TimeoutError):
            pass
        finally:
            self.count(f"{kind} {protocol}{' tls' if tls else ''}")
            writer.transport.abort()

    async def again_and_again(self, kind, places, payloads, address, pause, hold=0.0):
        while self.left() > 0:
            place = self.random.choice(places)
            payload = payloads(place) if callable(payloads) else self.random.choice(payloads)
            await self.send(kind, place, payload, address, hold)
            await asyncio.sleep(pause)

    async def trickle(self, kind, place, payload, address):
        """Claims much and sends a byte now and then; again, when it has been cut off."""
        protocol, tls, port = place
        while self.left() > 0:
            try:
                reader, writer = await self.connect(port, address, tls)
            except (OSError, asyncio.TimeoutError):
                await asyncio.sleep(0.5)
                continue
            self.count(f"{kind} {protocol}{' tls' if tls else ''}")
            try:
                writer.write(payload)
                while self.left() > 0 and not reader.at_eof():
                    writer.write(b"x")
                    await asyncio.wait_for(writer.drain(), 5)
                    await asyncio.sleep(1)
                    if writer.transport.is_closing():
                        break
            except (OSError, asyncio.TimeoutError):
                pass
            writer.transport.abort()
            await asyncio.sleep(0.2)

    async def silent(self, kind, place, payload, address):
        """Says this much and nothing more, until it is cut off."""
        protocol, _, port = place
        while self.left() > 0:
            try:
                reader, writer = await self.connect(port, address)
                writer.write(payload)
                self.count(f"{kind} {protocol}")
                await asyncio.wait_for(reader.read(1), max(0.1, self.left()))
            except (OSError, asyncio.TimeoutError):
                pass
            else:
                writer.transport.abort()
            await asyncio.sleep(0.5)

    async def never_reading(self, kind, place, payload, address):
        """Sends for as long as it can, and reads nothing."""
        protocol, tls, port = place
        while self.left() > 0:
            try:
                reader, writer = await self.connect(port, address, tls)
                reader._transport.pause_reading()
                writer.write(begin(protocol))
                for _ in range(20):
                    writer.write(payload)
                    await asyncio.wait_for(writer.drain(), 5)
                    self.count(f"{kind} {protocol}{' tls' if tls else ''}")
            except (OSError, asyncio.TimeoutError, AttributeError, RuntimeError):
                pass
            else:
                writer.transport.abort()
            await asyncio.sleep(0.5)

    async def flood(self, places, address, count):
        """So many connections from one address, as fast as they come; those that stay are held."""
        held = []
        for number in range(count):
            if self.left() <= 0:
                break
            try:
                _, writer = await self.connect(places[number % len(places)][2], address)
                held.append(writer)
                self.count("flood")
            except (OSError, asyncio.TimeoutError):
                await asyncio.sleep(0.01)
            if len(held) > 500:
                held.pop(0).transport.abort()
            await asyncio.sleep(0.001)
        await asyncio.sleep(max(0, min(5, self.left())))
        for writer in held:
            writer.transport.abort()


def attack(part, kinds, ports, seconds, results, shares_cpu):
    """Plays those of `kinds` that belong to this part. Attackers come from other machines; here they are on the gateway's. Unless they
    share the CPU, they get what of it nobody else wants."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    made = bombs() if "bombs" in kinds and part == "bombs" else []
    if not shares_cpu:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    attackers = Attackers(ports, seconds, part)
    clear, tls = [place for place in ports if not place[1]], [place for place in ports if place[1]]

    async def all_of_it():
        of = attackers

        def noise(place):
            return begin(place[0]) * of.random.randrange(2) + of.random.randbytes(of.random.randrange(1, 4_000))

        kafka_places = [place for place in ports if place[0] == "kafka"]
        again = of.again_and_again
        plays = {
            "noise": lambda: [again("noise", ports, noise, "127.0.0.2", 0.05) for _ in range(5)],
            "lengths": lambda: [
                again("lengths", ports, lambda place: of.random.choice(lengths(place[0])), "127.0.0.3", 0.05) for _ in range(5)
            ],
            "counts": lambda: [
                again("counts", ports, lambda place: of.random.choice(counts(place[0])), "127.0.0.4", 0.05) for _ in range(5)
            ],
            "pipelines": lambda: [of.never_reading("pipelines", place, pipeline(place[0]), "127.0.0.5") for place in ports],
            "bombs": lambda: [again("bombs", kafka_places, made, "127.0.0.6", 0.2, hold=5) for _ in range(2)],
            "claims": lambda: [of.trickle("claims", place, claim(place[0]), "127.0.0.7") for place in ports for _ in range(8)],
            "parts": lambda: [of.trickle("parts", place, piece(place[0]), "127.0.0.11") for place in ports for _ in range(8)],
            "half-open": lambda: [of.silent("half-open", place, b"", "127.0.0.8") for place in ports for _ in range(10)],
            "stalls": lambda: [of.silent("stalls", place, half_hello(), "127.0.0.9") for place in tls for _ in range(20)],
            "flood": lambda: [of.flood(clear + tls, "127.0.0.10", FLOOD)],
        }
        await asyncio.gather(*(play for kind in PARTS[part] if kind in kinds for play in plays[kind]()))

    asyncio.run(all_of_it())
    results.put(("attacked", attackers.done))
