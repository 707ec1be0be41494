# SPDX-License-Identifier: Apache-2.0
"""The key registry in a compacted topic, on a real broker: one order for all, whoever else writes there.

KVEIL_REGISTRY_ROUNDS=50 is the long form of the races."""
import base64
import json
import os
import subprocess
import time
import uuid

import pytest

from conftest import KVEIL, ORDER_FIELDS, order, wait_for

ROUNDS = int(os.environ.get("KVEIL_REGISTRY_ROUNDS", "6"))
PROCESSES = 8
# Compacts within a second or two of every message.
EAGER = {"cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.001",
         "max.compaction.lag.ms": "100", "delete.retention.ms": "100"}


@pytest.fixture
def make_registry(make_kveil, kafka):
    """A kveil whose keys are in a topic of its own; config={...} makes the topic beforehand."""

    def make(config=None, init=True, topics=False, **kw):
        k = make_kveil(topics=topics)
        k.keys = "kveil.keys." + uuid.uuid4().hex[:8]
        k.again = dict(registry=f"kafka:{k.keys}", **kw)
        k.config(kafka.bootstrap, **k.again)
        k.rules('  - {path: "$.v", encrypt: {key: pii}}\n')
        if config:
            kafka.create(k.keys, config=config)
        if init:
            k.init()
        return k

    return make


def start(k, *args, stdin=None):
    return subprocess.Popen([str(KVEIL), *args], cwd=k.dir, stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(processes, stdin=None):
    out = []
    for p in processes:
        stdout, stderr = p.communicate(stdin if p.stdin else None, timeout=60)
        assert p.returncode == 0, f"{p.args}: {stderr}"
        out.append(stdout)
    return out


def keys(k, name=None):
    rows = json.loads(k.run("keys", "list", "--json", check=0).stdout)
    return [r for r in rows if name is None or r["name"] == name]


def sealed(text):
    """(key id, lease) of each sealed $.v in lines of JSON."""
    for line in text.splitlines():
        b = base64.b64decode(json.loads(line)["v"])
        assert b[0] == 1
        yield int.from_bytes(b[1:5], "big"), int.from_bytes(b[5:9], "big")


def apply_args(k):
    return ["apply", "-c", "kveil.yaml", "-r", f"rules/{k.name}.yaml"]


def messages(kafka, k):
    return kafka.consume(k.keys, 1, settle=0.5)


def damage(kafka, k, label, value):
    kafka.produce(k.keys, [{"key": label, "value": value}])


def compacted(kafka, k, gone):
    """Waits until compaction took these offsets away; writes beside it so that segments roll."""

    def done():
        kafka.produce(k.keys, [{"key": "!nudge", "value": b"x"}])
        time.sleep(0.3)
        return not gone & {m.offset() for m in kafka.consume(k.keys, 1, settle=0.2)}

    wait_for(f"compaction of {sorted(gone)}", done, timeout=90)


def test_init_at_the_same_moment_gives_one_registry(make_registry, kafka):
    k = make_registry(init=False)
    r = k.run("keys", "list")
    assert r.returncode == 2 and "kveil keys init" in r.stderr
    out = finish([start(k, "keys", "init") for _ in range(PROCESSES)])
    assert sum("made" in o for o in out) == 1
    assert sum(int(o.split(": ")[1].split(", ")[1].split()[0]) for o in out) == 3
    rows = keys(k)
    assert sorted((r["name"], r["version"]) for r in rows) == [("dead-letters", 1), ("pepper", 1), ("pii", 1)]
    topic = kafka.admin.list_topics(k.keys).topics[k.keys]
    assert len(topic.partitions) == 1
    k.run("keys", "init", check=0)
    assert keys(k) == rows


@pytest.mark.parametrize("config", [{"cleanup.policy": "compact"}, EAGER], ids=["at rest", "compacting"])
def test_races_give_one_key_each_and_no_lease_twice(make_registry, config):
    k = make_registry(config=config)
    leases, used = [], set()
    for _ in range(ROUNDS):
        text = "\n".join(json.dumps({"v": f"v{i}"}) for i in range(3)) + "\n"
        running = [start(k, "keys", "rotate", "pii", "--now") if i % 4 == 0 else start(k, *apply_args(k), stdin=text)
                   for i in range(PROCESSES)]
        for out in finish(running, text):
            if out.startswith("{"):
                found = list(sealed(out))
                leases.append({lease for _, lease in found}.pop())
                used |= {i for i, _ in found}
    rows = keys(k, "pii")
    versions = [r["version"] for r in rows]
    assert len(versions) == len(set(versions)) == 1 + ROUNDS * PROCESSES // 4
    assert used <= {r["id"] for r in rows}
    assert len(leases) == len(set(leases)) == ROUNDS * PROCESSES * 3 // 4


def test_workers_refuse_what_loses_keys(make_registry, kafka):
    k = make_registry(config={"cleanup.policy": "delete"}, init=False)
    for args in (["keys", "init"], ["run", "-c", "kveil.yaml"]):
        r = k.run(*args)
        assert r.returncode == 2 and "cleanup.policy=delete" in r.stderr
    k = make_registry(config={"cleanup.policy": "compact,delete"}, init=False)
    assert k.run("keys", "init").returncode == 2
    k = make_registry(init=False)
    kafka.create(k.keys, partitions=2, config={"cleanup.policy": "compact"})
    r = k.run("keys", "init")
    assert r.returncode == 2 and "2 partitions" in r.stderr
    k = make_registry(config={"cleanup.policy": "compact"}, init=False)
    r = k.run("run", "-c", "kveil.yaml")
    assert r.returncode == 2 and "kveil keys init" in r.stderr
    kafka.produce(k.keys, [{"key": "orders", "value": b"{}"}])
    r = k.run("keys", "init")
    assert r.returncode == 2 and "somebody's" in r.stderr
    k = make_registry()
    k.config(kafka.bootstrap, **k.again, data="    more: {algorithm: aes-256-siv, kek: local}")
    r = k.run("run", "-c", "kveil.yaml")
    assert r.returncode == 2 and "'more'" in r.stderr and "keys init" in r.stderr
    assert k.run("keys", "init").returncode == 0
    assert k.run(*apply_args(k), input='{"v":"x"}\n').returncode == 0


def test_replicas_share_keys_and_tink_opens(make_registry, kafka, keyset):
    k = make_registry(topics=True, rotate="8s")
    k.rules(ORDER_FIELDS)
    k.start()
    first = k.port
    k.port = __import__("broker").free_port()
    k.config(kafka.bootstrap, **k.again)
    k.start()
    seen, ids, n = {}, set(), 0
    end = time.time() + 12
    while time.time() < end:
        kafka.produce(k.topic, [order(n + i) for i in range(50)])
        n += 50
        time.sleep(0.5)
    wait_for("all committed", lambda: kafka.committed(k.group, k.topic) == n, timeout=60)
    aead = keyset(k, "pii")
    for m in kafka.consume(k.secure, n, settle=0.5):
        r = json.loads(m.value())
        box = base64.b64decode(r["card_number"])
        ids.add(int.from_bytes(box[1:5], "big"))
        seen[r["id"]] = aead.decrypt(box, f"{k.name}:$['card_number']".encode()).decode()
    assert len(seen) == n and seen["ORD0000000007"] == "6200000000000007"
    assert len(ids) >= 2
    versions = [r["version"] for r in keys(k, "pii")]
    assert len(versions) == len(set(versions))
    assert kafka.end_offsets(k.dead) == {0: 0}
    assert [k.stop(p) for p in k.processes] == [0, 0]
    assert first != k.port
