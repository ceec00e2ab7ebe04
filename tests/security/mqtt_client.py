"""One operation of paho: PORT WAY USER PASSWORD-FILE write|read TOPIC DIRECTORY-OF-CERTIFICATES SECONDS."""

import sys
import threading

import paho.mqtt.client as mqtt

port, way, user, password, operation, topic, tls, patience = sys.argv[1:]
done = threading.Event()
outcome = {"good": False}


def settle(good):
    outcome["good"] = good
    done.set()


def connected(client, _userdata, _flags, reason, _properties):
    if reason.is_failure:
        settle(False)
    elif operation == "write":
        client.publish(f"{topic}/x", b"x", qos=1)
    else:
        client.subscribe(f"{topic}/x", qos=1)


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
client.on_connect = connected
client.on_publish = lambda _c, _u, _m, reason, _p: settle(not reason.is_failure)
client.on_subscribe = lambda _c, _u, _m, reasons, _p: settle(not any(reason.is_failure for reason in reasons))
client.on_disconnect = lambda *_: done.set()
if way == "mtls" or way.endswith("-tls"):
    client.tls_set(f"{tls}/ca.pem", *((f"{tls}/pump.pem", f"{tls}/pump.key") if way == "mtls" else ()))
if way != "mtls":
    with open(password, encoding="utf-8") as file:
        client.username_pw_set(user, file.readline().strip())
client.connect("localhost", int(port))
client.loop_start()
done.wait(int(patience))
sys.exit(0 if outcome["good"] else 1)
