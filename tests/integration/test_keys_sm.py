# SPDX-License-Identifier: Apache-2.0
"""A registry with SM keys alone has HMAC-SM3 as its own MAC, as gmssl computes it; any other has HMAC-SHA-256."""
import base64
import hashlib
import hmac
import json
import pathlib
import struct
import sys

from cryptography.hazmat.primitives.keywrap import aes_key_unwrap_with_padding

from conftest import wait_for
from test_keys_commands import apply, make, rules_for  # noqa: F401 (a fixture)

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "vectors"))
import make_sm4_cbc_hmac_sm3 as gm  # noqa: E402

STATES = {"live": 1, "opens-only": 2, "retired": 3, "destroyed": 4}


def sha256(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def sm_only(k):
    """The same configuration with SM algorithms instead."""
    path = k.dir / "kveil.yaml"
    path.write_text(path.read_text().replace("aes-256-gcm", "sm4-gcm").replace("hmac-sha-256", "hmac-sm3"))


def messages(k):
    return [(m.key(), m.value()) for m in k.kafka.consume(k.keys, 1, settle=0.3)]


def root_of(k):
    """id, what is outside, and the unwrapped payload."""
    if k.keys:
        document = next(json.loads(v) for label, v in messages(k) if label.startswith(b"!root/"))
    else:
        document = json.loads((k.dir / "keys.json").read_text())
    wrapped = next(e["wrapped"] for e in document["registry_keys"] if e["kek"] == "local")
    kek = (k.dir / "kek-local").read_bytes()
    return bytes.fromhex(document["id"]), document.get("secret"), aes_key_unwrap_with_padding(kek, base64.b64decode(wrapped))


def events_of(k):
    if k.keys:
        return [v.decode() for label, v in messages(k) if label.startswith(b"!event/")]
    return (k.dir / ".keys.json.events").read_text().splitlines()


def subkey(mac, root, label):
    """HKDF (RFC 5869) with an empty salt; one block."""
    return mac(mac(bytes(32), root), label.encode() + b"\x01")


def check_macs(k, mac, registry, root):
    event_key, record_key = subkey(mac, root, "kveil registry event"), subkey(mac, root, "kveil registry record")
    lines = events_of(k)
    assert lines
    for line in lines:
        head, tail = line.split(',"mac":"')
        assert mac(event_key, registry + head.encode()) == base64.b64decode(tail[:-2])
    for r in records_of(k):
        wrapped = base64.b64decode(r["wrapped"])
        text = b"".join((
            struct.pack(">I", len(r["name"])), r["name"].encode(), struct.pack(">I", len(r["kek"])), r["kek"].encode(),
            bytes.fromhex(r["id"]), struct.pack(">IIH", r["version"], r["sequence"], number_of(r["algorithm"])),
            bytes([STATES[r["state"]]]), struct.pack(">qqqq", r["created"], r["active"], r["expires"], r["changed"]),
            struct.pack(">I", len(wrapped)), wrapped))
        assert mac(record_key, registry + text) == base64.b64decode(r["mac"])


def number_of(algorithm):
    return {"aes-256-gcm": 1, "sm4-gcm": 3, "hmac-sha-256": 8, "hmac-sm3": 10, "sm4-cbc-hmac-sm3": 4, "aes-256-siv": 5}[algorithm]


def records_of(k):
    if not k.keys:
        return json.loads((k.dir / "keys.json").read_text())["keys"]
    return [json.loads(v) for label, v in messages(k) if not label.startswith(b"!")]


def lose_everything(k):
    if k.keys:
        k.kafka.admin.delete_topics([k.keys])[k.keys].result(30)
        wait_for("the topic is gone", lambda: k.keys not in k.kafka.admin.list_topics(timeout=10).topics)
    else:
        for name in ("keys.json", ".keys.json.events", ".keys.json.mark"):
            (k.dir / name).unlink()


def test_a_registry_with_sm_keys_alone_has_sm3_macs(make):
    k = make(init=False, data="    tenant-{}: {algorithm: sm4-gcm, kek: local}\n")
    sm_only(k)
    k.init()
    registry, outside, payload = root_of(k)
    assert outside == {"number": 0, "mac": "hmac-sm3"}
    assert payload[:4] == b"KVR2" and payload[4:20] == registry and payload[20:26] == b"\0\0\0\0\1\1" and len(payload) == 90
    root, name_key = payload[26:58], payload[58:]
    check_macs(k, gm.hmac_sm3, registry, root)
    assert name_key == subkey(gm.hmac_sm3, root, "kveil registry name")
    # A name out of a record stands there as its HMAC-SM3.
    rules = rules_for(k, "t.yaml", "encrypt", '"tenant-{$.t}"')
    sealed = apply(k, rules, '{"t":"acme","v":"secret"}\n').stdout
    name = "tenant-" + gm.hmac_sm3(name_key, b"tenant-{}\0acme")[:16].hex()
    assert name in {r["name"] for r in records_of(k)}
    # It comes back from a backup, and what was altered does not.
    k.run("keys", "backup", "b.json", check=0)
    backup = json.loads((k.dir / "b.json").read_text())
    assert backup["format"] == 3 and backup["secret"] == outside
    for change in ({"number": 0, "mac": "hmac-sha-256"}, {"number": 1, "mac": "hmac-sm3"}, None):
        bent = {n: v for n, v in backup.items() if n != "secret"} | ({"secret": change} if change else {"format": 2})
        (k.dir / "bent.json").write_text(json.dumps(bent))
        (k.dir / "bent.json").chmod(0o600)
        assert "registry_corrupt" in k.run("keys", "verify", "bent.json").stderr
    k.run("keys", "verify", "b.json", check=0)
    lose_everything(k)
    k.run("keys", "restore", "b.json", check=0)
    assert root_of(k)[1:] == (outside, payload)
    assert "secret" in apply(k, rules_for(k, "d.yaml", "decrypt", '"tenant-{$.t}"'), sealed).stdout
    k.run("keys", "history", check=0)


def test_any_other_registry_has_sha_256(make):
    k = make()
    registry, outside, payload = root_of(k)
    assert outside is None and payload[:4] == b"KVR1" and len(payload) == 52
    check_macs(k, sha256, registry, payload[20:])
    # What it is called from then on changes nothing of it.
    sm_only(k)
    assert root_of(k)[1:] == (None, payload)


def test_the_statement_says_both(make_kveil):
    k = make_kveil(topics=False)
    text = k.run("version", "--algorithms", check=0).stdout
    assert "HMAC-SHA-256" in text and "HMAC-SM3" in text and "HKDF-SM3" in text
