"""aiomqtt. The verbs stand in tests/clients/mqtt/matrix.py. It has no reconnecting of its own: the loop around it is the one that its documentation
recommends."""

import asyncio
import sys
from importlib.metadata import version

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

FOREVER = 0xFFFFFFFF


def client_of(address, level, name, keep, will=None):
    host, port = address.split(":")
    if level == "5":
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = FOREVER if keep else 0
        more = {"protocol": aiomqtt.ProtocolVersion.V5, "clean_start": not keep, "properties": properties}
    else:
        more = {"protocol": aiomqtt.ProtocolVersion.V311, "clean_session": not keep}
    return aiomqtt.Client(host, int(port), identifier=name, will=will, **more)


async def publish(address, level, name, topic, qos, first, end, retain=""):
    number = int(first)
    while number < int(end):
        try:
            async with client_of(address, level, name, keep=True) as client:
                while number < int(end):
                    await client.publish(topic, f"m{number}", int(qos), retain == "retain")
                    number += 1
        except aiomqtt.MqttError:
            await asyncio.sleep(0.3)


async def subscribe(address, level, name, pattern, qos, count, keep=""):
    left = int(count)
    async with client_of(address, level, name, keep == "keep") as client:
        await client.subscribe(pattern, int(qos))
        print("ready", flush=True)
        async for message in client.messages:
            print(message.topic, message.payload.decode(), message.qos, int(message.retain), flush=True)
            left -= 1
            if left == 0:
                return


async def will(address, level, name, topic, payload):
    async with client_of(address, level, name, keep=False, will=aiomqtt.Will(topic, payload, 1)):
        print("ready", flush=True)
        await asyncio.Event().wait()


if sys.argv[1] == "version":
    print("aiomqtt", version("aiomqtt"))
else:
    asyncio.run({"publish": publish, "subscribe": subscribe, "will": will}[sys.argv[1]](*sys.argv[2:]))
