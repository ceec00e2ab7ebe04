#!/usr/bin/env python3
"""Checks what the crate stands on, from Cargo.lock and what cargo has on this machine; nothing is fetched.

Usage: scripts/supply-chain.py [--advisories DIR] [--require-advisories]

  licences      of every crate in the lock file: one of those below, or a way among several that is
  sources       every crate comes from the registry, with a checksum
  twice         crates that end up in the binary in several versions, but for those below
  justified     every direct dependency has its line under "Dependencies" in ARCHITECTURE.md
  build scripts code that runs when the binary is built, but for those below
  yanked        by the registry's index as cargo has it here
  advisories    by a copy of the RustSec database: DIR, or where cargo-audit keeps it. Without one the script says so on a line that begins
                with UNCHECKED; with --require-advisories that is a failure.

Exit code 0: nothing found; 1: something is; 3: nothing found, but advisories were required and could not be checked."""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tomllib

TARGET = "x86_64-unknown-linux-gnu"
ROOT = pathlib.Path(__file__).resolve().parent.parent

# What may be in the binary, and in what builds and tests it. All let a binary be passed on under our own terms.
LICENCES = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "Unicode-3.0",
    "Unlicense", "Zlib",
}

# Several versions at once, and why that is so.
TWICE = {"getrandom": "ring is still at 0.2: two files of it, for another trait"}

# Build scripts that run for the shipped binary, and what they do. A new one is looked at before it is entered here.
BUILD_SCRIPTS = {
    "async-io": "asks the compiler's version",
    "crc32c": "asks the compiler's version",
    "crc32fast": "asks the compiler's version",
    "crossbeam-utils": "asks which atomics the target has",
    "getrandom": "chooses a backend by target",
    "heapless": "asks which atomics the target has",
    "libc": "asks the compiler's version and the target",
    "proc-macro2": "asks the compiler's version",
    "quote": "asks the compiler's version",
    "redb": "tells the compiler of its own configuration flags",
    "ring": "compiles its C and assembly, which lie in the crate",
    "rustix": "chooses a backend by target",
    "rustls": "tells the compiler of a nightly flag",
    "serde": "asks the compiler's version",
    "serde_core": "asks the compiler's version",
    "snap": "makes the tables of its checksum",
    "thiserror": "asks the compiler's version",
}


def run(*command):
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def alternatives(expression):
    """An SPDX expression as a list of sets: one of the sets suffices, all of a set hold. OR, AND, WITH, parentheses; / is an old OR."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))

    def either():
        ways = both()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            ways += both()
        return ways

    def both():
        ways = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            other = one()
            ways = [left | right for left in ways for right in other]
        return ways

    def one():
        token = tokens.pop(0)
        if token == "(":
            ways = either()
            tokens.pop(0)
            return ways
        if tokens and tokens[0] == "WITH":
            tokens.pop(0)
            token += " WITH " + tokens.pop(0)
        return [{token}]

    return either()


def shipped():
    """Packages that end up in the binary, or run while it is built: (name, version) each."""
    command = ("cargo", "tree", "--locked", "--target", TARGET, "-e", "normal,build", "--prefix", "none", "-f", "{p}")
    return {(line.split()[0], line.split()[1].removeprefix("v")) for line in run(*command).splitlines() if line.strip()}


def direct(manifest):
    return sorted(set(manifest["dependencies"]))


def justified(manifest):
    """Direct dependencies without a line in ARCHITECTURE.md's table."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    section = text.split("\n## Dependencies\n", 1)[1].split("\n## ", 1)[0]
    names = set()
    for line in section.splitlines():
        if line.startswith("| ") and not line.startswith("| crate"):
            names.update(re.findall(r"[a-z][a-z0-9_-]*", line.split("|")[1]))
    return [name for name in direct(manifest) if name not in names]


def version_key(text):
    """A version for comparing: numbers, then whether it is no pre-release, then that. Build metadata doesn't count (SemVer 2.0, section 10)."""
    core, _, pre = text.split("+", 1)[0].partition("-")
    numbers = [int(part) for part in core.split(".")] + [0, 0, 0]
    parts = [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in pre.split(".")] if pre else []
    return numbers[:3], not pre, parts


def meets(version, requirement):
    """Whether a version meets a requirement of cargo's: comparators joined by commas."""
    have = version_key(version)
    for part in requirement.split(","):
        operator, wanted = re.fullmatch(r"\s*(>=|<=|>|<|=|\^|~)?\s*(\S+)\s*", part).groups()
        want = version_key(wanted)
        given = len(wanted.split("-")[0].split("."))
        if operator in (None, "^"):
            first = next((i for i, number in enumerate(want[0]) if number), given - 1)
            good = have >= want and have[0][: first + 1] == want[0][: first + 1]
        elif operator == "~":
            same = min(given, 2)
            good = have >= want and have[0][:same] == want[0][:same]
        else:
            good = {">=": have >= want, "<=": have <= want, ">": have > want, "<": have < want, "=": have == want}[operator]
        if not good:
            return False
    return True


def advisory(path):
    """The TOML of an advisory, which stands in a fenced block at the start of its text."""
    text = path.read_text(encoding="utf-8")
    return tomllib.loads(text.split("```toml", 1)[1].split("```", 1)[0]) if "```toml" in text else {}


def advisories(directory, locked):
    """What the database says about the versions in the lock file."""
    found = []
    for name, version in locked:
        for path in sorted((directory / "crates" / name).glob("*.md")):
            entry = advisory(path)
            about, versions = entry.get("advisory", {}), entry.get("versions", {})
            safe = versions.get("patched", []) + versions.get("unaffected", [])
            if about.get("withdrawn") or any(meets(version, one) for one in safe):
                continue
            kind = about.get("informational", "vulnerability")
            found.append(f"{about['id']} {name} {version}: {kind}: {path}")
    return found


def database(given):
    """Where the database is, if anywhere."""
    home = pathlib.Path(os.environ.get("CARGO_HOME", pathlib.Path.home() / ".cargo"))
    places = [pathlib.Path(given)] if given else [home / "advisory-db", *sorted((home / "advisory-dbs").glob("*"))]
    return next((place for place in places if (place / "crates").is_dir()), None)


def yanked(locked):
    """Crates of the lock file that were yanked, and how many the index here knows. A cache entry has a JSON object a version."""
    home = pathlib.Path(os.environ.get("CARGO_HOME", pathlib.Path.home() / ".cargo"))
    found, known = [], set()
    for name, version in locked:
        low = name.lower()
        place = {1: "1", 2: "2", 3: f"3/{low[0]}"}.get(len(low), f"{low[:2]}/{low[2:4]}")
        for path in home.glob(f"registry/index/*/.cache/{place}/{low}"):
            for piece in path.read_bytes().split(b"\0"):
                if not piece.startswith(b"{"):
                    continue
                entry = json.loads(piece)
                if entry.get("vers") == version:
                    known.add((name, version))
                    if entry.get("yanked"):
                        found.append(f"{name} {version} was yanked")
    return found, len(known)


class Report:
    def __init__(self):
        self.failed = False

    def say(self, what, findings, good):
        self.failed |= bool(findings)
        print(f"{what:<14} {'FAIL' if findings else 'ok':<5} {f'{len(findings)} found' if findings else good}")
        for finding in findings:
            print(f"               {finding}")


def check_crates(report, metadata, manifest, packages):
    """What cargo's metadata tells: licences, versions, dependencies, build scripts."""
    others = [package for package in metadata["packages"] if package["source"]]

    def is_allowed(package):
        return any(way <= LICENCES for way in alternatives(package["license"] or "none"))

    refused = [f"{it['name']} {it['version']}: {it['license']}" for it in others if not is_allowed(it)]
    report.say("licences", refused, f"{len(others)} crates, {len({it['license'] for it in others})} expressions")

    loose = [
        f"{it['name']} {it['version']}: {it.get('source', 'no source')}"
        for it in packages
        if it["name"] != manifest["package"]["name"] and not ("checksum" in it and it.get("source", "").startswith("registry+"))
    ]
    report.say("sources", loose, f"{len(packages) - 1} crates from the registry, each with its checksum")

    inside = shipped()
    ours = [package for package in others if (package["name"], package["version"]) in inside]
    versions = {}
    for package in ours:
        versions.setdefault(package["name"], set()).add(package["version"])
    twice = [f"{name}: {', '.join(sorted(all))}" for name, all in sorted(versions.items()) if len(all) > 1 and name not in TWICE]
    report.say("twice", twice, f"{len(ours)} crates in the binary and its build, each once or as listed")

    report.say("justified", justified(manifest), f"{len(direct(manifest))} direct dependencies")

    scripts = {it["name"] for it in ours if any("custom-build" in target["kind"] for target in it["targets"])}
    unknown = sorted(scripts - BUILD_SCRIPTS.keys())
    gone = sorted(BUILD_SCRIPTS.keys() - scripts)
    report.say(
        "build scripts",
        [f"{name}: new, look at what it does" for name in unknown] + [f"{name}: listed, but not there" for name in gone],
        f"{len(scripts)}, all known",
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--advisories", metavar="DIR", help="a copy of github.com/rustsec/advisory-db")
    parser.add_argument("--require-advisories", action="store_true", help="without a copy, exit with 3")
    arguments = parser.parse_args()

    packages = tomllib.loads((ROOT / "Cargo.lock").read_text(encoding="utf-8"))["package"]
    manifest = tomllib.loads((ROOT / "Cargo.toml").read_text(encoding="utf-8"))
    metadata = json.loads(run("cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", TARGET))
    locked = sorted((it["name"], it["version"]) for it in packages if "source" in it)

    report = Report()
    check_crates(report, metadata, manifest, packages)
    gone, known = yanked(locked)
    report.say("yanked", gone, f"none of {known} that the index here knows, of {len(locked)}")
    place = database(arguments.advisories)
    if place is None:
        print("advisories     UNCHECKED: no copy of the RustSec database on this machine (--advisories DIR)")
    else:
        report.say("advisories", advisories(place, locked), f"none for {len(locked)} crates, by {place}")
    if report.failed:
        return 1
    return 3 if place is None and arguments.require_advisories else 0


if __name__ == "__main__":
    sys.exit(main())
