# SPDX-License-Identifier: Apache-2.0
"""From topic to topic with confluent-kafka: what the Python contestants share. At least once: a flush before each commit."""
import time

from confluent_kafka import Consumer, Producer


def run(bootstrap, source, output, group, protect):
    failures = []
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest",
                         "enable.auto.commit": False, "queued.max.messages.kbytes": 27306, "fetch.max.bytes": 8388608,
                         "max.partition.fetch.bytes": 4194304})
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "acks": "all", "linger.ms": 5,
                         "batch.size": 1000000, "queue.buffering.max.kbytes": 54613,
                         "on_delivery": lambda e, m: failures.append(e) if e else None})
    consumer.subscribe([source])
    last = time.monotonic()
    while not failures:
        for m in consumer.consume(1000, 0.1):
            if m.error():
                continue
            value = protect(m.value())
            while True:
                try:
                    producer.produce(output, value, m.key(), partition=m.partition(), timestamp=m.timestamp()[1])
                    break
                except BufferError:
                    producer.poll(0.05)
        producer.poll(0)
        if time.monotonic() - last > 1:
            producer.flush()
            consumer.commit(asynchronous=False)
            last = time.monotonic()
    raise SystemExit(f"not delivered: {failures[0]}")
