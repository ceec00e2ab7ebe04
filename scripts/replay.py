"""Replays recorded readings through Brooklet into a real Apache Kafka while both are killed and restarted.

Each CSV file of DATADIR (a heading, then `timestamp,value` a line) is one device: one `brooklet produce` process with a
client id of its own, fed in real time. Meanwhile the gateway gets SIGKILL and Apache Kafka is stopped, several times. At each
such moment it is printed how many readings were unacknowledged (handed to a device, not yet acknowledged to it) and
unforwarded (acknowledged, not yet seen at the centre). At the end everything in Kafka is compared with the files.
Python's standard library only; processes are ended by their ids.
"""

import argparse
import calendar
import csv
import itertools
import json
import os
import pathlib
import queue
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
KAFKA = str(ROOT / "scripts" / "kafka.sh")
TOPIC = "readings"
UPSTREAM_PARTITIONS = 6
TICK_S = 0.25
GATEWAY_DOWN_S = 1.5
DRAIN_QUIET_S = 180
# Without the variables that would configure Brooklet.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("BROOKLET_")}


def load(directory):
    """The readings of each device: (milliseconds since 1970, value as written)."""
    devices = {}
    for path in sorted(pathlib.Path(directory).glob("*.csv")):
        with open(path, newline="") as file:
            rows = list(csv.reader(file))[1:]
        readings = []
        for stamp, value in rows:
            whole, _, fraction = stamp.partition(".")
            seconds = calendar.timegm(time.strptime(whole, "%Y-%m-%d %H:%M:%S"))
            readings.append((seconds * 1000 + int((fraction + "000")[:3]), value))
        if len(set(readings)) != len(readings):
            raise SystemExit(f"{path}: two equal readings; they could not be told apart at the centre")
        devices[path.stem] = readings
    if not devices:
        raise SystemExit(f"{directory}: no CSV files")
    return devices


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Centre:
    """The Apache Kafka, and a consumer that notes what arrives."""

    def __init__(self, directory, port, nodes):
        self.place = ["--dir", str(directory)]
        self.seen = {}
        self.consumer = None
        status = subprocess.run([KAFKA, "start", *self.place, "--fresh", "--port", str(port), "--nodes", str(nodes)],
                                stdout=subprocess.PIPE, text=True)
        if status.returncode != 0:
            sys.exit(status.returncode)
        self.bootstrap = status.stdout.strip()
        self.tool("org.apache.kafka.tools.TopicCommand", "--create", "--topic", TOPIC,
                  "--partitions", str(UPSTREAM_PARTITIONS))

    def tool(self, name, *args):
        subprocess.run([KAFKA, "tool", name, "--bootstrap-server", self.bootstrap, *args], check=True,
                       stdout=subprocess.DEVNULL)

    def start(self):
        subprocess.run([KAFKA, "start", *self.place], check=True, stdout=subprocess.DEVNULL)

    def stop(self, hard=False):
        subprocess.run([KAFKA, "stop", *self.place, *(["--kill"] if hard else [])], check=True)

    def _consume(self, *more):
        shown = [f"--formatter-property=print.{field}=true" for field in ("timestamp", "key", "value")]
        command = [KAFKA, "tool", "org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server",
                   self.bootstrap, "--topic", TOPIC, "--from-beginning", *shown, *more]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    @staticmethod
    def _parse(line):
        stamp, key, value = line.rstrip("\n").split("\t")
        return key, (int(stamp.partition(":")[2]), value)

    def watch(self):
        """Keeps `seen` (device -> set of readings) up to date."""
        self.consumer = self._consume()

        def note():
            for line in self.consumer.stdout:
                device, reading = self._parse(line)
                self.seen.setdefault(device, set()).add(reading)

        threading.Thread(target=note, daemon=True).start()

    def seen_count(self):
        return sum(len(readings) for readings in list(self.seen.values()))

    def everything(self):
        """All records in Kafka, by device, in order: read anew from the beginning."""
        arrived = {}
        with self._consume("--timeout-ms", "8000") as consumer:
            for line in consumer.stdout:
                device, reading = self._parse(line)
                arrived.setdefault(device, []).append(reading)
        return arrived

    def close(self):
        end(self.consumer)
        self.stop(hard=True)


class Gateway:
    """`brooklet serve`, started again and again on the same data and ports."""

    def __init__(self, binary, directory, bootstrap):
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        self.address = f"127.0.0.1:{free_port()}"
        config = directory / "brooklet.toml"
        brokers = json.dumps(bootstrap.split(","))
        config.write_text(f"[topic.{TOPIC}]\npartitions = 4\n\n[uplink.central]\nbootstrap = {brokers}\n")
        self.log = open(directory / "serve.log", "ab")
        self.command = [binary, "serve", "--config", str(config), "--data", str(directory / "data"), "--native",
                        self.address, "--kafka", f"127.0.0.1:{free_port()}", "--mqtt", "127.0.0.1:0"]
        self.process = None

    def start(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                        env=ENVIRONMENT)
        host, port = self.address.rsplit(":", 1)
        deadline = time.monotonic() + 30
        while True:
            if self.process.poll() is not None:
                raise SystemExit(f"the gateway ended with {self.process.returncode}; see {self.log.name}")
            try:
                socket.create_connection((host, int(port)), 1).close()
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise SystemExit(f"the gateway doesn't listen after 30 s; see {self.log.name}") from None
                time.sleep(0.05)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.terminate()
        if self.process.wait(timeout=10) != 0:
            raise SystemExit(f"the gateway ended with {self.process.returncode} after SIGTERM; see {self.log.name}")


class Device:
    """One `brooklet produce`, fed from a queue so that a device that is held back holds back nobody else."""

    def __init__(self, binary, address, name, readings, log):
        self.name = name
        self.readings = readings
        self.due = 0
        self.handed = 0
        self.acknowledged = 0
        self.queue = queue.SimpleQueue()
        self.process = subprocess.Popen(
            [binary, "produce", TOPIC, "--broker", address, "--client-id", name, "--timestamps", "--json"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=ENVIRONMENT)
        self.feeder = threading.Thread(target=self._feed, daemon=True)
        self.feeder.start()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def hand_until(self, share):
        """Hands over what is due when this share of the replay (0 to 1) has passed."""
        due = min(len(self.readings), int(len(self.readings) * share))
        if due > self.due:
            self.queue.put(self.readings[self.due:due])
            self.due = due

    def finish(self):
        self.queue.put(None)

    def _feed(self):
        pipe = self.process.stdin
        try:
            for batch in iter(self.queue.get, None):
                pipe.write("".join(f"{stamp} {value}\n" for stamp, value in batch))
                pipe.flush()
                self.handed += len(batch)
            pipe.close()
        except OSError:
            pass  # It ended; its status tells.

    def _read(self):
        for line in self.process.stdout:
            self.acknowledged = json.loads(line)["acknowledged"]


class Replay:
    def __init__(self, options):
        self.options = options
        self.devices = []
        self.both = 0
        self.begin = 0.0
        self.disturbances = 0

    def unacknowledged(self):
        return sum(device.handed - device.acknowledged for device in self.devices)

    def acknowledged(self):
        return sum(device.acknowledged for device in self.devices)

    def report(self, what, centre, disturbance=False):
        # What is on its way to this program counts as not yet acknowledged, not yet seen.
        unacknowledged = self.unacknowledged()
        unforwarded = max(0, self.acknowledged() - centre.seen_count())
        if disturbance:
            self.disturbances += 1
            self.both += unacknowledged > 0 and unforwarded > 0
        passed = time.monotonic() - self.begin
        print(f"{passed:6.1f} s  {what:<28} unacknowledged {unacknowledged:6}  unforwarded {unforwarded:6}", flush=True)

    def schedule(self):
        """(seconds, action) in order. Outages lie in the middle of their share; kills in them and between them by turns."""
        total, kills, outages = self.options.seconds, self.options.kills, self.options.outages
        actions = []
        for i in range(outages):
            actions.append((total * (i + 0.25) / outages, "stop" if i % 2 == 0 else "stop hard"))
            actions.append((total * (i + 0.65) / outages, "start"))
        for i in range(kills):
            actions.append((total * (i + (0.45 if i % 2 == 0 else 0.95)) / kills, "kill"))
        return sorted(actions)

    def feed(self, until):
        """Hands readings over, in bursts, until this many seconds have passed."""
        while True:
            passed = time.monotonic() - self.begin
            for device in self.devices:
                device.hand_until(min(1.0, passed / self.options.seconds))
            if passed >= until:
                return
            time.sleep(min(TICK_S, until - passed))

    def burst(self, until):
        """As `feed`, but the last readings are handed over just now, so that something is on its way."""
        self.feed(until - TICK_S)
        time.sleep(TICK_S)
        self.feed(until)
        time.sleep(0.001)

    def run(self, centre, gateway):
        outage = None
        self.begin = time.monotonic()
        for moment, action in self.schedule():
            if action == "kill":
                self.burst(moment)
                gateway.kill()
                self.report("gateway killed", centre, disturbance=True)
                self.feed(time.monotonic() - self.begin + GATEWAY_DOWN_S)
                self.report("  and started again", centre)
                gateway.start()
            elif action == "start":
                self.feed(moment)
                # Kafka takes seconds to start; the devices don't wait for it.
                outage = threading.Thread(target=centre.start)
                outage.start()
            else:
                if outage:
                    outage.join()
                self.burst(moment)
                self.report("Kafka killed" if action == "stop hard" else "Kafka stopped", centre, disturbance=True)
                centre.stop(hard=action == "stop hard")
        self.feed(self.options.seconds)
        if outage:
            outage.join()

    def drain(self, centre, total):
        for device in self.devices:
            device.finish()
        for device in self.devices:
            try:
                status = device.process.wait(timeout=DRAIN_QUIET_S)
            except subprocess.TimeoutExpired:
                raise SystemExit(f"device {device.name} hasn't ended after {DRAIN_QUIET_S} s: {device.handed} readings "
                                 f"handed to it, {device.acknowledged} acknowledged") from None
            device.reader.join(timeout=10)
            if status != 0:
                raise SystemExit(f"device {device.name} ended with {status}")
        self.report("all handed over", centre)
        last, since = -1, time.monotonic()
        while centre.seen_count() < total:
            if centre.seen_count() != last:
                last, since = centre.seen_count(), time.monotonic()
            if time.monotonic() - since > DRAIN_QUIET_S:
                print(f"nothing has arrived for {DRAIN_QUIET_S} s", flush=True)
                break
            time.sleep(0.2)
        self.report("drained", centre)


def compare(devices, arrived):
    """(lost, out of order, duplicates, unknown): by device, arrived against sent."""
    lost = out_of_order = duplicates = unknown = 0
    for name, readings in devices.items():
        position = {reading: i for i, reading in enumerate(readings)}
        first_seen, highest = set(), -1
        for reading in arrived.get(name, []):
            i = position.get(reading)
            if i is None:
                unknown += 1
            elif i in first_seen:
                duplicates += 1
            else:
                first_seen.add(i)
                out_of_order += i < highest
                highest = max(highest, i)
        lost += len(readings) - len(first_seen)
    unknown += sum(len(readings) for name, readings in arrived.items() if name not in devices)
    return lost, out_of_order, duplicates, unknown


def end(process):
    if process and process.poll() is None:
        process.send_signal(signal.SIGKILL)
        process.wait()


def options():
    parser = argparse.ArgumentParser(prog="scripts/replay.sh", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datadir", metavar="DATADIR")
    parser.add_argument("--seconds", type=float, default=180, help="pace of the whole replay (%(default)s)")
    parser.add_argument("--kills", type=int, default=5, help="how often the gateway is killed (%(default)s)")
    parser.add_argument("--outages", type=int, default=5, help="how often Kafka is stopped (%(default)s)")
    parser.add_argument("--binary", help="the brooklet to test (a release build of this checkout)")
    parser.add_argument("--work", default=str(ROOT / ".scratch" / "replay"), help="scratch directory (%(default)s)")
    parser.add_argument("--port", type=int, default=39092, help="Kafka's first port (%(default)s)")
    parser.add_argument("--nodes", type=int, default=1, choices=(1, 3), help="Kafka's nodes (%(default)s)")
    return parser.parse_args()


def main():
    chosen = options()
    devices = load(chosen.datadir)
    total = sum(map(len, devices.values()))
    binary = chosen.binary
    if binary is None:
        subprocess.run(["cargo", "build", "--locked", "--release"], cwd=ROOT, check=True)
        binary = str(ROOT / "target" / "release" / "brooklet")
    work = pathlib.Path(chosen.work).resolve()
    replay, gateway = Replay(chosen), None
    centre = Centre(work / "kafka", chosen.port, chosen.nodes)
    try:
        centre.watch()
        gateway = Gateway(binary, work / "gateway", centre.bootstrap)
        gateway.start()
        log = open(work / "gateway" / "devices.log", "ab")
        print(f"{total} readings of {len(devices)} devices in {chosen.seconds:.0f} s", flush=True)
        replay.devices += [Device(binary, gateway.address, name, readings, log) for name, readings in devices.items()]
        replay.run(centre, gateway)
        replay.drain(centre, total)
        gateway.stop()
        lost, out_of_order, duplicates, unknown = compare(devices, centre.everything())
        print(f"both above 0 at {replay.both} of {replay.disturbances} kills and outages")
        print(f"readings={total} acknowledged={replay.acknowledged()} lost={lost} out_of_order={out_of_order} "
              f"duplicates={duplicates} unknown={unknown}")
        return 1 if lost or out_of_order or unknown else 0
    finally:
        for device in replay.devices:
            end(device.process)
        if gateway:
            end(gateway.process)
        centre.close()


if __name__ == "__main__":
    sys.exit(main())
