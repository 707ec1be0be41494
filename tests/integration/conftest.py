# SPDX-License-Identifier: Apache-2.0
"""Fixtures: a real broker for the session, topics of their own for each test, kveil as a process."""
import base64
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
import uuid

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

import dealing
from broker import JARS, Broker, free_port

ROOT = pathlib.Path(__file__).resolve().parents[2]
KVEIL = pathlib.Path(os.environ.get("KVEIL_BIN", ROOT / "build" / "src" / "cli" / "kveil"))
# As users run it: where a sanitizer's own memory and signal handlers would be what is tested.
PLAIN = pathlib.Path(os.environ.get("KVEIL_RELEASE_BUILD", ROOT / "build")) / "src" / "cli" / "kveil"


def pytest_xdist_make_scheduler(config, log):
    return dealing.Dealer(config, log)


def pytest_configure(config):
    config.addinivalue_line("markers", "long(seconds): what takes so long, 20 s and more; the longest start first")


def pytest_collection_modifyitems(items):
    items.sort(key=dealing.seconds, reverse=True)


def wait_for(what, condition, timeout=30, interval=0.1, show=None):
    """Polls until condition() is true and gives its value; fails with `what` otherwise, and what show() gives."""
    end = time.time() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.time() > end:
            pytest.fail(f"waited {timeout} s for: {what}{f': {show()}' if show else ''}")
        time.sleep(interval)


@pytest.fixture(scope="session")
def broker():
    b = Broker().start()
    yield b
    b.close()


# Of a group's coordinator; the client calls none of them retriable.
MOVING = (KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.COORDINATOR_NOT_AVAILABLE,
          KafkaError._WAIT_COORD, KafkaError._TIMED_OUT)


class Kafka:
    """A few verbs on a broker, for tests."""

    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self.admin = AdminClient({"bootstrap.servers": bootstrap})

    def create(self, *topics, partitions=1, config=None, brokers=None, replicas=1):
        """brokers: the one replica of each partition, by the broker's number."""
        where = {"num_partitions": len(brokers), "replica_assignment": [[b] for b in brokers]} if brokers else \
            {"num_partitions": partitions, "replication_factor": replicas}
        made = self.admin.create_topics([NewTopic(t, config=config or {}, **where) for t in topics])
        for f in made.values():
            f.result(30)

    def produce(self, topic, records, partition=0):
        """records: values, or dicts with key, value, headers, timestamp, partition."""
        p = Producer({"bootstrap.servers": self.bootstrap, "message.max.bytes": 20_000_000})
        errors = []
        for r in records:
            if not isinstance(r, dict):
                r = {"value": r}
            kw = {"partition": partition, **r}
            while True:
                try:
                    p.produce(topic, on_delivery=lambda e, m: errors.append(e) if e else None, **kw)
                    break
                except BufferError:
                    p.poll(0.1)
            p.poll(0)
        assert p.flush(60) == 0
        assert not errors, errors

    def end_offsets(self, topic):
        c = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "peek"})
        try:
            for attempt in range(20):
                try:
                    parts = c.list_topics(topic, 10).topics[topic].partitions
                    return {p: c.get_watermark_offsets(TopicPartition(topic, p), 10)[1] for p in parts}
                except KafkaException:  # a new topic has no leader for a moment
                    if attempt == 19:
                        raise
                    time.sleep(0.1)
        finally:
            c.close()

    def reset(self, group, topic, partition=0):
        """As kafka-consumer-groups --reset-offsets --to-earliest does."""
        c = Consumer({"bootstrap.servers": self.bootstrap, "group.id": group})
        try:
            c.commit(offsets=[TopicPartition(topic, partition, 0)], asynchronous=False)
        finally:
            c.close()

    def committed(self, group, topic, partition=0):
        c = Consumer({"bootstrap.servers": self.bootstrap, "group.id": group})
        try:
            # A group's coordinator may move while it is asked.
            for again in range(20):
                try:
                    return c.committed([TopicPartition(topic, partition)], 10)[0].offset
                except KafkaException as e:
                    if e.args[0].code() not in MOVING or again == 19:
                        raise
                    time.sleep(0.5)
        finally:
            c.close()

    def consume(self, topic, count, timeout=40, settle=0.0):
        """The first `count` messages of all partitions, in partition order. settle: then wait that long for more,
        and give those too (to see that nothing else comes)."""
        c = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "read-" + uuid.uuid4().hex,
                      "auto.offset.reset": "earliest", "enable.auto.commit": False,
                      "fetch.message.max.bytes": 20_000_000})
        try:
            parts = c.list_topics(topic, 10).topics[topic].partitions
            c.assign([TopicPartition(topic, p, 0) for p in parts])
            out, end, settled = [], time.time() + timeout, None
            while time.time() < end and (len(out) < count or (settled and time.time() < settled)):
                m = c.poll(0.2)
                if m is not None and not m.error():
                    out.append(m)
                if len(out) >= count and settled is None:
                    settled = time.time() + settle
                    end = max(end, settled)
            assert len(out) >= count, f"{topic}: {len(out)} of {count} messages after {timeout} s"
            return sorted(out, key=lambda m: (m.partition(), m.offset()))
        finally:
            c.close()


@pytest.fixture(scope="session")
def kafka(broker):
    return Kafka(broker.bootstrap)


class SidePort:
    """What a process says on self.port."""

    def get(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as r:
                return r.status, r.read().decode()
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode()
        except OSError as e:
            return 0, str(e)

    def metric(self, name, **labels):
        """The sum of a family's samples with these labels."""
        total = 0.0
        for line in self.get("/metrics")[1].splitlines():
            if line.startswith("#") or not line.startswith(name):
                continue
            series, value = line.rsplit(" ", 1)
            if series.split("{")[0] == name and all(f'{k}="{v}"' in series for k, v in labels.items()):
                total += float(value)
        return total


class Kveil(SidePort):
    """kveil.yaml, rules, keys and a `kveil run` process in a folder of its own."""

    def __init__(self, folder, bootstrap, name):
        self.dir = folder
        self.name = name
        self.topic = f"etl.{name}"
        self.secure = f"{self.topic}.secure"
        self.dead = f"{self.topic}.dead"
        self.group = f"kveil-{name}"
        self.processes = []
        self.binary = KVEIL
        (folder / "kek").write_bytes(os.urandom(32))
        (folder / "kek").chmod(0o600)
        (folder / "rules").mkdir()
        self.port = free_port()
        self.config(bootstrap)

    def config(self, bootstrap, extra="", workers=1, rotate="24h", registry="file:keys.json", data=""):
        (self.dir / "kveil.yaml").write_text(f"""\
kafka:
  bootstrap_servers: {bootstrap}
  group_id: {self.group}
  consumer: {{session.timeout.ms: 6000}}
workers: {workers}
commit_interval: 200ms
rules: rules/
keys:
  registry: {registry}
  keks:
    local: {{provider: file, path: kek}}
  data:
    pii: {{algorithm: aes-256-gcm, kek: local, rotate_every: {rotate}}}
    pepper: {{algorithm: hmac-sha-256, kek: local}}
    dead-letters: {{algorithm: aes-256-gcm, kek: local}}
{data}
http: {{listen: "127.0.0.1:{self.port}"}}
{extra}
""")

    def rules(self, fields, top="", file=None):
        (self.dir / "rules" / (file or f"{self.name}.yaml")).write_text(f"""\
name: {self.name}
topics: [{self.topic}]
format: json
{top}
fields:
{fields}
""")

    def run(self, *args, check=None, **kw):
        r = subprocess.run([str(self.binary), *args], cwd=self.dir, capture_output=True, text=True, timeout=180, **kw)
        if check is not None:
            assert r.returncode == check, f"kveil {' '.join(args)}: exit {r.returncode}\n{r.stdout}\n{r.stderr}"
        return r

    def init(self):
        self.run("keys", "init", "-c", "kveil.yaml", check=0)
        return self

    def start(self, ready=True, env=None, config="kveil.yaml"):
        log = open(self.dir / f"run{len(self.processes)}.log", "ab")
        p = subprocess.Popen([str(self.binary), "run", "-c", config], cwd=self.dir, stdout=log, stderr=log,
                             env={**os.environ, **(env or {})})
        p.log = pathlib.Path(log.name)
        self.processes.append(p)
        if ready:
            wait_for("ready", lambda: p.poll() is not None or self.get("/readyz")[0] == 200)
            assert p.poll() is None, p.log.read_text()
        return p

    def stop(self, p=None, timeout=20):
        p = p or self.processes[-1]
        if p.poll() is None:
            p.send_signal(signal.SIGTERM)
        return p.wait(timeout)

    def close(self):
        for p in self.processes:
            if p.poll() is None:
                p.kill()
                p.wait()


class Replica(SidePort):
    """A process more of the same group, with the same keys and rules, and a side port of its own."""

    def __init__(self, k, instance):
        self.k, self.instance, self.port, self.process = k, instance, free_port(), None
        text = (k.dir / "kveil.yaml").read_text().replace("instance: a\n", f"instance: {instance}\n")
        self.config = f"{instance}.yaml"
        (k.dir / self.config).write_text(text.replace(f"127.0.0.1:{k.port}", f"127.0.0.1:{self.port}"))

    def start(self):
        self.process = self.k.start(ready=False, config=self.config)
        return self.process


@pytest.fixture
def make_kveil(tmp_path, kafka):
    made = []

    def make(bootstrap=None, partitions=1, topics=True, **kw):
        name = "t" + uuid.uuid4().hex[:10]
        folder = tmp_path / name
        folder.mkdir()
        k = Kveil(folder, bootstrap or kafka.bootstrap, name)
        if topics:
            kafka.create(k.topic, k.secure, k.dead, partitions=partitions, **kw)
        made.append(k)
        return k

    yield make
    for k in made:
        k.close()


@pytest.fixture
def keyset(request):
    """Opens ciphertexts with Google's Tink: keyset(kveil, 'pii') gives an AEAD primitive."""
    import tink
    from tink import aead, secret_key_access
    aead.register()

    def load(k, name):
        text = k.run("keys", "export", "-c", "kveil.yaml", "--tink", name, "--clear", check=0).stdout
        handle = tink.json_proto_keyset_format.parse(text, secret_key_access.TOKEN)
        return handle.primitive(aead.Aead)

    return load


@pytest.fixture(scope="session")
def java(tmp_path_factory):
    """The folder of docs/open/java with its programs built, and how one of them begins."""
    folder = tmp_path_factory.mktemp("java")
    shutil.copytree(ROOT / "docs" / "open" / "java", folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("target"))
    r = subprocess.run(["mvn", "-q", "-B", "package", "dependency:copy-dependencies"], cwd=folder, capture_output=True,
                       text=True, timeout=600)
    assert r.returncode == 0, r.stdout + r.stderr
    return folder, ["java", "-cp", f"{folder}/target/open-1.jar:{folder}/target/dependency/*"]


class Scalar:
    """What Kafka Connect takes a value for."""

    def __init__(self, type, optional, name, default, value):
        self.type, self.name, self.default, self.value = type, name, default, value
        self.optional = optional == "true"

    def __repr__(self):
        return f"{self.type} {self.name} {'optional' if self.optional else 'required'} {self.default} {self.value}"


@pytest.fixture(scope="session")
def read_connect(tmp_path_factory):
    """Kafka's own JsonConverter, with schemas, or another converter with its jars and settings: of each text the scalars in it by
    their path. It refuses none of them."""
    folder = tmp_path_factory.mktemp("read")
    source = ROOT / "tests" / "integration" / "ReadConnect.java"
    subprocess.run(["javac", "-cp", f"{JARS}/*", "-d", folder, source], check=True)

    def read(texts, *converter, jars=JARS):
        lines = "".join(base64.b64encode(t).decode() + "\n" for t in texts)
        out = subprocess.run(["java", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp",
                              f"{folder}:{JARS}/*:{jars}/*", "ReadConnect", *converter], input=lines, capture_output=True, text=True, check=True).stdout
        records = [r.splitlines() for r in out.split("--\n")[:-1]]
        assert len(records) == len(texts)
        assert not [r for r in records if r and r[0].startswith("!")], out
        return [{path: Scalar(*rest) for path, *rest in (line.split("\t") for line in r)} for r in records]

    return read


def order(i, **more):
    return json.dumps({"id": f"ORD{i:010d}", "customer": {"name": "王伟", "phone": f"138{i:08d}",
                       "id_card": f"11010119900101{i % 10000:04d}", "email": f"u{i}@example.com"},
                       "card_number": f"62{i:014d}", "amount": 12.5, **more}, ensure_ascii=False,
                      separators=(",", ":")).encode()


ORDER_FIELDS = """\
  - {path: "$.customer.id_card", encrypt: {key: pii}}
  - {path: "$.card_number", encrypt: {key: pii}}
  - {path: "$.customer.phone", mask: {keep_first: 3, keep_last: 4}}
  - {path: "$.customer.email", hash: {key: pepper}}
"""
