#!/usr/bin/env python3
"""Prints what each dependency and each room costs in a binary that still has its symbols (scripts/weigh.sh builds one).

Usage: scripts/weigh.py FILE [--top N] [--families N] [--only TEXT]

  --top N       the N largest functions and constants too
  --families N  and the N functions whose instances for different types weigh most together
  --only TEXT   count only what has TEXT in its name

Columns: code; unwind, what .eh_frame, its index and .gcc_except_table hold for that code; data, constants and variables that have names;
count, the number of functions. Constants without a name (texts, tables of methods) can't be told apart: one line at the end. Needs c++filt."""

import argparse
import bisect
import collections
import re
import struct
import subprocess
import sys

# What only carries another's code: an instance of it belongs to the crate that it was made for.
CARRIERS = {"core", "alloc", "std", "futures_lite", "futures_core", "async_executor", "async_task", "async_io", "async_channel", "async_lock",
            "blocking", "event_listener", "hashbrown", "serde_core", "once_cell", "slab", "concurrent_queue", "parking"}
OURS = "brooklet"
# A path's first two parts, not within a longer path.
PATH = re.compile(r"(?<![\w:>])([a-z_][a-z0-9_]*)::(?:\{[^}]*\}|([a-z_][a-z0-9_]*)?)")
# The crate's hash; what a type or a function is made for; a path with its trait, which stays.
HASH = re.compile(r"\[[0-9a-f]{16}\]")
GENERICS = re.compile(r"(?<=\w)(::)?<[^<>]*>")
QUALIFIED = re.compile(r"(?<![\w:])<([^<>]*)>")


class Elf:
    """Sections and symbols of a little-endian ELF file, 32 or 64 bits."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.bytes = file.read()
        if self.bytes[:4] != b"\x7fELF" or self.bytes[5] != 1:
            sys.exit(f"weigh.py: {path}: not a little-endian ELF file")
        self.wide = self.bytes[4] == 2
        header = "<HHIQQQIHHHHHH" if self.wide else "<HHIIIIIHHHHHH"
        fields = struct.unpack_from(header, self.bytes, 16)
        self.machine, offset, size, count, names = fields[1], fields[5], fields[10], fields[11], fields[12]
        form = "<IIQQQQIIQQ" if self.wide else "<IIIIIIIIII"
        raw = [struct.unpack_from(form, self.bytes, offset + size * i) for i in range(count)]
        table = raw[names]
        self.sections = {}
        for name, kind, flags, address, start, length, link, *_ in raw:
            text = self.text(table[4] + name)
            self.sections[text] = (kind, flags, address, start, length, link)
        self.order = raw

    def text(self, at):
        return self.bytes[at : self.bytes.index(b"\0", at)].decode()

    def section(self, name):
        kind, _, address, start, length, _ = self.sections.get(name, (8, 0, 0, 0, 0, 0))
        return address, b"" if kind == 8 else self.bytes[start : start + length]

    def symbols(self):
        """(address, size, name, section's flags) of functions and objects with a size, each address once."""
        if ".symtab" not in self.sections:
            sys.exit("weigh.py: the file has no symbols; build it with CARGO_PROFILE_DIST_STRIP=none")
        _, _, _, start, length, link = self.sections[".symtab"]
        names = self.order[link][4]
        form, size = ("<IBBHQQ", 24) if self.wide else ("<IIIBBH", 16)
        seen = {}
        for at in range(start, start + length, size):
            fields = struct.unpack_from(form, self.bytes, at)
            name, info, index, value, weight = fields if not self.wide else (fields[0], fields[1], fields[3], fields[4], fields[5])
            if not self.wide:
                name, value, weight, info, _, index = fields
            if info & 15 not in (1, 2) or not weight or not 0 < index < len(self.order):
                continue
            # Nothing of what lies in memory only is in the file.
            if self.order[index][1] == 8:
                continue
            address = value & ~1 if self.machine == 40 and info & 15 == 2 else value
            key = (address, info & 15)
            # Equal functions are folded into one; the longest name is the most telling.
            text = self.text(names + name)
            if key not in seen or len(text) > len(seen[key][1]):
                seen[key] = (weight, text)
        return [(address, weight, name, kind == 2) for (address, kind), (weight, name) in seen.items()]


def leb(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def unwinding(elf):
    """Bytes of unwinding tables by the address of their function: .eh_frame's entry, 8 of its index, and the table of landing pads."""
    address, data = elf.section(".eh_frame")
    pads_address, pads = elf.section(".gcc_except_table")
    found, landing, at, augmented = collections.Counter(), {}, 0, {}
    while at + 8 <= len(data):
        length, identity = struct.unpack_from("<II", data, at)
        if not length:
            break
        end = at + 4 + length
        if identity == 0:
            text = data[at + 9 : data.index(b"\0", at + 9)].decode()
            augmented[at] = (text, encodings(text, data, at + 10 + len(text)))
        else:
            text, codes = augmented[at + 4 - identity]
            begin = pointer(data, at + 8, address + at + 8, codes["R"])
            width = {0x0: 8 if elf.wide else 4, 0x2: 2, 0x3: 4, 0x4: 8}[codes["R"] & 7]
            found[begin] += length + 4 + 8
            if "L" in text and codes["L"] != 0xFF:
                place = leb(data, at + 8 + 2 * width)[1]
                pad = pointer(data, place, address + at + (place - at), codes["L"])
                if pads_address <= pad < pads_address + len(pads):
                    landing.setdefault(pad, begin)
        at = end
    starts = sorted(landing) + [pads_address + len(pads)]
    for start, following in zip(starts, starts[1:]):
        found[landing[start]] += following - start
    return found


def encodings(text, data, at):
    """How the entries below a common one write their addresses."""
    codes = {"R": 0, "L": 0xFF}
    at = leb(data, leb(data, leb(data, at)[1])[1])[1]
    if not text.startswith("z"):
        return codes
    at = leb(data, at)[1]
    for letter in text[1:]:
        if letter in "RL":
            codes[letter] = data[at]
            at += 1
        elif letter == "P":
            at += 1 + {0x0: 8, 0x2: 2, 0x3: 4, 0x4: 8}[data[at] & 7]
    return codes


def pointer(data, at, here, code):
    form = {0x0: "<Q", 0x2: "<H", 0x3: "<I", 0x4: "<Q", 0xA: "<h", 0xB: "<i", 0xC: "<q"}[code & 15]
    value = struct.unpack_from(form, data, at)[0]
    return value + here if value and code & 0x70 == 0x10 else value


def readable(names):
    """The names as the sources have them; those of C stay."""
    run = subprocess.run(["c++filt"], input="\n".join(names), check=True, stdout=subprocess.PIPE, text=True)
    return HASH.sub("", run.stdout).replace("->", "→").split("\n")


def owner(name):
    """(crate, room): the first crate named that does not merely carry another's code; of ours, the room."""
    found = PATH.findall(name)
    for crate, room in found:
        if crate not in CARRIERS:
            return (OURS, room or "main") if crate == OURS else (crate, "")
    if found:
        return "std and smol", ""
    return ("ring", "") if name.startswith(("ring_core", "ecp_", "bn_", "x25519", "LIMB")) or "ring_core" in name else ("C and others", "")


def family(name):
    """The function's name without what it was made for."""
    before = ""
    while before != name:
        before = name
        name = QUALIFIED.sub(r"{\1}", GENERICS.sub("", name))
    return name


def table(title, rows):
    print(f"{title:<34}{'bytes':>10}{'code':>10}{'unwind':>9}{'data':>9}{'count':>7}")
    for name, (code, unwind, data, count) in sorted(rows.items(), key=lambda row: -sum(row[1][:3])):
        print(f"{name:<34}{code + unwind + data:>10}{code:>10}{unwind:>9}{data:>9}{count:>7}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("--top", type=int, default=0)
    parser.add_argument("--families", type=int, default=0)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    elf = Elf(args.file)
    symbols = elf.symbols()
    names = readable([name for _, _, name, _ in symbols])
    tables = unwinding(elf)
    functions = sorted(address for address, _, _, code in symbols if code)
    of_function = collections.Counter()
    for begin, weight in tables.items():
        place = bisect.bisect_right(functions, begin) - 1
        of_function[functions[place] if place >= 0 else 0] += weight
    crates, rooms = collections.defaultdict(lambda: [0] * 4), collections.defaultdict(lambda: [0] * 4)
    families, largest, named = collections.defaultdict(lambda: [0] * 4), [], 0
    for (address, weight, _, code), name in zip(symbols, names):
        if args.only not in name:
            continue
        crate, room = owner(name)
        unwind = of_function.pop(address, 0) if code else 0
        named += 0 if code else weight
        for row in [crates[crate], families[family(name)]] + ([rooms[room]] if crate == OURS else []):
            row[0 if code else 2] += weight
            row[1] += unwind
            row[3] += 1 if code else 0
        largest.append((weight + unwind, name))
    table("crate", crates)
    print()
    table(f"room of {OURS}", rooms)
    print()
    nameless = sum(len(elf.section(name)[1]) for name in (".rodata", ".data.rel.ro", ".data")) - named
    print(f"constants without a name: {nameless}")
    if args.families:
        print()
        table("function, all its instances", dict(sorted(families.items(), key=lambda row: -sum(row[1][:3]))[: args.families]))
    for weight, name in sorted(largest, reverse=True)[: args.top]:
        print(f"{weight:>9} {name}")


if __name__ == "__main__":
    main()
