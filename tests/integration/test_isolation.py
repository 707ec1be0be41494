# SPDX-License-Identifier: Apache-2.0
"""A wait holds up its own partition only: one worker, several partitions and topics, and one of them in trouble."""
import json
import re
import time

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition

from broker import Broker
from conftest import wait_for
from custodian import Bao, transit
from test_named_keys import FIELDS, PATTERN, record

pytestmark = pytest.mark.long(170)

RECORDS = [json.dumps({"v": f"value {i}"}).encode() for i in range(300)]


def test_invented_names_hold_up_their_own_partition(make_kveil, kafka):
    """Ten thousand names that nobody knows on one partition; the names of the other pass at once."""
    k = make_kveil(partitions=2)
    k.config(kafka.bootstrap, data=PATTERN.format(algorithm="aes-256-gcm", limit=1))
    k.rules(FIELDS)
    k.init().start()
    kafka.produce(k.topic, [record("acme", 0)], partition=1)
    wait_for("the first", lambda: kafka.end_offsets(k.secure)[1] == 1)
    kafka.produce(k.topic, [record(f"invented{i}", i) for i in range(10000)], partition=0)
    wait_for("a wait", lambda: k.metric("kveil_named_keys_waiting", pattern="tenant-{}") > 100)
    for i in range(1, 6):
        begin = time.time()
        kafka.produce(k.topic, [record("acme", i)] * 200, partition=1)
        wait_for("its neighbour", lambda: kafka.end_offsets(k.secure)[1] == 1 + 200 * i, timeout=5)
        assert time.time() - begin < 5
    assert kafka.end_offsets(k.secure)[0] < 500 and kafka.end_offsets(k.dead) == {0: 0, 1: 0}
    assert k.get("/readyz")[0] == 200
    wait_for("commits", lambda: kafka.committed(k.group, k.topic, 1) == 1001)
    assert k.stop() == 0


def test_invented_names_leave_a_neighbour_its_new_name(make_kveil, kafka):
    """All names are new, and one a second is made: each of the neighbour's is among the next."""
    k = make_kveil(partitions=2)
    k.config(kafka.bootstrap, data=PATTERN.format(algorithm="aes-256-gcm", limit=1))
    k.rules(FIELDS)
    k.init().start()
    kafka.produce(k.topic, [record(f"invented{i}", i) for i in range(10000)], partition=0)
    wait_for("a full queue", lambda: k.metric("kveil_named_keys_waiting", pattern="tenant-{}") > 900)
    for i in range(5):
        begin = time.time()
        kafka.produce(k.topic, [record(f"fresh{i}", i)], partition=1)
        wait_for("its turn", lambda: kafka.end_offsets(k.secure)[1] == i + 1, timeout=20)
        assert time.time() - begin < 6  # two seconds' worth of names, and a loaded machine
    assert kafka.end_offsets(k.dead) == {0: 0, 1: 0}
    assert k.stop() == 0


def test_a_name_too_many_is_the_records_fault(make_kveil, kafka):
    k = make_kveil(partitions=2)
    k.config(kafka.bootstrap, data=PATTERN.format(algorithm="aes-256-gcm", limit="1000, most_names: 20"))
    k.rules(FIELDS)
    k.init().start()
    kafka.produce(k.topic, [record("acme", 0)], partition=1)
    wait_for("the first", lambda: kafka.end_offsets(k.secure)[1] == 1)
    kafka.produce(k.topic, [record(f"invented{i}", i) for i in range(100)], partition=0)
    wait_for("all", lambda: kafka.end_offsets(k.dead)[0] + kafka.end_offsets(k.dead)[1] == 81)
    assert kafka.end_offsets(k.secure)[0] == 19
    wait_for("the gauge", lambda: k.metric("kveil_named_keys", pattern="tenant-{}") == 20)
    codes = {dict(m.headers())["kveil.error.code"] for m in kafka.consume(k.dead, 81)}
    assert codes == {b"key_limit"} and k.get("/readyz")[0] == 200
    kafka.produce(k.topic, [record("acme", 1)], partition=1)
    wait_for("a name that is there", lambda: kafka.end_offsets(k.secure)[1] == 2)
    # With room for more, they are replayed.
    assert k.stop() == 0
    f = k.dir / "kveil.yaml"
    f.write_text(f.read_text().replace("most_names: 20", "most_names: 200"))
    assert k.run("replay", "-c", "kveil.yaml").returncode == 0
    assert sum(kafka.end_offsets(k.secure).values()) == 102


def two_topics(make_kveil, kafka, keys, keks="", token=None):
    """One worker; the second topic's rules seal with the key `brief`."""
    k = make_kveil()
    brief = k.topic + ".brief"
    kafka.create(brief, brief + ".secure", brief + ".dead")
    k.config(kafka.bootstrap, data=keys)
    f = k.dir / "kveil.yaml"
    f.write_text(f.read_text().replace("  data:\n", keks + "  data:\n"))
    k.rules('  - {path: "$.v", encrypt: {key: pii}}\n')
    k.rules('  - {path: "$.v", encrypt: {key: brief}}\n', file="brief.yaml")
    g = k.dir / "rules" / "brief.yaml"
    g.write_text(g.read_text().replace(f"[{k.topic}]", f"[{brief}]").replace(f"name: {k.name}", "name: brief"))
    if token:
        (k.dir / "token").write_text(token)
        (k.dir / "token").chmod(0o600)
    k.init().start()
    for topic in (k.topic, brief):
        kafka.produce(topic, RECORDS)
        wait_for("both", lambda: kafka.end_offsets(topic + ".secure") == {0: 300})
    return k, brief


def one_waits(k, kafka, brief):
    kafka.produce(brief, RECORDS)
    wait_for("the wait", lambda: f"{brief}[0] waits" in k.get("/readyz")[1])
    for i in range(2, 5):
        kafka.produce(k.topic, RECORDS)
        wait_for("the other topic", lambda: kafka.end_offsets(k.secure) == {0: 300 * i}, timeout=5)
    assert kafka.end_offsets(brief + ".secure") == {0: 300}
    wait_for("no lag", lambda: kafka.committed(k.group, k.topic) == 1200)


def goes_on(k, kafka, brief):
    wait_for("all", lambda: kafka.end_offsets(brief + ".secure") == {0: 600}, timeout=60)
    wait_for("ready", lambda: k.get("/readyz")[0] == 200)
    assert kafka.end_offsets(brief + ".dead") == {0: 0}
    lasted = re.findall(r"the outage is over after (\d+)\.\d s, continuing", k.processes[0].log.read_text())
    assert lasted and max(map(int, lasted)) < 3600, lasted
    assert k.stop() == 0


def test_a_custodian_that_is_away_holds_up_its_own_keys(make_kveil, kafka, tmp_path):
    """It hangs, so that whoever asks it waits; what is at hand expires, and the other key is another custodian's."""
    bao = Bao(tmp_path).start()
    try:
        kek = f'    bao: {transit(bao, "token_file: token, timeout: 5s")}\n'
        k, brief = two_topics(make_kveil, kafka, "    brief: {algorithm: aes-256-gcm, kek: bao, rotate_every: 2s}", kek,
                             bao.root)
        bao.freeze()
        wait_for("its end", lambda: "'brief' has no version that may seal" in k.get("/readyz")[1], timeout=60)
        one_waits(k, kafka, brief)
        bao.thaw()
        goes_on(k, kafka, brief)
    finally:
        bao.thaw()
        bao.stop()


def test_a_custodian_that_is_away_at_the_start_holds_up_its_own_keys(make_kveil, kafka, tmp_path):
    bao = Bao(tmp_path).start()
    try:
        kek = f'    bao: {transit(bao, "token_file: token, timeout: 5s")}\n'
        k, brief = two_topics(make_kveil, kafka, "    brief: {algorithm: aes-256-gcm, kek: bao}", kek, bao.root)
        assert k.stop() == 0
        bao.freeze()
        p = k.start(ready=False)
        for topic in (k.topic, brief):
            kafka.produce(topic, RECORDS)
        wait_for("the other topic", lambda: kafka.committed(k.group, k.topic) == 600, timeout=30)
        wait_for("the wait", lambda: re.search(rf"kek_unavailable.*{brief}\[0\] waits", k.get("/readyz")[1]))
        assert kafka.end_offsets(brief + ".secure") == {0: 300}
        bao.thaw()
        wait_for("all", lambda: kafka.committed(k.group, brief) == 600, timeout=90)
        wait_for("ready", lambda: k.get("/readyz")[0] == 200, timeout=60)
        assert kafka.end_offsets(brief + ".dead") == {0: 0} and p.poll() is None
        assert k.stop() == 0
    finally:
        bao.thaw()
        bao.stop()


def test_what_waits_keeps_its_order_through_a_pause(make_kveil, kafka):
    """More than may be held of one partition: it is paused and read again, and nothing is skipped or done twice."""
    k = make_kveil(partitions=2)
    k.config(kafka.bootstrap, data=PATTERN.format(algorithm="aes-256-gcm", limit=3))
    k.rules(FIELDS)
    p = k.init().start()
    # Thirty names at once, and three a second; what is behind them is more than is held.
    names = [f"n{min(i // 100, 44)}" for i in range(9000)]
    kafka.produce(k.topic, [json.dumps({"i": i, "tenant": t, "v": "x", "more": "y" * 2000}).encode()
                            for i, t in enumerate(names)])
    done = 0
    while kafka.end_offsets(k.secure)[0] < 9000:
        kafka.produce(k.topic, [record("n0", done)] * 10, partition=1)
        done += 10
        wait_for("the other", lambda: kafka.end_offsets(k.secure)[1] == done, timeout=10)
        assert k.get("/livez")[0] == 200 and done < 2000
        time.sleep(0.2)
    got = [json.loads(m.value())["i"] for m in kafka.consume(k.secure, 9000 + done, settle=0.5) if m.partition() == 0]
    assert got == list(range(9000))
    assert k.stop() == 0 and kafka.committed(k.group, k.topic, 0) == 9000


def has_groups(kafka):
    try:
        return kafka.committed("any", "any") is not None
    except KafkaException:  # it is being made
        return False


@pytest.fixture(scope="module")
def second(broker, kafka):
    """A second broker of the cluster: what has its only replica there has no leader while it is stopped."""
    wait_for("the groups' own topic, all of it on the first", lambda: has_groups(kafka))
    b = Broker(joins=broker).start()
    wait_for("two brokers", lambda: len(kafka.admin.list_topics(timeout=10).brokers) == 2)
    yield b
    b.close()
    # Or the next topic's only replica may be put there.
    wait_for("one broker", lambda: len(kafka.admin.list_topics(timeout=10).brokers) == 1, timeout=60)


def another_topic(k, kafka, what, fields, outputs):
    """One more input topic of two partitions. outputs: the brokers of its output's."""
    topic = f"{k.topic}.{what}"
    kafka.create(topic, topic + ".dead", brokers=[1, 1])
    kafka.create(topic + ".secure", brokers=outputs)
    k.rules(fields, file=f"{what}.yaml")
    f = k.dir / "rules" / f"{what}.yaml"
    f.write_text(f.read_text().replace(f"[{k.topic}]", f"[{topic}]").replace(f"name: {k.name}", f"name: {what}"))
    return topic


def big(i):
    return {"key": b"key%d" % (i % 7), "value": json.dumps({"v": f"value {i}", "i": i, "more": "y" * 10000}).encode()}


def partition_end(kafka, topic, partition=0):
    """Of an output topic that may have a partition without a leader."""
    c = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "peek"})
    try:
        return c.get_watermark_offsets(TopicPartition(topic + ".secure", partition), 10)[1]
    finally:
        c.close()


def order_of(kafka, topic, count, partition):
    """What came, by key, the first time that it came."""
    seen = {}
    for m in kafka.consume(topic, count):
        if m.partition() == partition:
            seen.setdefault(m.key(), {}).setdefault(json.loads(m.value()).get("i"))
    return {key: list(i) for key, i in seen.items() if key}


def test_an_output_that_fails_holds_up_its_own_topic(make_kveil, kafka, second):
    """It is deleted: each delivery there fails at once, and is tried again later and later."""
    k = make_kveil(topics=False)
    mask = '  - {path: "$.v", mask: {}}\n'
    fine, gone = (another_topic(k, kafka, what, mask, [1, 1]) for what in ("fine", "gone"))
    f = k.dir / "kveil.yaml"
    f.write_text(f.read_text().replace("  consumer: {", "  producer: {topic.metadata.propagation.max.ms: 100}\n  consumer: {"))
    k.init().start()
    for topic in (fine, gone):
        kafka.produce(topic, RECORDS)
        wait_for("both", lambda: kafka.committed(k.group, topic) == 300)
    kafka.admin.delete_topics([gone + ".secure"])[gone + ".secure"].result(30)
    kafka.produce(gone, RECORDS)
    wait_for("the fault", lambda: f"producing fails: {gone}.secure" in k.get("/readyz")[1], timeout=60)
    for i in range(1, 9):
        kafka.produce(fine, RECORDS[:10])
        wait_for("its neighbour", lambda: kafka.committed(k.group, fine) == 300 + 10 * i, timeout=20)
    assert kafka.committed(k.group, gone) == 300

    def made():
        try:
            kafka.create(gone + ".secure", brokers=[1, 1])
            return True
        except KafkaException:  # the deletion is not known everywhere yet
            return False
    wait_for("the topic made anew", made)
    wait_for("all", lambda: kafka.committed(k.group, gone) == 600, timeout=60)
    assert len(kafka.consume(gone + ".secure", 300, settle=0.5)) >= 300
    wait_for("ready", lambda: k.get("/readyz")[0] == 200, timeout=60)
    assert k.stop() == 0


def test_a_dead_output_delays_no_stop(make_kveil, kafka, second):
    """partition: key, and one of four output partitions without a leader: records without a key go elsewhere, those of its
    keys wait, and a stop leaves them in order."""
    k = make_kveil(topics=False)
    k.config(kafka.bootstrap, extra="partition: key")
    topic = another_topic(k, kafka, "keyed", '  - {path: "$.v", mask: {}}\n', [1, 1, 1, 2])
    k.init().start()
    kafka.produce(topic, RECORDS)
    wait_for("the first", lambda: kafka.committed(k.group, topic) == 300)
    second.stop()
    try:
        kafka.produce(topic, [big(i) for i in range(700)], partition=1)
        wait_for("the silence", lambda: k.metric("kveil_output_partitions_silent") == 1, timeout=60)
        assert f"{topic}.secure[3] has acknowledged nothing" in k.get("/readyz")[1]

        def there():
            return sum(partition_end(kafka, topic, p) for p in range(3))
        before = there()
        kafka.produce(topic, RECORDS * 3)
        wait_for("records without a key", lambda: there() >= before + 900, timeout=60)
        begin = time.time()
        assert k.stop() == 0
        assert time.time() - begin < 12, "it should not wait for what is dead"
        assert "stopping with records in flight" in k.processes[-1].log.read_text()
    finally:
        second.start()
    k.start()
    for partition, n in ((0, 1200), (1, 700)):
        wait_for("all", lambda: kafka.committed(k.group, topic, partition) == n, timeout=60)
    got = {}
    for p in range(4):
        got.update(order_of(kafka, topic + ".secure", sum(kafka.end_offsets(topic + ".secure").values()), p))
    assert got == {b"key%d" % r: [i for i in range(700) if i % 7 == r] for r in range(7)}
    assert k.stop() == 0


def test_three_in_trouble_and_the_others_go_on(make_kveil, kafka, second, tmp_path):
    """One worker: a key that cannot seal, a named key in the making, an output partition without a leader, which takes more
    than may be in flight. All else flows; when the broker is back, all of it arrives in its order."""
    bao = Bao(tmp_path).start()
    n, lame_n = 300, 6000
    try:
        k = make_kveil(topics=False)
        keys = PATTERN.format(algorithm="aes-256-gcm", limit=1) + "\n    brief: {algorithm: aes-256-gcm, kek: bao, rotate_every: 2s}"
        k.config(kafka.bootstrap, extra="limits: {memory: 96MiB, record_bytes: 1MiB}", data=keys)
        f = k.dir / "kveil.yaml"
        f.write_text(f.read_text().replace("  data:\n", f'    bao: {transit(bao, "token_file: token, timeout: 5s")}\n  data:\n'))
        (k.dir / "token").write_text(bao.root)
        (k.dir / "token").chmod(0o600)
        pii = '  - {path: "$.v", encrypt: {key: pii}}\n'
        lame = another_topic(k, kafka, "lame", pii, [1, 2])
        brief = another_topic(k, kafka, "brief", pii.replace("pii", "brief"), [1, 1])
        named = another_topic(k, kafka, "named", FIELDS, [1, 1])
        p = k.init().start()
        for topic in (lame, brief, named):
            for partition in (0, 1):
                kafka.produce(topic, [record("acme", i) for i in range(n)], partition=partition)
            wait_for("all at first", lambda: kafka.end_offsets(topic + ".secure") == {0: n, 1: n})

        bao.freeze()
        second.stop()
        kafka.produce(named, [record(f"invented{i}", i) for i in range(1000)], partition=1)
        kafka.produce(lame, [big(i) for i in range(lame_n)], partition=1)
        wait_for("its end", lambda: "'brief' has no version that may seal" in k.get("/readyz")[1], timeout=60)
        kafka.produce(brief, RECORDS, partition=1)
        wait_for("all three wait", lambda: all(text in k.get("/readyz")[1] for text in (f"{brief}[1]", f"{lame}.secure[1]"))
                 and k.metric("kveil_named_keys_waiting", pattern="tenant-{}") > 10)
        assert 2_000_000 < k.metric("kveil_in_flight_bytes") < 22_000_000
        for i in range(2, 6):
            for topic in (lame, named):
                begin = time.time()
                kafka.produce(topic, [record("acme", j) for j in range(n)])
                wait_for(f"{topic}[0]", lambda: partition_end(kafka, topic) == n * i, timeout=5)
                assert time.time() - begin < 5
        for topic in (lame, named):
            wait_for("no lag", lambda: kafka.committed(k.group, topic) == n * 5)
        assert k.get("/livez")[0] == 200 and "assigned" in p.log.read_text()
        assert p.log.read_text().count("assigned") == 1

        bao.thaw()
        second.start()
        wait_for("all of the lame", lambda: kafka.committed(k.group, lame, 1) == n + lame_n, timeout=60)
        wait_for("all that was brief", lambda: kafka.committed(k.group, brief, 1) == 2 * n, timeout=60)
        wait_for("told", lambda: f"{lame}.secure" not in k.get("/readyz")[1])
        ends = kafka.end_offsets(lame + ".secure")
        got = order_of(kafka, lame + ".secure", sum(ends.values()), 1)
        assert got == {b"key%d" % r: [i for i in range(lame_n) if i % 7 == r] for r in range(7)}
        assert ends[0] == 5 * n and k.metric("kveil_records_dead_lettered_total") == 0
        assert k.stop() == 0
    finally:
        bao.thaw()
        bao.stop()
