"""Other people's MQTT clients, each playing the same scenes with a gateway, by 3.1.1 and by 5.0; what arrived is read by kcat from
the Kafka side. `scripts/interop.sh mqtt` builds the drivers and starts this.

A driver is a small program against one library, as its users would write it; `DRIVER VERB ADDRESS VERSION ID ARGS` (VERSION is 4 for
3.1.1, or 5) exits with 0 when done. ADDRESS is HOST:PORT; for WebSocket, if the library has it, ws://HOST:PORT or wss://HOST:PORT, the latter
by a certificate of the CA in BROOKLET_TEST_CA:

    version                                      prints the library's name and version; no other arguments
    publish … TOPIC QOS FROM TO [retain]         messages mN for FROM <= N < TO, in a session that is kept; done once all are acknowledged
    subscribe … FILTER QOS COUNT [keep]          prints `ready`, then `TOPIC PAYLOAD QOS RETAIN` a message; done after COUNT
    will … TOPIC PAYLOAD                         connects with a will, prints `ready`, stays

`publish` lives through a restart of the gateway by the library's own means.
"""

import collections
import concurrent.futures
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

CALL_SECONDS = 240
LEVELS = {"4": "3.1.1", "5": "5.0"}
MESSAGES = 40
# Under way while the gateway is killed; fewer for who waits for each acknowledgement before the next message.
MANY, FEWER = 3_000, 400
ONE_BY_ONE = ("aiomqtt", "mosquitto")
WEBSOCKET = ("mqttjs", "paho-mqtt")
AT_ONCE = 3
# To kill the gateway before a publisher is through.
ATTEMPTS = 3
PORTS, PORTS_LOCK = set(), threading.Lock()


class Lacks(Exception):
    """What a library has no way to do."""


class Gateway:
    """A gateway in a process of its own; port, data and configuration stay over restarts."""

    def __init__(self, config=""):
        self.home = tempfile.TemporaryDirectory(prefix="brooklet-mqtt-")
        self.mqtt, self.kafka, self.ws, self.wss = (f"127.0.0.1:{free_port()}" for _ in range(4))
        certs = pathlib.Path(os.environ["BROOKLET_TEST_CA"]).parent
        config += f'[listen.mqtt]\nwebsocket = "{self.ws}"\n[listen.mqtt.tls]\nwebsocket = "{self.wss}"\naddr = "127.0.0.1:0"\n'
        config += f'cert = "{certs}/gw.pem"\nkey = "{certs}/gw.key"\n'
        pathlib.Path(self.home.name, "brooklet.toml").write_text(config, encoding="utf-8")
        self.process = None
        self.launch()

    def launch(self):
        command = [os.environ["BROOKLET_TEST_BINARY"], "serve", "--config", f"{self.home.name}/brooklet.toml"]
        command += ["--data", f"{self.home.name}/data", "--native", "127.0.0.1:0", "--kafka", self.kafka, "--mqtt", self.mqtt]
        with open(f"{self.home.name}/log", "a", encoding="utf-8") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_for("the gateway to answer", lambda: answers(self.mqtt) and answers(self.kafka))

    def kill(self):
        self.process.kill()
        self.process.wait()

    def restart(self):
        self.kill()
        self.launch()

    def stored(self, topic):
        """The values of a Kafka topic, in order."""
        command = ["kcat", "-b", self.kafka, "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-f", "%s\n"]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=CALL_SECONDS).stdout.split()

    def count(self, topic):
        """Records of a topic with one partition; none while it is not there."""
        command = ["kcat", "-b", self.kafka, "-Q", "-t", f"{topic}:0:-1"]
        asked = subprocess.run(command, capture_output=True, text=True, timeout=CALL_SECONDS, check=False)
        return int(asked.stdout.split()[-1]) if asked.returncode == 0 and asked.stdout.strip() else 0

    def is_alone(self):
        """Whether nobody is connected by MQTT, so that all sessions are stored."""
        command = [os.environ["BROOKLET_TEST_BINARY"], "status", "--data", f"{self.home.name}/data", "--json"]
        asked = subprocess.run(command, capture_output=True, text=True, timeout=CALL_SECONDS, check=False)
        return asked.returncode == 0 and json.loads(asked.stdout)["mqtt_clients"]["connected"] == 0

    def send(self, topic, values):
        command = ["kcat", "-b", self.kafka, "-P", "-t", topic]
        subprocess.run(command, check=True, input="\n".join(values) + "\n", text=True, timeout=CALL_SECONDS)

    def end(self):
        if self.process.poll() is None:
            self.kill()
        self.home.cleanup()


class Running:
    """A driver at work. Everything it printed is kept."""

    def __init__(self, command):
        self.what = " ".join(command)
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        self.lines, self.complaints = [], []
        self.threads = [
            threading.Thread(target=keep, args=(self.process.stdout, self.lines), daemon=True),
            threading.Thread(target=keep, args=(self.process.stderr, self.complaints), daemon=True),
        ]
        for thread in self.threads:
            thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def ready(self):
        wait_for(f"{self.what}: ready", lambda: "ready" in self.lines or self.over())
        assert "ready" in self.lines, f"{self.what}: ended: {' / '.join(self.complaints[-8:])}"

    def messages(self):
        return [line.split(" ") for line in self.lines if line.count(" ") == 3]

    def payloads(self):
        return [message[1] for message in self.messages()]

    def over(self):
        return self.process.poll() is not None

    def end(self):
        try:
            status = self.process.wait(CALL_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.what}: not done after {CALL_SECONDS} s") from None
        for thread in self.threads:
            thread.join()
        assert status == 0, f"{self.what}: ended with {status}: {' / '.join(self.complaints[-8:])}"

    def kill(self):
        """SIGKILL to it and what it started: nobody says DISCONNECT."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


def keep(stream, lines):
    for line in stream:
        lines.append(line.rstrip("\n"))


class Player:
    """A client, by one version, with a gateway."""

    def __init__(self, name, gateway, level):
        self.name, self.gateway, self.level = name, gateway, level
        self.program = os.path.join(os.environ["BROOKLET_TEST_CLIENTS_DIR"], name)

    def start(self, verb, who, *args, at=None):
        return Running([self.program, verb, at or self.gateway.mqtt, self.level, who + self.level, *map(str, args)])

    def topic(self, name):
        return f"{name}v{self.level}"

    def publish(self, topic, qos, first, end, *retain):
        with self.start("publish", "pub-" + topic.replace("/", "-"), topic, qos, first, end, *retain) as running:
            running.end()

    def many(self):
        return FEWER if self.name in ONE_BY_ONE else MANY


def payloads(first, end):
    return [f"m{number}" for number in range(first, end)]


def free_port():
    """Below what the kernel gives to outgoing connections; none twice: a gateway's is free while it is started again."""
    with PORTS_LOCK:
        while True:
            port = 20_000 + int.from_bytes(os.urandom(2), "big") % 9_000
            with socket.socket() as trial:
                try:
                    trial.bind(("127.0.0.1", port))
                except OSError:
                    continue
            if port not in PORTS:
                PORTS.add(port)
                return port


def answers(address):
    host, port = address.split(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
        return True
    except OSError:
        return False


def wait_for(what, ask):
    end = time.monotonic() + CALL_SECONDS
    while not ask():
        assert time.monotonic() < end, f"waited {CALL_SECONDS} s in vain for {what}"
        time.sleep(0.02)


# --- the scenes -------------------------------------------------------------------------------------------------------


def publish(player):
    """QoS 0, 1 and 2: all are there for a Kafka consumer, in order, each once."""
    for qos in (0, 1, 2):
        topic = player.topic(f"qos{qos}")
        player.publish(f"{topic}/x", qos, 0, MESSAGES)
        wait_for(f"{topic} to hold {MESSAGES}", lambda topic=topic: player.gateway.count(topic) >= MESSAGES)
        assert player.gateway.stored(topic) == payloads(0, MESSAGES), f"QoS {qos}"


def wildcards(player):
    """`+` and `#`, QoS 1 and 2; the subscription to something else hears nothing."""
    topic = player.topic("wild")
    with (
        player.start("subscribe", "plus", f"{topic}/+/t", 1, MESSAGES) as plus,
        player.start("subscribe", "hash", f"{topic}/#", 2, MESSAGES) as rest,
        player.start("subscribe", "else", f"{topic}/+/else", 2, MESSAGES) as other,
    ):
        for running in (plus, rest, other):
            running.ready()
        player.publish(f"{topic}/a/t", 2, 0, MESSAGES)
        for running, qos in ((plus, "1"), (rest, "2")):
            running.end()
            assert running.payloads() == payloads(0, MESSAGES), running.payloads()
            assert all(message[2] == qos for message in running.messages()), "the smaller QoS of both sides"
        assert not other.payloads()


def retained(player):
    """Whoever subscribes later gets the last one, marked as retained."""
    topic = player.topic("kept")
    player.publish(f"{topic}/x", 1, 0, 3, "retain")
    with player.start("subscribe", "late", f"{topic}/+", 1, 1) as late:
        late.end()
        assert late.messages() == [[f"{topic}/x", "m2", "1", "1"]], late.messages()


def will(player):
    """A client that is killed: its will comes, to MQTT and to Kafka."""
    topic = player.topic("will")
    with player.start("subscribe", "heir", f"{topic}/#", 1, 1) as heir:
        heir.ready()
        with player.start("will", "gone", f"{topic}/x", "lost") as gone:
            gone.ready()
            time.sleep(0.2)
            gone.kill()
            heir.end()
        assert heir.payloads() == ["lost"]
    assert player.gateway.stored(topic) == ["lost"]


def session(player):
    """Away while the gateway is killed twice and messages come between: they come when the client is back."""
    topic = player.topic("session")
    with player.start("subscribe", "sleeper", f"{topic}/#", 1, MESSAGES, "keep") as awake:
        awake.ready()
        player.publish(f"{topic}/x", 1, 0, MESSAGES)
        awake.end()
    wait_for("the end of its connection", player.gateway.is_alone)
    player.gateway.restart()
    player.publish(f"{topic}/x", 1, MESSAGES, 2 * MESSAGES)
    player.gateway.restart()
    with player.start("subscribe", "sleeper", f"{topic}/#", 1, 9 * MESSAGES, "keep") as back:
        expected = set(payloads(MESSAGES, 2 * MESSAGES))
        wait_for("what came meanwhile", lambda: expected <= set(back.payloads()))
        came = back.payloads()
        again = [payload for payload in came if payload not in expected]
        assert len(again) <= 20 and len(came) == MESSAGES + len(again), f"again: {again}"


def killed_at(player, qos):
    """The gateway is killed under a publisher that goes on by itself. One that was through before is given more to do."""
    for attempt in range(ATTEMPTS):
        topic, many = player.topic(f"killed{qos}-{attempt}-"), player.many() * 4**attempt
        with player.start("publish", f"pub-killed{qos}-{attempt}", f"{topic}/x", qos, 0, many) as running:
            wait_for("a few messages", lambda topic=topic, running=running: player.gateway.count(topic) > 20 or running.over())
            if running.over():
                running.end()
                continue
            player.gateway.restart()
            running.end()
        counts = collections.Counter(player.gateway.stored(topic))
        lost = [payload for payload in payloads(0, many) if payload not in counts]
        assert not lost, f"{len(lost)} of {many} lost: {' '.join(lost[:30])}"
        return sum(count > 1 for count in counts.values())
    raise AssertionError(f"it was through before the kill, {ATTEMPTS} times")


def killed_1(player):
    """QoS 1: nothing is lost. How much of it comes twice is the client's doing."""
    lack_of_reconnect(player)
    killed_at(player, 1)


def killed_2(player):
    """QoS 2: nothing is lost, nothing comes twice."""
    lack_of_reconnect(player)
    if player.name == "aiomqtt":
        raise Lacks("a new connection knows nothing of what the last one had under way")
    if player.name == "rumqttc":
        raise Lacks("PUBREL is not sent again after a connection is lost; its packet ids are used for other messages")
    twice = killed_at(player, 2)
    assert twice == 0, f"{twice} came twice"


def lack_of_reconnect(player):
    if player.name == "mosquitto":
        raise Lacks("mosquitto_pub ends with its connection")


def from_kafka(player):
    """What a Kafka producer sends is heard by MQTT."""
    topic = player.topic("kafka")
    with player.start("subscribe", "ear", topic, 1, MESSAGES) as ear:
        ear.ready()
        player.gateway.send(topic, payloads(0, MESSAGES))
        ear.end()
        assert ear.payloads() == payloads(0, MESSAGES), ear.payloads()


def websocket(player):
    """By WebSocket, in the clear and by TLS: published there and heard there, and in the log."""
    if player.name not in WEBSOCKET:
        raise Lacks("played with " + " and ".join(WEBSOCKET) + " only")
    for at in (f"ws://{player.gateway.ws}", f"wss://{player.gateway.wss}"):
        topic = player.topic(at.partition(":")[0])
        with player.start("subscribe", f"ear-{topic}", f"{topic}/+", 2, MESSAGES, at=at) as ear:
            ear.ready()
            with player.start("publish", f"pub-{topic}", f"{topic}/x", 2, 0, MESSAGES, at=at) as running:
                running.end()
            ear.end()
            assert ear.payloads() == payloads(0, MESSAGES), ear.payloads()
        assert player.gateway.stored(topic) == payloads(0, MESSAGES), at


def bridge(level):
    """Mosquitto as a bridge into the gateway, both ways, QoS 1, over a SIGKILL of the gateway: nothing is lost either way."""
    gateway = Gateway()
    try:
        play_over(gateway, level)
    finally:
        gateway.end()


def play_over(gateway, level):
    port = free_port()
    home = pathlib.Path(gateway.home.name, "mosquitto")
    home.mkdir()
    lines = [f"listener {port} 127.0.0.1", "allow_anonymous true", "user root", "connection gateway", f"address {gateway.mqtt}"]
    lines += ["bridge_protocol_version " + {"4": "mqttv311", "5": "mqttv50"}[level], "cleansession false", "restart_timeout 1"]
    lines += ["try_private false", "topic up/# out 1", "topic down/# in 1"]
    (home / "mosquitto.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")
    here = ["-h", "127.0.0.1", "-p", str(port), "-q", "1"]
    with Running(["mosquitto", "-c", str(home / "mosquitto.conf")]) as broker:
        wait_for("mosquitto to answer", lambda: answers(f"127.0.0.1:{port}") or broker.over())
        # It has subscribed when the retained message comes.
        subprocess.run(["mosquitto_pub", *here, "-t", "probe", "-m", "there", "-r"], check=True)
        with Running(["stdbuf", "-oL", "mosquitto_sub", *here, "-t", "down/#", "-t", "probe", "-F", "%t %p %q %r"]) as listening:
            wait_for("mosquitto_sub to subscribe", lambda: "there" in listening.payloads() or listening.over())
            ear = lambda: [payload for payload in listening.payloads() if payload != "there"]

            def send(first, end):
                text = "\n".join(payloads(first, end)) + "\n"
                subprocess.run(["mosquitto_pub", *here, "-t", "up/x", "-l"], input=text, text=True, check=True)

            send(0, MESSAGES)
            wait_for("the first messages through the bridge", lambda: gateway.count("up") >= MESSAGES)
            gateway.send("down", payloads(0, MESSAGES))
            wait_for("the first messages back", lambda: len(ear()) >= MESSAGES)
            gateway.kill()
            send(MESSAGES, 2 * MESSAGES)
            gateway.launch()
            both = set(payloads(0, 2 * MESSAGES))
            # By 5.0 its session ends with the connection.
            if level == "4":
                gateway.send("down", payloads(MESSAGES, 2 * MESSAGES))
                wait_for("everything back", lambda: set(ear()) == both)
            wait_for("everything through the bridge", lambda: set(gateway.stored("up")) == both)


SCENES = [
    ("publish QoS 0, 1, 2; a Kafka consumer reads it", publish),
    ("subscribe with wildcards, QoS 1 and 2", wildcards),
    ("retained message", retained),
    ("will of a client that is killed", will),
    ("a Kafka producer's records to a subscriber", from_kafka),
    ("by WebSocket, in the clear and by TLS", websocket),
    ("session kept over two SIGKILLs of the gateway", session),
    ("SIGKILL of the gateway while publishing, QoS 1", killed_1),
    ("SIGKILL of the gateway while publishing, QoS 2: once each", killed_2),
]


# --- the table --------------------------------------------------------------------------------------------------------


def play(name):
    """One client's column: a list of (sign, note)."""
    gateway = Gateway()
    column = []
    try:
        for title, scene in SCENES:
            begin, cell = time.monotonic(), ("ok", "")
            for level, version in LEVELS.items():
                try:
                    scene(Player(name, gateway, level))
                except Lacks as lack:
                    cell = ("–", str(lack))
                except Exception as error:  # pylint: disable=broad-except
                    cell = ("FAIL", f"{version}: {type(error).__name__}: {error}")
                    if gateway.process.poll() is not None:
                        gateway.launch()
                    break
            column.append(cell)
            print(f"{time.monotonic() - begin:6.1f} s  {name}: {title}: {' '.join(cell)}", flush=True)
        if any(sign == "FAIL" for sign, _ in column):
            log = pathlib.Path(gateway.home.name, "log").read_text(encoding="utf-8").splitlines()[-30:]
            print(f"--- end of the gateway's log ({name})", *log, "---", sep="\n", flush=True)
    finally:
        gateway.end()
    return column


def play_bridge():
    """A cell for each version."""
    if shutil.which("mosquitto") is None:
        print("\nMosquitto isn't installed (Debian: mosquitto): it is no bridge here")
        return []
    cells = []
    for level, version in LEVELS.items():
        try:
            bridge(level)
            cells.append(("ok", ""))
        except Exception as error:  # pylint: disable=broad-except
            cells.append(("FAIL", str(error)))
        print(f"\nMosquitto as a bridge, both ways, over a SIGKILL of the gateway, {version}: {' '.join(cells[-1])}")
    return cells


def main():
    with tempfile.TemporaryDirectory(prefix="brooklet-certs-") as certs:
        for what in (["ca"], ["gateway", "gw"]):
            subprocess.run([os.environ["BROOKLET_TEST_BINARY"], "cert", *what, "--dir", certs], check=True, stdout=subprocess.DEVNULL)
        os.environ["BROOKLET_TEST_CA"] = f"{certs}/ca.pem"
        play_all()


def play_all():
    names = os.environ["BROOKLET_TEST_CLIENTS"].split()
    programs = [Player(name, None, "4").program for name in names]
    versions = [subprocess.run([program, "version"], check=True, capture_output=True, text=True).stdout for program in programs]
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        columns = list(pool.map(play, names))
    notes = []

    def cell(sign, note):
        if not note:
            return sign
        if note not in notes:
            notes.append(note)
        return f"{sign} ({notes.index(note) + 1})"

    print("\n| |", " | ".join(version.strip() for version in versions), "|")
    print("|---|" + "---|" * len(names))
    for row, (title, _) in enumerate(SCENES):
        print(f"| {title} |", " | ".join(cell(*column[row]) for column in columns), "|")
    for number, note in enumerate(notes, 1):
        print(f"\n({number}) {note}")
    bridges = play_bridge() if "mosquitto" in names else []
    columns.append(bridges)
    failed = sum(sign == "FAIL" for column in columns for sign, _ in column)
    passed = sum(sign == "ok" for column in columns for sign, _ in column)
    print(f"\n{passed} passed, {failed} failed")
    sys.exit(failed > 0)


main()
