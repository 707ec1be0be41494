# SPDX-License-Identifier: Apache-2.0
"""A rolling restart of two containers of the image on a real broker, while records come: nothing is lost, nothing leaves in
clear, and each is ready again within 10 s."""
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import yaml
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tools import CONTAINER_USER as USER, ROOT, container, count

sys.path.insert(0, str(ROOT / "tests" / "integration"))
from broker import Broker, free_port  # noqa: E402

PARTITIONS, PER_SECOND, READY_WITHIN_S, DRAIN_WITHIN_S = 4, 300, 10, 25
CARD = "11010119900307{:04d}"
CONFIG = {
    "keys": {
        "registry": "kafka:kveil.keys",
        "keks": {"local": {"provider": "file", "path": "/run/secrets/kek"}},
        "data": {"pii": {"algorithm": "aes-256-gcm", "kek": "local", "rotate_every": "24h"},
                 "pepper": {"algorithm": "hmac-sha-256", "kek": "local"},
                 "dead-letters": {"algorithm": "aes-256-gcm", "kek": "local"}},
    },
    "rules": ["rules/orders.yaml"], "create_topics": True, "limits": {"memory": "192MiB"},
}


class Replica:
    def __init__(self, root, folder, bootstrap):
        self.root, self.port, self.process = root, free_port(), None
        (folder / "rules").mkdir(parents=True)
        (folder / "rules" / "orders.yaml").write_text((ROOT / "rules" / "orders.yaml").read_text())
        config = {**CONFIG, "kafka": {"bootstrap_servers": bootstrap, "group_id": "kveil-orders"},
                  "http": {"listen": f"127.0.0.1:{self.port}"}}
        (folder / "kveil.yaml").write_text(yaml.safe_dump(config))
        secrets = folder.parent / "secrets"
        self.binds = [(folder, "/etc/kveil", "ro"), (secrets, "/run/secrets", "ro")]
        self.log = folder.parent / f"{folder.name}.log"

    def keys(self, *action):
        return subprocess.run(container(self.root, self.binds, ["/usr/bin/kveil", "keys", *action, "-c", "/etc/kveil/kveil.yaml"]),
                              capture_output=True, text=True, timeout=120)

    def health(self):
        """What the image's HEALTHCHECK runs, told the port, of which a container has its own."""
        check = re.search(r"^HEALTHCHECK .*CMD (\[.*\])$", (ROOT / "docker" / "Dockerfile").read_text(), re.M).group(1)
        return subprocess.run(container(self.root, self.binds, json.loads(check) + ["--url", f"http://127.0.0.1:{self.port}"]),
                              capture_output=True, text=True, timeout=60)

    def start(self):
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(container(self.root, self.binds, ["/usr/bin/kveil", "run", "-c", "/etc/kveil/kveil.yaml"]),
                                            stderr=log)
        start = time.time()
        while time.time() - start < 60 and not self.ready():
            time.sleep(0.05)
        return time.time() - start

    def ready(self):
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2).status == 200
        except OSError:
            return False

    def stop(self):
        start = time.time()
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        return code, time.time() - start


class Kafka:
    """with Kafka() as kafka: a broker with etl.orders; orders with an id, and a card number that must not leave."""

    def __enter__(self):
        self.broker = Broker()
        try:
            self.broker.start(timeout=180)
            self.bootstrap = self.broker.bootstrap
            admin = AdminClient({"bootstrap.servers": self.bootstrap})
            admin.create_topics([NewTopic("etl.orders", PARTITIONS, 1)])["etl.orders"].result(60)
        except BaseException:
            self.broker.close()
            raise
        self.producer = Producer({"bootstrap.servers": self.bootstrap, "acks": "all", "linger.ms": 5})
        self.errors, self.sent = [], 0
        return self

    def __exit__(self, *_):
        del self.producer
        self.broker.close()

    def free_port(self):
        return free_port()

    def send(self, number):
        value = json.dumps({"id": number, "customer": {"id_card": CARD.format(number % 10000), "phone": "13800138000"}})
        self.sent += 1
        self.producer.produce("etl.orders", value, partition=number % PARTITIONS,
                              on_delivery=lambda e, m: self.errors.append(e) if e else None)
        self.producer.poll(0)

    def arrived(self, wanted):
        """{id: how often}, and those that came in clear; given up after 60 s without all of them."""
        self.producer.flush(60)
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "look", "enable.auto.commit": False})
        consumer.assign([TopicPartition("etl.orders.secure", p, 0) for p in range(PARTITIONS)])
        ids, clear, end = {}, [], time.time() + 60
        while len(ids) < wanted and time.time() < end:
            for m in consumer.consume(1000, 0.5):
                if m.error():
                    continue
                record = json.loads(m.value())
                ids[record["id"]] = ids.get(record["id"], 0) + 1
                if record["customer"]["id_card"].startswith("1101"):
                    clear.append(record["id"])
        consumer.close()
        return ids, clear

    def end_of(self, topic):
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "look"})
        there = consumer.list_topics(timeout=10).topics
        n = sum(consumer.get_watermark_offsets(TopicPartition(topic, p), 10)[1] for p in there[topic].partitions) if topic in there else 0
        consumer.close()
        return n


class Source(threading.Thread):
    """Sends orders until it is told to end."""

    def __init__(self, kafka):
        super().__init__()
        self.kafka, self.ended = kafka, threading.Event()

    def run(self):
        while not self.ended.wait(1 / PER_SECOND):
            self.kafka.send(self.kafka.sent)


def roll(root, folder, kafka):
    (folder / "secrets").mkdir()
    (folder / "secrets" / "kek").write_bytes(os.urandom(32))
    # As the chart mounts it: root's, readable by the container's group.
    os.chown(folder / "secrets" / "kek", 0, USER)
    (folder / "secrets" / "kek").chmod(0o440)
    folder.chmod(0o755)
    replicas = [Replica(root, folder / name, kafka.bootstrap) for name in ("a", "b")]
    r = replicas[0].keys("init")
    count("`kveil keys init` in the container, its secret mounted", r.returncode == 0, r.stdout + r.stderr)
    r = replicas[0].keys("list")
    count("`kveil keys list` in the container", r.returncode == 0 and "pii" in r.stdout, r.stdout + r.stderr)
    source = Source(kafka)
    try:
        for replica in replicas:
            replica.start()
            r = replica.health()
            count("the image's health check says that it lives", r.returncode == 0, r.stdout + r.stderr)
        source.start()
        time.sleep(3)
        for replica in replicas:
            code, drained = replica.stop()
            count(f"a container drains and ends with 0 ({drained:.1f} s)", code == 0 and drained < DRAIN_WITHIN_S, replica.log.read_text()[-3000:])
            again = replica.start()
            print(f"rolling restart: drained in {drained:.1f} s, ready again after {again:.1f} s", flush=True)
            count(f"ready again within {READY_WITHIN_S} s", again < READY_WITHIN_S, f"{again:.1f} s\n{replica.log.read_text()[-3000:]}")
            time.sleep(2)
        source.ended.set()
        source.join()
        ids, clear = kafka.arrived(kafka.sent)
        print(f"rolling restart: {kafka.sent} records sent, {len(ids)} arrived, {sum(ids.values()) - len(ids)} of them twice", flush=True)
        count("nothing is lost", len(ids) == kafka.sent > 1000 and not kafka.errors, f"{len(ids)} of {kafka.sent} {kafka.errors[:3]}")
        count("nothing leaves in clear", not clear, str(clear[:5]))
        count("nothing is a dead letter", kafka.end_of("etl.orders.dead") == 0)
        for replica in replicas:
            code, _ = replica.stop()
            count("a container ends with 0", code == 0, replica.log.read_text()[-3000:])
            count("and its health check says so", replica.health().returncode != 0)
    finally:
        source.ended.set()
        for replica in replicas:
            if replica.process and replica.process.poll() is None:
                replica.process.kill()


def rolling(root):
    with Kafka() as kafka, tempfile.TemporaryDirectory() as folder:
        roll(root, pathlib.Path(folder), kafka)
