# SPDX-License-Identifier: Apache-2.0
"""`also:` under keys.data: a second KEK that wraps every version, for the day when the first is lost; on both registries."""
import base64
import json
import os
import struct
import subprocess
import sys

import pytest

from conftest import ROOT
from test_keys_commands import apply, make, rows, rules_for, states  # noqa: F401 (a fixture)
from test_keys_evict import evict, forged, last_messages, opens_root

DATA = "    tenant-{}: {algorithm: aes-256-gcm, kek: local}\n"


def with_second(k, kek="local", also="new", **more):
    """Every key under both."""
    k.configure(kek, **more)
    path = k.dir / "kveil.yaml"
    path.write_text(path.read_text().replace(f"kek: {kek}", f"kek: {kek}, also: {also}"))


def keks(k, name="pii"):
    return {r["version"]: (r["kek"], r.get("also")) for r in rows(k) if r["name"] == name}


def test_a_key_outlives_either_kek(make):
    k = make(data=DATA)
    encrypt, decrypt = rules_for(k, "e.yaml", "encrypt"), rules_for(k, "d.yaml", "decrypt")
    named = rules_for(k, "t.yaml", "encrypt", '"tenant-{$.t}"')
    lines = [apply(k, encrypt, '{"v":"one"}\n').stdout]
    # The versions from before come under both, the next are so.
    with_second(k)
    k.run("keys", "rewrap", check=0)
    k.run("keys", "rotate", "pii", "--now", check=0)
    assert keks(k) == {1: ("local", "new"), 2: ("local", "new")} and keks(k, "tenant-{}") == {1: ("local", "new")}
    assert json.loads(k.run("keys", "rewrap", "--json", check=0).stdout)["wrapped_anew"] == 0
    lines.append(apply(k, encrypt, '{"v":"two"}\n').stdout)
    apply(k, named, '{"v":"x","t":"acme"}\n')
    k.run("keys", "backup", "b.json", check=0)
    # By somebody without kveil, with either of them.
    (k.dir / "wrong").write_bytes(os.urandom(32))
    for given in (["local=kek-local"], ["new=kek-new"], ["local=wrong", "new=kek-new"], ["new=wrong", "local=kek-local"]):
        r = subprocess.run([sys.executable, ROOT / "docs" / "open" / "escrow.py", "b.json", *given], cwd=k.dir,
                           capture_output=True, text=True, timeout=60)
        assert r.returncode == 0 and r.stderr == "" and len(r.stdout.splitlines()) == len(rows(k)) + 1, r.stderr
    # The first is lost: its name is nowhere, the second is the key's own now.
    k.configure("new", keks=("new",))
    assert states(k, "pii") == {1: "previous", 2: "active"}
    state = json.loads(k.run("keys", "verify", "b.json", "--json", check=0).stdout)
    assert state["opened"] == state["versions"] and state["unreachable"] == 0
    for line, value in zip(lines, ("one", "two")):
        assert json.loads(apply(k, decrypt, line).stdout) == {"v": value}
    k.run("keys", "rewrap", check=0)
    assert keks(k) == {1: ("new", None), 2: ("new", None)}
    # And back, by the first alone, out of the backup.
    k.configure("local", keks=("local",))
    assert set(states(k, "pii").values()) == {"unreachable"}
    if not k.keys:
        for name in ("keys.json", ".keys.json.mark"):
            (k.dir / name).unlink()
        k.run("keys", "restore", "b.json", check=0)
        assert json.loads(apply(k, decrypt, lines[1]).stdout) == {"v": "two"}


def test_a_second_kek_is_no_leftover(make):
    """It is not evicted while anything is under it."""
    k = make()
    with_second(k)
    k.run("keys", "rewrap", check=0)
    assert "under KEK 'new' in the configuration" in evict(k, check=2, kek="new").stderr
    k.configure("local")
    assert "KEK 'new' still wraps 3 versions" in evict(k, check=2, kek="new").stderr
    k.run("keys", "rewrap", check=0)
    assert keks(k) == {1: ("local", None)}
    evict(k, kek="new")
    k.configure("local", keks=("local",))
    assert states(k, "pii") == {1: "active", 2: "pending"}


def test_mistakes_are_told(make):
    k = make()
    path = k.dir / "kveil.yaml"
    for also, word in (("neu", "did you mean 'new'?"), ("local", "is another KEK than `kek`")):
        with_second(k, also=also)
        r = k.run("check", "-c", "kveil.yaml", check=1)
        assert word in r.stdout + r.stderr
    long = "k" * 60
    with_second(k, also=long)
    path.write_text(path.read_text().replace("    new: {provider", f"    {long}: {{provider"))
    r = k.run("check", "-c", "kveil.yaml", check=1)
    assert "more than 63 characters together" in r.stdout + r.stderr


# A file's registry is one document, which nobody else writes to.
@pytest.mark.parametrize("make", ["kafka"], indirect=True)
def test_what_the_second_alone_opened_never_seals(make):
    """Whoever has its certificate and the registry's secret can wrap a key of their own under it."""
    k = make()
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:3072", "-nodes", "-keyout", "safe.key", "-out", "safe.pem",
                    "-days", "90", "-subj", "/CN=safe"], cwd=k.dir, check=True, capture_output=True)
    (k.dir / "safe.key").chmod(0o600)
    path = k.dir / "kveil.yaml"
    first = "    local: {provider: file, path: kek-local}\n"
    safe = "    safe: {provider: rsa-oaep, certificate: safe.pem%s}\n"
    plain = path.read_text()
    assert first in plain
    path.write_text(plain.replace(first, first + safe % "").replace("kek: local", "kek: local, also: safe"))
    k.run("keys", "rotate", "pii", "--now", check=0)
    assert keks(k)[2] == ("local", "safe")
    encrypt, decrypt = rules_for(k, "e.yaml", "encrypt"), rules_for(k, "d.yaml", "decrypt")
    sealed = apply(k, encrypt, '{"v":"mine"}\n').stdout
    # The same version with nothing that the first KEK opens.
    label, record = next((x, json.loads(v)) for x, v in last_messages(k).items()
                         if x.startswith("pii/") and json.loads(v)["version"] == 2)
    root = json.loads(next(v for x, v in last_messages(k).items() if x.startswith("!root/")))
    payload = opens_root((k.dir / "kek-local").read_bytes(), root)[0]
    wrapped = base64.b64decode(record["wrapped"])
    end = 4 + struct.unpack(">I", wrapped[:4])[0]
    bent = base64.b64encode(wrapped[:4] + os.urandom(end - 4) + wrapped[end:]).decode()
    fake = forged(payload, record, sequence=9, wrapped=bent)
    k.kafka.produce(k.keys, [{"key": label, "value": json.dumps(fake).encode()}])
    # Here nothing opens it; where the safe is open it opens what was sealed, and seals nothing.
    assert states(k, "pii") == {1: "active", 2: "unreachable"}
    path.write_text(path.read_text().replace(safe % "", safe % ", private_key: safe.key"))
    assert states(k, "pii") == {1: "active", 2: "opens only"}
    assert json.loads(apply(k, decrypt, sealed).stdout) == {"v": "mine"}
    # As the key's own KEK it is what the officer says it is.
    path.write_text(path.read_text().replace("kek: local, also: safe", "kek: safe"))
    assert states(k, "pii")[2] == "active"
