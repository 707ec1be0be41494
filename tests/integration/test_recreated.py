# SPDX-License-Identifier: Apache-2.0
"""Topics that are deleted and made anew while kveil runs: other topics, read from their start."""
import contextlib
import json
import re
import signal
import subprocess
import time

from confluent_kafka import Consumer, KafkaException, TopicPartition

from conftest import KVEIL, ORDER_FIELDS, order, wait_for


def remake(kafka, topic, gone=0.0, partitions=1):
    kafka.admin.delete_topics([topic])[topic].result(30)
    time.sleep(gone)

    def made():
        try:
            kafka.create(topic, partitions=partitions)
            return True
        except KafkaException:  # the deletion is not known everywhere yet
            return False
    wait_for("the topic made anew", made)


@contextlib.contextmanager
def frozen(process):
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def names(first, end):
    return {f"ORD{i:010d}" for i in range(first, end)}


def sent(kafka, topic):
    return {json.loads(m.value())["id"] for m in kafka.consume(topic, sum(kafka.end_offsets(topic).values()))}


def running(make_kveil, kafka, n):
    """kveil, which has taken n records in."""
    k = make_kveil()
    k.rules(ORDER_FIELDS)
    k.init()
    kafka.produce(k.topic, [order(i) for i in range(n)])
    k.start()
    wait_for("all committed", lambda: kafka.committed(k.group, k.topic) == n)
    return k


def took_all(k, kafka, first, end):
    wait_for("all committed", lambda: kafka.committed(k.group, k.topic) == end - first)
    assert names(first, end) <= sent(kafka, k.secure)
    assert k.metric("kveil_partitions_begun_anew_total") == 1
    assert "the topic was deleted or made anew" in k.processes[-1].log.read_text()
    wait_for("ready", lambda: k.get("/readyz")[0] == 200)
    assert k.stop() == 0


def test_input_made_anew_unseen_and_larger(make_kveil, kafka):
    k = running(make_kveil, kafka, 500)
    with frozen(k.processes[-1]):  # the client never sees that there was less than it had read
        remake(kafka, k.topic)
        kafka.produce(k.topic, [order(i) for i in range(1000, 3000)])
    took_all(k, kafka, 1000, 3000)


def test_input_made_anew_and_smaller(make_kveil, kafka):
    k = running(make_kveil, kafka, 500)
    remake(kafka, k.topic)
    kafka.produce(k.topic, [order(i) for i in range(1000, 1100)])
    took_all(k, kafka, 1000, 1100)


def test_input_gone_for_long(make_kveil, kafka):
    k = running(make_kveil, kafka, 500)
    remake(kafka, k.topic, gone=6)
    kafka.produce(k.topic, [order(i) for i in range(1000, 1100)])
    took_all(k, kafka, 1000, 1100)


def test_end_while_the_input_is_gone(make_kveil, kafka):
    k = running(make_kveil, kafka, 500)
    kafka.admin.delete_topics([k.topic])[k.topic].result(30)
    wait_for("noticed", lambda: k.metric("kveil_partitions_begun_anew_total") == 1)
    assert k.stop() == 0


def test_input_made_anew_between_two_runs(make_kveil, kafka):
    k = running(make_kveil, kafka, 500)
    assert k.stop() == 0
    remake(kafka, k.topic)
    kafka.produce(k.topic, [order(i) for i in range(1000, 2000)])
    k.start()
    wait_for("all committed", lambda: kafka.committed(k.group, k.topic) == 1000)
    assert names(1000, 2000) <= sent(kafka, k.secure)
    assert k.stop() == 0


def knows_ids():
    """librdkafka tells the ids of topics from 2.3 on."""
    text = subprocess.run([KVEIL, "version"], check=True, capture_output=True, text=True).stdout
    version = re.search(r"librdkafka +(\d+)\.(\d+)", text)
    return (int(version[1]), int(version[2])) >= (2, 3)


def an_offset_committed_onto_a_topic_made_anew(make_kveil, kafka):
    """It was committed in the moment after the topic was made anew: of the new one nothing was read."""
    k = running(make_kveil, kafka, 500)
    c = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": k.group})
    there = TopicPartition(k.topic, 0)
    produced = iter(range(500, 10000))

    def noted():
        kafka.produce(k.topic, [order(next(produced))])
        return "topic=" in (c.committed([there], 10)[0].metadata or "")
    wait_for("the note", noted)
    assert k.stop() == 0
    note = c.committed([there], 10)[0]
    remake(kafka, k.topic)
    kafka.produce(k.topic, [order(i) for i in range(20000, 22000)])
    c.commit(offsets=[TopicPartition(k.topic, 0, 500, metadata=note.metadata)], asynchronous=False)
    c.close()
    k.start()
    wait_for("all committed", lambda: kafka.committed(k.group, k.topic) == 2000)
    assert names(20000, 22000) <= sent(kafka, k.secure)
    assert "its id is another" in k.processes[-1].log.read_text()
    assert k.metric("kveil_partitions_begun_anew_total") == 1
    assert k.stop() == 0


def test_output_made_anew(make_kveil, kafka):
    k = running(make_kveil, kafka, 500)
    remake(kafka, k.secure, gone=5)
    kafka.produce(k.topic, [order(i) for i in range(1000, 1100)])
    wait_for("all committed", lambda: kafka.committed(k.group, k.topic) == 600, timeout=60)
    assert names(1000, 1100) <= sent(kafka, k.secure)
    assert k.stop() == 0


def test_dead_letters_made_anew(make_kveil, kafka):
    k = make_kveil()
    k.rules('  - {path: "$.p", mask: {}}\n')
    k.init()
    bad = [b'{"i":%d,"p":[1]}' % i for i in range(10)]
    kafka.produce(k.topic, bad)
    k.start()
    wait_for("all committed", lambda: kafka.committed(k.group, k.topic) == 10)
    remake(kafka, k.dead, gone=3)
    kafka.produce(k.topic, bad)
    wait_for("all committed", lambda: kafka.committed(k.group, k.topic) == 20, timeout=60)
    assert sum(kafka.end_offsets(k.dead).values()) >= 10
    assert sum(kafka.end_offsets(k.secure).values()) == 0
    assert k.stop() == 0
    # What was replayed is remembered by its place in the input: in a topic made anew, others stand there.
    k.rules('  - {path: "$.p[*]", mask: {}}\n')
    k.run("replay", "-c", "kveil.yaml", check=0)
    first = len(kafka.consume(k.secure, 10, settle=0.5))
    k.rules('  - {path: "$.p", mask: {}}\n')
    remake(kafka, k.topic)
    kafka.produce(k.topic, [b'{"i":%d,"p":[1]}' % i for i in range(100, 110)])
    k.start()
    wait_for("letters", lambda: kafka.committed(k.group, k.topic) == 10)
    assert k.stop() == 0
    k.rules('  - {path: "$.p[*]", mask: {}}\n')
    r = k.run("replay", "-c", "kveil.yaml", check=0)
    got = [json.loads(m.value())["i"] for m in kafka.consume(k.secure, first + 1, settle=1)]
    assert set(range(100, 110)) <= set(got), r.stdout + r.stderr


# A test only where there is something to test.
if knows_ids():
    test_an_offset_committed_onto_a_topic_made_anew = an_offset_committed_onto_a_topic_made_anew
