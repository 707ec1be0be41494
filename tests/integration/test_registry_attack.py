# SPDX-License-Identifier: Apache-2.0
"""A registry in a topic under somebody who may write there: without its secret, and, worse, with it."""
import base64
import gzip
import hashlib
import hmac
import json
import os
import re
import signal
import struct
import subprocess
import threading
import time

import pytest
from confluent_kafka import Producer
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap_with_padding, aes_key_wrap_with_padding

from conftest import ORDER_FIELDS, PLAIN, order, wait_for
from test_registry_kafka import EAGER, apply_args, damage, ignored, keys, label, last, make_registry, messages  # noqa: F401
from test_memory import LIMIT, MIB, peak_mib
from test_unreadable import GZIP, bomb, record_by_hand, send_batch, set_config, two_members, written_by_hand

STATES = {"live": 1, "opens-only": 2, "retired": 3, "destroyed": 4}


class Insider:
    """Whoever has the registry's KEK has its secret: MACs as kveil makes them (registry/key_record.h, registry_message.h)."""

    def __init__(self, k, kafka):
        self.kek = (k.dir / "kek").read_bytes()
        self.root = json.loads(next(m.value() for x, m in last(kafka, k).items() if x.startswith("!root/")))
        payload = aes_key_unwrap_with_padding(self.kek, base64.b64decode(self.root["registry_keys"][0]["wrapped"]))
        assert payload[:4] == b"KVR1"
        self.id, self.secret = payload[4:20], payload[20:52]

    def mac(self, name, text):
        key = HKDF(SHA256(), 32, salt=None, info=f"kveil registry {name}".encode()).derive(self.secret)
        return base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()

    def sign(self, r):
        wrapped = base64.b64decode(r["wrapped"])
        text = b"".join(struct.pack(">I", len(r[x])) + r[x].encode() for x in ("name", "kek"))
        text += bytes.fromhex(r["id"]) + struct.pack(">IIHB", r["version"], r["sequence"], 1, STATES[r["state"]])
        text += b"".join(struct.pack(">q", r[x]) for x in ("created", "active", "expires", "changed"))
        r["mac"] = self.mac("record", self.id + text + struct.pack(">I", len(wrapped)) + wrapped)
        return r

    def record(self, like, key=None, **changed):
        """A record like another, with what was changed, signed; its key, if any, wrapped for what the record says."""
        r = {**like, **changed}
        if key:
            name = r["name"].encode()
            head = b"KVK1" + self.id + struct.pack(">H", 1) + bytes.fromhex(r["id"])
            head += struct.pack(">Iqqq", r["version"], r["created"], r["active"], r["expires"]) + bytes([len(name)]) + name
            r["wrapped"] = base64.b64encode(aes_key_wrap_with_padding(self.kek, head + struct.pack(">H", len(key)) + key)).decode()
        return self.sign(r)

    def named(self, pattern, filling):
        """The registry's name for a key that records name."""
        key = HKDF(SHA256(), 32, salt=None, info=b"kveil registry name").derive(self.secret)
        return pattern.replace("{}", hmac.new(key, f"{pattern}\0{filling}".encode(), hashlib.sha256).digest()[:16].hex())

    def put(self, k, kafka, record):
        damage(kafka, k, f"{record['name']}/{record['id']}", json.dumps(record).encode())


def count(k):
    return sum(ignored(k).values())


def works(k, kafka, n):
    """The worker is ready, seals, and nothing went to the dead letters; somebody who comes now sees the same keys."""
    assert k.get("/readyz")[0] == 200, k.get("/readyz")
    before = kafka.end_offsets(k.secure)[0]
    kafka.produce(k.topic, [order(n)])
    kafka.consume(k.secure, before + 1)
    assert kafka.end_offsets(k.dead) == {0: 0}


def test_whoever_writes_without_the_secret(make_registry, kafka):  # noqa: F811
    k = make_registry(topics=True)
    k.rules(ORDER_FIELDS)
    rows = keys(k)
    k.run(*apply_args(k), input="{}\n", check=0)
    kept = last(kafka, k)
    pii = next(r for r in rows if r["name"] == "pii")
    good = json.loads(kept[label(pii)].value())
    root = next(x for x in kept if x.startswith("!root/"))
    lease = kept["!lease"].value()
    k.start()
    works(k, kafka, 0)
    base = count(k)
    huge = "A" * 200_000
    values = [{**good, x: v} for x, v in (
        ("version", 0), ("version", 2 ** 32 - 1), ("version", 2 ** 64), ("version", -1), ("version", 1.5), ("version", "1"),
        ("id", "00000000"), ("id", "zzzzzzzz"), ("id", ""), ("sequence", 0), ("sequence", 2 ** 32), ("sequence", 2 ** 63 - 1),
        ("state", "alive"), ("state", ""), ("active", 2 ** 63 - 1), ("active", -1), ("expires", 1e300), ("wrapped", huge),
        ("wrapped", ""), ("wrapped", None), ("mac", huge), ("mac", ""), ("name", huge), ("name", "../x"), ("name", "pii\u0000"),
        ("kek", huge), ("kek", "\u0000"), ("algorithm", "none"), ("extra", 1))]
    junk = [json.dumps(v).encode() for v in values]
    junk += [b"", b"\0", b"null", b"[" * 200_000, b'{"a":' * 40_000, b"\xff" * 100, b'"' + b"\\ud800" * 1000 + b'"', b"9" * 100_000,
             json.dumps(good).encode()[:-1], json.dumps({**good, "state": "destroyed", "wrapped": ""}).encode()]
    for label_ in (label(pii), "pii/0badbeef"):
        kafka.produce(k.keys, [{"key": label_, "value": v} for v in junk])
    labels = ["", "/", "pii", "pii/", "pii/xyz", "x" * 100_000, "!", "!root/", "!root/" + "0" * 32, "!destroyed/", "\0", "!lease\0",
              f"!destroyed/{pii['id']:08x}"]
    kafka.produce(k.keys, [{"key": x, "value": v} for x in labels for v in (b"{}", junk[-1], None)])
    # Roots: of 10,000 keys, of none, of another registry, of this one with one byte changed; and leases.
    many = [{"kek": f"kek{i}", "wrapped": "AAAA"} for i in range(10_000)]
    whole = json.loads(kept[root].value())
    roots = [{**whole, "registry_keys": many}, {**whole, "registry_keys": []}, {**whole, "epoch": "00" * 8},
             {**whole, "sequence": 2 ** 32 - 1}, {**whole, "registry_keys": whole["registry_keys"] * 5000},
             {**whole, "registry_keys": [{"kek": "local", "wrapped": base64.b64encode(os.urandom(12_000)).decode()}]}]
    kafka.produce(k.keys, [{"key": root, "value": json.dumps(r).encode()} for r in roots])
    others = [{**whole, "id": os.urandom(16).hex(), "registry_keys": [{"kek": "local", "wrapped": base64.b64encode(
        os.urandom(64)).decode()}]} for _ in range(100)]
    kafka.produce(k.keys, [{"key": "!root/" + r["id"], "value": json.dumps(r).encode()} for r in others])
    lie = json.loads(lease)
    for after in (-2, -1, 2 ** 62, 2 ** 63 - 1, 0):
        kafka.produce(k.keys, [{"key": "!lease", "value": json.dumps({**lie, "after": after}).encode()}])
    kafka.produce(k.keys, [{"key": "!lease", "value": v} for v in (lease, b"", None, b"{}", lease)])
    wait_for("all of it is passed over", lambda: count(k) >= base + 2 * len(junk) + len(roots), timeout=60)

    def mended():
        now = last(kafka, k)
        return (json.loads(now[label(pii)].value() or b"{}").get("wrapped") == good["wrapped"]
                and json.loads(now[root].value() or b"{}").get("registry_keys") == whole["registry_keys"])

    wait_for("mended", mended, timeout=40)
    works(k, kafka, 1)
    assert keys(k) == rows
    start = time.time()
    k.run(*apply_args(k), input=order(5).decode() + "\n", check=0)
    assert time.time() - start < 20
    assert k.stop() == 0


@pytest.mark.long(20)
@pytest.mark.parametrize("deltas", [[2**31 - 1], [5], [2**31 - 1, 0, 1, 2**31 - 2, 0, 0], [7, 0, 0, 0]], ids=str)
def test_offsets_that_lie(make_registry, kafka, deltas):  # noqa: F811
    """They end neither who runs nor who starts, and what is written behind them is read: here, a key's next version."""
    k = make_registry(topics=True)
    k.rules(ORDER_FIELDS)
    rows = keys(k)
    kept = last(kafka, k)
    pii = label(next(r for r in rows if r["name"] == "pii"))
    p = k.start()
    works(k, kafka, 0)
    before = ignored(k)["forged"]
    labels = [b"zz", pii.encode(), b"zy", next(x for x in kept if x.startswith("!root/")).encode()]
    written_by_hand(kafka, k.keys, [(d, b"{}", None, labels[i % 4]) for i, d in enumerate(deltas)])
    wait_for("counted", lambda: ignored(k)["forged"] >= before + len(deltas), timeout=30)
    assert re.search(r'event: registry_ignored detail="passed over: \d+ forged', p.log.read_text())
    time.sleep(2)  # it reads once a second
    works(k, kafka, 1)
    for _ in range(3):
        k.run("keys", "rotate", "pii", "--now", check=0)
        written_by_hand(kafka, k.keys, [(d, b"{}", None, b"zz") for d in deltas])
    now = keys(k)
    assert [r["version"] for r in now if r["name"] == "pii"] == [1, 2, 3, 4]
    works(k, kafka, 2)
    assert k.stop() == 0
    k.start()
    works(k, kafka, 3)
    sealed = json.loads(kafka.consume(k.secure, 4)[3].value())["card_number"]
    assert base64.b64decode(sealed)[1:5].hex() == f"{next(r['id'] for r in now if (r['name'], r['version']) == ('pii', 4)):08x}"
    assert k.stop() == 0


def wait_for_key(k, kafka, name, version):
    """Until a worker that has sent one record seals with it. Returns how many there are then."""
    newest = next(r for r in keys(k) if (r["name"], r["version"]) == (name, version))["id"]
    numbers = iter(range(1, 1000))

    def sealed_with_it():
        n = next(numbers)
        kafka.produce(k.topic, [order(n)])
        value = json.loads(kafka.consume(k.secure, n + 1)[n].value())["card_number"]
        return base64.b64decode(value)[1:5].hex() == f"{newest:08x}"
    wait_for("a record under it", sealed_with_it, interval=0.5, timeout=60)
    return next(numbers)


def test_an_offset_that_lies_below_the_end(make_registry, kafka):  # noqa: F811
    """Junk behind it reaches up to what it claims, and its batch comes alone: what a true writer wrote in between is read."""
    k = make_registry(topics=True)
    k.rules(ORDER_FIELDS)
    keys(k)
    p = k.start()
    works(k, kafka, 0)
    before = ignored(k)["forged"]
    p.send_signal(signal.SIGSTOP)
    try:
        written_by_hand(kafka, k.keys, [(0, b"{}", None, b"zz"), (40, b"{}", None, b"zy")])
        kafka.produce(k.keys, [{"key": b"zx", "value": b"x" * 900_000}])
        k.run("keys", "rotate", "pii", "--now", check=0)
        kafka.produce(k.keys, [{"key": b"zz", "value": b"{}"}] * 60)
    finally:
        p.send_signal(signal.SIGCONT)
    wait_for("counted", lambda: ignored(k)["forged"] > before, timeout=30)
    wait_for_key(k, kafka, "pii", 2)
    assert k.stop() == 0


@pytest.mark.long(60)
def test_batches_that_no_client_can_take_apart(make_registry, kafka):  # noqa: F811
    """In a topic that keeps what its writers compressed: of two members, with a length that is wrong, of 200 MB of zeros.
    Who runs and who starts passes over them, and sees what is written behind them."""
    k = make_registry(topics=True)
    k.rules(ORDER_FIELDS)
    k.config(kafka.bootstrap, registry=f"kafka:{k.keys}", extra=f"limits: {{memory: {LIMIT}MiB}}")
    keys(k)
    set_config(kafka, k.keys, "compression.type", "producer")
    k.binary = PLAIN
    p = k.start()
    works(k, kafka, 0)
    send_batch(kafka, k.keys, two_members(record_by_hand(0, b"{}", key=b"zz")), 1, GZIP)
    k.run("keys", "rotate", "pii", "--now", check=0)
    send_batch(kafka, k.keys, gzip.compress(record_by_hand(0, b"{}", key=b"zz", more=9)), 1, GZIP)
    bomb(kafka, k.keys, "gzip", 1, 200 * MIB, key=b"zz")
    k.run("keys", "rotate", "pii", "--now", check=0)
    sent = wait_for_key(k, kafka, "pii", 3)
    assert k.get("/readyz")[0] == 200 and p.log.read_text().count("passed over") >= 2
    assert peak_mib(p) <= 1.2 * LIMIT
    assert k.stop() == 0
    k.start()
    works(k, kafka, sent)
    assert k.stop() == 0


def test_an_insider_can_stop_keys_and_read_none(make_registry, kafka):  # noqa: F811
    """With the registry's secret, what is signed is still looked at: nothing crashes, nothing that ended comes back."""
    k = make_registry(topics=True)
    k.rules(ORDER_FIELDS)
    k.run("keys", "rotate", "pii", "--now", check=0)
    k.run("keys", "destroy", "pii@1", "--yes", "--now", check=0)
    rows = keys(k)
    insider = Insider(k, kafka)
    by = {(r["name"], r["version"]): json.loads(last(kafka, k)[label(r)].value()) for r in rows}
    for r in by.values():  # the insider signs as kveil does
        if r["algorithm"] == "aes-256-gcm":
            assert insider.sign(dict(r))["mac"] == r["mac"]
    ended, active, dead = by["pii", 1], by["pii", 2], by["dead-letters", 1]
    k.start()
    works(k, kafka, 0)
    before = count(k)
    # What was destroyed, alive again, with a key even.
    for state in ("live", "retired"):
        insider.put(k, kafka, insider.record(ended, key=os.urandom(32), state=state, sequence=1000))
    insider.put(k, kafka, insider.record(ended, key=os.urandom(32), state="live", sequence=1))
    # Another's wrapped key beside a name; numbers that nothing has.
    insider.put(k, kafka, insider.record(active, id="00000aaa", version=3, sequence=1, wrapped=dead["wrapped"]))
    for changed in ({"id": "00000000"}, {"id": "00000aab", "version": 0}, {"id": "00000aac", "version": 9, "sequence": 0}):
        insider.put(k, kafka, insider.record(active, key=os.urandom(32), **changed))
    wait_for("counted", lambda: count(k) >= before + 7, timeout=40)
    works(k, kafka, 1)
    assert [r for r in keys(k) if r["name"] == "pii"] == [r for r in rows if r["name"] == "pii"]
    # A number that is taken by what means nothing is passed: the next version has the one after it.
    insider.put(k, kafka, insider.record(dead, id="00000ab0", version=2, sequence=1, wrapped=active["wrapped"]))
    k.run("keys", "rotate", "dead-letters", "--now", check=0)
    assert sorted(r["version"] for r in keys(k) if r["name"] == "dead-letters") == [1, 3]
    # A rival of a version that there is loses; a version of their own is one, and says whose it is not.
    insider.put(k, kafka, insider.record(active, key=os.urandom(32), id="00000aad", sequence=1))
    works(k, kafka, 2)
    assert "00000aad" not in [f"{r['id']:08x}" for r in keys(k)]
    # The last number of all: what would follow is refused, and everything goes on.
    insider.put(k, kafka, insider.record(active, key=os.urandom(32), id="00000aae", version=2 ** 32 - 1, sequence=2 ** 32 - 1,
                                         state="opens-only"))
    wait_for("it is here", lambda: any(r["version"] == 2 ** 32 - 1 for r in keys(k)))
    r = k.run("keys", "rotate", "pii", "--now", check=2)
    assert "unsupported: " in r.stderr and "last version number" in r.stderr
    works(k, kafka, 3)
    k.run("keys", "destroy", "pii@4294967295", "--yes", "--now", check=0)
    # What no KEK opens: who runs goes on, who comes is told which one it is.
    insider.put(k, kafka, insider.record(active, id="00000aaf", version=77, sequence=1,
                                         wrapped=base64.b64encode(os.urandom(112)).decode()))
    time.sleep(3)
    kafka.produce(k.topic, [order(9)])
    kafka.consume(k.secure, 5)
    r = k.run("keys", "list", check=0)
    assert "wrong_kek: " in r.stderr and "version 77" in r.stderr and "unreachable" in r.stdout
    # Ended, it is in nobody's way any more.
    k.run("keys", "destroy", "pii@77", "--yes", "--now", check=0)
    assert [r["state"] for r in keys(k) if r["version"] == 77] == ["destroyed"]
    wait_for("ready", lambda: k.get("/readyz")[0] == 200)
    works(k, kafka, 10)
    assert k.stop() == 0


def test_a_faked_move_brings_nobody_to_seal(make_registry, kafka):  # noqa: F811
    """A version of an edge's, said to be under the centre's own KEK now: whoever made it knows the key."""
    k = make_registry(topics=True)
    k.rules('  - {path: "$.card_number", encrypt: {key: pii}}\n')
    insider = Insider(k, kafka)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "edge.key", "-out", "edge.pem", "-days", "9",
                    "-subj", "/CN=edge"], cwd=k.dir, check=True, capture_output=True)
    (k.dir / "edge.key").chmod(0o600)
    config = k.dir / "kveil.yaml"
    centre = config.read_text().replace("  data:", "    edge: {provider: rsa-oaep, certificate: edge.pem, private_key: edge.key}\n  data:", 1)
    config.write_text(centre.replace("pii: {algorithm: aes-256-gcm, kek: local", "pii: {algorithm: aes-256-gcm, kek: edge"))
    k.run("keys", "rotate", "pii", "--now", check=0)
    config.write_text(centre)
    own, edges = (next(r for r in keys(k, "pii") if r["version"] == v) for v in (1, 2))
    assert (edges["kek"], edges["state"]) == ("edge", "opens only")
    theirs = json.loads(last(kafka, k)[label(edges)].value())
    mine = json.loads(last(kafka, k)[label(own)].value())["wrapped"]

    def sealed_by():
        return {base64.b64decode(json.loads(m.value())["card_number"])[1:5] for m in kafka.consume(k.secure, kafka.end_offsets(k.secure)[0])}

    k.start()
    works(k, kafka, 0)
    for sequence, wrapped in ((1001, mine), (1002, base64.b64encode(os.urandom(112)).decode())):
        insider.put(k, kafka, insider.record(theirs, kek="local", sequence=sequence, wrapped=wrapped))
        before = count(k)
        damage(kafka, k, "pii/0000beef", b"{}")
        wait_for("it was read", lambda: count(k) > before, timeout=60)
        works(k, kafka, sequence)
        assert edges["id"].to_bytes(4, "big") not in sealed_by()
    assert k.stop() == 0
    # Nor who comes now.
    assert [r for r in keys(k, "pii") if r["id"] == edges["id"]][0]["state"] == "unreachable"
    r = k.run("apply", "-c", "kveil.yaml", "-r", f"rules/{k.name}.yaml", input=order(2).decode() + "\n")
    assert edges["id"].to_bytes(4, "big") not in [base64.b64decode(json.loads(line)["card_number"])[1:5] for line in r.stdout.splitlines()]


def test_a_lease_that_was_moved_or_forged(make_registry, kafka):  # noqa: F811
    """An old lease brought again gives nobody a number twice; one that says the log was copied stops all, until restored."""
    k = make_registry(config=EAGER)
    seen = set()
    first = None
    for i in range(4):
        out = k.run(*apply_args(k), input='{"v":"x"}\n', check=0).stdout
        box = base64.b64decode(json.loads(out)["v"])
        assert box[5:9] not in seen
        seen.add(box[5:9])
        leases = [m for m in messages(kafka, k) if m.key() == b"!lease"]
        first = first or leases[0].value()
        damage(kafka, k, "!lease", first if i % 2 else None)
    assert len(seen) == 4
    k.run("keys", "backup", "backup.json", check=0)
    insider = Insider(k, kafka)
    lease = json.loads(first)
    lease["after"] = 2 ** 62
    lease["mac"] = insider.mac("log", b"lease" + insider.id + bytes.fromhex(lease["epoch"]) + struct.pack(">q", lease["after"]))
    damage(kafka, k, "!lease", json.dumps(lease).encode())
    damage(kafka, k, "!lease", first)  # an old one behind it does not make it good
    r = k.run(*apply_args(k), input='{"v":"x"}\n')
    compacted_away = r.returncode == 0  # EAGER may have taken the evidence between the two
    assert compacted_away or (r.returncode == 2 and "registry_rolled_back: " in r.stderr and r.stdout == "")
    k.run("keys", "restore", "backup.json", check=0)
    out = k.run(*apply_args(k), input='{"v":"x"}\n', check=0).stdout
    assert base64.b64decode(json.loads(out)["v"])[5:9] not in seen


def test_a_rewrapped_registry_raises_no_alarm(make_registry, kafka):  # noqa: F811
    k = make_registry(topics=True)
    k.rules(ORDER_FIELDS)
    (k.dir / "kek2").write_bytes(os.urandom(32))
    (k.dir / "kek2").chmod(0o600)
    config = k.dir / "kveil.yaml"
    config.write_text(config.read_text().replace("  keks:\n", "  keks:\n    more: {provider: file, path: kek2}\n")
                      .replace("kek: local", "kek: more"))
    k.run("keys", "rewrap", check=0)
    k.run("keys", "retire", "pii", check=0)
    k.run("keys", "destroy", "pii@1", "--yes", "--now", check=0)
    k.start()
    works(k, kafka, 0)
    assert set(ignored(k).values()) == {0}
    assert k.stop() == 0


def test_an_insider_cannot_hold_up_names(make_registry, kafka):  # noqa: F811
    """Numbers of names that records give, taken ahead by what is signed and no key: each name goes on behind them, with one
    write, and nobody else waits."""
    k = make_registry(topics=True, data='''    "tenant-{{}}": {{algorithm: aes-256-gcm, kek: local}}
    "other-{{}}": {{algorithm: aes-256-gcm, kek: local}}'''.replace("{{", "{").replace("}}", "}"))
    k.rules('  - {path: "$.v", encrypt: {key: "tenant-{$.tenant}"}}\n')
    k.run(*apply_args(k), input='{"tenant":"first","v":"x"}\n', check=0)
    insider = Insider(k, kafka)
    first = insider.named("tenant-{}", "first")
    like = next(json.loads(m.value()) for x, m in last(kafka, k).items() if x.startswith(first))
    assert insider.sign(dict(like))["mac"] == like["mac"]
    wrapped = base64.b64decode(like["wrapped"])
    bad = {"long": dict(wrapped=wrapped + bytes(300)), "short": dict(wrapped=b"\1"), "moved": dict(wrapped=wrapped),
           "nobodys": dict(wrapped=b"\1\xde\xad\xbe\xef" + wrapped[5:]), "pattern": dict(kek="other-{}", wrapped=wrapped),
           "gone": dict(kek="gone-{}", wrapped=wrapped)}
    k.start()
    for n, (filling, changed) in enumerate(bad.items()):
        changed["wrapped"] = base64.b64encode(changed["wrapped"]).decode()
        name = insider.named("tenant-{}", filling)
        for version in (1, 2):
            insider.put(k, kafka, insider.record(like, name=name, id=f"{n:04x}{version:04x}", version=version, sequence=1, **changed))
    for shape in ("tenant-", "tenant-" + "z" * 32, "tenant-" + "0" * 31, "x" + first):
        insider.put(k, kafka, insider.record(like, name=shape, id=os.urandom(4).hex(), sequence=1))
    wait_for("counted", lambda: ignored(k)["forged"] >= 2 * 3 + 4, timeout=40)
    fillings = [*bad, *(f"good{i}" for i in range(20))]
    kafka.produce(k.topic, [json.dumps({"tenant": t, "v": f"{t}.{i}"}).encode() for i in range(3) for t in fillings])
    got = kafka.consume(k.secure, 3 * len(fillings))
    assert kafka.end_offsets(k.dead) == {0: 0}
    ids = {}
    for m in got:
        r = json.loads(m.value())
        ids.setdefault(r["tenant"], set()).add(base64.b64decode(r["v"])[1:5].hex())
    assert all(len(i) == 1 for i in ids.values()) and len(ids) == len(fillings)
    written = [m.key().decode() for m in messages(kafka, k)]
    for t in fillings:
        assert len([x for x in written if x.startswith(insider.named("tenant-{}", t))]) == (3 if t in bad else 1)
    # Whoever comes later agrees, and opens; one that is destroyed ends with what stood before it.
    k.rules('  - {path: "$.v", decrypt: {key: "tenant-{$.tenant}"}}\n', file="open.yaml")
    opened = k.run("apply", "-c", "kveil.yaml", "-r", "rules/open.yaml", input="".join(m.value().decode() + "\n" for m in got),
                   check=0).stdout
    assert [json.loads(x)["v"].split(".")[0] for x in opened.splitlines()] == [json.loads(x)["tenant"] for x in opened.splitlines()]
    k.run("keys", "destroy", "tenant-long", "--yes", "--now", check=0)
    r = k.run(*apply_args(k), input='{"tenant":"long","v":"x"}\n')
    assert r.returncode == 1 and "key_destroyed" in r.stderr
    assert k.stop() == 0


def false_root(root):
    """Well-formed, and no KEK opens it."""
    wrapped = [{"kek": r["kek"], "wrapped": base64.b64encode(os.urandom(64)).decode()} for r in root["registry_keys"]]
    f = {**root, "id": os.urandom(16).hex(), "registry_keys": wrapped}
    return {"key": f"!root/{f['id']}", "value": json.dumps(f).encode()}


def test_a_flood_of_false_roots(make_registry, kafka):  # noqa: F811
    k = make_registry(init=False)
    registry_id = re.search(r"registry_id: (\w{32})", k.run("keys", "init", "-c", "kveil.yaml", check=0).stdout)[1]
    rows = keys(k)
    k.run("keys", "backup", "backup", "-c", "kveil.yaml", check=0)
    kept = messages(kafka, k)
    root = json.loads(next(m.value() for m in kept if m.key().decode().startswith("!root/")))
    # As compaction leaves it where the true root was overwritten and mended: behind the false ones.
    k.keys += ".flooded"
    kafka.create(k.keys, config={"cleanup.policy": "compact"})
    kafka.produce(k.keys, [false_root(root) for _ in range(64)])
    kafka.produce(k.keys, [{"key": m.key(), "value": m.value()} for m in kept])
    text = (k.dir / "kveil.yaml").read_text()
    text = re.sub(r"registry: .*", f"registry: kafka:{k.keys}", text)
    (k.dir / "kveil.yaml").write_text(text)
    why = k.run("keys", "list", check=2).stderr
    assert "flooded" in why and "keys.registry_id" in why

    # Whoever knows the id finds it.
    (k.dir / "kveil.yaml").write_text(text.replace("registry: ", f"registry_id: {registry_id}\n  registry: "))
    assert keys(k) == rows
    (k.dir / "kveil.yaml").write_text(text.replace("registry: ", f"registry_id: {'0' * 32}\n  registry: "))
    assert "no key registry" in k.run("keys", "list", check=2).stderr

    # restore mends it for everybody.
    (k.dir / "kveil.yaml").write_text(text)
    k.run("keys", "restore", "backup", "-c", "kveil.yaml", check=0)
    assert {r["id"] for r in rows} <= {r["id"] for r in keys(k)}


def test_a_start_while_somebody_writes_on_and_on(make_registry, kafka):  # noqa: F811
    k = make_registry()
    end = threading.Event()

    def write():
        p = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 1, "acks": 1})
        while not end.is_set():
            for _ in range(30):
                p.produce(k.keys, key="junk", value=b"x" * 20)
            p.poll(0)
            end.wait(0.002)
        p.flush(10)
    writer = threading.Thread(target=write)
    writer.start()
    try:
        wait_for("junk", lambda: kafka.end_offsets(k.keys)[0] > 5000)
        # However slow the reader is, and wherever the end goes meanwhile.
        r = k.run("keys", "list", "--json", check=0, env={**os.environ, "KVEIL_FAILPOINT": "slow-registry"})
        assert len(json.loads(r.stdout)) == 3
    finally:
        end.set()
        writer.join()
