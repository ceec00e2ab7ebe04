"""paho-mqtt, with its own network thread. The verbs stand in tests/clients/mqtt/matrix.py."""

import os
import socket
import sys
import threading
import time
from importlib.metadata import version

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

FOREVER = 0xFFFFFFFF


def client_of(address, level, name, keep):
    transport, _, _ = address.rpartition("://")
    more = {"transport": "websockets"} if transport else {}
    if level == "5":
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, name, protocol=mqtt.MQTTv5, **more)
    else:
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, name, protocol=mqtt.MQTTv311, clean_session=not keep, **more)
    if transport:
        client.ws_set_options(path="/mqtt")
    if transport == "wss":
        client.tls_set(ca_certs=os.environ["BROOKLET_TEST_CA"])
    return client


def connect(client, address, level, keep):
    host, port = address.rpartition("://")[2].split(":")
    more = {}
    if level == "5":
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = FOREVER if keep else 0
        more = {"clean_start": not keep, "properties": properties}
    client.reconnect_delay_set(1, 1)
    # Before it connects again: with an attempt in vain the library (2.2) forgets which messages were at PUBREL, and publishes them anew.
    client.on_disconnect = lambda *_: wait_for(host, int(port))
    client.connect(host, int(port), **more)
    client.loop_start()


def wait_for(host, port):
    """Until somebody answers there."""
    while True:
        try:
            socket.create_connection((host, port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)


def publish(address, level, name, topic, qos, first, end, retain=""):
    # Kept, so that what is under way when the gateway dies is sent again.
    client = client_of(address, level, name, keep=True)
    acknowledged = threading.Semaphore(0)
    client.on_publish = lambda *_: acknowledged.release()
    connect(client, address, level, keep=True)
    # What is published while there is no connection is kept for the next one; the library's own wait takes that for a failure.
    for number in range(int(first), int(end)):
        client.publish(topic, f"m{number}", int(qos), retain == "retain")
    for _ in range(int(first), int(end)):
        acknowledged.acquire()
    client.disconnect()
    client.loop_stop()


def subscribe(address, level, name, pattern, qos, count, keep=""):
    done = threading.Event()
    left = [int(count)]
    client = client_of(address, level, name, keep == "keep")

    def on_message(_client, _userdata, message):
        print(message.topic, message.payload.decode(), message.qos, int(message.retain), flush=True)
        left[0] -= 1
        if left[0] == 0:
            done.set()

    client.on_connect = lambda client, *_: client.subscribe(pattern, int(qos))
    client.on_subscribe = lambda *_: print("ready", flush=True)
    client.on_message = on_message
    connect(client, address, level, keep == "keep")
    done.wait()
    client.disconnect()
    client.loop_stop()


def will(address, level, name, topic, payload):
    client = client_of(address, level, name, keep=False)
    client.will_set(topic, payload, 1)
    client.on_connect = lambda *_: print("ready", flush=True)
    connect(client, address, level, keep=False)
    threading.Event().wait()


if sys.argv[1] == "version":
    print("paho-mqtt", version("paho-mqtt"))
else:
    {"publish": publish, "subscribe": subscribe, "will": will}[sys.argv[1]](*sys.argv[2:])
