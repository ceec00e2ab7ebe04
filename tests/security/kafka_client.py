"""One operation of kafka-python: ADDRESS PROTOCOL MECHANISM USER PASSWORD-FILE write|read TOPIC DIRECTORY-OF-CERTIFICATES SECONDS."""

import sys

from kafka import KafkaConsumer, KafkaProducer

address, protocol, mechanism, user, password, operation, topic, tls, patience = sys.argv[1:]
ms = int(patience) * 500
options = {"bootstrap_servers": address, "security_protocol": protocol, "api_version_auto_timeout_ms": ms}
if protocol in ("SSL", "SASL_SSL"):
    options["ssl_cafile"] = f"{tls}/ca.pem"
if protocol == "SSL":
    options.update(ssl_certfile=f"{tls}/pump.pem", ssl_keyfile=f"{tls}/pump.key")
else:
    with open(password, encoding="utf-8") as file:
        options.update(sasl_mechanism=mechanism, sasl_plain_username=user, sasl_plain_password=file.readline().strip())
if operation == "write":
    producer = KafkaProducer(**options, max_block_ms=ms, retries=0)
    producer.send(topic, b"x").get(timeout=int(patience))
else:
    consumer = KafkaConsumer(topic, **options, auto_offset_reset="earliest", consumer_timeout_ms=ms)
    sys.exit(0 if any(True for _ in consumer) else 1)
