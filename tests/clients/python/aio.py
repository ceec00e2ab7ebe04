"""aiokafka."""

import asyncio

import aiokafka
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code

from contract import HEARTBEAT_MS, SESSION_MS, Assigned, emit, emit_record, key_value, leaving, run


def version():
    emit("aiokafka", aiokafka.__version__)


async def create(bootstrap, topic, partitions):
    async with admin(bootstrap) as client:
        answer = await client.create_topics([NewTopic(topic, partitions, 1)])
        check(answer.topic_errors[0][1])


async def produce(bootstrap, topic, first, end, codec, idempotent=False):
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        acks="all",
        compression_type=None if codec == "none" else codec,
        enable_idempotence=idempotent,
        linger_ms=20,
        # A batch must be through by then, a restart of the broker in between.
        request_timeout_ms=120000,
    )
    async with producer:
        futures = []
        for number in range(first, end):
            key, value = key_value(number)
            futures.append(await producer.send(topic, value, key))
        await asyncio.gather(*futures)


async def consume(bootstrap, topic, count):
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap) as consumer:
        await consumer._client.force_metadata_update()
        partitions = [TopicPartition(topic, partition) for partition in consumer.partitions_for_topic(topic)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning()
        while count > 0:
            for record in records(await consumer.getmany(timeout_ms=1000)):
                emit_record(record.partition, record.offset, record.key, record.value)
                count -= 1


async def group(bootstrap, topic, name):
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=name,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        session_timeout_ms=SESSION_MS,
        heartbeat_interval_ms=HEARTBEAT_MS,
    )
    assigned, left = Assigned(), leaving()
    async with consumer:
        while not left.is_set():
            polled = await consumer.getmany(timeout_ms=200)
            assigned.tell(partition.partition for partition in consumer.assignment())
            for record in records(polled):
                emit_record(record.partition, record.offset, record.key, record.value, head=["record"])
            if polled:
                await commit(consumer, {partition: batch[-1].offset + 1 for partition, batch in polled.items()})


async def commit(consumer, positions):
    try:
        await consumer.commit(positions)
        for partition, offset in positions.items():
            emit("committed", partition.partition, offset)
    except KafkaError as error:
        # In a rebalance, or while the broker is away: what wasn't committed is read again.
        emit("uncommitted", error)


async def committed(bootstrap, topic, name):
    async with admin(bootstrap) as client:
        for partition, offset in (await client.list_consumer_group_offsets(name)).items():
            if partition.topic == topic:
                emit(partition.partition, offset.offset)


async def describe(bootstrap, topic):
    async with admin(bootstrap) as client:
        emit("partitions", len((await client.describe_topics([topic]))[0]["partitions"]))
        answers = await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        for error, _, _, _, settings in answers[0].resources:
            check(error)
            for name, value, *_ in settings:
                emit("config", name, value)


async def alter(bootstrap, topic, name, value):
    async with admin(bootstrap) as client:
        answers = await client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {name: value})])
        check(answers[0].resources[0][0])


async def list_groups(bootstrap):
    async with admin(bootstrap) as client:
        for listed in await client.list_consumer_groups():
            emit(listed[0])


async def describe_group(bootstrap, name):
    async with admin(bootstrap) as client:
        for error, _, state, _, _, members, *_ in (await client.describe_consumer_groups([name]))[0].groups:
            check(error)
            emit(state, len(members))


async def delete_records(bootstrap, topic, partition, offset):
    async with admin(bootstrap) as client:
        await client.delete_records({TopicPartition(topic, partition): RecordsToDelete(before_offset=offset)})


async def delete(bootstrap, topic):
    async with admin(bootstrap) as client:
        answer = await client.delete_topics([topic])
        check(answer.topic_error_codes[0][1])


class admin:
    """An administrator that is closed at the end."""

    def __init__(self, bootstrap):
        self._bootstrap = bootstrap

    async def __aenter__(self):
        self._client = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap)
        await self._client.start()
        return self._client

    async def __aexit__(self, *_):
        await self._client.close()


def check(code):
    if code:
        raise for_code(code)


def records(polled):
    return [record for batch in polled.values() for record in batch]


def blocking(function):
    return lambda *arguments: asyncio.run(function(*arguments))


if __name__ == "__main__":
    verbs = {name: blocking(value) for name, value in globals().items() if asyncio.iscoroutinefunction(value)}
    run({**verbs, "version": version})
