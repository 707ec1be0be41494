# SPDX-License-Identifier: Apache-2.0
"""Batches that cannot be read end neither the process nor the partition: they are set aside as a whole."""
import json
import socket
import struct
import time

import pytest
from confluent_kafka import Producer
from conftest import ORDER_FIELDS, PLAIN, order, wait_for
from test_memory import LIMIT, MIB, peak_mib


def bomb(kafka, topic, codec, records, size, partition=0):
    """A batch of records that are nothing but zeros."""
    p = Producer({"bootstrap.servers": kafka.bootstrap, "compression.type": codec, "message.max.bytes": 1_000_000_000,
                  "batch.size": 2_000_000_000, "linger.ms": 5000, "queue.buffering.max.kbytes": 2_000_000})
    errors = []
    for _ in range(records):
        p.produce(topic, bytes(size), partition=partition, on_delivery=lambda e, m: errors.append(e) if e else None)
    assert p.flush(60) == 0 and not errors, errors


def headers(m):
    return {k: v.decode() for k, v in m.headers()}


@pytest.mark.parametrize("codec,records", [("gzip", 1), ("gzip", 5), ("lz4", 1), ("zstd", 1)])
def test_a_batch_that_unpacks_to_more_than_there_is_memory(kafka, make_kveil, codec, records):
    k = make_kveil()
    k.binary = PLAIN
    k.config(kafka.bootstrap, extra=f"limits: {{memory: {LIMIT}MiB}}")
    k.rules(ORDER_FIELDS)
    k.init()
    kafka.produce(k.topic, [order(0)])
    bomb(kafka, k.topic, codec, records, 200 * MIB // records)
    kafka.produce(k.topic, [order(i) for i in range(1, 10)])
    p = k.start(ready=False)
    letters = kafka.consume(k.dead, 1)
    wait_for("all committed", lambda: kafka.committed(k.group, k.topic) == 10 + records, timeout=60)
    print(f"{codec} {records}: {peak_mib(p):.0f} MiB")
    assert p.poll() is None
    assert peak_mib(p) <= 1.2 * LIMIT
    assert len(kafka.consume(k.secure, 10, settle=0.5)) == 10
    assert headers(letters[0]) == {"kveil.error.topic": k.topic, "kveil.error.partition": "0", "kveil.error.offset": "1",
                                   "kveil.error.rule": "", "kveil.error.code": "unreadable_batch"}
    assert kafka.end_offsets(k.dead) == {0: 1}
    assert k.metric("kveil_fetch_errors_total", code="unreadable_batch") >= 1
    wait_for("ready", lambda: k.get("/readyz")[0] == 200)
    assert k.stop(p) == 0


def test_bombs_in_a_row(kafka, make_kveil):
    """Each is small enough alone, all together are not: none is lost or set aside."""
    k = make_kveil()
    k.binary = PLAIN
    k.config(kafka.bootstrap, extra=f"limits: {{memory: {LIMIT}MiB}}")
    k.rules(ORDER_FIELDS, top="on_error: drop")
    k.init()
    for _ in range(20):
        bomb(kafka, k.topic, "gzip", 1, 7 * MIB)
    p = k.start()
    said = set()

    def committed():
        said.add(k.get("/readyz")[1])
        return kafka.committed(k.group, k.topic) == 20

    wait_for("all committed", committed, timeout=60)
    assert peak_mib(p) <= 1.2 * LIMIT
    # Some were refused for want of room, and came again: none of them is one that cannot be read.
    assert k.metric("kveil_fetch_errors_total", code="unreadable_batch") >= 1
    assert not [s for s in said if "cannot be read" in s]
    assert k.metric("kveil_records_consumed_total") == 20
    k.stop(p)


def test_bombs_on_several_partitions(kafka, make_kveil):
    """They come in one response, small as they are, and what that unpacks to is bounded in sum."""
    k = make_kveil(partitions=20)
    k.binary = PLAIN
    k.config(kafka.bootstrap, extra=f"limits: {{memory: {LIMIT}MiB}}")
    k.rules(ORDER_FIELDS, top="on_error: drop")
    k.init()
    for p in range(20):
        bomb(kafka, k.topic, "gzip", 1, 7 * MIB, partition=p)
    p = k.start()
    wait_for("all committed", lambda: all(kafka.committed(k.group, k.topic, i) == 1 for i in range(20)), timeout=90)
    print(f"20 partitions: {peak_mib(p):.0f} MiB")
    assert peak_mib(p) <= 1.2 * LIMIT
    assert k.metric("kveil_records_consumed_total") == 20
    k.stop(p)


def test_a_record_that_ends_each_process(kafka, make_kveil):
    """A bug, say: the record kills whoever takes it. The count of that outlives the processes."""
    k = make_kveil(partitions=3)
    k.rules(ORDER_FIELDS)
    k.init()
    idle, others = 2, 1  # partitions that have nothing to do with it
    kafka.produce(k.topic, [order(100)], partition=idle)
    p = k.start()
    wait_for("committed", lambda: kafka.committed(k.group, k.topic, idle) == 1)
    assert k.stop(p) == 0
    kafka.produce(k.topic, [order(i) for i in range(200, 220)], partition=others)
    kafka.produce(k.topic, [order(i) for i in range(30)] + [order(30, note="POISON")] + [order(i) for i in range(31, 60)])
    deaths = 0
    while deaths < 10:
        p = k.start(ready=False, env={"KVEIL_FAILPOINT": "poison"})
        wait_for("an end, or all committed",
                 lambda: p.poll() is not None or kafka.committed(k.group, k.topic) == 60, timeout=60)
        if p.poll() is None:
            break
        deaths += 1
    assert 3 <= deaths <= 5
    kafka.produce(k.topic, [order(101)], partition=idle)
    wait_for("all committed", lambda: kafka.committed(k.group, k.topic, idle) == 2
             and kafka.committed(k.group, k.topic, others) == 20)
    assert k.stop(p) == 0
    ids = {json.loads(m.value())["id"] for m in kafka.consume(k.secure, 81, settle=0.5)}
    assert ids == {f"ORD{i:010d}" for i in [*range(60), 100, 101, *range(200, 220)] if i != 30}
    letters = kafka.consume(k.dead, 1, settle=0.5)
    assert [headers(m)["kveil.error.offset"] for m in letters] == ["30"]
    assert b"POISON" not in letters[0].value()


def flip(broker, topic, text):
    """A bit of `text`'s first byte changes on the broker's disk."""
    (log,) = (broker.dir / "data").glob(f"{topic}-0/*.log")
    at = log.read_bytes().index(text)
    with open(log, "r+b") as f:
        f.seek(at)
        f.write(bytes([text[0] ^ 1]))


def test_a_bit_flips_on_the_brokers_disk(broker, kafka, make_kveil):
    """In the name of a member, where no rule would know it again. What is around it comes through, in order."""
    k = make_kveil()
    k.rules('  - {path: "$.phone", mask: {}}\n')
    k.init()
    for batch in range(6):
        written_by_hand(kafka, k.topic,
                        [(i, b'{"phone":"138001380%02d","mark%d":%d}' % (i, batch, i), None) for i in range(10)])
    flip(broker, k.topic, b'phone":"13800138007","mark2"')
    flip(broker, k.topic, b'138001380')  # of the first batch
    p = k.start(ready=False)
    wait_for("all committed", lambda: kafka.committed(k.group, k.topic) == 60, timeout=60)
    out = [json.loads(m.value()) for m in kafka.consume(k.secure, 40, settle=0.5)]
    assert [(name, n) for r in out for name, n in r.items() if name != "phone"] == \
        [(f"mark{batch}", i) for batch in (1, 3, 4, 5) for i in range(10)]
    assert {r["phone"] for r in out} == {"*" * 11}
    letters = kafka.consume(k.dead, 2, settle=0.5)
    assert [headers(m)["kveil.error.offset"] for m in letters] == ["0", "20"]
    wait_for("ready", lambda: k.get("/readyz")[0] == 200)
    assert k.stop(p) == 0
    log = p.log.read_text()
    assert "138001380" not in log and "Not implemented" not in log, log


def varint(n):
    n, out = (n << 1) ^ (n >> 63), b""
    while n > 0x7F:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


def crc32c(data):
    c = 0xFFFFFFFF
    for byte in data:
        c ^= byte
        for _ in range(8):
            c = (c >> 1) ^ (0x82F63B78 if c & 1 else 0)
    return c ^ 0xFFFFFFFF


def written_by_hand(kafka, topic, records):
    """A batch whose records are (offset delta, value, headers as bytes and, it may be, a key), with a true checksum and header:
    brokers take it."""
    body = b""
    for delta, value, headers, *key in records:
        r = b"\0\0" + varint(delta) + (varint(len(key[0])) + key[0] if key else varint(-1))
        r += varint(len(value)) + value + (headers or varint(0))
        body += varint(len(r)) + r
    ms, n = int(time.time() * 1000), len(records)
    tail = struct.pack(">hiqqqhii", 0, n - 1, ms, ms, -1, -1, -1, n) + body
    batch = struct.pack(">ibI", 0, 2, crc32c(tail)) + tail
    batch = struct.pack(">qi", 0, len(batch)) + batch

    def text(s):
        return struct.pack(">h", len(s)) + s

    request = struct.pack(">hhi", 0, 7, 1) + text(b"t") + struct.pack(">hhi", -1, -1, 5000) + struct.pack(">i", 1) \
        + text(topic.encode()) + struct.pack(">iii", 1, 0, len(batch)) + batch
    host, port = kafka.bootstrap.split(":")
    with socket.create_connection((host, int(port)), 10) as s:
        s.sendall(struct.pack(">i", len(request)) + request)
        answer = s.makefile("rb").read(4 + 4 + 4 + 2 + len(topic) + 4 + 4 + 2)
    assert struct.unpack(">h", answer[-2:]) == (0,)


@pytest.mark.parametrize("deltas", [[0, 4], [0, 7, 2], [0, 2**31 - 1], [0, 0, 0, 0], [0, 9, 1, 2]], ids=str)
def test_offsets_that_lie_take_no_other_records_with_them(kafka, make_kveil, deltas):
    k = make_kveil()
    k.rules('  - {path: "$.p", mask: {}}\n')
    k.init()

    def good(first, last):
        return [b'{"p":"x","i":%d}' % i for i in range(first, last)]

    kafka.produce(k.topic, good(0, 5))
    written_by_hand(kafka, k.topic, [(d, b'{"p":"x","i":%d}' % (1000 + n), None) for n, d in enumerate(deltas)])
    kafka.produce(k.topic, good(5, 25))
    p = k.start(ready=False)
    end = 25 + len(deltas)
    wait_for("all committed", lambda: kafka.committed(k.group, k.topic) == end, timeout=60)
    written_by_hand(kafka, k.topic, [(d, b'{"p":"x","i":%d}' % (2000 + n), None) for n, d in enumerate(deltas)])
    wait_for("these too", lambda: kafka.committed(k.group, k.topic) == end + len(deltas), timeout=60)
    kafka.produce(k.topic, good(25, 30))
    wait_for("and what follows", lambda: kafka.committed(k.group, k.topic) == end + len(deltas) + 5, timeout=60)
    ids = [json.loads(m.value())["i"] for m in kafka.consume(k.secure, kafka.end_offsets(k.secure)[0])]
    assert {i for i in ids if i < 1000} == set(range(30)) and len(ids) < 300
    assert p.poll() is None and kafka.end_offsets(k.dead) == {0: 0}
    assert k.stop(p) == 0


def test_headers_that_cannot_be_taken_apart(kafka, make_kveil):
    k = make_kveil()
    k.rules('  - {path: "$.p", mask: {}}\n')
    k.init().start()
    kafka.produce(k.topic, [b'{"p":"x"}'] * 2)
    written_by_hand(kafka, k.topic, [(0, b'{"p":"x"}', varint(1) + varint(1) + b"u" + varint(-5))])
    kafka.produce(k.topic, [b'{"p":"x"}'] * 3)
    wait_for("all committed", lambda: kafka.committed(k.group, k.topic) == 6)
    (letter,) = kafka.consume(k.dead, 1, settle=0.5)
    assert headers(letter)["kveil.error.offset"] == "2" and headers(letter)["kveil.error.code"] == "unreadable_batch"
    assert kafka.end_offsets(k.secure)[0] == 5
    assert k.stop() == 0


@pytest.mark.parametrize("at,bit", [(16, 0), (22, 5), (60, 1)], ids=["magic", "attributes", "count"])
def test_a_bit_flips_in_a_batchs_head(broker, kafka, make_kveil, at, bit):
    """The client says so once, or loses its place: the batch is set aside, and nothing behind it is skipped."""
    k = make_kveil()
    k.rules('  - {path: "$.phone", mask: {}}\n')
    k.init()
    for batch in range(3):
        written_by_hand(kafka, k.topic, [(i, b'{"phone":"138001380%02d","i":%d}' % (i, batch * 5 + i), None) for i in range(5)])
    (log,) = (broker.dir / "data").glob(f"{k.topic}-0/*.log")
    data = log.read_bytes()
    second = 12 + struct.unpack(">i", data[8:12])[0]
    with open(log, "r+b") as f:
        f.seek(second + at)
        f.write(bytes([data[second + at] ^ 1 << bit]))
    p = k.start(ready=False)
    wait_for("all committed", lambda: kafka.committed(k.group, k.topic) == 15, timeout=60)
    out = [json.loads(m.value())["i"] for m in kafka.consume(k.secure, 10, settle=0.5)]
    assert out == [*range(5), *range(10, 15)]
    letters = kafka.consume(k.dead, 1, settle=0.5)
    assert [headers(m)["kveil.error.offset"] for m in letters] == ["5"]
    wait_for("ready", lambda: k.get("/readyz")[0] == 200)
    assert k.stop(p) == 0
    assert "138001380" not in p.log.read_text()


def test_a_batch_that_the_broker_cannot_get_past(broker, kafka, make_kveil):
    """A magic that no broker knows: the fetch fails there, or the client does not know it either. Nothing is skipped in silence."""
    k = make_kveil()
    k.rules('  - {path: "$.p", mask: {}}\n')
    k.init()
    for batch in range(3):
        written_by_hand(kafka, k.topic, [(i, b'{"p":"x","i":%d}' % (batch * 5 + i), None) for i in range(5)])
    (log,) = (broker.dir / "data").glob(f"{k.topic}-0/*.log")
    data = log.read_bytes()
    at = 12 + struct.unpack(">i", data[8:12])[0] + 16
    with open(log, "r+b") as f:
        f.seek(at)
        f.write(bytes([data[at] ^ 0x80]))
    p = k.start(ready=False)
    wait_for("told, or set aside", lambda: kafka.committed(k.group, k.topic) == 15
             or any(t in k.get("/readyz")[1] for t in ("not fetched: Fetch from broker", "cannot be read")), timeout=60)
    assert k.stop(p) == 0
    out = kafka.end_offsets(k.secure)[0]
    assert (out, kafka.committed(k.group, k.topic), kafka.end_offsets(k.dead)[0]) in [(5, 5, 0), (10, 15, 1)]
