# SPDX-License-Identifier: Apache-2.0
"""`kveil run` on a real broker: the main job, what is kept, and what bad input gets."""
import base64
import hashlib
import json
import os
import re
import shutil
import signal
import struct
import time

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, Consumer, Producer, TopicPartition

from conftest import ORDER_FIELDS, KVEIL, Kafka, order, wait_for


def headers_of(m):
    return dict(m.headers() or [])


def test_main_job_opened_by_tink(make_kveil, kafka, keyset):
    k = make_kveil(partitions=2)
    k.rules(ORDER_FIELDS)
    k.init().start()
    kafka.produce(k.topic, [{"value": order(i), "key": f"k{i}", "partition": i % 2} for i in range(2000)])
    got = kafka.consume(k.secure, 2000, settle=1)
    assert len(got) == 2000
    aead = keyset(k, "pii")
    seen = set()
    for m in got:
        rec = json.loads(m.value())
        i = int(rec["id"][3:])
        seen.add(i)
        clear = json.loads(order(i))
        assert m.key() == f"k{i}".encode() and m.partition() == i % 2
        name = k.name.encode()
        assert aead.decrypt(base64.b64decode(rec["customer"]["id_card"]), name + b":$['customer']['id_card']").decode() \
            == clear["customer"]["id_card"]
        assert aead.decrypt(base64.b64decode(rec["card_number"]), name + b":$['card_number']").decode() \
            == clear["card_number"]
        assert rec["customer"]["phone"] == clear["customer"]["phone"][:3] + "****" + clear["customer"]["phone"][7:]
        assert len(bytes.fromhex(rec["customer"]["email"])) == 32
        assert rec["customer"]["name"] == "王伟" and rec["amount"] == 12.5
        text = m.value().decode()
        for v in (clear["customer"]["id_card"], clear["card_number"], clear["customer"]["phone"],
                  clear["customer"]["email"]):
            assert v not in text
    assert seen == set(range(2000))
    nonces = [base64.b64decode(json.loads(m.value())[f])[5:17] for m in got for f in ("card_number",)]
    assert len(set(nonces)) == len(nonces)
    wait_for("committed", lambda: sum(kafka.committed(k.group, k.topic, p) for p in (0, 1)) == 2000)
    assert k.stop() == 0


def test_what_is_not_named_is_kept_byte_for_byte(make_kveil, kafka):
    k = make_kveil()
    k.rules('  - {path: "$.p", mask: {keep_last: 2}}\n')
    k.init().start()
    value = ('{ "z":1.0e+05 ,\t"a":"\\u00e9\\/x", "dup":1,"dup":2,"p":"123456", "n":-0, "big":12345678901234567890,'
             '\r\n "deep":{"p":"123456"} }').encode()
    stamp = 1_700_000_000_123
    kafka.produce(k.topic, [
        {"value": value, "key": b"\x00\xff raw", "timestamp": stamp,
         "headers": [("a", b"1"), ("b", None), ("a", b""), ("c", b"\xff")]},
        {"value": None, "key": b"tomb"},
        {"value": b'{"p":null}', "key": None},
        {"value": b'{"p":"12"}', "key": b""},
    ])
    m = kafka.consume(k.secure, 4)
    assert m[0].value() == value.replace(b'"p":"123456", "n"', b'"p":"****56", "n"')
    assert m[0].key() == b"\x00\xff raw"
    assert m[0].headers() == [("a", b"1"), ("b", None), ("a", b""), ("c", b"\xff")]
    assert m[0].timestamp() == (TIMESTAMP_CREATE_TIME, stamp)
    assert m[1].value() is None and m[1].key() == b"tomb"
    assert m[2].value() == b'{"p":null}' and m[2].key() is None
    assert m[3].value() == b'{"p":"**"}' and m[3].key() == b""


BAD = [
    ("invalid_json", b'{"p":"1234'),
    ("invalid_json", b'{"p":01}'),
    ("invalid_json", b'{"p":"a\x00b"}'),
    ("invalid_json", b'{"p":"x"} trailing'),
    ("invalid_utf8", b'{"p":"\xc3\x28"}'),
    ("invalid_utf8", b'{"q":"\xed\xa0\x80"}'),
    ("invalid_surrogate", b'{"p":"\\ud800"}'),
    ("too_deep", b'{"q":' + b"[" * 200 + b"]" * 200 + b"}"),
    ("empty_value", b""),
    ("unsupported_kind", b'{"p":{"x":1}}'),
    ("too_large", b'{"q":"' + b"x" * 300_000 + b'"}'),
]


def test_bad_records_are_dead_lettered_and_neighbours_untouched(make_kveil, kafka):
    k = make_kveil()
    k.config(kafka.bootstrap, extra="limits: {record_bytes: 256KiB}")
    k.rules('  - {path: "$.p", mask: {keep_last: 2}}\n')
    k.init().start()
    records = []
    for i, (_, bad) in enumerate(BAD):
        records += [{"value": f'{{"p":"good{i:04d}"}}'.encode()}, {"value": bad, "key": b"canary-key"}]
    kafka.produce(k.topic, records)
    good = kafka.consume(k.secure, len(BAD), settle=1)
    assert [json.loads(m.value())["p"] for m in good] == [f"******{i % 100:02d}" for i in range(len(BAD))]
    dead = kafka.consume(k.dead, len(BAD), settle=0.5)
    for i, (m, (code, bad)) in enumerate(zip(dead, BAD, strict=True)):
        h = headers_of(m)
        assert h["kveil.error.code"].decode() == code, (i, h)
        assert h["kveil.error.topic"].decode() == k.topic
        assert h["kveil.error.partition"] == b"0" and int(h["kveil.error.offset"]) == 2 * i + 1
        assert m.key() is None and b"canary" not in m.value()
        assert len(bad) < 20 or bad[5:20] not in m.value()
    wait_for("committed past them", lambda: kafka.committed(k.group, k.topic) == 2 * len(BAD))
    for code in {c for c, _ in BAD}:
        assert k.metric("kveil_records_failed_total", code=code) == sum(c == code for c, _ in BAD)
    assert k.metric("kveil_records_dead_lettered_total") == len(BAD)
    log = k.processes[-1].log.read_text()
    assert "canary" not in log and "good0" not in log


def test_replay_sends_dead_letters_through_again(make_kveil, kafka):
    k = make_kveil()
    k.rules('  - {path: "$.p", mask: {keep_last: 2}}\n')
    k.init().start()
    kafka.produce(k.topic, [{"value": b'{"p":[1,2,3]}', "key": b"k1", "headers": [("h", b"v")]},
                            {"value": b"{broken", "key": b"k2"}])
    kafka.consume(k.dead, 2)
    assert k.stop() == 0
    k.rules('  - {path: "$.p[*]", mask: {keep_last: 0}}\n')
    r = k.run("replay", "-c", "kveil.yaml")
    assert r.returncode == 1, r.stdout + r.stderr
    assert "invalid_json" in r.stdout + r.stderr
    m = kafka.consume(k.secure, 1, settle=1)
    assert len(m) == 1 and m[0].value() == b'{"p":["*","*","*"]}' and m[0].key() == b"k1"
    assert m[0].headers() == [("h", b"v")]


def test_copies_of_a_dead_letter_are_replayed_once(make_kveil, kafka):
    k = make_kveil()
    k.rules('  - {path: "$.p", mask: {}}\n')
    k.init().start()
    kafka.produce(k.topic, [{"value": b'{"p":[1]}', "key": b"k1"}, {"value": b"{broken"}])
    letters = kafka.consume(k.dead, 2)
    assert k.stop() == 0

    def copy(letter, times):
        kafka.produce(k.dead, [{"value": letter.value(), "headers": letter.headers()}] * times)

    copy(letters[0], 4)
    k.rules('  - {path: "$.p[*]", mask: {}}\n')
    r = k.run("replay", "-c", "kveil.yaml", check=1)  # the broken one stays
    assert "1 replayed, 1 failed" in r.stdout and "4 skipped: replayed before" in r.stdout
    assert f"{k.topic}[0]@0: skipped: it was replayed before" in r.stdout
    copy(letters[0], 1)
    r = k.run("replay", "-c", "kveil.yaml", check=1)
    assert "0 replayed, 1 failed" in r.stdout and "1 skipped: replayed before" in r.stdout
    assert kafka.end_offsets(k.secure) == {0: 1}
    # A group whose offsets were reset begins anew.
    kafka.reset(f"{k.group}.replay", k.dead)
    r = k.run("replay", "-c", "kveil.yaml", check=1)
    assert "1 replayed" in r.stdout
    assert kafka.end_offsets(k.secure) == {0: 2}


def test_a_record_over_the_output_topics_limit_is_dead_lettered_alone(make_kveil, kafka):
    k = make_kveil(topics=False)
    kafka.create(k.topic)
    kafka.create(k.secure, config={"max.message.bytes": "20000"})
    kafka.create(k.dead)
    k.rules('  - {path: "$.p", encrypt: {key: pii}}\n')
    k.init().start()
    n = 3000
    values = [b'{"p":"%d"}' % i for i in range(n)]
    values[1500] = b'{"p":"1500","q":"' + os.urandom(15000).hex().encode() + b'"}'
    kafka.produce(k.topic, values)
    got = kafka.consume(k.secure, n - 1, settle=1)
    dead = kafka.consume(k.dead, 1, settle=0.5)
    assert len(dead) == 1
    h = headers_of(dead[0])
    assert h["kveil.error.code"] == b"output_too_large" and h["kveil.error.offset"] == b"1500"
    assert len(got) >= n - 1
    wait_for("committed", lambda: kafka.committed(k.group, k.topic) == n)
    # Replay says how large, and what to do.
    r = k.run("replay", "-c", "kveil.yaml", "--dry-run", check=1)
    assert re.search(rf"output_too_large: 3\d{{4}} bytes once protected, and {re.escape(k.secure)} takes 20000", r.stdout + r.stderr), r


def test_a_timestamp_that_the_broker_refuses(make_kveil, kafka):
    k = make_kveil(topics=False)
    kafka.create(k.topic, config={"message.timestamp.after.max.ms": "9223372036854775807"})
    kafka.create(k.secure, config={"message.timestamp.after.max.ms": "3600000"})
    kafka.create(k.dead)
    k.rules('  - {path: "$.p", encrypt: {key: pii}}\n')
    k.init()
    n = 3000
    future = int(time.time() * 1000) + 40 * 86400 * 1000
    records = [{"value": b'{"i":%d,"p":"x"}' % i} for i in range(n)]
    records[1234]["timestamp"] = future
    kafka.produce(k.topic, records)
    k.start()
    dead = kafka.consume(k.dead, 1, settle=1)
    assert len(dead) == 1
    h = headers_of(dead[0])
    assert h["kveil.error.code"] == b"refused_by_broker" and h["kveil.error.offset"] == b"1234"
    wait_for("committed", lambda: kafka.committed(k.group, k.topic) == n)
    ids = [json.loads(m.value())["i"] for m in kafka.consume(k.secure, n - 1, settle=1)]
    assert set(ids) == set(range(n)) - {1234}
    last = {}
    for pos, i in enumerate(ids):
        last[i] = pos
    # After a rewind the last appearance of every record is in order.
    assert sorted(last, key=last.get) == sorted(last)


def test_waits_for_what_is_missing_and_says_so(make_kveil, kafka):
    k = make_kveil(topics=False)
    k.rules('  - {path: "$.p", mask: {}}\n')
    k.init()
    p = k.start(ready=False)
    wait_for("side port", lambda: k.get("/livez")[0] == 200)
    wait_for("not ready, names the topic", lambda: k.get("/readyz")[0] == 503 and k.topic in k.get("/readyz")[1])
    kafka.create(k.topic, partitions=2)
    wait_for("names the output", lambda: k.secure in k.get("/readyz")[1])
    kafka.create(k.secure, partitions=1)
    kafka.create(k.dead)
    wait_for("says too few partitions", lambda: k.get("/readyz")[0] == 503 and "partition" in k.get("/readyz")[1])
    assert p.poll() is None
    from confluent_kafka.admin import NewPartitions
    for f in kafka.admin.create_partitions([NewPartitions(k.secure, 2)]).values():
        f.result(20)
    wait_for("ready", lambda: k.get("/readyz")[0] == 200, timeout=60)
    kafka.produce(k.topic, [b'{"p":"abc"}'], partition=1)
    assert kafka.consume(k.secure, 1)[0].value() == b'{"p":"***"}'


def test_many_missing_topics_are_a_few_lines(make_kveil):
    k = make_kveil(topics=False)
    k.rules('  - {path: "$.p", mask: {}}\n')
    f = k.dir / "rules" / f"{k.name}.yaml"
    names = [f"{k.topic}.{n}" for n in range(40)]
    f.write_text(f.read_text().replace(f"topics: [{k.topic}]", f"topics: [{', '.join(names)}]"))
    k.init()
    p = k.start(ready=False)
    wait_for("names them all", lambda: all(n in k.get("/readyz")[1] for n in names))
    wait_for("the log counts them", lambda: "more topics" in p.log.read_text())
    lines = [line for line in p.log.read_text().splitlines() if "topics: waiting: " in line]
    assert len(lines) == 6 and "35 more topics" in lines[-1], lines


@pytest.mark.long(40)
def test_two_members_share_and_a_killed_one_loses_nothing(make_kveil, kafka):
    k = make_kveil(partitions=4)
    k.config(kafka.bootstrap, workers=2)
    k.rules(ORDER_FIELDS)
    k.init().start()
    n = 20000
    kafka.produce(k.topic, [{"value": order(i), "partition": i % 4} for i in range(n // 2)])
    kafka.consume(k.secure, 2000)
    k.processes[-1].send_signal(signal.SIGKILL)
    k.processes[-1].wait()
    k.start()
    kafka.produce(k.topic, [{"value": order(i), "partition": i % 4} for i in range(n // 2, n)])
    wait_for("all committed", lambda: sum(kafka.committed(k.group, k.topic, p) for p in range(4)) == n, timeout=90)
    ids = [json.loads(m.value())["id"] for m in kafka.consume(k.secure, n, settle=0.5)]
    assert set(ids) == {f"ORD{i:010d}" for i in range(n)}
    assert k.stop() == 0


def test_sigterm_under_load_drains_within_15_seconds(make_kveil, kafka):
    k = make_kveil()
    k.rules(ORDER_FIELDS)
    k.init()
    kafka.produce(k.topic, [order(i) for i in range(50000)])
    k.start()
    kafka.consume(k.secure, 1000)
    t = time.time()
    assert k.stop() == 0
    assert time.time() - t < 15
    done = kafka.committed(k.group, k.topic)
    assert done > 0
    assert len(kafka.consume(k.secure, done, settle=0.5)) == done  # a clean stop leaves no duplicates behind


def test_replica_joins_and_leaves_under_load(make_kveil, kafka):
    k = make_kveil(partitions=4)
    k.rules(ORDER_FIELDS)
    k.init().start()
    n = 30000
    kafka.produce(k.topic, [{"value": order(i), "partition": i % 4} for i in range(n)])
    text = (k.dir / "kveil.yaml").read_text()
    (k.dir / "kveil.yaml").write_text(text.replace(f"127.0.0.1:{k.port}", "127.0.0.1:0"))
    second = k.start(ready=False)
    time.sleep(4)
    assert k.stop(second) == 0, second.log.read_text()
    (k.dir / "kveil.yaml").write_text(text)
    wait_for("all committed", lambda: sum(kafka.committed(k.group, k.topic, p) for p in range(4)) == n, timeout=90)
    ids = [json.loads(m.value())["id"] for m in kafka.consume(k.secure, n, settle=0.5)]
    assert set(ids) == {f"ORD{i:010d}" for i in range(n)}


def test_outputs_are_never_consumed(make_kveil, kafka):
    k = make_kveil()
    (k.dir / "rules" / "all.yaml").write_text(f"""\
name: all
topics: ["^etl\\\\.{k.name}.*"]
format: json
fields:
  - {{path: "$.p", mask: {{}}}}
""")
    k.init().start()
    kafka.produce(k.topic, [b'{"p":"abc"}', b"bad"])
    kafka.consume(k.secure, 1)
    kafka.consume(k.dead, 1)
    time.sleep(3)
    assert kafka.end_offsets(k.secure) == {0: 1} and kafka.end_offsets(k.dead) == {0: 1}


def test_offset_out_of_range_stops_that_partition_and_says_so(make_kveil, kafka):
    k = make_kveil(partitions=2)
    k.rules('  - {path: "$.p", mask: {}}\n')
    k.init()
    kafka.produce(k.topic, [{"value": b'{"p":"abc"}', "partition": p} for p in (0, 1) for _ in range(10)])
    k.start()
    kafka.consume(k.secure, 20)
    wait_for("committed", lambda: sum(kafka.committed(k.group, k.topic, p) for p in (0, 1)) == 20)
    assert k.stop() == 0
    from confluent_kafka import Consumer, TopicPartition
    c = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": k.group})
    c.commit(offsets=[TopicPartition(k.topic, 0, 5000)], asynchronous=False)
    c.close()
    k.start(ready=False)
    wait_for("says so", lambda: "range" in k.get("/readyz")[1] and k.topic in k.get("/readyz")[1])
    kafka.produce(k.topic, [b'{"p":"xyz"}'], partition=1)
    assert len(kafka.consume(k.secure, 21)) == 21
    assert kafka.committed(k.group, k.topic, 0) == 5000


def test_on_error_stop_and_drop(make_kveil, kafka):
    k = make_kveil(partitions=2)
    k.rules('  - {path: "$.p", mask: {}}\n', top="on_error: stop")
    k.init().start()
    kafka.produce(k.topic, [b'{"p":"a"}', b"bad", b'{"p":"b"}'])
    kafka.produce(k.topic, [b'{"p":"c"}'], partition=1)
    assert len(kafka.consume(k.secure, 2, settle=1)) == 2
    wait_for("committed up to the bad one", lambda: kafka.committed(k.group, k.topic) == 1)
    assert "invalid_json" in k.get("/readyz")[1]
    assert k.stop() == 0
    k.rules('  - {path: "$.p", mask: {}}\n', top="on_error: drop")
    k.start()
    assert len(kafka.consume(k.secure, 3, settle=1)) == 3
    assert k.metric("kveil_records_dropped_total") == 1
    assert kafka.end_offsets(k.dead) == {0: 0, 1: 0}


def test_reload(make_kveil, kafka):
    k = make_kveil()
    k.rules('  - {path: "$.a", mask: {}}\n')
    k.init()
    p = k.start()

    def swap(fields):
        before = k.metric("kveil_config_last_reload_success_timestamp_seconds")
        k.rules(fields, file="next")
        os.rename(k.dir / "rules" / "next", k.dir / "rules" / f"{k.name}.yaml")
        return before

    def send(value):
        n = kafka.end_offsets(k.secure)[0]
        kafka.produce(k.topic, [value])
        return kafka.consume(k.secure, n + 1)[n].value()

    assert send(b'{"a":"x","b":"y"}') == b'{"a":"*","b":"y"}'
    swap('  - {path: "$.a", mask: {}}\n  - {path: "$.b", mask: {}}\n')
    wait_for("the stronger plan", lambda: send(b'{"a":"x","b":"y"}') == b'{"a":"*","b":"*"}')
    # A bad file: refused, counted, the old plan goes on.
    swap('  - {path: "$.a[", mask: {}}\n')
    wait_for("refused", lambda: k.metric("kveil_config_last_reload_successful") == 0)
    wait_for("a remark", lambda: "new rules: refused" in str(k.get("/readyz")[1]))
    assert k.get("/readyz")[0] == 200
    assert send(b'{"a":"x","b":"y"}') == b'{"a":"*","b":"*"}'
    # Cut in mid-list: still YAML, but protects less: not without SIGHUP.
    swap('  - {path: "$.a", mask: {}}\nclear: [$.z]\n')
    wait_for("refused", lambda: "SIGHUP accepts them" in p.log.read_text())
    assert send(b'{"a":"x","b":"y"}') == b'{"a":"*","b":"*"}'
    for loss in ("the rule for $.b", "`clear` names $.z"):
        assert loss in p.log.read_text()
    p.send_signal(signal.SIGHUP)
    wait_for("taken on SIGHUP", lambda: send(b'{"a":"x","b":"y"}') == b'{"a":"*","b":"y"}')
    wait_for("no remark", lambda: "new rules" not in str(k.get("/readyz")[1]))
    # Written in place: never taken without SIGHUP.
    k.rules('  - {path: "$.a", mask: {}}\n  - {path: "$.b", mask: {}}\n')
    wait_for("said", lambda: "was edited in place" in p.log.read_text())
    assert send(b'{"a":"x","b":"y"}') == b'{"a":"*","b":"y"}'
    assert k.metric("kveil_config_last_reload_successful") in (0, 1) and p.poll() is None


def test_rules_in_a_config_map(make_kveil, kafka):
    """As a node swaps what it mounts: the files are links into ..data, which leads to another folder from one moment to the next."""
    k = make_kveil()
    name, folder = f"{k.name}.yaml", k.dir / "rules"
    k.rules('  - {path: "$.a", mask: {}}\n')

    def mount(version, **texts):
        (folder / version).mkdir()
        for file, text in texts.items():
            (folder / version / f"{file}.yaml").write_text(text)
        (folder / "..data_tmp").symlink_to(version)
        old = os.readlink(folder / "..data") if (folder / "..data").is_symlink() else None
        os.rename(folder / "..data_tmp", folder / "..data")
        for file in texts:
            if not (folder / f"{file}.yaml").is_symlink():
                (folder / f"{file}.yaml").symlink_to(f"..data/{file}.yaml")
        if old:
            shutil.rmtree(folder / old)

    one = (folder / name).read_text()
    (folder / name).unlink()
    mount("..1", **{k.name: one})
    k.init()
    p = k.start()

    def send(value):
        n = kafka.end_offsets(k.secure)[0]
        kafka.produce(k.topic, [value])
        return kafka.consume(k.secure, n + 1)[n].value()

    assert send(b'{"a":"x","b":"y"}') == b'{"a":"*","b":"y"}'
    stronger = one + '  - {path: "$.b", mask: {}}\n'
    mount("..2", **{k.name: stronger})
    wait_for("the new rules", lambda: send(b'{"a":"x","b":"y"}') == b'{"a":"*","b":"*"}')
    mount("..3", **{k.name: one})
    wait_for("refused", lambda: "SIGHUP accepts them" in p.log.read_text())
    assert send(b'{"a":"x","b":"y"}') == b'{"a":"*","b":"*"}' and p.poll() is None


def test_a_restart_with_weaker_rules_is_noticed(make_kveil, kafka):
    """The key registry remembers the rules that were accepted last."""
    strong = '  - {path: "$.a", mask: {}}\n  - {path: "$.b", remove: true}\n'
    weak = '  - {path: "$.a", mask: {}}\n'
    k = make_kveil()
    k.rules(strong)
    k.init()
    k.start()
    assert k.metric("kveil_rules_losses") == 0
    assert k.stop() == 0
    k.rules(weak + "clear: [$.c]\n")
    p = k.start()
    assert k.metric("kveil_rules_losses") == 2
    wait_for("ready, with a remark", lambda: k.get("/readyz")[0] == 200 and "2 losses" in k.get("/readyz")[1])
    for loss in ("the rule for $.b", "`clear` names $.c"):
        assert loss in p.log.read_text()
    assert k.stop() == 0
    # Strict: nothing runs before somebody accepts it.
    k.config(kafka.bootstrap, extra="rules_guard: strict")
    p = k.start(ready=False)
    wait_for("waiting", lambda: "not accepted" in k.get("/readyz")[1])
    r = k.run("rules", "accept", "-c", "kveil.yaml", "--dry-run")
    assert r.returncode == 1 and "the rule for $.b" in r.stdout
    r = k.run("rules", "accept", "-c", "kveil.yaml")
    assert r.returncode == 0 and "accepted" in r.stdout, r.stderr
    wait_for("ready", lambda: k.get("/readyz")[0] == 200)
    assert k.metric("kveil_rules_losses") == 0 and k.stop() == 0
    # SIGHUP accepts too.
    k.rules(weak + "clear: [$.c, $.d]\n")
    p = k.start(ready=False)
    wait_for("waiting", lambda: "not accepted" in k.get("/readyz")[1])
    p.send_signal(signal.SIGHUP)
    wait_for("ready", lambda: k.get("/readyz")[0] == 200)
    assert k.stop() == 0
    # A note that somebody changed counts for nothing.
    note = k.dir / ".keys.json.rules"
    note.write_bytes(note.read_bytes().replace(b'"sequence":', b'"sequence":1'))
    r = k.run("rules", "accept", "-c", "kveil.yaml")
    assert r.returncode == 2 and "was altered" in r.stderr


def test_bad_configuration_is_exit_2_with_every_error(make_kveil):
    k = make_kveil(topics=False)
    k.rules('  - {path: "$.a[", mask: {}}\n  - {path: "$.b", maks: {}}\n  - {path: "$.c", mask: {keep_frist: 1}}\n')
    r = k.run("run", "-c", "kveil.yaml")
    assert r.returncode == 2
    for line, word in ((6, "$.a["), (7, "maks"), (8, "keep_frist")):
        assert any(f"{k.name}.yaml:{line}:" in e for e in r.stderr.splitlines()), (word, r.stderr)
    assert "keep_first" in r.stderr and "mask" in r.stderr
    k.config("127.0.0.1:1", extra="nonsense: 1")
    k.rules('  - {path: "$.a", mask: {}}\n')
    r = k.run("run", "-c", "kveil.yaml")
    assert r.returncode == 2 and "nonsense" in r.stderr


def test_registry_and_kek_failures_are_exit_2(make_kveil):
    k = make_kveil(topics=False)
    k.rules('  - {path: "$.a", encrypt: {key: pii}}\n')

    def refused(*words):
        r = k.run("run", "-c", "kveil.yaml")
        assert r.returncode == 2, r.stderr
        for w in words:
            assert w in r.stderr, (w, r.stderr)

    refused("keys init")
    k.init()
    registry = k.dir / "keys.json"
    good, kek = registry.read_bytes(), (k.dir / "kek").read_bytes()
    (k.dir / "kek").chmod(0o644)
    refused("kek")
    (k.dir / "kek").chmod(0o600)
    registry.chmod(0o604)
    refused("keys.json")
    registry.chmod(0o600)
    (k.dir / "kek").write_bytes(os.urandom(32))
    refused("key-encryption key")
    (k.dir / "kek").rename(k.dir / "elsewhere")
    refused("kek")
    (k.dir / "kek").write_bytes(kek)
    (k.dir / "kek").chmod(0o600)
    registry.write_bytes(good[:len(good) // 2])
    refused("keys.json")
    registry.write_bytes(good.replace(b"aes-256-gcm", b"aes-128-gcm", 1))
    refused("keys.json")
    registry.write_bytes(good)
    k.run("keys", "rotate", "-c", "kveil.yaml", "pii", check=0)
    k.run("keys", "list", "-c", "kveil.yaml", check=0)
    registry.write_bytes(good)  # restored from yesterday
    refused("restore")


@pytest.mark.long(30)
def test_livez_fails_when_a_loop_hangs(make_kveil, kafka):
    k = make_kveil()
    k.rules('  - {path: "$.a", mask: {}}\n')
    k.init()
    k.start(ready=False, env={"KVEIL_FAILPOINT": "hang-loop"})
    wait_for("live at first", lambda: k.get("/livez")[0] == 200)
    wait_for("not live after 30 s", lambda: k.get("/livez")[0] == 503, timeout=50)


@pytest.mark.long(25)
def test_keys_rotate_while_running(make_kveil, kafka, keyset):
    k = make_kveil()
    k.config(kafka.bootstrap, rotate="2s", registry=f"kafka:{k.name}.keys")
    k.rules('  - {path: "$.p", encrypt: {key: pii}}\n')
    k.init().start()
    end, n = time.time() + 21, 0
    while time.time() < end:
        kafka.produce(k.topic, [b'{"p":"%d"}' % i for i in range(n, n + 1000)])
        n += 1000
        time.sleep(0.25)
    got = kafka.consume(k.secure, n, settle=0.5)
    assert len(got) == n
    sealed = [base64.b64decode(json.loads(m.value())["p"]) for m in got]
    versions = {r["id"]: r["version"] for r in json.loads(k.run("keys", "list", "--json", check=0).stdout)}
    used = [versions[struct.unpack(">I", s[1:5])[0]] for s in sealed]
    # Each in its turn, none left out, none again. (The first may be over before a slow machine sends a record.)
    assert sorted(set(used)) == list(range(used[0], max(used) + 1)) and len(set(used)) >= 8
    assert used == sorted(used)
    # Every record opens: with Tink those on both sides of a change, all of them with kveil.
    ends = [i for i in range(n) if i in (0, n - 1) or used[i] != used[i - 1] or used[i] != used[i + 1]]
    aead = keyset(k, "pii")
    assert [int(aead.decrypt(sealed[i], k.name.encode() + b":$['p']")) for i in ends] == ends
    (k.dir / "open.yaml").write_text(f"""\
name: {k.name}
topics: [{k.secure}]
format: json
fields:
  - {{path: "$.p", decrypt: {{key: pii}}}}
""")
    lines = k.run("apply", "-c", "kveil.yaml", "-r", "open.yaml", check=0,
                  input="".join(m.value().decode() + "\n" for m in got)).stdout.splitlines()
    assert [int(json.loads(line)["p"]) for line in lines] == list(range(n))


def test_health_command(make_kveil, kafka):
    k = make_kveil()
    k.rules('  - {path: "$.a", mask: {}}\n')
    k.init()
    assert k.run("health", "-c", "kveil.yaml").returncode == 1
    r = k.run("health", "--ready", "--json", "-c", "kveil.yaml", check=1)
    down = json.loads(r.stdout)
    assert down["ready"] is False and len(down["reasons"]) == 1 and not r.stderr, r
    k.start()
    assert k.run("health", "-c", "kveil.yaml").returncode == 0
    assert k.run("health", "--ready", "-c", "kveil.yaml").returncode == 0
    assert json.loads(k.run("health", "--json", "-c", "kveil.yaml", check=0).stdout) == {"alive": True, "reasons": [], "remarks": []}


def test_aborted_transactions_behind_the_last_record(make_kveil, kafka):
    """They are not records: committed past, no lag, and nothing is missed when retention takes them."""
    k = make_kveil()
    k.rules('  - {path: "$.p", mask: {}}\n')
    k.init()
    kafka.produce(k.topic, [b'{"p":"12345"}'] * 5)
    writer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": k.name})
    writer.init_transactions()
    k.start()
    for _ in range(3):
        writer.begin_transaction()
        writer.produce(k.topic, b'{"p":"aborted"}')
        writer.flush()
        writer.abort_transaction()
    wait_for("committed past them", lambda: kafka.committed(k.group, k.topic) == 11)
    wait_for("no lag", lambda: k.metric("kveil_consumer_lag_records", topic=k.topic) == 0)
    assert k.stop() == 0
    for f in kafka.admin.delete_records([TopicPartition(k.topic, 0, 11)]).values():
        f.result(30)
    k.start()
    kafka.produce(k.topic, [b'{"p":"12345"}'] * 5)
    out = kafka.consume(k.secure, 10, settle=0.5)
    assert [m.value() for m in out] == [b'{"p":"*****"}'] * 10


def batches(broker, topic):
    """How many records each batch of partition 0 has."""
    log, at, found = (broker.dir / "data" / f"{topic}-0" / "00000000000000000000.log").read_bytes(), 0, []
    while at + 61 <= len(log):
        found.append(struct.unpack_from(">i", log, at + 57)[0])
        at += 12 + struct.unpack_from(">i", log, at + 8)[0]
    return found


def test_records_that_come_together_leave_in_one_batch(make_kveil, kafka, broker):
    """Those after the first may join its batch as long as that waits for more: they do not wait for its
    acknowledgement."""
    k = make_kveil()
    k.rules('  - {path: "$.p", mask: {keep_last: 2}}\n')
    k.init().start()
    kafka.produce(k.topic, [{"value": b'{"p":"first"}'}])
    kafka.consume(k.secure, 1)
    p = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 20})
    for i in range(20):
        for n in range(3):
            p.produce(k.topic, f'{{"p":"{i:03d}{n}"}}'.encode(), partition=0)
        p.flush(10)
        time.sleep(0.05)
    got = kafka.consume(k.secure, 61, settle=0.5)
    assert [json.loads(m.value())["p"] for m in got[1:]] == [f"**{i % 10}{n}" for i in range(20) for n in range(3)]
    found = batches(broker, k.secure)
    assert sum(found) == 61 and found.count(3) >= 15, found
    assert k.stop() == 0


def longest_silence(kafka, k, seconds):
    """The longest time between two arrivals in a topic while two partitions are fed a record each millisecond in turn."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 0})
    reader = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": f"read-{k.name}", "fetch.error.backoff.ms": 1})
    reader.assign([TopicPartition(k.secure, p, end) for p, end in kafka.end_offsets(k.secure).items()])
    reader.poll(1)
    began, last = time.monotonic(), None
    silence, sent, came = 0, 0, 0
    while came < sent or time.monotonic() < began + seconds:
        if time.monotonic() < began + seconds:
            producer.produce(k.topic, b'{"p":"123456"}', partition=sent % 2)
            sent += 1
        producer.poll(0)
        if (m := reader.poll(0.001)) and not m.error():
            now = time.monotonic()
            silence, last, came = max(silence, now - (last or now)), now, came + 1
        assert time.monotonic() < began + seconds + 60
    producer.flush(30)
    reader.close()
    return silence


def test_a_fetcher_that_found_its_queue_full_does_not_sleep_on(make_kveil, kafka):
    """It would for a second, unless it is woken when the queue is empty. The end of a partition has its place there too."""
    k = make_kveil(partitions=2)
    k.rules('  - {path: "$.p", mask: {keep_last: 2}}\n')
    k.init().start()
    silences = []
    while not silences or silences[-1] > 0.7 and len(silences) < 3:
        silences.append(longest_silence(kafka, k, 5))
    assert silences[-1] <= 0.7, silences
