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
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource

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


@pytest.mark.long(35)
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
    assert r.returncode == 2 and "no key registry that opens here" in r.stderr
    k = make_registry()
    k.config(kafka.bootstrap, **k.again, data="    more: {algorithm: aes-256-siv, kek: local}")
    r = k.run("run", "-c", "kveil.yaml")
    assert r.returncode == 2 and "'more'" in r.stderr and "keys init" in r.stderr
    assert k.run("keys", "init").returncode == 0
    assert k.run(*apply_args(k), input='{"v":"x"}\n').returncode == 0


def test_a_registry_that_one_broker_has_is_a_risk(make_registry):
    k = make_registry()
    k.rules(ORDER_FIELDS)
    asked = k.run("check", "-c", "kveil.yaml", "--keys", check=0)
    assert "warning: only one broker has a copy of the key registry's topic: if its disk is lost, so are all keys" in asked.stderr, asked.stderr
    assert "only one broker" not in k.run("check", "-c", "kveil.yaml", check=0).stderr


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


def label(row):
    return f"{row['name']}/{row['id']:08x}"


def last(kafka, k):
    """What compaction would leave: the last message of each key."""
    return {m.key().decode(): m for m in messages(kafka, k) if m.key()}


def ignored(k):
    return {r: k.metric("kveil_registry_records_ignored_total", reason=r)
            for r in ("forged", "relabelled", "replayed", "emptied")}


def test_what_others_write_is_passed_over_counted_and_mended(make_registry, kafka):
    k = make_registry(config=EAGER, topics=True)
    k.rules(ORDER_FIELDS)
    k.run("keys", "rotate", "pii", "--now", check=0)
    # Compaction may take it away as soon as the key is retired.
    pii1 = label(next(r for r in keys(k, "pii") if r["version"] == 1))
    unretired = last(kafka, k)[pii1].value()
    k.run("keys", "retire", "pii@1", check=0)
    rows = keys(k)
    good = {m.offset(): m for m in messages(kafka, k)}
    by_label = {}
    for m in good.values():
        by_label.setdefault(m.key().decode(), []).append(m.value())
    k.start()
    other = k.port
    k.port = __import__("broker").free_port()
    k.config(kafka.bootstrap, **k.again)
    k.start()
    assert set(ignored(k).values()) == {0}
    pii2 = label(next(r for r in rows if (r["name"], r["version"]) == ("pii", 2)))
    pepper, dead = (label(r) for n in ("pepper", "dead-letters") for r in rows if r["name"] == n)
    root = next(x for x in by_label if x.startswith("!root/"))
    forged = json.loads(by_label[pii2][0])
    forged["state"], forged["sequence"] = "retired", 9
    before = max(good)
    damage(kafka, k, pii2, json.dumps(forged).encode())
    damage(kafka, k, pepper, by_label[dead][0])            # an authentic record under another's name
    damage(kafka, k, pii1, unretired)
    damage(kafka, k, dead, None)
    damage(kafka, k, root, None)
    damage(kafka, k, "pii/00000001", b"junk")
    wait_for("counted", lambda: ignored(k) == {"forged": 2, "relabelled": 1, "replayed": 1, "emptied": 2})

    def mended():
        now = {x: m.value() for x, m in last(kafka, k).items()}
        bad = {pii1: unretired, pii2: json.dumps(forged).encode(), pepper: by_label[dead][0]}
        return all(now.get(x) and now[x] != bad.get(x) for x in (pii1, pii2, pepper, dead, root))

    wait_for("mended", mended, timeout=30)
    assert " forged" in k.run("keys", "list", check=0).stderr
    assert "passed over" in k.processes[-1].log.read_text()
    # One of the two mends, now and then both: no storm.
    assert len([m for m in messages(kafka, k) if m.offset() > before + 6 and not m.key().startswith(b"!lease")]) <= 10
    compacted(kafka, k, {o for o, m in good.items() if m.key().decode() in (pii1, pii2, pepper, dead, root)})
    assert keys(k) == rows
    kafka.produce(k.topic, [order(i) for i in range(100)])
    kafka.consume(k.secure, 100)
    assert kafka.end_offsets(k.dead) == {0: 0}
    for p in k.processes:
        assert k.stop(p) == 0
    assert other != k.port


def test_a_loser_stays_one_when_the_winner_is_written_again(make_registry, kafka):
    k = make_registry(config=EAGER)
    finish([start(k, "keys", "rotate", "pii", "--now") for _ in range(2)])
    # Both versions 2 that were written: one of them lost, and is not in the list.
    rows = keys(k, "pii")
    k.run("keys", "retire", "pii@2", check=0)
    gone = {m.offset() for m in messages(kafka, k) if m.key() == label(next(r for r in rows if r["version"] == 2)).encode()}
    compacted(kafka, k, {min(gone)})
    assert {(r["version"], r["id"]) for r in keys(k, "pii")} == {(r["version"], r["id"]) for r in rows}


def test_a_topic_made_anew_is_rolled_back_and_restored(make_registry, kafka):
    k = make_registry(topics=True)
    k.rules(ORDER_FIELDS)
    k.run("keys", "backup", "backup.json", check=0)
    rows = keys(k)
    p = k.start()
    kafka.produce(k.topic, [order(1)])
    kafka.consume(k.secure, 1)
    kafka.admin.delete_topics([k.keys])[k.keys].result(30)
    wait_for("not ready", lambda: k.get("/readyz")[0] == 503)
    assert p.poll() is None
    wait_for("gone", lambda: k.keys not in kafka.admin.list_topics().topics)
    k.run("keys", "restore", "backup.json", check=0)
    wait_for("it says so", lambda: "registry_rolled_back" in k.get("/readyz")[1], timeout=40)
    # The worker looks between two polls: a tenth of a second later.
    wait_for("the worker knows", lambda: "no_lease" in p.log.read_text())
    kafka.produce(k.topic, [order(2)])
    time.sleep(2)
    got = [json.loads(m.value())["id"] for m in kafka.consume(k.secure, 1, settle=0.5)]
    assert got == ["ORD0000000001"], (got, p.log.read_text())
    code = k.stop()
    assert code == 0, p.log.read_text()
    now = {(r["name"], r["version"]): r for r in keys(k)}
    assert now["pii", 1]["id"] == next(r["id"] for r in rows if r["name"] == "pii")
    assert now["pii", 1]["state"] == "opens only" and now["pii", 2]["state"] == "active"
    assert now["pepper", 1]["state"] == "active"
    k.start()
    kafka.consume(k.secure, 2)
    assert k.stop() == 0


@pytest.mark.long(30)
def test_a_topic_that_loses_keys_is_noticed_and_backed_up_in_time(make_registry, kafka):
    """Somebody sets it to delete with time, or deletes its records; a backup that follows has what the log had."""
    k = make_registry(topics=True)
    k.rules(ORDER_FIELDS)
    backup = start(k, "keys", "backup", "--follow", "backup.json")

    def backed_up():
        path = k.dir / "backup.json"
        return len(json.loads(path.read_text())["keys"]) if path.exists() else 0

    def policy(value):
        resource = ConfigResource(ConfigResource.Type.TOPIC, k.keys, incremental_configs=[
            ConfigEntry("cleanup.policy", value, incremental_operation=AlterConfigOpType.SET)])
        for f in kafka.admin.incremental_alter_configs([resource]).values():
            f.result(30)

    wait_for("a backup", lambda: backed_up() == 3)
    p = k.start()
    kafka.produce(k.topic, [order(1)])
    kafka.consume(k.secure, 1)
    policy("delete")
    wait_for("it is noticed", lambda: "cleanup.policy=delete" in k.get("/readyz")[1], timeout=40)
    policy("compact")
    wait_for("ready by itself", lambda: k.get("/readyz")[0] == 200, timeout=40)
    k.run("keys", "rotate", "pii", "--now", check=0)
    wait_for("the backup follows", lambda: backed_up() == 4)
    kafka.produce(k.topic, [order(2)])
    kafka.consume(k.secure, 2)
    end = TopicPartition(k.keys, 0, kafka.end_offsets(k.keys)[0])

    def deleted():
        try:
            return kafka.admin.delete_records([end])[TopicPartition(k.keys, 0)].result(30)
        except KafkaException as e:
            assert e.args[0].code() == KafkaError.POLICY_VIOLATION  # the broker has not taken the policy yet
            return False

    # Nobody can delete records of a topic that is only compacted.
    policy("compact,delete")
    wait_for("records are deleted", deleted)
    policy("compact")
    begin = time.time()
    wait_for("it says so", lambda: "lost its beginning" in k.get("/readyz")[1], timeout=40)
    wait_for("the worker knows", lambda: "no_lease" in p.log.read_text(), timeout=40)
    assert time.time() - begin < 60
    kafka.produce(k.topic, [order(3)])
    assert backup.wait(20) == 2 and backed_up() == 4
    assert len(kafka.consume(k.secure, 2, settle=1)) == 2
    assert k.stop() == 0, p.log.read_text()
    k.run("keys", "restore", "backup.json", check=0)
    assert {(r["name"], r["version"]) for r in keys(k, "pii")} >= {("pii", 1), ("pii", 2)}
    k.start()
    assert len(kafka.consume(k.secure, 3)) == 3
    assert k.stop() == 0


def test_a_copied_topic_gives_no_leases(make_registry, kafka):
    k = make_registry()
    for _ in range(3):
        k.run(*apply_args(k), input='{"v":"x"}\n', check=0)
    kept = last(kafka, k)
    copy = k.keys + ".copy"
    kafka.create(copy, config={"cleanup.policy": "compact"})
    kafka.produce(copy, [{"key": m.key(), "value": m.value()} for m in kept.values()])
    k.run("keys", "backup", "backup.json", check=0)
    k.config(kafka.bootstrap, registry=f"kafka:{copy}")
    r = k.run(*apply_args(k), input='{"v":"x"}\n')
    assert r.returncode == 2 and r.stdout == "" and "copy" in r.stderr
    k.run("keys", "restore", "backup.json", check=0)
    found = dict(sealed(k.run(*apply_args(k), input='{"v":"x"}\n', check=0).stdout))
    states = {r["id"]: r["state"] for r in keys(k, "pii")}
    assert [states[i] for i in found] == ["active"] and sorted(states.values()) == ["active", "opens only"]


def test_an_unknown_id_is_looked_for_and_named(make_registry, kafka):
    k = make_registry(topics=True)
    opening = k.dir / "opening"
    k.rules('  - {path: "$.v", decrypt: {key: pii}}\n')
    k.start()
    (opening).mkdir()
    (opening / "seal.yaml").write_text(
        f'name: {k.name}\ntopics: [{k.topic}]\nformat: json\nfields:\n  - {{path: "$.v", encrypt: {{key: pii}}}}\n')
    seal = ["apply", "-c", "kveil.yaml", "-r", "opening/seal.yaml"]
    k.run("keys", "rotate", "pii", "--now", check=0)
    line = k.run(*seal, input='{"v":"new"}\n', check=0).stdout.strip().encode()
    kafka.produce(k.topic, [line])
    assert json.loads(kafka.consume(k.secure, 1)[0].value())["v"] == "new"
    box = bytearray(base64.b64decode(json.loads(line)["v"]))
    box[1:5] = (12345).to_bytes(4, "big")
    kafka.produce(k.topic, [json.dumps({"v": base64.b64encode(bytes(box)).decode()}).encode()] * 500)
    kafka.consume(k.dead, 500)
    assert k.metric("kveil_records_failed_total", code="unknown_key") == 500
    r = k.run(*apply_args(k), input=json.dumps({"v": base64.b64encode(bytes(box)).decode()}) + "\n")
    assert r.returncode == 1 and "12345" in r.stderr
    assert k.stop() == 0


@pytest.mark.long(60)
def test_the_broker_goes_and_comes_back(make_kveil):
    from broker import Broker
    from conftest import Kafka
    b = Broker().start()
    try:
        kafka = Kafka(b.bootstrap)
        k = make_kveil(bootstrap=b.bootstrap, topics=False)
        k.config(b.bootstrap, registry="kafka:kveil.keys", rotate="20s")
        k.rules(ORDER_FIELDS)
        k.init()
        kafka.create(k.topic, k.secure, k.dead)
        before = keys(k)
        b.stop()
        assert k.run("keys", "list").returncode in (1, 2)
        p = k.start(ready=False)
        wait_for("named", lambda: "registry_unavailable" in k.get("/readyz")[1])
        time.sleep(3)
        assert p.poll() is None
        b.start()
        wait_for("ready by itself", lambda: k.get("/readyz")[0] == 200, timeout=60)
        kafka.produce(k.topic, [order(i) for i in range(100)])
        kafka.consume(k.secure, 100)
        b.stop(kill=True)
        time.sleep(12)
        assert p.poll() is None and k.get("/livez")[0] == 200
        b.start()
        wait_for("ready again", lambda: k.get("/readyz")[0] == 200, timeout=60)
        kafka.produce(k.topic, [order(i) for i in range(100, 200)])
        kafka.consume(k.secure, 200)
        assert k.stop() == 0
        rows = keys(k)
        assert {(r["name"], r["id"]) for r in before} <= {(r["name"], r["id"]) for r in rows}
        versions = [r["version"] for r in rows if r["name"] == "pii"]
        assert len(versions) == len(set(versions))
    finally:
        b.close()


def test_a_host_whose_clock_is_wrong_makes_no_keys(make_registry, kafka):
    k = make_registry(topics=True, rotate="4s")
    k.rules(ORDER_FIELDS)
    k.start(env={"KVEIL_FAILPOINT": "clock-ahead"})
    wait_for("the reason", lambda: "clock_wrong" in k.get("/readyz")[1])
    assert "ahead of that of the brokers" in k.get("/readyz")[1]
    wait_for("the alert", lambda: k.metric("kveil_key_rotation_overdue_seconds", key="pii") > 0)
    assert [r["version"] for r in keys(k, "pii")] == [1]
    k.stop()
    k.start()
    wait_for("the next version", lambda: k.metric("kveil_key_rotation_overdue_seconds", key="pii") == 0 and len(keys(k, "pii")) > 1)


def test_a_restore_of_another_site_displaces_nothing(make_registry, kafka):
    """One registry in two topics, and each made versions of its own since."""
    data = '    "tenant-{}": {algorithm: aes-256-gcm}\n'
    one = make_registry(data=data)
    two = make_registry(init=False, data=data)
    (two.dir / "kek").write_bytes((one.dir / "kek").read_bytes())
    fields = '  - {path: "$.v", encrypt: {key: pii}}\n  - {path: "$.t", encrypt: {key: "tenant-{$.name}"}}\n'
    opens = fields.replace("encrypt", "decrypt")
    for k in (one, two):
        k.rules(fields)

    def backup(k, name):
        k.run("keys", "backup", str(one.dir / name), "-c", "kveil.yaml", check=0)

    def seal(k):
        return k.run(*apply_args(k), input='{"v": "x", "t": "y", "name": "acme"}\n', check=0).stdout

    backup(one, "b1")
    two.run("keys", "restore", str(one.dir / "b1"), "-c", "kveil.yaml", check=0)
    values = [seal(two)]
    before = keys(two)
    one.run("keys", "rotate", "pii", "--now", "-c", "kveil.yaml", check=0)
    theirs = seal(one)
    backup(one, "b2")
    dry = two.run("keys", "restore", str(one.dir / "b2"), "--dry-run", "-c", "kveil.yaml", check=0).stdout
    assert "2 under another number" in dry and keys(two) == before
    out = two.run("keys", "restore", str(one.dir / "b2"), "-c", "kveil.yaml", check=0).stdout
    assert "2 under another number, 0 left out" in out
    # Nothing that was there went, and what was active is.
    now = {r["id"]: r for r in keys(two)}
    assert all(now[r["id"]]["state"] == r["state"] and now[r["id"]]["version"] == r["version"] for r in before)
    two.rules(opens)
    text = (two.dir / "rules" / f"{two.name}.yaml")
    for sealed_by, line in ((two, values[0]), (one, theirs)):
        text.write_text(text.read_text().replace(f"name: {one.name}", f"name: {sealed_by.name}")
                        .replace(f"name: {two.name}", f"name: {sealed_by.name}"))
        assert json.loads(two.run(*apply_args(two), input=line, check=0).stdout) == {"v": "x", "t": "y", "name": "acme"}


def test_the_end_of_a_name_raises_no_alarm(make_registry, kafka):
    k = make_registry(data='    "tenant-{}": {algorithm: aes-256-gcm}\n')
    k.rules('  - {path: "$.v", encrypt: {key: "tenant-{$.name}"}}\n')
    k.run(*apply_args(k), input='{"v": "x", "name": "acme"}\n', check=0)
    k.run("keys", "destroy", "tenant-acme", "--yes", "--now", "-c", "kveil.yaml", check=0)
    listed = k.run("keys", "list", "tenant-acme", "-c", "kveil.yaml", check=0)
    assert "destroyed" in listed.stdout and "ignored records" not in listed.stderr
    ends = [json.loads(m.value()) for m in messages(kafka, k) if m.key().decode().startswith("!destroyed/")]
    assert len(ends) == len({e["id"] for e in ends}) == 2  # the version's, and the name's


def test_the_topic_remembers_accepted_rules_for_the_group(make_registry, kafka):
    k = make_registry(topics=True)
    accept = ["rules", "accept", "-c", "kveil.yaml"]
    assert "the first rules" in k.run(*accept, check=0).stdout
    assert "accepted ones already" in k.run(*accept, check=0).stdout
    first, = [m.value() for m in messages(kafka, k) if m.key() == b"!rules"]
    k.rules('  - {path: "$.v", encrypt: {key: pii}}\n  - {path: "$.w", mask: {}}\n')
    assert "protect no less" in k.run(*accept, check=0).stdout
    # An old note, no note and a changed one, written by somebody else, count for nothing.
    for value in (first, None, first.replace(b'"sequence":1', b'"sequence":9')):
        damage(kafka, k, "!rules", value)
    k.rules('  - {path: "$.v", encrypt: {key: pii}}\n')
    k.config(kafka.bootstrap, extra="rules_guard: strict", **k.again)
    k.start(ready=False)
    wait_for("waiting", lambda: "not accepted" in k.get("/readyz")[1])
    r = k.run(*accept, "--dry-run", check=1)
    assert "the rule for $.w" in r.stdout
    k.run(*accept, check=0)
    wait_for("ready", lambda: k.get("/readyz")[0] == 200)
    assert k.stop() == 0
    assert len([m for m in messages(kafka, k) if m.key() == b"!rules"]) == 6
