"""kafka-python."""

import kafka
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource
from kafka.errors import KafkaError

from contract import HEARTBEAT_MS, SESSION_MS, Assigned, emit, emit_record, key_value, leaving, run


def version():
    emit("kafka-python", kafka.__version__)


def create(bootstrap, topic, partitions):
    admin(bootstrap).create_topics({topic: {"num_partitions": partitions, "replication_factor": 1}})


def produce(bootstrap, topic, first, end, codec, idempotent=False):
    producer = KafkaProducer(
        bootstrap_servers=bootstrap,
        acks="all",
        compression_type=None if codec == "none" else codec,
        enable_idempotence=idempotent,
        linger_ms=20,
    )
    futures = []
    for number in range(first, end):
        key, value = key_value(number)
        futures.append(producer.send(topic, value, key))
    producer.flush()
    for future in futures:
        future.get(60)
    producer.close()


def consume(bootstrap, topic, count):
    consumer = KafkaConsumer(bootstrap_servers=bootstrap)
    consumer.assign([TopicPartition(topic, partition) for partition in consumer.partitions_for_topic(topic)])
    consumer.seek_to_beginning()
    while count > 0:
        for record in records(consumer.poll(1000)):
            emit_record(record.partition, record.offset, record.key, record.value)
            count -= 1
    consumer.close()


def group(bootstrap, topic, name):
    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=name,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        session_timeout_ms=SESSION_MS,
        heartbeat_interval_ms=HEARTBEAT_MS,
    )
    assigned, left = Assigned(), leaving()
    while not left.is_set():
        polled = consumer.poll(200)
        assigned.tell(partition.partition for partition in consumer.assignment())
        for record in records(polled):
            emit_record(record.partition, record.offset, record.key, record.value, head=["record"])
        if polled:
            commit(consumer, {partition: batch[-1].offset + 1 for partition, batch in polled.items()})
    consumer.close()


def commit(consumer, positions):
    try:
        consumer.commit()
        for partition, offset in positions.items():
            emit("committed", partition.partition, offset)
    except KafkaError as error:
        # In a rebalance, or while the broker is away: what wasn't committed is read again.
        emit("uncommitted", error)


def committed(bootstrap, topic, name):
    for partition, offset in admin(bootstrap).list_group_offsets([name])[name].items():
        if partition.topic == topic:
            emit(partition.partition, offset.offset)


def describe(bootstrap, topic):
    client = admin(bootstrap)
    emit("partitions", len(client.describe_topics([topic])[0]["partitions"]))
    settings = client.describe_configs([ConfigResource("TOPIC", topic)], config_filter="all")
    for name, setting in settings["topic"][topic].items():
        emit("config", name, setting["value"])


def alter(bootstrap, topic, name, value):
    admin(bootstrap).alter_configs([ConfigResource("TOPIC", topic, {name: value})])


def list_groups(bootstrap):
    for listed in admin(bootstrap).list_groups():
        emit(listed["group_id"])


def describe_group(bootstrap, name):
    described = admin(bootstrap).describe_groups([name])[name]
    emit(described["group_state"], len(described["members"]))


def delete_group(bootstrap, name):
    outcome = admin(bootstrap).delete_groups([name])
    if outcome[name] != "OK":
        raise RuntimeError(outcome)


def delete_records(bootstrap, topic, partition, offset):
    admin(bootstrap).delete_records({TopicPartition(topic, partition): offset})


def delete(bootstrap, topic):
    admin(bootstrap).delete_topics([topic])


def admin(bootstrap):
    return KafkaAdminClient(bootstrap_servers=bootstrap)


def records(polled):
    return [record for batch in polled.values() for record in batch]


if __name__ == "__main__":
    run(globals())
