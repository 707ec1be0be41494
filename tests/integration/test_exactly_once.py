# SPDX-License-Identifier: Apache-2.0
"""delivery: exactly-once: whoever reads committed records only finds each record once, whatever happens to kveil. Kills, and
many faults in a row, are in tests/chaos."""
import json
import signal
import socket
import threading
import time
import uuid

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from broker import Broker, free_port
from conftest import ORDER_FIELDS, Kafka, Replica, order, wait_for
from test_memory import Proxy

KEYS = 97


def once(k, bootstrap, instance="a", extra="", **kw):
    k.config(bootstrap, extra=f"delivery: exactly-once\ninstance: {instance}\n{extra}", **kw)
    return k


class Feed:
    """Numbered records with a key each, at a rate or as fast as they go; per partition and key the numbers rise."""

    def __init__(self, kafka, topic, count, partitions, rate=None):
        self.args = (kafka, topic, count, partitions, rate)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        kafka, topic, count, partitions, rate = self.args
        p = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 5, "enable.idempotence": True})
        begin = time.time()
        for i in range(count):
            while True:
                try:
                    p.produce(topic, order(i), key=f"k{i % KEYS}", partition=i % KEYS % partitions)
                    break
                except BufferError:
                    p.poll(0.1)
            p.poll(0)
            if rate:
                time.sleep(max(0.0, begin + i / rate - time.time()))
        assert p.flush(60) == 0

    def join(self):
        self.thread.join(120)
        assert not self.thread.is_alive()


def send(kafka, topic, first, last, partitions=1, **more):
    """As Feed, with all of them at once."""
    kafka.produce(topic, [{"value": order(i, **more), "key": f"k{i % KEYS}", "partition": i % KEYS % partitions}
                          for i in range(first, last)])


def done(k, kafka, partitions):
    """Records that are committed; -1: the group's coordinator has only just come up."""
    try:
        return sum(max(0, kafka.committed(k.group, k.topic, p)) for p in range(partitions))
    except KafkaException:
        return -1


def check_once(k, kafka, count, missing=()):
    """What a reader of committed records finds: all, none twice, in the order of each key."""
    got = [json.loads(m.value())["id"] for m in kafka.consume(k.secure, count - len(missing), timeout=60, settle=1)]
    numbers = [int(i[3:]) for i in got]
    assert len(numbers) == len(set(numbers)), f"{len(numbers) - len(set(numbers))} came twice"
    assert set(numbers) == set(range(count)) - set(missing)
    last = {}
    for i in numbers:
        assert last.get(i % KEYS, -1) < i, f"key {i % KEYS}: {i} behind {last[i % KEYS]}"
        last[i % KEYS] = i


def all_once(k, kafka, count, partitions=1, missing=()):
    """Everything is committed (transactions leave no marks in the input: its offsets are the records'), and is there once."""
    wait_for("all committed", lambda: done(k, kafka, partitions) == count, timeout=180)
    check_once(k, kafka, count, missing)


def recovers(k, kafka, count, partitions=1):
    """After an outage it goes on by itself, and ends well."""
    all_once(k, kafka, count, partitions)
    wait_for("ready", lambda: k.get("/readyz")[0] == 200, timeout=60)
    assert k.stop() == 0


def test_records_letters_and_offsets_are_there_once(make_kveil, kafka):
    """The main job; a stop and a start in the midst of it, and letters between."""
    k = once(make_kveil(partitions=2), kafka.bootstrap)
    k.rules(ORDER_FIELDS)
    k.init().start()
    feed = Feed(kafka, k.topic, 6000, 2, rate=2000)
    kafka.consume(k.secure, 500)
    begin = time.time()
    assert k.stop() == 0 and time.time() - begin < 15
    k.start()
    feed.join()
    kafka.produce(k.topic, [b"{broken"] * 5)
    dead = kafka.consume(k.dead, 5, settle=1)
    assert len(dead) == 5 and {dict(m.headers())["kveil.error.code"] for m in dead} == {b"invalid_json"}
    wait_for("all committed", lambda: done(k, kafka, 2) == 6005, timeout=60)
    check_once(k, kafka, 6000)
    assert k.metric("kveil_transactions_total", outcome="committed") > 0
    assert k.metric("kveil_transactions_total", outcome="aborted") == 0
    assert k.get("/readyz")[0] == 200
    assert k.stop() == 0


@pytest.mark.long(20)
def test_frozen_past_its_session_and_its_transaction(make_kveil, kafka):
    """A replica that stands still loses its partitions; what it held open comes to nothing when it wakes."""
    n = 20000
    k = once(make_kveil(partitions=2), kafka.bootstrap)
    k.rules(ORDER_FIELDS)
    k.init()
    first = k.start()
    feed = Feed(kafka, k.topic, n, 2, rate=1000)
    kafka.consume(k.secure, 1000)
    first.send_signal(signal.SIGSTOP)
    second = Replica(k, "b").start()
    before = done(k, kafka, 2)
    wait_for("the other one goes on", lambda: done(k, kafka, 2) > before + 1000, timeout=60)
    time.sleep(2)
    first.send_signal(signal.SIGCONT)
    feed.join()
    all_once(k, kafka, n, partitions=2)
    assert first.poll() is None and second.poll() is None
    wait_for("ready again", lambda: k.get("/readyz")[0] == 200, timeout=60)
    assert k.stop(first) == 0 and k.stop(second) == 0


@pytest.mark.long(30)
def test_two_processes_of_one_instance(make_kveil, kafka):
    """They share a transactional id, and take it from each other: not for ever, and nothing comes twice."""
    n = 12000
    k = once(make_kveil(partitions=2), kafka.bootstrap)
    k.rules(ORDER_FIELDS)
    k.init()
    first = k.start()
    second = Replica(k, "a").start()
    feed = Feed(kafka, k.topic, n, 2, rate=1000)

    def logs():
        return first.log.read_text() + second.log.read_text()
    wait_for("it is said", lambda: "another process has" in logs(), timeout=120)
    feed.join()
    all_once(k, kafka, n, partitions=2)
    fenced = logs().count("was fenced")
    send(kafka, k.topic, n, n + 1000, partitions=2)
    all_once(k, kafka, n + 1000, partitions=2)
    assert fenced <= 8
    assert k.stop(first) == 0 and k.stop(second) == 0


@pytest.mark.parametrize("views", [1, 2])
def test_a_refused_record_is_one_letter(make_kveil, kafka, views):
    """The broker takes a batch with it in no way. With two views, the second refuses it: the first holds it neither."""
    k = once(make_kveil(topics=False), kafka.bootstrap)
    kafka.create(k.topic, config={"message.timestamp.after.max.ms": "9223372036854775807"})
    tolerant = {"message.timestamp.after.max.ms": "9223372036854775807"}
    strict = {"message.timestamp.after.max.ms": "3600000"}
    kafka.create(k.secure, config=tolerant if views == 2 else strict)
    kafka.create(k.dead)
    kafka.create(f"{k.topic}.strict", config=strict)
    outputs = ('outputs: [{name: first, topic: "{topic}.secure"}, {name: second, topic: "{topic}.strict"}]'
               if views == 2 else "")
    k.rules(ORDER_FIELDS, top=outputs)
    k.init()
    n, bad = 3000, (1234, 1235, 2500)
    future = int(time.time() * 1000) + 40 * 86400 * 1000
    kafka.produce(k.topic, [{"value": order(i), "key": f"k{i % KEYS}", **({"timestamp": future} if i in bad else {})}
                            for i in range(n)])
    k.start()
    all_once(k, kafka, n, missing=bad)
    dead = kafka.consume(k.dead, len(bad), settle=1)
    assert [(dict(m.headers())["kveil.error.code"], int(dict(m.headers())["kveil.error.offset"])) for m in dead] == \
        [(b"refused_by_broker", i) for i in bad]
    if views == 2:
        ids = [json.loads(m.value())["id"] for m in kafka.consume(f"{k.topic}.strict", n - len(bad), settle=1)]
        assert len(ids) == len(set(ids)) == n - len(bad)
    assert k.stop() == 0


@pytest.mark.long(25)
def test_an_output_that_is_gone(make_kveil, kafka):
    """Each delivery there fails, and its transaction with it: another topic of the same worker goes on between."""
    k = once(make_kveil(), kafka.bootstrap)
    gone = k.topic + ".gone"
    kafka.create(gone, gone + ".secure", gone + ".dead")
    f = k.dir / "kveil.yaml"
    f.write_text(f.read_text().replace("  consumer: {", "  producer: {topic.metadata.propagation.max.ms: 100}\n  consumer: {"))
    k.rules(ORDER_FIELDS)
    k.rules(ORDER_FIELDS, file="gone.yaml")
    g = k.dir / "rules" / "gone.yaml"
    g.write_text(g.read_text().replace(f"[{k.topic}]", f"[{gone}]").replace(f"name: {k.name}", "name: gone"))
    k.init().start()

    send(kafka, gone, 0, 300)
    wait_for("both", lambda: kafka.committed(k.group, gone) == 300)
    kafka.admin.delete_topics([gone + ".secure"])[gone + ".secure"].result(30)
    send(kafka, gone, 300, 600)
    wait_for("the fault", lambda: k.metric("kveil_transactions_total", outcome="aborted") > 0, timeout=60)
    for i in range(5):
        send(kafka, k.topic, 100 * i, 100 * i + 100)
        wait_for("its neighbour", lambda i=i: kafka.committed(k.group, k.topic) == 100 * i + 100, timeout=60)
    assert kafka.committed(k.group, gone) == 300

    def made():
        try:
            kafka.create(gone + ".secure")
            return True
        except KafkaException:  # the deletion is not known everywhere yet
            return False
    wait_for("the topic made anew", made)
    wait_for("all", lambda: kafka.committed(k.group, gone) == 600, timeout=90)
    check_once(k, kafka, 500)
    ids = [int(json.loads(m.value())["id"][3:]) for m in kafka.consume(gone + ".secure", 300, settle=1)]
    assert ids == list(range(300, 600))
    wait_for("ready", lambda: k.get("/readyz")[0] == 200, timeout=60)
    assert k.stop() == 0


@pytest.mark.long(135)
@pytest.mark.timeout(600)
def test_an_output_without_a_leader(make_kveil, broker, kafka):
    """What was sent there holds the transaction, and so does the mark that it is given up: under another id the worker goes on
    without it, and what it should have comes when it is back. So it does where another one loses its leader meanwhile."""
    n = 2000
    warm = once(make_kveil(), kafka.bootstrap)
    warm.rules(ORDER_FIELDS)
    warm.init().start()
    kafka.produce(warm.topic, [order(0)])
    wait_for("the coordinators' topics, all of them on the first broker", lambda: done(warm, kafka, 1) == 1)
    assert warm.stop() == 0
    second, third = Broker(joins=broker), Broker(joins=broker, extra={"node.id": "3"})
    try:
        second.start()
        third.start()
        wait_for("three brokers", lambda: len(kafka.admin.list_topics(timeout=10).brokers) == 3)
        k = once(make_kveil(topics=False), kafka.bootstrap)
        kafka.create(k.topic, k.dead, brokers=[1, 1, 1])
        kafka.create(k.secure, brokers=[1, 2, 3])
        k.rules(ORDER_FIELDS)
        p = k.init().start()

        send(kafka, k.topic, 0, n // 2, partitions=3)
        wait_for("the first", lambda: done(k, kafka, 3) == n // 2)

        def others_go_on(first, last, stand):
            at = [kafka.committed(k.group, k.topic, i) for i in range(3)]
            send(kafka, k.topic, first, last, partitions=3)
            end = kafka.end_offsets(k.topic)
            for i in range(3):
                if i not in stand:
                    wait_for("the others", lambda: kafka.committed(k.group, k.topic, i) == end[i], timeout=120)
            assert all(kafka.committed(k.group, k.topic, i) == at[i] for i in stand)

        second.stop()
        others_go_on(n // 2, n, stand=[1])
        wait_for("it is said", lambda: f"{k.secure}[1] has no leader; 1 partitions wait" in k.get("/readyz")[1], timeout=120)
        third.stop(kill=True)  # it is still the leader when records are sent there
        others_go_on(n, n + 500, stand=[1, 2])
        others_go_on(n + 500, n + 1000, stand=[1, 2])
        n += 1000
        assert p.poll() is None and k.get("/livez")[0] == 200
        second.start()
        third.start()
        recovers(k, kafka, n, partitions=3)
    finally:
        second.close()
        third.close()
        wait_for("one broker", lambda: len(kafka.admin.list_topics(timeout=10).brokers) == 1, timeout=60)


@pytest.mark.long(45)
def test_a_broker_that_restarts(make_kveil):
    broker = Broker().start()
    try:
        kafka, n = Kafka(broker.bootstrap), 15000
        k = once(make_kveil(bootstrap=broker.bootstrap, topics=False), broker.bootstrap)
        k.rules(ORDER_FIELDS)
        k.init()
        kafka.create(k.topic, k.secure, k.dead)
        p = k.start()
        send(kafka, k.topic, 0, n)
        kafka.consume(k.secure, 500)
        broker.stop(kill=True)
        time.sleep(3)
        broker.start()
        kafka.consume(k.secure, 3000, timeout=90)
        broker.stop()
        time.sleep(12)  # longer than a transaction is waited for
        assert p.poll() is None and k.get("/livez")[0] == 200
        broker.start()
        recovers(k, kafka, n)
    finally:
        broker.close()


@pytest.mark.long(30)
def test_outputs_slower_than_a_transaction_may_last(make_kveil):
    """What goes out in a moment takes longer than the broker waits: smaller transactions do it."""
    broker = Broker(advertised_port=free_port())
    proxy = Proxy(broker.port)
    proxy.server = socket.create_server(("127.0.0.1", broker.advertised_port))
    proxy.start()
    broker.start()
    try:
        kafka, n = Kafka(broker.bootstrap), 800
        k = once(make_kveil(bootstrap=broker.bootstrap, topics=False), broker.bootstrap)
        k.rules(ORDER_FIELDS)
        k.init()
        kafka.create(k.topic, k.secure, k.dead)
        send(kafka, k.topic, 0, n, more="x" * 10000)
        proxy.rate = 600_000
        k.start()
        all_once(k, kafka, n)
        assert k.stop() == 0
    finally:
        broker.close()


@pytest.mark.long(20)
def test_a_reader_of_all_records_sees_what_was_taken_back(make_kveil, kafka):
    """isolation.level is the reader's to set: the page says so, and here it is seen why."""
    k = once(make_kveil(), kafka.bootstrap, extra="transaction: {time: 3s}")
    k.rules(ORDER_FIELDS)
    k.init()
    p = k.start()
    send(kafka, k.topic, 0, 100)

    def read(level):
        c = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": uuid.uuid4().hex, "isolation.level": level})
        c.assign([TopicPartition(k.secure, 0, 0)])
        try:
            end, n = time.time() + 1.0, 0
            while time.time() < end:
                m = c.poll(0.1)
                n += m is not None and not m.error()
            return n
        finally:
            c.close()

    wait_for("written, not committed", lambda: read("read_uncommitted") == 100, timeout=20)
    p.send_signal(signal.SIGKILL)
    p.wait()
    k.start()
    all_once(k, kafka, 100)
    assert read("read_uncommitted") >= 100
    assert k.stop() == 0


def test_a_refused_record_that_is_dropped(make_kveil, kafka):
    """Nothing is sent of it, and the next record, which has two views, is in a transaction as any other."""
    k = once(make_kveil(topics=False), kafka.bootstrap)
    tolerant = {"message.timestamp.after.max.ms": "9223372036854775807"}
    kafka.create(k.topic, config=tolerant)
    kafka.create(k.secure, config=tolerant)
    kafka.create(k.dead)
    kafka.create(f"{k.topic}.strict", config={"message.timestamp.after.max.ms": "3600000"})
    k.rules(ORDER_FIELDS, top='on_error: drop\noutputs: [{name: first, topic: "{topic}.secure"}, {name: second, topic: "{topic}.strict"}]')
    k.init()
    future = int(time.time() * 1000) + 40 * 86400 * 1000
    kafka.produce(k.topic, [{"value": order(i), "key": f"k{i % KEYS}", **({"timestamp": future} if i == 0 else {})}
                            for i in range(100)])
    k.start()
    all_once(k, kafka, 100, missing=(0,))
    assert k.metric("kveil_transactions_total", outcome="aborted") <= 4
    assert k.stop() == 0
