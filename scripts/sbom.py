#!/usr/bin/env python3
"""Prints what the binary for a target is made of, as CycloneDX 1.6 JSON: each crate with its version, licence and checksum.

Usage: scripts/sbom.py [--target TRIPLE]

Taken from Cargo.lock and cargo's own resolution; no time of day is in it, so that the same sources give the same bytes."""

import argparse
import json
import re
import subprocess
import sys
import uuid


def checksums(lock):
    """SHA-256 of each crate's archive by (name, version), from the text of Cargo.lock."""
    found = {}
    for block in lock.split("[[package]]"):
        fields = dict(re.findall(r'^(\w+) = "(.*)"$', block, re.M))
        if "checksum" in fields:
            found[fields["name"], fields["version"]] = fields["checksum"]
    return found


def shipped(metadata):
    """Ids of the packages that end up in the binary: reached from ours by normal dependencies."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    seen, waiting = set(), [metadata["resolve"]["root"]]
    while waiting:
        package = waiting.pop()
        if package in seen:
            continue
        seen.add(package)
        for dependency in nodes[package]["deps"]:
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                waiting.append(dependency["pkg"])
    return seen


def component(package, sums):
    name, version = package["name"], package["version"]
    purl = f"pkg:cargo/{name}@{version}"
    entry = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
    if package["license"]:
        entry["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if (name, version) in sums:
        entry["hashes"] = [{"alg": "SHA-256", "content": sums[name, version]}]
    return entry


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", default="aarch64-unknown-linux-musl")
    target = parser.parse_args().target
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target]
    metadata = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    with open("Cargo.lock", encoding="utf-8") as file:
        lock = file.read()
    sums, inside = checksums(lock), shipped(metadata)
    root = metadata["resolve"]["root"]
    packages = {package["id"]: package for package in metadata["packages"]}
    components = sorted((component(packages[i], sums) for i in inside if i != root), key=lambda entry: entry["bom-ref"])
    own = component(packages[root], sums) | {"type": "application"}
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, lock + target)}",
        "version": 1,
        "metadata": {"component": own, "properties": [{"name": "target", "value": target}]},
        "components": components,
    }
    json.dump(bom, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
