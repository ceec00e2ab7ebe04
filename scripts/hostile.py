"""Everything that a hostile peer can do, at once and on every port, beside an honest producer and consumer.

A gateway listens for Kafka, native and MQTT clients, each in the clear and by TLS. First the honest pair is alone: what it measures is the
quiet value. Then attackers come, from other addresses of this machine (127.0.0.2 and up):

  noise        random bytes
  lengths      frames that claim 2 GiB, or as much as their length can say
  counts       requests with arrays of two billion elements
  bombs        record batches of some ten kilobytes that decompress to 60 MB and more
  claims       frames as large as may be, of which a byte comes now and then (slow-loris)
  parts        the same, once a good part of the frame has come
  half-open    connections that say nothing
  stalls       half a ClientHello, then nothing
  pipelines    requests without an end, whose answers nobody reads
  flood        10,000 connections from one address

Attackers come from other machines. Here they are on the gateway's, so they run only while nobody else wants the CPU (SCHED_IDLE), and what
they and the gateway have used of it is told; --share-cpu lets them compete with it. --only plays some kinds, --each all, one after the other.

The records of the honest producer are numbered. At the end: none is lost, none came twice or out of order; the gateway's memory stayed under
a bound, which is printed; it still runs, nothing in it panicked. With --factor the honest producer's p99 is held against so many times
the quiet one: not for a machine on which others work.

Processes are ended by their ids.
"""

import argparse
import json
import multiprocessing
import os
import pathlib
import random
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts" / "lib"))

from hostile_attackers import KINDS, PARTS, attack  # noqa: E402
from hostile_kafka import PATIENCE_SECONDS, Client, batch, fetch, metadata, produce, record  # noqa: E402

# Beyond what the gateway holds with nobody connected: budgets of requests and answers, places, TLS, the store's caches; in MiB.
MEMORY_MIB = 160
# The honest producer's batches are larger than what needs no memory from the shared budget.
VALUE_BYTES = 6_000
EVERY_SECONDS = 0.01
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("BROOKLET_")}


def say(text):
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


# --- the honest pair -----------------------------------------------------------------------------------------------------------------------


def produce_for_ever(port, topic, results, over):
    """Numbered records, one after the other; results: (when, seconds until it was acknowledged) each, then how many."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    client, number = Client(port), 0
    for _ in range(50):
        if struct.unpack(">h", client.ask(metadata(topic))[-26:-24] or b"\0\0")[0] == 0:
            break
        time.sleep(0.1)
    time.sleep(1)
    taken = []
    while not over.is_set():
        value = struct.pack(">Q", number) + bytes(VALUE_BYTES - 8)
        request = produce(topic, batch(record(value)))
        begin = time.monotonic()
        answer = client.ask(request)
        took = time.monotonic() - begin
        # Correlation id, topics, the name, partitions, index, error code, base offset, append time, throttle time.
        error, offset = struct.unpack(">hq", answer[-22:-12])
        if error or offset != number:
            results.put(("failed", f"record {number}: error {error}, offset {offset}"))
            return
        taken.append((begin, took))
        number += 1
        time.sleep(max(0, EVERY_SECONDS - took))
    results.put(("produced", number, taken))


def consume_for_ever(port, topic, results, until):
    """Reads along; every record must be the next one. `until` is how many there are, once that is known."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    client, at = Client(port), 0
    client.ask(metadata(topic))
    sizes = len(batch(record(bytes(VALUE_BYTES))))
    deadline = None
    while not 0 <= until.value <= at:
        if until.value >= 0:
            deadline = deadline or time.monotonic() + PATIENCE_SECONDS
            if time.monotonic() > deadline:
                results.put(("failed", f"{at} of {until.value} records came"))
                return
        answer = client.ask(fetch(topic, at))
        head = 4 + 4 + 4 + 2 + len(topic) + 4 + 4
        error, = struct.unpack_from(">h", answer, head)
        if error:
            time.sleep(0.05)
            continue
        # High watermark, last stable offset, aborted transactions.
        aborted, = struct.unpack_from(">i", answer, head + 18)
        data = answer[head + 22 + 16 * max(aborted, 0) + 4:]
        while len(data) >= sizes:
            offset, length = struct.unpack_from(">qi", data)
            whole = length + 12
            if len(data) < whole:
                break
            if offset >= at:
                number, = struct.unpack_from(">Q", data, whole - 1 - VALUE_BYTES)
                if offset != at or number != at:
                    results.put(("failed", f"at {at}: record {number} at offset {offset}"))
                    return
                at += 1
            data = data[whole:]
    results.put(("consumed", at))


# --- the gateway -------------------------------------------------------------------------------------------------------------------------


def free_ports(count):
    held = []
    while len(held) < count:
        one = socket.socket()
        try:
            one.bind(("127.0.0.1", random.randrange(20_000, 29_000)))
            held.append(one)
        except OSError:
            one.close()
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


class Gateway:
    def __init__(self, binary, directory):
        self.binary, self.directory = binary, directory
        self.ports = []
        for command in (["ca", "--name", "Site"], ["gateway", "gw", "--host", "localhost"]):
            subprocess.run([binary, "cert", *command, "--dir", str(directory)], check=True, env=ENVIRONMENT, capture_output=True)
        lines = ["listen.max_connections_per_address = 60", "store.max_bytes = \"128MiB\""]
        numbers = iter(free_ports(6))
        for protocol in ("native", "kafka", "mqtt"):
            plain, tls = next(numbers), next(numbers)
            self.ports += [(protocol, False, plain), (protocol, True, tls)]
            lines += [
                f"[listen.{protocol}]",
                f'addr = "127.0.0.1:{plain}"',
                f"[listen.{protocol}.tls]",
                f'addr = "127.0.0.1:{tls}"',
                f'cert = "{directory}/gw.pem"',
                f'key = "{directory}/gw.key"',
            ]
        (directory / "brooklet.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
        self.log = directory / "log"
        with open(self.log, "wb") as log:
            command = [binary, "serve", "--config", str(directory / "brooklet.toml"), "--data", str(directory / "data")]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=ENVIRONMENT)
        deadline = time.monotonic() + 120
        while not self.status():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("hostile: the gateway did not start:\n" + self.log.read_text(encoding="utf-8"))
            time.sleep(0.1)

    def kafka_port(self):
        return next(port for protocol, tls, port in self.ports if protocol == "kafka" and not tls)

    def status(self):
        command = [self.binary, "status", "--data", str(self.directory / "data"), "--json"]
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def memory(self):
        """Resident memory in MiB."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmRSS:"))

    def end(self):
        self.process.terminate()
        try:
            return self.process.wait(120)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def percentile(values, part):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] * 1e3 if ordered else float("nan")


def take(results, what):
    """The next result of this kind; a failure ends it."""
    kept = []
    while True:
        result = results.get(timeout=3 * PATIENCE_SECONDS)
        if result[0] == "failed":
            raise SystemExit(f"hostile: FAIL: {result[1]}")
        if result[0] == what:
            for other in kept:
                results.put(other)
            return result[1:]
        kept.append(result)
        time.sleep(0.01)


def cpu_seconds(pid):
    """What a process has used, and those of its children that have ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            fields = file.read().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def play(gateway, kinds, seconds, quiet_seconds, shares_cpu):
    """The whole of it; what was measured."""
    results, over, until = multiprocessing.Queue(), multiprocessing.Event(), multiprocessing.Value("q", -1)
    port = gateway.kafka_port()
    Client(port).ask(metadata("honest"))
    started = []

    def start(function, *arguments):
        process = multiprocessing.Process(target=function, args=arguments, daemon=True)
        process.start()
        started.append(process)
        return process

    try:
        start(produce_for_ever, port, "honest", results, over)
        start(consume_for_ever, port, "honest", results, until)
        time.sleep(2 + quiet_seconds)
        rest, begin_attack = gateway.memory(), time.monotonic()
        say(f"quiet for {quiet_seconds} s, {rest:.1f} MiB; now the attackers, for {seconds} s")
        before = cpu_seconds(gateway.process.pid)
        parts = [
            start(attack, part, kinds, gateway.ports, seconds, results, shares_cpu)
            for part in PARTS
            if set(PARTS[part]) & set(kinds)
        ]
        peak, end_attack, attackers_cpu = rest, begin_attack + seconds, 0.0
        while time.monotonic() < end_attack:
            if gateway.process.poll() is not None:
                raise SystemExit("hostile: FAIL: the gateway ended:\n" + gateway.log.read_text(encoding="utf-8")[-4_000:])
            peak = max(peak, gateway.memory())
            attackers_cpu = max(attackers_cpu, sum(cpu_seconds(part.pid) for part in parts))
            time.sleep(0.2)
        gateway_cpu = cpu_seconds(gateway.process.pid) - before
        done = {}
        for _ in parts:
            done |= take(results, "attacked")[0]
        over.set()
        produced, taken = take(results, "produced")
        until.value = produced
        consumed, = take(results, "consumed")
    finally:
        for process in started:
            if process.is_alive():
                process.kill()
            process.join()
    quiet = [took for at, took in taken if at < begin_attack]
    hostile = [took for at, took in taken if begin_attack <= at < end_attack]
    return {
        "quiet": quiet,
        "hostile": hostile,
        "rest": rest,
        "peak": peak,
        "done": done,
        "produced": produced,
        "consumed": consumed,
        "gateway": gateway_cpu / seconds,
        "attackers": attackers_cpu / seconds,
    }


def judge(gateway, found, factor):
    status = gateway.status()
    metrics = status["metrics"] if status else {}
    print(f"\n{'attack':<24} {'connections or sendings':>24}")
    for kind, number in sorted(found["done"].items()):
        print(f"{kind:<24} {number:>24}")
    print(f"\n{'honest producer':<24} {'p50 ms':>8} {'p99 ms':>8} {'worst ms':>9} {'records':>8}")
    for name in ("quiet", "hostile"):
        values = found[name]
        shown = [percentile(values, 0.5), percentile(values, 0.99), percentile(values, 1.0)]
        print(f"{name:<24} {shown[0]:>8.1f} {shown[1]:>8.1f} {shown[2]:>9.1f} {len(values):>8}")
    ratio = percentile(found["hostile"], 0.99) / percentile(found["quiet"], 0.99)
    grown = found["peak"] - found["rest"]
    print(f"p99 {ratio:.2f} times the quiet one; memory {found['rest']:.1f} MiB, at most {found['peak']:.1f} (+{grown:.1f}, allowed {MEMORY_MIB})")
    print(f"CPU while attacked, in cores: gateway {found['gateway']:.2f}, attackers {found['attackers']:.2f}")
    print(f"{found['produced']} records acknowledged, {found['consumed']} read, each once and in order")
    seen = ("connections_refused", "connections_refused_per_address", "connections_too_slow", "protocol_errors", "batches_refused",
            "tls_handshakes_late", "memory_waits", "memory_displaced", "tasks_panicked")
    print("counted: " + ", ".join(f"{name} {metrics[name]}" for name in seen if name in metrics))
    wrong = []
    if not status:
        wrong.append("the gateway doesn't answer any more")
    if metrics.get("tasks_panicked"):
        wrong.append("something in the gateway panicked")
    if found["produced"] != found["consumed"] or not found["hostile"]:
        wrong.append("records are missing")
    if grown > MEMORY_MIB:
        wrong.append(f"memory grew by {grown:.1f} MiB")
    if factor and ratio > factor:
        wrong.append(f"the honest p99 is {ratio:.2f} times the quiet one; {factor} are allowed")
    return wrong


def run(binary, kinds, arguments):
    """Plays these kinds of attack against a gateway; what is wrong."""
    with tempfile.TemporaryDirectory(prefix="brooklet-hostile-") as directory:
        gateway = Gateway(binary, pathlib.Path(directory))
        try:
            found = play(gateway, kinds, arguments.seconds, arguments.quiet, arguments.share_cpu)
            wrong = judge(gateway, found, arguments.factor)
        finally:
            code = gateway.end()
        return wrong + ([f"the gateway ended with {code}"] if code else [])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=120, help="how long the attackers stay")
    parser.add_argument("--quiet", type=int, default=15, help="how long the honest pair is alone before")
    parser.add_argument("--factor", type=float, default=0, help="most that the honest p99 may be, in quiet ones; 0: it is told only")
    parser.add_argument("--only", default=",".join(KINDS), help="kinds of attack, separated by commas")
    parser.add_argument("--each", action="store_true", help="every kind alone, for so many seconds, each with a gateway of its own")
    parser.add_argument("--share-cpu", action="store_true", help="attackers compete with the gateway for the CPU")
    parser.add_argument("--binary", default=str(ROOT / "target" / "release" / "brooklet"))
    arguments = parser.parse_args()
    binary = shutil.which(arguments.binary)
    if not binary:
        print(f"hostile: no {arguments.binary}; build it by cargo build --release, or name one by --binary", file=sys.stderr)
        return 2
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 16_384)), hard))
    kinds = arguments.only.split(",")
    unknown = set(kinds) - set(KINDS)
    if unknown:
        print(f"hostile: {', '.join(sorted(unknown))}: no kind of attack; there are {', '.join(KINDS)}", file=sys.stderr)
        return 2
    wrong = []
    for some in [[kind] for kind in kinds] if arguments.each else [kinds]:
        print(f"--- {', '.join(some)}")
        wrong += run(os.path.abspath(binary), some, arguments)
    for what in wrong:
        print(f"hostile: FAIL: {what}")
    print("hostile: all held" if not wrong else "hostile: not so")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
