# SPDX-License-Identifier: Apache-2.0
"""Batches that cannot be read end neither the process nor the partition: they are set aside as a whole."""
import gzip
import json
import socket
import struct
import time

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ConfigSource
from conftest import ORDER_FIELDS, PLAIN, order, wait_for
from test_memory import LIMIT, MIB, peak_mib


def bomb(kafka, topic, codec, records, size, partition=0, key=None):
    """A batch of records that are nothing but zeros."""
    p = Producer({"bootstrap.servers": kafka.bootstrap, "compression.type": codec, "message.max.bytes": 1_000_000_000,
                  "batch.size": 2_000_000_000, "linger.ms": 5000, "queue.buffering.max.kbytes": 2_000_000})
    errors = []
    for _ in range(records):
        p.produce(topic, bytes(size), key=key, partition=partition, on_delivery=lambda e, m: errors.append(e) if e else None)
    assert p.flush(180) == 0 and not errors, errors


def set_config(kafka, topic, name, value):
    r = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[
        ConfigEntry(name, str(value), ConfigSource.DYNAMIC_TOPIC_CONFIG, incremental_operation=AlterConfigOpType.SET)])
    kafka.admin.incremental_alter_configs([r])[r].result(30)


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


@pytest.mark.long(55)
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
    while deaths < 12:
        p = k.start(ready=False, env={"KVEIL_FAILPOINT": "poison"})
        wait_for("an end, or all committed",
                 lambda: p.poll() is not None or kafka.committed(k.group, k.topic) == 60, timeout=60)
        if p.poll() is None:
            break
        deaths += 1
    assert 5 <= deaths <= 7
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


def record_by_hand(delta, value, headers=None, key=None, more=0):
    """more: added to the length that it tells of itself."""
    r = b"\0\0" + varint(delta) + (varint(-1) if key is None else varint(len(key)) + key)
    r += varint(len(value)) + value + (headers or varint(0))
    return varint(len(r) + more) + r


def send_batch(kafka, topic, body, n, codec=0):
    """n records in a batch with a true checksum and header."""
    ms = int(time.time() * 1000)
    tail = struct.pack(">hiqqqhii", codec, n - 1, ms, ms, -1, -1, -1, n) + body
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


def written_by_hand(kafka, topic, records):
    """A batch whose records are (offset delta, value, headers as bytes and, it may be, a key): brokers take it."""
    send_batch(kafka, topic, b"".join(record_by_hand(*r) for r in records), len(records))


def numbered(first, last):
    return [b'{"p":"x","i":%d}' % i for i in range(first, last)]


def masked(make_kveil):
    k = make_kveil()
    k.rules('  - {path: "$.p", mask: {}}\n')
    return k.init()


def lie(kafka, topic, deltas, first=1000):
    written_by_hand(kafka, topic, [(d, b'{"p":"x","i":%d}' % (first + n), None) for n, d in enumerate(deltas)])


def numbers(kafka, topic):
    return [json.loads(m.value())["i"] for m in kafka.consume(topic, kafka.end_offsets(topic)[0])]


@pytest.mark.parametrize("deltas", [[0, 4], [0, 7, 2], [0, 2**31 - 1], [0, 0, 0, 0], [0, 9, 1, 2]], ids=str)
def test_offsets_that_lie_take_no_other_records_with_them(kafka, make_kveil, deltas):
    k = masked(make_kveil)
    kafka.produce(k.topic, numbered(0, 5))
    lie(kafka, k.topic, deltas)
    kafka.produce(k.topic, numbered(5, 25))
    p = k.start(ready=False)
    end = 25 + len(deltas)
    wait_for("all committed", lambda: kafka.committed(k.group, k.topic) == end, timeout=60)
    lie(kafka, k.topic, deltas, 2000)
    wait_for("these too", lambda: kafka.committed(k.group, k.topic) == end + len(deltas), timeout=60)
    kafka.produce(k.topic, numbered(25, 30))
    wait_for("and what follows", lambda: kafka.committed(k.group, k.topic) == end + len(deltas) + 5, timeout=60)
    ids = numbers(kafka, k.secure)
    assert {i for i in ids if i < 1000} == set(range(30)) and len(ids) < 300
    assert p.poll() is None
    # What jumps is set aside, in which no record is but the liar's own.
    assert kafka.end_offsets(k.dead)[0] == (2 if max(deltas) >= len(deltas) else 0)
    assert k.stop(p) == 0


@pytest.mark.parametrize("deltas", [[0, 9], [0, 4], [0, 9, 10, 11], [5, 6]], ids=str)
@pytest.mark.parametrize("running", [True, False], ids=["running", "later"])
def test_a_jump_in_a_response_of_its_own(kafka, make_kveil, deltas, running):
    """The next response begins where the liar says, and so nothing falls back: the gap has to be proved."""
    k = masked(make_kveil)
    kafka.produce(k.topic, numbered(0, 5))
    if running:
        k.start()
        wait_for("the first", lambda: kafka.committed(k.group, k.topic) == 5)
    lie(kafka, k.topic, deltas)
    # One batch, which is too large for the response that has the liar's.
    p = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 300, "batch.size": 990000})
    for i in range(5, 25):
        p.produce(k.topic, b'{"p":"x","i":%d,"z":"%s"}' % (i, b"z" * 40000), partition=0)
    assert p.flush(30) == 0
    if not running:
        k.start()
    end = 25 + len(deltas)
    wait_for("all committed", lambda: kafka.committed(k.group, k.topic) == end, timeout=60)
    kafka.produce(k.topic, numbered(25, 30))
    wait_for("and what follows", lambda: kafka.committed(k.group, k.topic) == end + 5)
    assert {i for i in numbers(kafka, k.secure) if i < 1000} == set(range(30))
    (letter,) = kafka.consume(k.dead, 1, settle=0.3)
    assert int(headers(letter)["kveil.error.offset"]) == (5 if deltas[0] else 6)
    assert "claims false offsets" in k.processes[0].log.read_text()
    wait_for("ready", lambda: k.get("/readyz")[0] == 200)
    assert k.stop() == 0


def test_marks_of_transactions_prove_a_gap(kafka, make_kveil):
    """Each takes an offset, and so do records of transactions that were given up."""
    k = masked(make_kveil)
    k.start()
    p = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": k.name})
    p.init_transactions(30)
    for i in range(40):
        p.begin_transaction()
        for value in numbered(5 * i, 5 * i + 5):
            p.produce(k.topic, value, partition=0)
        p.flush(30)
        if i % 4 == 3:
            p.abort_transaction(30)
        else:
            p.commit_transaction(30)
    wait_for("all committed", lambda: kafka.committed(k.group, k.topic) == 240, timeout=60)
    assert numbers(kafka, k.secure) == [i for i in range(200) if i // 5 % 4 != 3]
    assert k.metric("kveil_offset_gaps_total", proof="none") == 0
    assert k.metric("kveil_offset_gaps_total", proof="transaction") >= 20
    assert k.metric("kveil_offset_gaps_total", proof="look") <= 5  # where a fetch ended
    assert k.stop() == 0 and kafka.end_offsets(k.dead) == {0: 0}


def test_gaps_by_the_hundred_are_not_all_looked_at(kafka, make_kveil):
    """As compaction leaves them; here the first of two offsets is below the partition's, and passed by the client."""
    k = masked(make_kveil)
    for i in range(200):
        lie(kafka, k.topic, [-5000, 1], 2 * i)
    k.start()
    wait_for("all committed", lambda: kafka.committed(k.group, k.topic) == 400, timeout=60)
    assert numbers(kafka, k.secure) == list(range(1, 400, 2))
    assert k.metric("kveil_offset_gaps_total", proof="look") >= 64
    assert k.metric("kveil_offset_gaps_total", proof="look") + k.metric("kveil_offset_gaps_total", proof="none") == 200
    assert k.stop() == 0 and kafka.end_offsets(k.dead) == {0: 0}


def snappy(data):
    """Literals alone, in the frame that Java writes."""
    out, n = b"", len(data)
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    out += bytes([n])
    for at in range(0, len(data), 60):
        part = data[at:at + 60]
        out += bytes([len(part) - 1 << 2]) + part
    return b"\x82SNAPPY\0" + struct.pack(">iii", 1, 1, len(out)) + out


def two_members(data):
    return gzip.compress(data[:5]) + gzip.compress(data[5:])


GZIP, SNAPPY = 1, 2


@pytest.mark.parametrize("codec,pack,more", [(GZIP, gzip.compress, 500), (GZIP, gzip.compress, -20), (GZIP, two_members, 0),
                                             (SNAPPY, snappy, 500), (SNAPPY, snappy, -20)],
                         ids=["gzip longer", "gzip shorter", "two members", "snappy longer", "snappy shorter"])
def test_a_batch_that_its_records_do_not_fill(kafka, make_kveil, codec, pack, more):
    """The client takes it for one that did not come whole, and asks again without a word."""
    k = masked(make_kveil)
    kafka.produce(k.topic, numbered(0, 5))
    records = numbered(100, 104)
    send_batch(kafka, k.topic, pack(b"".join(record_by_hand(n, r, more=more if n >= 2 else 0)
                                             for n, r in enumerate(records))), 4, codec)
    kafka.produce(k.topic, numbered(5, 10))
    p = k.start(ready=False)
    wait_for("all committed", lambda: kafka.committed(k.group, k.topic) == 14, timeout=60)
    assert [i for i in numbers(kafka, k.secure) if i < 100] == list(range(10))
    (letter,) = kafka.consume(k.dead, 1, settle=0.3)
    assert headers(letter)["kveil.error.code"] == "unreadable_batch"
    assert 5 <= int(headers(letter)["kveil.error.offset"]) <= 8
    wait_for("ready", lambda: k.get("/readyz")[0] == 200)
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


def test_what_stands_before_a_bad_record_is_sent_once(kafka, make_kveil):
    """It waits behind a batch on its way when the partition is told to go back."""
    k = masked(make_kveil)
    kafka.produce(k.topic, numbered(0, 200))
    written_by_hand(kafka, k.topic, [(0, b'{"p":"x"}', varint(1) + varint(1) + b"u" + varint(-5))])
    kafka.produce(k.topic, numbered(200, 300))
    k.start()
    wait_for("all committed", lambda: kafka.committed(k.group, k.topic) == 301)
    assert k.stop() == 0
    assert numbers(kafka, k.secure) == list(range(300))
    assert kafka.end_offsets(k.dead) == {0: 1}


@pytest.mark.parametrize("at,bit", [(11, 0), (16, 0), (22, 5), (60, 1)], ids=["length", "magic", "attributes", "count"])
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
    # Behind a length that is wrong the broker itself finds no other batch.
    behind = [] if at == 11 else range(10, 15)
    out = [json.loads(m.value())["i"] for m in kafka.consume(k.secure, 5 + len(behind), settle=0.5)]
    assert out == [*range(5), *behind]
    letters = kafka.consume(k.dead, 1, settle=0.5)
    assert [headers(m)["kveil.error.offset"] for m in letters] == ["5"]
    wait_for("ready", lambda: k.get("/readyz")[0] == 200)
    assert k.stop(p) == 0
    assert "138001380" not in p.log.read_text()


def test_a_bit_flips_in_a_batchs_own_offset(broker, kafka, make_kveil):
    """No checksum covers it, and the broker gives the batch for all offsets behind it. None of its response is lost."""
    k = masked(make_kveil)
    for batch in range(3):
        written_by_hand(kafka, k.topic, [(i, b'{"p":"x","i":%d}' % (batch * 5 + i), None) for i in range(5)])
    (log,) = (broker.dir / "data").glob(f"{k.topic}-0/*.log")
    data = log.read_bytes()
    second = 12 + struct.unpack(">i", data[8:12])[0]
    with open(log, "r+b") as f:
        f.seek(second + 1)
        f.write(bytes([data[second + 1] ^ 8]))
    p = k.start(ready=False)
    wait_for("all committed", lambda: kafka.committed(k.group, k.topic) == 15, timeout=60)
    assert set(numbers(kafka, k.secure)) == set(range(15))
    assert kafka.end_offsets(k.dead) == {0: 0} and k.stop(p) == 0


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
