"""A little of the Kafka protocol by hand, for scripts/hostile.py: it uses nothing of the gateway's own code."""

import socket
import struct
import time

PATIENCE_SECONDS = 60


def crc_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


CRC = crc_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def varint(value):
    value = value << 1 ^ value >> 63
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def record(value):
    body = b"\0" + varint(0) + varint(0) + varint(-1) + varint(len(value)) + value + varint(0)
    return varint(len(body)) + body


def batch(records, codec=0, count=1):
    """A record batch, version 2, whose length and CRC fit."""
    now = int(time.time() * 1e3)
    checked = struct.pack(">hiqqqhii", codec, count - 1, now, now, -1, -1, -1, count) + records
    return struct.pack(">qiibI", 0, len(checked) + 9, -1, 2, crc32c(checked)) + checked


def text(value):
    return struct.pack(">h", len(value)) + value.encode()


def kafka(api, version, body, correlation=1):
    frame = struct.pack(">hhi", api, version, correlation) + text("hostile") + body
    return struct.pack(">i", len(frame)) + frame


def produce(topic, bytes_, correlation=1):
    data = struct.pack(">i", len(bytes_)) + bytes_
    body = struct.pack(">hhii", -1, -1, 30_000, 1) + text(topic) + struct.pack(">ii", 1, 0) + data
    return kafka(0, 3, body, correlation)


def fetch(topic, offset):
    body = struct.pack(">iiiibi", -1, 500, 1, 1 << 20, 0, 1) + text(topic) + struct.pack(">iiqi", 1, 0, offset, 1 << 20)
    return kafka(1, 4, body)


def metadata(topic):
    return kafka(3, 4, struct.pack(">i", 1) + text(topic) + b"\1")


class Client:
    """A Kafka client that does as it should."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, request):
        self.socket.sendall(request)
        return self.take(struct.unpack(">i", self.take(4))[0])

    def take(self, count):
        parts = []
        while count:
            part = self.socket.recv(min(count, 1 << 16))
            if not part:
                raise ConnectionError("the gateway has closed the honest connection")
            parts.append(part)
            count -= len(part)
        return b"".join(parts)
