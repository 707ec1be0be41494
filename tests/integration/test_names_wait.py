# SPDX-License-Identifier: Apache-2.0
"""A worker whose records wait for keys that they name: what it has polled ahead, its membership, its order, its end."""
import json
import signal
import time

import pytest
from confluent_kafka import TopicPartition

from broker import Broker
from conftest import Kafka, wait_for
from test_named_keys import FIELDS, PATTERN, another, make, record

TIGHT = {"session.timeout.ms": 6000, "max.poll.interval.ms": 6000}


def tune(k, consumer=None, top=""):
    """Properties of the consumer, and more at the end of the file."""
    f = k.dir / "kveil.yaml"
    text = f.read_text()
    if consumer:
        text = text.replace("{session.timeout.ms: 6000}", json.dumps(consumer))
    f.write_text(text + top)
    return k


def names_of(messages):
    return [json.loads(m.value())["tenant"] for m in messages]


def waiting(k):
    return k.metric("kveil_named_keys_waiting", pattern="tenant-{}")


def again(k, kafka, limit=100000, consumer=None):
    """Another configuration, and a process that runs by it."""
    k.config(kafka.bootstrap, **{**k.again, "data": PATTERN.format(algorithm="aes-256-gcm", limit=limit)})
    tune(k, consumer)
    return k.start()


@pytest.mark.long(25)
def test_a_member_stays_while_its_record_waits(make_kveil, kafka):
    """One worker's names fill the queue for minutes; the other's record waits behind them, with all it may hold."""
    k = tune(make(make_kveil, kafka, limit=1, partitions=2, workers=2), TIGHT)
    sent = {p: [record(f"p{p}.{i}", i) for i in range(1500)] for p in (0, 1)}
    k.start()
    before = k.metric("kveil_rebalances_total")
    for p in (0, 1):
        kafka.produce(k.topic, sent[p], partition=p)
    wait_for("a queue of names", lambda: waiting(k) > 1000)
    begin, passed = time.time(), sum(kafka.end_offsets(k.secure).values())
    while time.time() < begin + 16:
        assert k.get("/livez")[0] == 200
        time.sleep(0.5)
    assert k.metric("kveil_rebalances_total") == before
    assert b"MAXPOLL" not in k.processes[0].log.read_bytes()
    # Meanwhile some have passed, and are committed: whoever waits does not keep what is done from being said.
    now = sum(kafka.end_offsets(k.secure).values())
    assert now > passed + 8
    wait_for("commits in the wait", lambda: sum(kafka.committed(k.group, k.topic, p) for p in (0, 1)) >= now)
    # An end in the wait is an ordinary one, and the next process goes on exactly there.
    begin = time.time()
    assert k.stop() == 0 and time.time() - begin < 5
    again(k, kafka)
    wait_for("all", lambda: kafka.end_offsets(k.secure) == {0: 1500, 1: 1500}, timeout=60)
    got = kafka.consume(k.secure, 3000, settle=0.5)
    for p in (0, 1):
        assert names_of(m for m in got if m.partition() == p) == [json.loads(r)["tenant"] for r in sent[p]]
    assert kafka.end_offsets(k.dead) == {0: 0, 1: 0}
    assert k.stop() == 0


def slow_down(broker, client, *how):
    broker._java("kafka.admin.ConfigCommand", "--bootstrap-server", broker.bootstrap, "--alter", "--entity-type", "clients",
                 "--entity-name", client, *how).check_returncode()


@pytest.mark.long(25)
def test_a_member_stays_while_the_producer_is_slow(make_kveil, kafka, broker):
    """Many records are held that were polled ahead, and few can be sent for longer than the group waits for a poll."""
    k = make_kveil()
    # The registry in a file: one in a topic is written to with the same properties.
    k.config(kafka.bootstrap, data=PATTERN.format(algorithm="aes-256-gcm", limit=1))
    k.rules(FIELDS)
    tune(k.init(), TIGHT, "limits: {memory: 64MiB, record_bytes: 1MiB}\n")
    f = k.dir / "kveil.yaml"
    f.write_text(f.read_text().replace("  consumer: {", f"  producer: {{client.id: {k.name}}}\n  consumer: {{"))
    slow_down(broker, k.name, "--add-config", "producer_byte_rate=100000")
    k.start()
    before = k.metric("kveil_rebalances_total")
    # The last new names come where there is nearly as much in flight as may be, and wait for a moment.
    sent = [json.dumps({"n": i, "tenant": f"n{min(max(i, 2200), 2212)}", "v": "x", "more": "y" * 4000}).encode()
            for i in range(5000)]
    kafka.produce(k.topic, sent)
    begin = time.time()
    while time.time() < begin + 16:
        assert k.get("/livez")[0] == 200
        time.sleep(0.5)
    assert k.metric("kveil_rebalances_total") == before and b"MAXPOLL" not in k.processes[0].log.read_bytes()
    assert kafka.end_offsets(k.secure)[0] < 3000 and k.metric("kveil_in_flight_bytes") > 3_000_000
    slow_down(broker, k.name, "--delete-config", "producer_byte_rate")
    wait_for("all", lambda: kafka.end_offsets(k.secure) == {0: 5000}, timeout=60)
    assert [json.loads(m.value())["n"] for m in kafka.consume(k.secure, 5000, settle=0.5)] == list(range(5000))
    assert k.metric("kveil_rebalances_total") == before and kafka.end_offsets(k.dead) == {0: 0}
    assert k.stop() == 0


def test_what_was_polled_ahead_of_a_gap_is_done_before_it(make_kveil, kafka):
    """Retention takes records away behind those that are held: they pass, and the partition stops where the gap begins."""
    # With a small share of the memory for each, the client fetches little ahead of what is polled.
    k = tune(make(make_kveil, kafka, limit=4, workers=8), top="limits: {memory: 64MiB, record_bytes: 1MiB}\n")
    k.start()
    kafka.produce(k.topic, [json.dumps({"tenant": f"n{i}", "v": "x", "more": "y" * 20000}).encode()
                            for i in range(800)])
    wait_for("the wait", lambda: waiting(k) > 5)
    for f in kafka.admin.delete_records([TopicPartition(k.topic, 0, 750)]).values():
        f.result(30)
    wait_for("the stop", lambda: "is out of range" in k.get("/readyz")[1], timeout=60)
    passed = kafka.end_offsets(k.secure)[0]
    assert f"stopped at offset {passed}:" in k.processes[-1].log.read_text()
    assert names_of(kafka.consume(k.secure, passed, settle=0.5)) == [f"n{i}" for i in range(passed)]
    # All that the client had before the gap: more than had passed when it began.
    assert 50 < passed < 700, passed
    wait_for("the commit", lambda: kafka.committed(k.group, k.topic) == passed)
    assert k.stop() == 0


def test_a_name_that_making_does_not_bring_is_an_outage(make_kveil, kafka):
    k = make(make_kveil, kafka)
    p = k.start(env={"KVEIL_FAILPOINT": "names-stay-pending"})
    registry = kafka.end_offsets(k.keys)
    kafka.produce(k.topic, [record("acme", 0), record("globex", 1)])
    wait_for("the outage", lambda: "key_pending" in k.get("/readyz")[1])
    before, cpu = k.metric("kveil_retries_total", code="key_pending"), sum(cpu_seconds(p))
    assert before >= 2
    time.sleep(4)
    assert k.metric("kveil_retries_total", code="key_pending") <= before + 8
    assert sum(cpu_seconds(p)) - cpu < 1
    assert k.get("/livez")[0] == 200 and kafka.end_offsets(k.secure) == {0: 0}
    begin = time.time()
    assert k.stop() == 0 and time.time() - begin < 5
    assert kafka.end_offsets(k.dead) == {0: 0} and \
        sum(kafka.end_offsets(k.keys).values()) <= sum(registry.values()) + 3  # two names and a lease
    again(k, kafka)
    assert names_of(kafka.consume(k.secure, 2, settle=0.5)) == ["acme", "globex"]
    assert k.stop() == 0


def cpu_seconds(p):
    fields = open(f"/proc/{p.pid}/stat").read().rsplit(")", 1)[1].split()
    return int(fields[11]) / 100, int(fields[12]) / 100


def test_looking_ahead_takes_no_time_from_the_loop(make_kveil, kafka):
    k = make(make_kveil, kafka, limit=1)
    k.start(env={"KVEIL_FAILPOINT": "slow-probe"})
    kafka.produce(k.topic, [record(f"n{i}", i) for i in range(200)])
    wait_for("some", lambda: kafka.end_offsets(k.secure)[0] > 2)
    begin = time.time()
    assert k.stop() == 0 and time.time() - begin < 5
    again(k, kafka)
    wait_for("all", lambda: kafka.end_offsets(k.secure) == {0: 200})
    assert names_of(kafka.consume(k.secure, 200, settle=0.5)) == [f"n{i}" for i in range(200)]
    assert k.stop() == 0


def test_slow_records_leave_the_loop_its_time(make_kveil, kafka):
    k = make(make_kveil, kafka)
    k.start(env={"KVEIL_FAILPOINT": "slow-record"})
    kafka.produce(k.topic, [record("acme", i) for i in range(250)])
    wait_for("commits", lambda: 0 < kafka.committed(k.group, k.topic) < 150)
    wait_for("metrics", lambda: 0 < k.metric("kveil_rule_matches_total") < 200)
    assert k.stop() == 0


@pytest.mark.long(25)
def test_a_reload_and_a_rebalance_in_the_wait_change_nothing(make_kveil, kafka):
    """What is held ahead goes and comes again: each record once, in its order, under the rules of its time."""
    k = make(make_kveil, kafka, limit=20, partitions=2)
    first = k.start()
    sent = {p: [json.dumps({"tenant": f"p{p}.{i}", "v": "x", "w": "w"}).encode() for i in range(400)] for p in (0, 1)}
    for p, records in sent.items():
        kafka.produce(k.topic, records, partition=p)
    wait_for("the wait", lambda: waiting(k) > 100)
    for n in range(3):
        k.rules(FIELDS + '  - {path: "$.w", mask: {char: "%d"}}\n' % n)
        first.send_signal(signal.SIGHUP)
        wait_for("the reload", lambda: first.log.read_text().count("took new rules") == n + 1)
        time.sleep(0.5)
    another(k, kafka)
    wait_for("a share", lambda: k.metric("kveil_records_produced_total") > 0)
    assert k.stop(first) == 0
    wait_for("all", lambda: sum(kafka.end_offsets(k.secure).values()) >= 800, timeout=60)
    got = kafka.consume(k.secure, 800, settle=1)
    for p, records in sent.items():
        mine = [json.loads(m.value()) for m in got if m.partition() == p]
        assert [r["tenant"] for r in mine] == [json.loads(r)["tenant"] for r in records]
        # A reload is between two records: once new rules, always new rules.
        marks = [r["w"] for r in mine]
        assert marks == sorted(marks, key=["w", "0", "1", "2"].index) and marks[-1] == "2"
    assert k.stop() == 0


def test_an_outage_before_a_gap_keeps_the_position(make_kveil, kafka):
    """What was held ahead is thrown away by the pause and gone from the broker: the partition stands before it."""
    k = make_kveil()
    k.config(kafka.bootstrap, data=PATTERN.format(algorithm="aes-256-gcm", limit=2), workers=8)
    k.rules(FIELDS)
    tune(k.init(), top="limits: {memory: 64MiB, record_bytes: 1MiB}\n").start()
    kafka.produce(k.topic, [json.dumps({"tenant": f"n{i}", "v": "x", "more": "y" * 20000}).encode()
                            for i in range(800)])
    wait_for("the wait", lambda: waiting(k) > 5)
    (k.dir / "keys.json").rename(k.dir / "away.json")
    for f in kafka.admin.delete_records([TopicPartition(k.topic, 0, 750)]).values():
        f.result(30)
    wait_for("the outage", lambda: "registry_missing" in k.get("/readyz")[1])
    time.sleep(2)
    (k.dir / "away.json").rename(k.dir / "keys.json")
    wait_for("the stop", lambda: "is out of range" in k.get("/readyz")[1], timeout=60)
    wait_for("the end of the outage", lambda: "registry_missing" not in k.get("/readyz")[1])
    time.sleep(1)
    passed = kafka.end_offsets(k.secure)[0]
    assert f"stopped at offset {passed}:" in k.processes[-1].log.read_text()
    assert names_of(kafka.consume(k.secure, passed, settle=0.5)) == [f"n{i}" for i in range(passed)]
    wait_for("the commit", lambda: kafka.committed(k.group, k.topic) == passed)
    assert k.stop() == 0


def test_headers_count_for_what_is_held(make_kveil, kafka):
    k = make(make_kveil, kafka, limit=1)
    k.start()
    large = [("h", b"x" * 100000), ("i", b"y" * 100000)]
    kafka.produce(k.topic, [{"value": record(f"n{i}", i), "headers": large} for i in range(200)])
    wait_for("the wait", lambda: waiting(k) > 0)
    for _ in range(20):
        assert waiting(k) < 30
        time.sleep(0.1)
    again_from(k, kafka, 200)


def again_from(k, kafka, count):
    assert k.stop() == 0
    again(k, kafka)
    wait_for("all", lambda: kafka.end_offsets(k.secure) == {0: count})
    assert names_of(kafka.consume(k.secure, count, settle=0.5)) == [f"n{i}" for i in range(count)]
    assert k.stop() == 0


def test_a_record_is_counted_once_however_often_it_was_looked_at(make_kveil, kafka):
    k = make(make_kveil, kafka, limit=5)
    k.rules('  - {path: "$.w", mask: {}}\n  - {path: "$.v", encrypt: {key: "tenant-{$.tenant}"}}\n')
    k.start()
    kafka.produce(k.topic, [json.dumps({"w": "w", "tenant": f"n{i}", "v": "x"}).encode() for i in range(80)])
    wait_for("all", lambda: kafka.end_offsets(k.secure) == {0: 80}, timeout=60)
    time.sleep(1.2)
    for path in ("$.w", "$.v"):
        assert k.metric("kveil_rule_matches_total", rule=f"{k.name}/{path}") == 80
    assert k.metric("kveil_records_consumed_total") == 80
    assert k.stop() == 0


def test_names_that_wait_do_not_hide_an_outage(make_kveil, kafka):
    k = make_kveil()
    k.config(kafka.bootstrap, data=PATTERN.format(algorithm="aes-256-gcm", limit=1))
    k.rules(FIELDS)
    k.init()
    p = k.start()
    kafka.produce(k.topic, [record(f"n{i}", i) for i in range(22)])
    wait_for("the wait", lambda: b"new_per_second" in p.log.read_bytes() and kafka.end_offsets(k.secure)[0] > 10)
    assert k.get("/readyz")[0] == 200
    (k.dir / "keys.json").rename(k.dir / "away.json")
    wait_for("the outage", lambda: "worker 1: outage: " in k.get("/readyz")[1])
    assert [x for x in p.log.read_text().splitlines() if "worker 1" in x and "there is no key registry" in x]
    (k.dir / "away.json").rename(k.dir / "keys.json")
    wait_for("its end", lambda: k.get("/readyz")[0] == 200)
    wait_for("all", lambda: kafka.end_offsets(k.secure) == {0: 22}, timeout=60)
    assert names_of(kafka.consume(k.secure, 22, settle=0.5)) == [f"n{i}" for i in range(22)]
    assert kafka.end_offsets(k.dead) == {0: 0} and k.stop() == 0


@pytest.mark.long(70)
def test_brokers_that_do_not_answer_leave_the_loops_alive(make_kveil):
    """They take connections and say nothing: making a name and following the registry wait, and end in time."""
    broker = Broker().start()
    try:
        kafka = Kafka(broker.bootstrap)
        k = make_kveil(bootstrap=broker.bootstrap, topics=False)
        kafka.create(k.topic, k.secure, k.dead)
        k.config(broker.bootstrap, registry="kafka:kveil.keys", data=PATTERN.format(algorithm="aes-256-gcm", limit=2))
        k.rules(FIELDS)
        k.init().start()
        kafka.produce(k.topic, [record(f"n{i}", i) for i in range(60)])
        wait_for("the wait", lambda: waiting(k) > 0 and kafka.end_offsets(k.secure)[0] > 20)
        broker.process.send_signal(signal.SIGSTOP)
        for _ in range(36):
            assert k.get("/livez") == (200, k.get("/livez")[1])
            time.sleep(1)
        broker.process.send_signal(signal.SIGCONT)
        wait_for("all", lambda: kafka.end_offsets(k.secure)[0] >= 60, timeout=90)
        got = names_of(kafka.consume(k.secure, 60, settle=0.5))
        assert list(dict.fromkeys(got)) == [f"n{i}" for i in range(60)]
        assert k.stop() == 0
    finally:
        broker.process.send_signal(signal.SIGCONT)
        broker.close()


def test_a_stop_while_the_registry_does_not_answer_is_in_time(make_kveil):
    """Making a name takes as long as the brokers let it, and an end is asked for meanwhile."""
    broker = Broker().start()
    try:
        kafka = Kafka(broker.bootstrap)
        k = make_kveil(bootstrap=broker.bootstrap, topics=False)
        kafka.create(k.topic, k.secure, k.dead)
        k.keys = "kveil.keys"
        k.config(broker.bootstrap, registry="kafka:kveil.keys", data=PATTERN.format(algorithm="aes-256-gcm", limit=2))
        k.rules(FIELDS)
        p = k.init().start()
        kafka.produce(k.topic, [record(f"n{i}", i) for i in range(100)])
        wait_for("the wait", lambda: waiting(k) > 0 and kafka.end_offsets(k.secure)[0] > 20)
        broker.process.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        begin = time.time()
        code = k.stop(p)
        assert code == 0 and time.time() - begin < 15
    finally:
        broker.process.send_signal(signal.SIGCONT)
        broker.close()
