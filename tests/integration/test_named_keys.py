# SPDX-License-Identifier: Apache-2.0
"""Keys named from the record, with the registry in a topic of a real broker.

KVEIL_REGISTRY_ROUNDS=50 is the long form of the races."""
import base64
import json
import random
import threading
import time
import uuid

import pytest

from broker import free_port
from conftest import wait_for
from test_registry_kafka import EAGER, PROCESSES, ROUNDS, apply_args, compacted, finish, start

PATTERN = '    "tenant-{{}}": {{algorithm: {algorithm}, kek: local, new_per_second: {limit}}}'
FIELDS = '  - {path: "$.v", encrypt: {key: "tenant-{$.tenant}"}}\n'


def make(make_kveil, kafka, config=None, algorithm="aes-256-gcm", limit=100000, topics=True, partitions=1, **kw):
    k = make_kveil(topics=topics, partitions=partitions)
    k.keys = "kveil.keys." + uuid.uuid4().hex[:8]
    k.again = dict(registry=f"kafka:{k.keys}", data=PATTERN.format(algorithm=algorithm, limit=limit), **kw)
    k.config(kafka.bootstrap, **k.again)
    k.rules(FIELDS)
    if config:
        kafka.create(k.keys, config=config)
    return k.init()


def another(k, kafka):
    """The same group, one process more."""
    k.port = free_port()
    k.config(kafka.bootstrap, **k.again)
    return k.start()


def record(tenant, i):
    return json.dumps({"tenant": tenant, "v": f"value {i} of {tenant}"}).encode()


def key_id(value):
    r = json.loads(value)
    return r["tenant"], int.from_bytes(base64.b64decode(r["v"])[1:5], "big")


@pytest.mark.long(30)
def test_races_give_each_name_one_key(make_kveil, kafka):
    k = make(make_kveil, kafka, config=EAGER, topics=False)
    for n in range(ROUNDS):
        names = [f"round{n}-{i}" for i in range(12)]
        ids = {}
        running, texts = [], []
        for _ in range(PROCESSES):
            mixed = names + names[:4]
            random.shuffle(mixed)
            running.append(start(k, *apply_args(k), stdin=True))
            texts.append("".join(record(t, n).decode() + "\n" for t in mixed))
        for p, text in zip(running, texts):
            p.stdin.write(text)
            p.stdin.flush()
        for p in running:
            p.stdin.close()
            p.stdin = None
        for out in finish(running):
            lines = out.splitlines()
            assert len(lines) == 16
            for line in lines:
                tenant, i = key_id(line)
                ids.setdefault(tenant, set()).add(i)
        assert sorted(ids) == sorted(names) and all(len(i) == 1 for i in ids.values()), ids
    # Compaction and a new start change nothing: what was sealed first opens.
    k.rules('  - {path: "$.v", decrypt: {key: "tenant-{$.tenant}"}}\n')
    opened = k.run(*apply_args(k), input=out, check=0).stdout
    assert [json.loads(x)["v"] for x in opened.splitlines()] == \
        [f"value {n} of {json.loads(x)['tenant']}" for x in lines]


def test_a_group_gives_thousands_of_names_a_key_each(make_kveil, kafka, keyset):
    k = make(make_kveil, kafka, partitions=4, workers=2)
    first = k.start()
    another(k, kafka)
    names = [f"t{i:04d}" for i in range(2500)]
    pick = random.Random(7)
    sent = {p: [record(pick.choice(names), f"{p}.{i}") for i in range(1500)] for p in range(4)}
    for p, records in sent.items():
        kafka.produce(k.topic, records, partition=p)
    got = kafka.consume(k.secure, 6000, timeout=90, settle=0.5)
    assert len(got) == 6000 and kafka.end_offsets(k.dead) == {p: 0 for p in range(4)}
    ids = {}
    for m in got:
        tenant, i = key_id(m.value())
        ids.setdefault(tenant, set()).add(i)
    assert all(len(i) == 1 for i in ids.values())
    assert len({min(i) for i in ids.values()}) == len(ids)
    # In the order in which they came.
    for p, records in sent.items():
        assert [json.loads(r)["tenant"] for r in records] == \
            [json.loads(m.value())["tenant"] for m in got if m.partition() == p]
    wait_for("the gauge", lambda: k.metric("kveil_named_keys", pattern="tenant-{}") == len(ids))
    # Tink opens with what is exported for one name.
    value = json.loads(got[0].value())
    aead = keyset(k, f"tenant-{value['tenant']}")
    assert aead.decrypt(base64.b64decode(value["v"]), f"{k.name}:$['v']".encode()).decode().endswith(value["tenant"])
    # What filled the braces is nowhere in the registry, nor in what the process says.
    log = first.log.read_bytes() + k.processes[-1].log.read_bytes() + k.get("/metrics")[1].encode()
    registry = b"".join((m.key() or b"") + (m.value() or b"") for m in kafka.consume(k.keys, len(ids)))
    assert not [n for n in names if f"tenant-{n}".encode() in registry + log]
    assert [k.stop(p) for p in k.processes] == [0, 0]


def test_new_names_wait_their_turn(make_kveil, kafka):
    k = make(make_kveil, kafka, limit=30)
    k.start()
    begin = time.time()
    kafka.produce(k.topic, [record(f"n{i}", i) for i in range(500)])
    wait_for("some wait", lambda: k.metric("kveil_named_keys_waiting", pattern="tenant-{}") > 0)
    # 300 at once, the others at 30 a second.
    wait_for("all of them", lambda: kafka.end_offsets(k.secure) == {0: 500}, timeout=60)
    assert time.time() - begin > 5
    assert kafka.end_offsets(k.dead) == {0: 0} and k.get("/livez")[0] == 200
    assert len({key_id(m.value()) for m in kafka.consume(k.secure, 500)}) == 500
    wait_for("none waits", lambda: k.metric("kveil_named_keys_waiting", pattern="tenant-{}") == 0)
    assert k.stop() == 0


def test_many_names_are_read_without_a_pause(make_kveil, kafka):
    """A start with 100,000 of them took a minute, at the rate of one fetch a second."""
    k = make(make_kveil, kafka, topics=False)

    def reading():
        begin = time.time()
        k.run("keys", "list", check=0)
        return time.time() - begin

    few = min(reading() for _ in range(3))
    k.run(*apply_args(k), input="".join(record(f"t{i}", i).decode() + "\n" for i in range(12000)), check=0)
    many = min(reading() for _ in range(3))
    assert many < few + 3, (few, many)


def test_a_destroyed_name_ends_in_running_workers(make_kveil, kafka):
    k = make(make_kveil, kafka, config=EAGER, algorithm="sm4-gcm")
    k.start()
    kafka.produce(k.topic, [record(t, 1) for t in ("acme", "globex")])
    old = {json.loads(m.value())["tenant"]: m.value() for m in kafka.consume(k.secure, 2)}
    wrapped = [m for m in kafka.consume(k.keys, 5) if m.key().startswith(b"tenant-") and b"{}/" not in m.key()]
    r = k.run("keys", "destroy", "tenant-acme", "--yes", "--now", check=0)
    assert "1 version destroyed" in r.stdout and "survives" in r.stderr
    begin, n = time.time(), 0
    while not sum(kafka.end_offsets(k.dead).values()):
        kafka.produce(k.topic, [record("acme", n)])
        n += 1
        time.sleep(0.2)
        assert time.time() < begin + 60
    kafka.produce(k.topic, [record("globex", 2)])
    wait_for("the other goes on", lambda: any(m.value() and json.loads(m.value()).get("tenant") == "globex"
                                             for m in kafka.consume(k.secure, kafka.end_offsets(k.secure)[0])[2:]))
    assert k.metric("kveil_records_failed_total", code="key_destroyed") >= 1
    # For those who open, too, and for good: after a start, and after compaction.
    compacted(kafka, k, {m.offset() for m in wrapped if m.key() in
                         {x.key() for x in kafka.consume(k.keys, 6) if x.value() and b'"destroyed"' in x.value()}})
    k.rules('  - {path: "$.v", decrypt: {key: "tenant-{$.tenant}"}}\n', file="open.yaml")
    opener = ["apply", "-c", "kveil.yaml", "-r", "rules/open.yaml"]
    r = k.run(*opener, input=old["acme"].decode() + "\n" + old["globex"].decode() + "\n")
    assert r.returncode == 1 and "key_destroyed" in r.stderr and json.loads(r.stdout)["v"] == "value 1 of globex"
    r = k.run(*apply_args(k), input=record("acme", 9).decode() + "\n")
    assert r.returncode == 1 and "key_destroyed" in r.stderr and r.stdout == ""
    assert k.run("keys", "rotate", "tenant-acme").returncode == 1
    rows = json.loads(k.run("keys", "list", "tenant-acme", "--json", check=0).stdout)
    assert [x["state"] for x in rows] == ["destroyed"]
    assert k.stop() == 0


def test_records_name_no_key_but_their_own(make_kveil, kafka):
    k = make(make_kveil, kafka, topics=False)
    r = k.run(*apply_args(k), input="".join(
        json.dumps({"tenant": t, "v": "x"}) + "\n" for t in ("a@1", "", "a b", "客户", "a/b", None, {}, "x" * 200)))
    assert r.returncode == 1 and r.stdout == "" and r.stderr.count("bad_template_value") == 8
    # Every other character, spelled out where JSON wants it, two values, and a name of more than 128 bytes.
    plain = [chr(c) for c in range(128) if chr(c).isalnum() or chr(c) in "._-"]
    others = [f'"a\\u{c:04x}z"' for c in [*range(256), 0x4e00, 0x212a, 0xff21] if chr(c) not in plain]
    others += ['"a","tenant":"b"', "1e+0", "true", f'"{"x" * 122}"']
    r = k.run(*apply_args(k), input="".join(f'{{"tenant":{t},"v":"x"}}\n' for t in others))
    assert r.returncode == 1 and r.stdout == "" and r.stderr.count("bad_template_value") == len(others)
    # As it is spelled, and whatever it looks like.
    names = ["1", "1.0", "1e0", "1E0", "-0", '"pii"', '"0123456789abcdef0123456789abcdef"', f'"{"x" * 121}"',
             *[f'"a{c}z"' for c in plain]]
    out = k.run(*apply_args(k), input="".join(f'{{"tenant":{t},"v":"x"}}\n' for t in [*names, '"1"', '"\\u0031"']),
                check=0).stdout.splitlines()
    ids = [key_id(line)[1] for line in out]
    assert len(set(ids)) == len(names) and ids[-1] == ids[-2] == ids[0]
    rows = json.loads(k.run("keys", "list", "--json", check=0).stdout)
    assert {x["name"] for x in rows} == {"pii", "pepper", "dead-letters", "tenant-{}"}


def test_apply_makes_the_names_of_many_lines_at_once(make_kveil, kafka):
    k = make_kveil(topics=False)
    k.config(kafka.bootstrap, data=PATTERN.format(algorithm="aes-256-gcm", limit=100000))
    k.rules('  - {path: "$.i", mask: {}}\n' + FIELDS)
    k.init()
    writes, done = set(), threading.Event()

    def watch():
        while not done.is_set():
            s = (k.dir / "keys.json").stat()
            writes.add((s.st_ino, s.st_mtime_ns))
            time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    lines = [json.dumps({"tenant": f"t{i % 700}", "i": str(i), "v": "x"}) for i in range(1400)]
    out = k.run(*apply_args(k), input="\n".join(lines) + "\n", check=0).stdout.splitlines()
    done.set()
    watcher.join()
    ids = [key_id(line) for line in out]
    assert [t for t, _ in ids] == [f"t{i % 700}" for i in range(1400)]
    assert len(set(ids)) == len({i for _, i in ids}) == 700
    assert len(writes) < 50, "a write to the registry for each name"
    # What is told of a record that waited for its key is told once.
    told = k.run(*apply_args(k), "--explain", input=json.dumps({"tenant": "new", "i": "1", "v": "x"}) + "\n", check=0)
    lines = told.stdout.splitlines()[1:]
    assert len(lines) == 2 and all("  applied" in line for line in lines), told.stdout
