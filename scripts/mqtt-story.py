"""An outage with MQTT devices, from end to end: the uplink's Apache Kafka is away, devices go on publishing by QoS 1 and 2, the
gateway is killed, Kafka comes back. What was acknowledged to the devices is then held against what a consumer of Kafka gets.

Each device is a paho-mqtt client with a session that is kept, and publishes its readings as JSON to plant/DEVICE/reading: the even ones
by QoS 1, the odd ones by QoS 2. Readings are those of the CSV files of --data (a heading, then `timestamp,value` a line), dealt out
to the devices; without --data they are made up. Time is compressed: --readings of each device in --seconds, all of it while Kafka is
away. Processes are ended by their ids.

A device goes on publishing while its library connects again, and the library then sends new readings before those that it repeats: how many
came out of order is told, and no failure.

Exit codes: 0 everything arrived, QoS 2 once each; 1 not so; 2 usage; 3 a program is missing.
"""

import argparse
import collections
import csv
import json
import os
import pathlib
import random
import shutil
import socket
import subprocess
import sys
import threading
import time

try:
    import paho.mqtt.client as mqtt
except ImportError:
    print("mqtt-story: SKIP: Python has no paho-mqtt", file=sys.stderr)
    sys.exit(3)

ROOT = pathlib.Path(__file__).resolve().parent.parent
KAFKA = str(ROOT / "scripts" / "kafka.sh")
TOPIC = "plant"
ACKNOWLEDGE_SECONDS, DRAIN_SECONDS = 300, 300
DOWN_SECONDS = 1
# Without the variables that would configure Brooklet.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("BROOKLET_")}


def say(text):
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def readings_of(directory, count):
    """Values as they are written, one list for all devices."""
    values = []
    for path in sorted(pathlib.Path(directory).glob("*.csv")) if directory else []:
        with open(path, newline="", encoding="utf-8") as file:
            values.extend(row for row in list(csv.reader(file))[1:])
    if not values:
        made = random.Random(1)
        values = [[f"2014-01-01 {n // 3600 % 24:02}:{n // 60 % 60:02}:{n % 60:02}", f"{made.gauss(70, 8):.6f}"] for n in range(count)]
    return values


def free_port():
    while True:
        port = random.randrange(20_000, 29_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def wait_for(port):
    while not answers(port):
        time.sleep(0.05)


class Gateway:
    """A gateway with an uplink for everything; port and data stay over restarts."""

    def __init__(self, binary, home, bootstrap):
        self.binary, self.home, self.port = binary, home, free_port()
        servers = ", ".join(f'"{server}"' for server in bootstrap.split(","))
        (home / "brooklet.toml").write_text(
            '[clock]\ntrust = "always"\n'
            f'[uplink.centre]\nbootstrap = [{servers}]\ntopics = ["{TOPIC}"]\ncreate_topics = true\nbackoff.max = "2s"\n', encoding="utf-8"
        )
        self.process = None

    def launch(self):
        command = [self.binary, "serve", "--config", self.home / "brooklet.toml", "--data", self.home / "data"]
        command += ["--native", "127.0.0.1:0", "--kafka", "127.0.0.1:0", "--mqtt", f"127.0.0.1:{self.port}"]
        with open(self.home / "log", "a", encoding="utf-8") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=ENVIRONMENT)
        end = time.monotonic() + 120
        while not answers(self.port):
            if time.monotonic() > end or self.process.poll() is not None:
                sys.exit(f"mqtt-story: the gateway does not answer; see {self.home}/log")
            time.sleep(0.05)

    def kill(self):
        self.process.kill()
        self.process.wait()


class Device:
    """One client."""

    def __init__(self, number, port, readings, every):
        self.name, self.qos = f"pump-{number:02}", 1 + number % 2
        self.readings, self.every = readings, every
        # The packet ids of the readings, in order, and those that are acknowledged; none is used twice, so few are they.
        self.sent, self.acked = [], set()
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, self.name, clean_session=False)
        self.client.reconnect_delay_set(1, 1)
        # Before it connects again: with an attempt in vain the library (paho-mqtt 2.2) forgets which messages were at PUBREL, and publishes
        # anew what has long been released.
        self.client.on_disconnect = lambda *_: wait_for(port)
        self.client.on_publish = lambda _client, _userdata, mid, *_: self.acked.add(mid)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        self.thread = threading.Thread(target=self.publish, daemon=True)

    def publish(self):
        time.sleep(random.random() * self.every)
        for number, (stamp, value) in enumerate(self.readings):
            payload = json.dumps({"device": self.name, "n": number, "at": stamp, "value": value})
            # While there is no connection the library keeps it for later.
            self.sent.append(self.client.publish(f"{TOPIC}/{self.name}/reading", payload, self.qos).mid)
            time.sleep(self.every)

    def acknowledged(self):
        return {(self.name, number) for number, mid in enumerate(list(self.sent)) if mid in self.acked}

    def finish(self):
        self.thread.join()
        end = time.monotonic() + ACKNOWLEDGE_SECONDS
        while len(self.acknowledged()) < len(self.sent) and time.monotonic() < end:
            time.sleep(0.05)
        self.client.disconnect()
        self.client.loop_stop()


def received(bootstrap):
    """What a consumer gets that sees committed transactions only: (device, number) in order."""
    command = ["kcat", "-b", bootstrap, "-C", "-t", TOPIC, "-o", "beginning", "-e", "-q", "-X", "isolation.level=read_committed"]
    command += ["-f", "%s\n"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=DRAIN_SECONDS)
    return [(reading["device"], reading["n"]) for reading in map(json.loads, run.stdout.splitlines())]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=str(ROOT / "target" / "release" / "brooklet"))
    parser.add_argument("--data", help="directory of CSV files")
    parser.add_argument("--devices", type=int, default=50)
    parser.add_argument("--readings", type=int, default=720, help="of each device: an hour of one every 5 s")
    parser.add_argument("--seconds", type=float, default=60, help="what the hour is compressed to")
    parser.add_argument("--kills", type=int, default=2, help="SIGKILLs of the gateway while Kafka is away")
    parser.add_argument("--port", type=int, default=29600)
    args = parser.parse_args()
    for program in ("kcat", "java", "mvn"):
        if shutil.which(program) is None:
            print(f"mqtt-story: SKIP: {program} isn't installed", file=sys.stderr)
            return 3

    home = ROOT / ".scratch" / "mqtt-story"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    place = ["--dir", str(home / "kafka")]
    started = subprocess.run([KAFKA, "start", *place, "--fresh", "--port", str(args.port)], stdout=subprocess.PIPE, text=True, check=False)
    if started.returncode != 0:
        return started.returncode
    bootstrap = started.stdout.strip()
    gateway = Gateway(os.path.abspath(args.binary), home, bootstrap)
    try:
        return play(args, place, bootstrap, gateway)
    finally:
        if gateway.process and gateway.process.poll() is None:
            gateway.kill()
        subprocess.run([KAFKA, "stop", "--kill", *place], check=False)


def play(args, place, bootstrap, gateway):
    gateway.launch()
    subprocess.run([KAFKA, "stop", *place], check=True)
    say("the uplink's Kafka is away")
    values = readings_of(args.data, args.devices * args.readings)
    deal = lambda number: [values[(number + n * args.devices) % len(values)] for n in range(args.readings)]
    devices = [Device(number, gateway.port, deal(number), args.seconds / args.readings) for number in range(args.devices)]
    begin = time.monotonic()
    for device in devices:
        device.thread.start()
    for kill in range(args.kills):
        time.sleep(max(0, begin + args.seconds * (kill + 1) / (args.kills + 1) - time.monotonic()))
        gateway.kill()
        say(f"the gateway is killed, {sum(len(device.acknowledged()) for device in devices)} readings were acknowledged")
        time.sleep(DOWN_SECONDS)
        gateway.launch()
    for device in devices:
        device.finish()
    accepted = set().union(*(device.acknowledged() for device in devices))
    sent = args.devices * args.readings
    say(f"{len(accepted)} of {sent} readings acknowledged by MQTT")
    restarted = subprocess.run([KAFKA, "start", *place], stdout=subprocess.DEVNULL, check=False)
    if restarted.returncode != 0:
        return 1
    back = time.monotonic()
    say("the uplink's Kafka is back")
    got = []
    while not accepted <= set(got) and time.monotonic() < back + DRAIN_SECONDS:
        time.sleep(1)
        got = received(bootstrap)
    return compare(args, devices, accepted, got, sent, time.monotonic() - back)


def compare(args, devices, accepted, got, sent, seconds):
    qos = {device.name: device.qos for device in devices}
    counts = collections.Counter(got)
    lost = accepted - set(counts)
    twice = {level: sum(count - 1 for (device, _), count in counts.items() if qos[device] == level) for level in (1, 2)}
    last, disordered = {}, 0
    for device, number in got:
        if qos[device] == 2:
            disordered += number < last.get(device, -1)
            last[device] = number
    say(f"Kafka has {len(got)} records, {len(counts)} readings, {seconds:.0f} s after it was back")
    result = f"accepted={len(accepted)} received={len(counts)} lost={len(lost)} qos2_twice={twice[2]} qos2_out_of_order={disordered} qos1_twice={twice[1]}"
    print(result)
    good = len(accepted) == sent and not lost and twice[2] == 0
    print(f"{int(good)} passed, {int(not good)} failed")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
