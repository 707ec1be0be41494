# SPDX-License-Identifier: Apache-2.0
"""Keys named from the record: moved, killed, destroyed, restored and exported while others work, on both registries.

KVEIL_NAMED_KEYS=5000 is the long form."""
import base64
import json
import os
import random
import signal
import subprocess
import time
import uuid

import pytest
from conftest import KVEIL, wait_for

COUNT = int(os.environ.get("KVEIL_NAMED_KEYS", "300"))
PATTERN = '    "tenant-{}": {algorithm: aes-256-gcm, kek: local, new_per_second: 100000, rotate_every: 24h}'


@pytest.fixture(params=["file", "kafka"])
def make(request, make_kveil, kafka):
    def make():
        k = make_kveil()
        k.keys = None if request.param == "file" else "kveil.keys." + uuid.uuid4().hex[:8]
        k.kafka = kafka
        k.config(kafka.bootstrap, registry=f"kafka:{k.keys}" if k.keys else "file:keys.json", data=PATTERN)
        (k.dir / "apply").mkdir()
        for file, action in {"rules/run": "encrypt", "apply/seal": "encrypt", "apply/open": "decrypt"}.items():
            k.rules(f'  - {{path: "$.v", {action}: {{key: "tenant-{{$.tenant}}"}}}}\n', file=f"../{file}.yaml")
        return k.init()

    return make


def start(k, *args):
    return subprocess.Popen([str(KVEIL), "keys", *args], cwd=k.dir, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def run(k, file, records):
    """The records that came out, and what was said."""
    text = "".join(json.dumps(r) + "\n" for r in records)
    r = k.run("apply", "-c", "kveil.yaml", "-r", f"apply/{file}.yaml", input=text)
    return [json.loads(x) for x in r.stdout.splitlines()], r.stderr


def seal_by_worker(k, names):
    """In a worker, which makes many keys at once."""
    k.start()
    k.kafka.produce(k.topic, [json.dumps(r) for r in records_of(names)])
    sealed = [json.loads(m.value()) for m in k.kafka.consume(k.secure, len(names), timeout=120)]
    assert k.stop() == 0
    return sealed


def records_of(names):
    return [{"tenant": n, "v": f"value of {n}"} for n in names]


def registry(k):
    """What the registry itself holds of names from records: for each id the record that compaction would leave."""
    if not k.keys:
        found = json.loads((k.dir / "keys.json").read_text())["keys"]
    else:
        last = {}
        for m in k.kafka.consume(k.keys, 1, settle=0.5):
            if m.key() and not m.key().startswith(b"!") and m.value():
                last[m.key()] = json.loads(m.value())
        found = last.values()
    return [r for r in found if r["kek"] == "tenant-{}"]


def position(k):
    """Grows with whatever is written to the registry."""
    return k.kafka.end_offsets(k.keys)[0] if k.keys else (k.dir / "keys.json").stat().st_mtime_ns


def wrapper(r):
    return int.from_bytes(base64.b64decode(r["wrapped"])[1:5], "big")


def test_rewrap_of_many_names_is_killed_and_goes_on(make):
    k, rng = make(), random.Random(4711)
    names = [f"n{i}" for i in range(COUNT)]
    sealed = seal_by_worker(k, names)
    k.run("keys", "rotate", "tenant-{}", "--now", check=0)
    new = json.loads(k.run("keys", "list", "tenant-{}", "--json", check=0).stdout)[-1]["id"]
    left, ended, moved = list(names), [], []
    for _ in range(4):
        before = position(k)
        p = start(k, "rewrap")
        others = []
        if len(moved) % 2 == 0:
            now = [left.pop(rng.randrange(len(left))) for _ in range(2)]
            others = [start(k, "destroy", f"tenant-{n}", "--yes", "--now") for n in now]
            ended += now
        wait_for("it began", lambda: position(k) > before, interval=0.01)
        time.sleep(rng.random() * COUNT / 8000)
        p.send_signal(signal.SIGKILL)
        p.communicate()
        for o in others:
            _, err = o.communicate(timeout=60)
            assert o.returncode == 0, err
        moved.append(sum(r["state"] == "live" and wrapper(r) == new for r in registry(k)))
    # Who would end the old version now hears how many keys go with it.
    r = k.run("keys", "destroy", "tenant-{}@1", stdin=subprocess.DEVNULL)
    wraps = len(left) - moved[-1]
    assert r.returncode == 2 and (f"It wraps {wraps} key{'s' if wraps > 1 else ''} now: `kveil keys rewrap`" in r.stderr) == (wraps > 0)
    out = k.run("keys", "rewrap", check=0).stdout
    kept = registry(k)
    live = [r for r in kept if r["state"] == "live"]
    assert len(live) == len(left) and {wrapper(r) for r in live} == {new}
    assert not [r for r in kept if r["state"] == "destroyed" and r["wrapped"]]
    assert int(out.split()[0]) == wraps
    assert k.run("keys", "rewrap", check=0).stdout == "0 versions wrapped anew\n"
    # The old version of the pattern's own key is needed for nothing any more.
    assert "It wraps" not in k.run("keys", "destroy", "tenant-{}@1", "--yes", "--now", check=0).stderr
    opened, err = run(k, "open", sealed)
    assert opened == records_of(n for n in names if n not in ended)
    assert err.count("key_destroyed") == len(ended)
    again, err = run(k, "seal", records_of(ended + left[:3]))
    assert [r["tenant"] for r in again] == left[:3] and err.count("key_destroyed") == len(ended)


def sealed_with(record):
    """(key id, nonce)"""
    b = base64.b64decode(record["v"])
    return b[1:5], b[5:17]


def states(k, name):
    return [(r["version"], r["state"]) for r in json.loads(k.run("keys", "list", name, "--json", check=0).stdout)]


def test_restored_names_open_and_seal_anew(make):
    k = make()
    names = [f"n{i}" for i in range(30)]
    old = seal_by_worker(k, names)
    k.run("keys", "destroy", f"tenant-{names[0]}", "--yes", "--now", check=0)
    k.run("keys", "retire", f"tenant-{names[1]}", check=0)
    k.run("keys", "backup", "backup.json", check=0)
    # Into a registry that is whole: nothing changes.
    k.run("keys", "restore", "backup.json", check=0)
    assert states(k, f"tenant-{names[2]}") == [(1, "active")]
    late, err = run(k, "seal", records_of(["late", names[2]]))
    assert sealed_with(late[1])[0] == sealed_with(old[2])[0]
    # What a backup never had is gone with the registry.
    if k.keys:
        k.kafka.admin.delete_topics([k.keys])[k.keys].result(30)
        wait_for("gone", lambda: k.keys not in k.kafka.admin.list_topics().topics)
    else:
        (k.dir / "keys.json").unlink()
    assert "registry_missing" in run(k, "open", old)[1]
    k.run("keys", "restore", "backup.json", check=0)
    assert states(k, f"tenant-{names[0]}") == [(1, "destroyed")]
    assert states(k, f"tenant-{names[1]}") == [(1, "retired")]
    assert states(k, f"tenant-{names[2]}") == [(1, "opens only")]
    opened, err = run(k, "open", old)
    assert opened == records_of(names[1:]) and err.count("key_destroyed") == 1
    assert "unknown_key" in run(k, "open", late[:1])[1]
    assert run(k, "open", late[1:])[0] == records_of([names[2]])
    # Sealed with new keys, and so with no nonce twice, in several processes that take leases from the beginning again.
    new = []
    for _ in range(2):
        made, err = run(k, "seal", records_of(names[:20]))
        assert [r["tenant"] for r in made] == names[1:20] and err.count("key_destroyed") == 1
        new += made
    assert not {sealed_with(r)[0] for r in new} & {sealed_with(r)[0] for r in old + late}
    assert len({sealed_with(r) for r in new + old + late}) == len(new + old + late)
    assert states(k, f"tenant-{names[2]}") == [(1, "opens only"), (2, "active")]
    assert run(k, "open", new)[0] == records_of(names[1:20] * 2)
    # The restored ones move to a new version of the pattern's own key like all others.
    k.run("keys", "rotate", "tenant-{}", "--now", check=0)
    k.run("keys", "rewrap", check=0)
    k.run("keys", "destroy", "tenant-{}@1", "--yes", "--now", check=0)
    assert run(k, "open", old[1:] + new)[0] == records_of(names[1:] + names[1:20] * 2)


@pytest.mark.parametrize("make", ["kafka"], indirect=True)
def test_an_export_follows_a_name(make):
    from tink import aead, json_proto_keyset_format, secret_key_access
    aead.register()
    k = make()
    sealed, _ = run(k, "seal", records_of(["acme"]))
    p = start(k, "export", "--tink", "tenant-acme", "--clear", "--follow", "set.json")
    path = k.dir / "set.json"
    wait_for("the file", path.exists)

    def ids():
        return [key["keyId"] for key in json.loads(path.read_text())["key"]]

    assert len(ids()) == 1 and path.stat().st_mode & 0o777 == 0o600
    for n in (2, 3):
        k.run("keys", "rotate", "tenant-acme", "--now", check=0)
        wait_for("the next version", lambda: len(ids()) == n)
        sealed += run(k, "seal", records_of(["acme"]))[0]
        # Other names change nothing in it.
        before = path.stat()
        run(k, "seal", records_of([f"globex{n}"]))
        time.sleep(1.2)
        assert path.stat().st_ino == before.st_ino
    opener = json_proto_keyset_format.parse(path.read_text(), secret_key_access.TOKEN).primitive(aead.Aead)
    for r in sealed:
        assert opener.decrypt(base64.b64decode(r["v"]), f"{k.name}:$['v']".encode()) == b"value of acme"
    assert json.loads(path.read_text())["primaryKeyId"] == int.from_bytes(sealed_with(sealed[-1])[0], "big")
    p.send_signal(signal.SIGTERM)
    out, err = p.communicate(timeout=20)
    assert p.returncode == 0 and out == "" and "in clear" in err and "acme" not in err
    assert not (k.dir / ".set.json.tmp").exists()
