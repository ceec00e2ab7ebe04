"""confluent-kafka: librdkafka in Python."""

import functools

import confluent_kafka
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic

from contract import HEARTBEAT_MS, SESSION_MS, Assigned, emit, emit_record, key_value, leaving, run

SECONDS = 30


def version():
    emit("confluent-kafka", confluent_kafka.version())


def create(bootstrap, topic, partitions):
    results(admin(bootstrap).create_topics([NewTopic(topic, num_partitions=partitions, replication_factor=1)]))


def produce(bootstrap, topic, first, end, codec, idempotent=False):
    failed = []
    producer = Producer({
        "bootstrap.servers": bootstrap,
        "acks": "all",
        "compression.type": codec,
        "enable.idempotence": idempotent,
        "linger.ms": 20,
    })

    def delivered(error, _message):
        if error:
            failed.append(error)

    for number in range(first, end):
        key, value = key_value(number)
        while not taken(producer, topic, key, value, delivered):
            producer.poll(0.1)
        producer.poll(0)
    left = producer.flush()
    if left or failed:
        raise RuntimeError(f"{left} left in the queue, {len(failed)} failed: {failed[:1]}")


def taken(producer, topic, key, value, delivered):
    """Whether its queue had room: while the broker is away it fills up."""
    try:
        producer.produce(topic, value, key, on_delivery=delivered)
    except BufferError:
        return False
    return True


def consume(bootstrap, topic, count):
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "unused", "enable.auto.commit": False})
    partitions = consumer.list_topics(topic, SECONDS).topics[topic].partitions
    consumer.assign([TopicPartition(topic, partition, confluent_kafka.OFFSET_BEGINNING) for partition in partitions])
    while count > 0:
        for message in consumer.consume(min(count, 500), 1.0):
            check(message)
            emit_record(message.partition(), message.offset(), message.key(), message.value())
            count -= 1
    consumer.close()


def group(bootstrap, topic, name, strategy="cooperative-sticky"):
    consumer = Consumer({
        "bootstrap.servers": bootstrap,
        "group.id": name,
        "partition.assignment.strategy": strategy,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "session.timeout.ms": SESSION_MS,
        "heartbeat.interval.ms": HEARTBEAT_MS,
    })
    assigned, left, owed = Assigned(), leaving(), False
    consumer.subscribe([topic])
    while not left.is_set():
        messages = [message for message in consumer.consume(200, 0.2) if check(message)]
        assigned.tell(partition.partition for partition in consumer.assignment())
        for message in messages:
            emit_record(message.partition(), message.offset(), message.key(), message.value(), head=["record"])
        if messages or owed:
            owed = not commit(consumer)
    consumer.close()


def commit(consumer):
    """Whether there is nothing more to commit."""
    try:
        for partition in consumer.commit(asynchronous=False):
            if not partition.error and partition.offset >= 0:
                emit("committed", partition.partition, partition.offset)
    except confluent_kafka.KafkaException as exception:
        # In a rebalance, or while the broker is away: tried again after the next poll. What has gone to another member is read again there.
        emit("uncommitted", exception)
        return exception.args[0].code() == confluent_kafka.KafkaError._NO_OFFSET
    return True


def committed(bootstrap, topic, name):
    futures = admin(bootstrap).list_consumer_group_offsets([ConsumerGroupTopicPartitions(name)])
    for partition in results(futures)[0].topic_partitions:
        if partition.topic == topic:
            emit(partition.partition, partition.offset)


def describe(bootstrap, topic):
    client = admin(bootstrap)
    emit("partitions", len(client.list_topics(topic, SECONDS).topics[topic].partitions))
    settings = results(client.describe_configs([ConfigResource("topic", topic)]))[0]
    for setting in settings.values():
        emit("config", setting.name, setting.value)


def alter(bootstrap, topic, name, value):
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource("topic", topic, incremental_configs=[entry])
    results(admin(bootstrap).incremental_alter_configs([resource]))


def list_groups(bootstrap):
    for listed in admin(bootstrap).list_consumer_groups().result(SECONDS).valid:
        emit(listed.group_id)


def describe_group(bootstrap, name):
    described = results(admin(bootstrap).describe_consumer_groups([name]))[0]
    emit(described.state.name, len(described.members))


def delete_group(bootstrap, name):
    results(admin(bootstrap).delete_consumer_groups([name]))


def delete_records(bootstrap, topic, partition, offset):
    results(admin(bootstrap).delete_records([TopicPartition(topic, partition, offset)]))


def delete(bootstrap, topic):
    results(admin(bootstrap).delete_topics([topic]))


@functools.cache
def admin(bootstrap):
    """Kept: without its client a future is never done."""
    return AdminClient({"bootstrap.servers": bootstrap})


def results(futures):
    return [future.result(SECONDS) for future in futures.values()]


def check(message):
    """Whether it is a record; trouble that the library goes on from by itself is told."""
    error = message.error()
    if error is None:
        return True
    if error.fatal():
        raise RuntimeError(error)
    emit("trouble", error)
    return False


if __name__ == "__main__":
    run(globals())
