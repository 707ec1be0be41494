# SPDX-License-Identifier: Apache-2.0
"""A KEK that is to open nothing any more: `kveil keys evict`, on both registries, while workers run, killed, and attacked by
whoever kept the KEK."""
import base64
import hashlib
import hmac
import json
import os
import pathlib
import signal
import struct
import subprocess
import time

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap_with_padding

from conftest import wait_for
from test_keys_commands import EAGER, apply, make, rows, rules_for, start, states  # noqa: F401 (a fixture)
from test_keys_history import history

STEPS = ("evict-root", "evict-records", "evict-signed", "evict-root-again")
STATES = {"live": 1, "opens-only": 2, "retired": 3, "destroyed": 4}


def evict(k, *args, check=0, kek="local"):
    return k.run("keys", "evict", kek, "--yes", *args, check=check, stdin=subprocess.DEVNULL)


def moved(make, **kw):
    """Everything under the new KEK, but for the registry's own secret, which both open; and a value from before."""
    k = make(**kw)
    sealed = apply(k, rules_for(k, "e.yaml", "encrypt"), '{"v":"before"}\n').stdout
    rules_for(k, "d.yaml", "decrypt")
    k.configure("new")
    k.run("keys", "rewrap", check=0)
    return k, sealed


def roots(k):
    """Whatever roots the registry has now."""
    if not k.keys:
        return [json.loads((k.dir / "keys.json").read_text())]
    last = {}
    for m in k.kafka.consume(k.keys, 1, settle=0.3):
        if m.key() and m.key().startswith(b"!root/"):
            last[m.key()] = m.value()
    return [json.loads(v) for v in last.values() if v]


def opens_root(kek, root):
    payloads = []
    for e in root["registry_keys"]:
        try:
            payloads.append(aes_key_unwrap_with_padding(kek, base64.b64decode(e["wrapped"])))
        except InvalidUnwrap:
            pass
    return payloads


def check_works(k, *sealed, raced=False):
    """With the new KEK alone, somebody who starts now opens what was sealed, seals, and finds nothing missing."""
    k.configure("new", keks=("new",))
    for line in sealed:
        assert "before" in apply(k, "d.yaml", line).stdout
    again = apply(k, "e.yaml", '{"v":"before"}\n').stdout
    assert "before" in apply(k, "d.yaml", again).stdout
    r = k.run("keys", "list", check=0)
    assert (raced or "forged" not in r.stderr) and "unreachable" not in r.stdout
    k.run("keys", "history", check=0)


def test_an_evicted_kek_opens_and_writes_nothing_any_more(make):
    k, sealed = moved(make)
    old = (k.dir / "kek-local").read_bytes()
    before = roots(k)[0]
    assert opens_root(old, before)
    k.run("keys", "destroy", "pepper", "--now", "--yes", "--certificate", "c.json", check=0)
    k.run("keys", "backup", "b.json", check=0)
    events = history(k)
    # Where nobody can be asked it needs --yes.
    assert k.run("keys", "evict", "local", stdin=subprocess.DEVNULL).returncode == 2
    text = evict(k).stdout
    assert "local: evicted; the registry has a new secret, and 2 keys have a new version" in text
    registry_id = text.split("registry_id: ")[1].split()[0]
    assert registry_id.endswith(".1")
    after = roots(k)
    assert len(after) == 1 and after[0]["secret"]["number"] == 1 and after[0]["id"] == before["id"]
    assert [e["kek"] for e in after[0]["registry_keys"]] == ["new"] and not opens_root(old, after[0])
    assert states(k, "pii") == {1: "active", 2: "pending"}
    # The history is the same events, and one more; what was certified before is certified now.
    again = history(k)
    assert [e["sequence"] for e in again[:len(events)]] == [e["sequence"] for e in events]
    assert {e["event"] for e in again[len(events):]} >= {"kek_evicted", "key_created"}
    k.run("keys", "verify", "c.json", check=0)
    bent = json.loads((k.dir / "c.json").read_text())
    (k.dir / "bent.json").write_text("[\n  " + json.dumps({**bent[0], "user": "somebody"}, separators=(",", ":")) + "\n]\n")
    (k.dir / "bent.json").chmod(0o600)
    assert k.run("keys", "verify", "bent.json").returncode == 1
    # A backup from before displaces nothing.
    k.run("keys", "restore", "b.json", check=0)
    assert roots(k)[0]["secret"] == after[0]["secret"] and not list(k.dir.glob("*.damaged-*"))
    check_works(k, sealed)
    # Whoever has the old KEK alone reads nothing.
    k.configure("local", keks=("local",))
    r = k.run("keys", "list")
    assert r.returncode == 2 and "wrong_kek" in r.stderr
    # With the number in the configuration it goes on; a registry that is behind that number does not count.
    k.configure("new", keks=("new",))
    path = k.dir / "kveil.yaml"
    path.write_text(path.read_text().replace("  registry: ", f"  registry_id: {registry_id}\n  registry: "))
    k.run("keys", "list", check=0)
    path.write_text(path.read_text().replace(registry_id, registry_id.replace(".1", ".2")))
    assert k.run("keys", "list").returncode == 2


def secret_of(payload):
    assert payload[:4] == b"KVR1"
    return payload[4:20], payload[20:52]


def forged(root_payload, record, **changed):
    """A record that whoever has the old secret signs."""
    registry, secret = secret_of(root_payload)
    r = {**record, **changed}
    wrapped = base64.b64decode(r["wrapped"])
    text = b"".join(struct.pack(">I", len(r[x])) + r[x].encode() for x in ("name", "kek"))
    text += bytes.fromhex(r["id"]) + struct.pack(">IIHB", r["version"], r["sequence"], 1, STATES[r["state"]])
    text += b"".join(struct.pack(">q", r[x]) for x in ("created", "active", "expires", "changed"))
    key = HKDF(SHA256(), 32, salt=None, info=b"kveil registry record").derive(secret)
    mac = hmac.new(key, registry + text + struct.pack(">I", len(wrapped)) + wrapped, hashlib.sha256).digest()
    return {**r, "mac": base64.b64encode(mac).decode()}


def last_messages(k):
    last = {}
    for m in k.kafka.consume(k.keys, 1, settle=0.3):
        if m.key():
            last[m.key().decode()] = m.value()
    return last


# A file's registry is one document: the unit tests put an older one back.
@pytest.mark.parametrize("make", ["kafka"], indirect=True)
def test_whoever_kept_the_kek_retires_and_destroys_nothing(make):
    k, sealed = moved(make)
    old = (k.dir / "kek-local").read_bytes()
    root_label, root = next((x, v) for x, v in last_messages(k).items() if x.startswith("!root/"))
    payload = opens_root(old, json.loads(root))[0]
    label, record = next((x, json.loads(v)) for x, v in last_messages(k).items() if x.startswith("pii/"))
    fake = forged(payload, record, sequence=9, state="retired")
    evict(k)
    k.kafka.produce(k.keys, [{"key": label, "value": json.dumps(fake).encode()},
                             {"key": "!destroyed/" + record["id"],
                              "value": json.dumps(forged(payload, record, sequence=9, state="destroyed", wrapped="")).encode()},
                             {"key": root_label, "value": root}])
    k.configure("new", keks=("new",))
    r = k.run("keys", "list", check=0)
    assert states(k, "pii") == {1: "active", 2: "pending"} and "forged" in r.stderr
    assert "before" in apply(k, "d.yaml", sealed).stdout
    assert roots(k)[-1]["secret"]["number"] == 1


# A file's steps are the unit tests'.
@pytest.mark.parametrize("make", ["kafka"], indirect=True)
@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_it_is_whole_and_can_be_done_again(make, step):
    k, sealed = moved(make, config=EAGER)
    r = k.run("keys", "evict", "local", "--yes", stdin=subprocess.DEVNULL, env={**os.environ, "KVEIL_FAILPOINT": step})
    if r.returncode != -signal.SIGKILL:
        pytest.skip("a build without failpoints")
    check_works(k, sealed)
    k.configure("local", keks=("local",))
    k.run("keys", "list", check=2 if step == "evict-root-again" else None)
    k.configure("new")
    evict(k)
    check_works(k, sealed)
    assert [r["secret"]["number"] for r in roots(k)] == [2]
    old = (k.dir / "kek-local").read_bytes()
    assert not any(opens_root(old, root) for root in roots(k))


def test_two_at_one_moment(make):
    k, sealed = moved(make)
    processes = [start(k, "evict", "local", "--yes") for _ in range(3)]
    codes = [(p.communicate(timeout=120), p.returncode) for p in processes]
    assert any(code == 0 for _, code in codes), codes
    for (_, stderr), code in codes:
        # The third may find that the secret moved on twice since it looked: it says that a new start reads it.
        assert code == 0 or any(x in stderr for x in ("run it again", "no KEK", "a process that starts now reads it")), stderr
    # What one of them wrote just after another's new root is signed by a secret that no longer counts.
    check_works(k, sealed, raced=True)


def is_stopped(p):
    return pathlib.Path(f"/proc/{p.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"


@pytest.mark.parametrize("make", ["kafka"], indirect=True)
def test_what_was_signed_before_an_eviction_and_written_after_it_counts(make):
    k, sealed = moved(make)
    p = start(k, "destroy", "pepper", "--now", "--yes", env={**os.environ, "KVEIL_FAILPOINT": "stop-signed"})
    wait_for("it has signed a record", lambda: is_stopped(p))
    evict(k)
    while p.poll() is None:
        if is_stopped(p):
            os.kill(p.pid, signal.SIGCONT)
        time.sleep(0.05)
    assert p.returncode == 0, p.communicate()
    assert states(k, "pepper")[1] == "destroyed"
    check_works(k, sealed, raced=True)


def test_workers_follow_and_lose_nothing(make):
    k, _ = moved(make, topics=True)
    k.start()
    values = [f"v{i}" for i in range(200)]
    k.kafka.produce(k.topic, [json.dumps({"v": v}).encode() for v in values[:100]])
    wait_for("half of them", lambda: k.kafka.end_offsets(k.secure)[0] >= 100)
    evict(k)
    k.run("keys", "rotate", "pii", "--now", check=0)
    newest = max(r["id"] for r in rows(k) if r["name"] == "pii" and r["version"] == 3)

    def seals_with_it():
        k.kafka.produce(k.topic, [json.dumps({"v": "more"}).encode()])
        last = k.kafka.consume(k.secure, 1, settle=0.2)[-1]
        return int.from_bytes(base64.b64decode(json.loads(last.value())["v"])[1:5], "big") == newest

    k.kafka.produce(k.topic, [json.dumps({"v": v}).encode() for v in values[100:]])
    wait_for("the worker has the new version, which the new secret signed", seals_with_it, timeout=90, interval=1)
    assert k.get("/readyz")[0] == 200 and k.metric("kveil_registry_records_ignored_total") == 0
    assert k.stop() == 0
    k.configure("new", keks=("new",))
    sealed = "".join(m.value().decode() + "\n" for m in k.kafka.consume(k.secure, len(values), settle=0.5))
    opened = [json.loads(x)["v"] for x in apply(k, rules_for(k, "d.yaml", "decrypt"), sealed).stdout.splitlines()]
    assert [v for v in opened if v != "more"] == values
    assert k.kafka.end_offsets(k.dead)[0] == 0


def test_an_evicted_kek_that_is_still_configured_does_not_come_back(make):
    k, sealed = moved(make)
    evict(k)

    def keks():
        return [e["kek"] for e in sorted(roots(k), key=lambda r: r.get("secret", {}).get("number", 0))[-1]["registry_keys"]]

    number = roots(k)[-1]["secret"]["number"]
    assert keks() == ["new"]
    # The configuration still has both.
    for args, code in ((["rewrap"], 0), (["init"], 2)):
        r = k.run("keys", *args, check=code)
        assert "KEK 'local' was evicted from this registry" in r.stderr and "keys.keks" in r.stderr
        assert keks() == ["new"]
    for kek in ("local", "nosuch"):
        assert "not_found: " in evict(k, check=2, kek=kek).stderr
        assert keks() == ["new"] and roots(k)[-1]["secret"]["number"] == number
    k.configure("local", keks=("local",))
    assert "wrong_kek" in k.run("keys", "list", check=2).stderr
    check_works(k, sealed)


def test_what_is_needed_is_not_evicted(make):
    k = make()
    for kek, why in (("local", "under KEK 'local' in the configuration"), ("nobody", "no KEK 'nobody'")):
        assert why in evict(k, check=2, kek=kek).stderr
    k.configure("new")
    assert "still wraps 3 versions" in evict(k, check=2).stderr and roots(k)[0].get("secret") is None


def test_after_an_eviction_a_name_that_nobody_has_is_refused(make):
    k, _ = moved(make)
    evict(k)
    k.configure("new", keks=("new",))
    for name in ("locla", "local"):
        assert f"no KEK '{name}'" in evict(k, check=2, kek=name).stderr
    assert [r["secret"]["number"] for r in roots(k)] == [1] and max(states(k, "pii")) == 2
