# SPDX-License-Identifier: Apache-2.0
"""Key-encryption keys with real custodians: a file, SoftHSM2, an OpenBao server, CMS and SM2 key pairs opened by others."""
import base64
import ctypes
import json
import os
import re
import resource
import subprocess

import pytest

from broker import answers
from conftest import KVEIL, wait_for
from custodian import Bao, Door, certificate, pkcs11, softhsm, transit

PAYLOAD_MAGIC = b"KVK1"
CONFIG = """\
kafka: {{bootstrap_servers: "127.0.0.1:1", group_id: none}}
rules: rules.yaml
keys:
  registry: file:keys.json
  keks:
    guard: {kek}
  data:
    pii: {{algorithm: aes-256-gcm, kek: guard, rotate_every: 24h}}
    pepper: {{algorithm: hmac-sha-256, kek: guard}}
    dead-letters: {{algorithm: aes-256-gcm, kek: guard}}
"""
RULES = """\
name: t
topics: [t]
format: json
fields:
  - {path: "$.a", %s: {key: pii}}
"""


class Folder:
    def __init__(self, path, kek, env=None):
        # Any port: a demo beside this has the usual one.
        self.dir, self.env = path, {**os.environ, "KVEIL_HTTP_LISTEN": "127.0.0.1:0", **(env or {})}
        (path / "kveil.yaml").write_text(CONFIG.format(kek=kek))
        (path / "rules.yaml").write_text(RULES % "encrypt")
        (path / "open.yaml").write_text(RULES % "decrypt")

    def kveil(self, *args, check=0, stdin=None):
        r = subprocess.run([str(KVEIL), *args], cwd=self.dir, env=self.env, capture_output=True, text=True, input=stdin,
                           timeout=60)
        if check is not None:
            assert r.returncode == check, f"{args}: exit {r.returncode}\n{r.stdout}\n{r.stderr}"
        return r

    def init(self):
        self.kveil("keys", "init", "-c", "kveil.yaml")
        return self

    def seal(self, text, check=0):
        return self.kveil("apply", "-c", "kveil.yaml", "-r", "rules.yaml", stdin=json.dumps({"a": text}) + "\n",
                          check=check)

    def open(self, line, check=0):
        return self.kveil("apply", "-c", "kveil.yaml", "-r", "open.yaml", stdin=line, check=check)

    def wrapped(self):
        """Every wrapped blob in the registry."""
        found = []

        def walk(x):
            if isinstance(x, dict):
                for k, v in x.items():
                    if k == "wrapped":
                        found.append(base64.b64decode(v))
                    walk(v)
            elif isinstance(x, list):
                for v in x:
                    walk(v)

        walk(json.loads((self.dir / "keys.json").read_text()))
        assert found
        return found

    def round_trip(self):
        sealed = self.seal("canary-4711").stdout
        assert "canary" not in sealed
        self.kveil("keys", "rotate", "-c", "kveil.yaml", "pii", "--now")
        again = self.seal("canary-4712").stdout
        assert base64.b64decode(json.loads(sealed)["a"])[1:5] != base64.b64decode(json.loads(again)["a"])[1:5]
        assert json.loads(self.open(sealed).stdout) == {"a": "canary-4711"}
        assert json.loads(self.open(again).stdout) == {"a": "canary-4712"}
        text = (self.dir / "keys.json").read_text()
        assert "canary" not in text


# --- PKCS#11 ---

@pytest.fixture
def token(tmp_path):
    return softhsm(tmp_path)


@pytest.mark.parametrize("mechanism", ["aes-gcm", "aes-kwp"])
def test_pkcs11_round_trip(tmp_path, token, mechanism):
    f = Folder(tmp_path, pkcs11(mechanism), token).init()
    f.round_trip()
    for w in f.wrapped():
        assert w[0] == (1 if mechanism == "aes-gcm" else 2) and PAYLOAD_MAGIC not in w


def test_pkcs11_refusals(tmp_path, token):
    f = Folder(tmp_path, pkcs11(), token).init()
    good = (tmp_path / "kveil.yaml").read_text()
    (tmp_path / "wrong").write_text("not-the-pin")
    (tmp_path / "wrong").chmod(0o600)
    for kek, word, code in ((pkcs11(label="nobody"), "nobody", 2), (pkcs11(pin="${file:wrong}"), "pin was refused", 1)):
        (tmp_path / "kveil.yaml").write_text(CONFIG.format(kek=kek))
        r = f.kveil("keys", "list", "-c", "kveil.yaml", check=code)
        assert word in r.stderr and "not-the-pin" not in r.stderr
    # The right PIN still works: a wrong one was tried once a process.
    (tmp_path / "kveil.yaml").write_text(good)
    f.round_trip()


# --- OpenBao ---

@pytest.fixture
def bao(tmp_path):
    b = Bao(tmp_path).start()
    yield b
    b.stop()


def test_transit_round_trip_with_a_least_privileged_token(tmp_path, bao):
    f = Folder(tmp_path, transit(bao), {"BAO_TOKEN": bao.token()}).init()
    f.round_trip()
    for w in f.wrapped():
        assert w.startswith(b"vault:v1:")
    # What was wrapped is ours: OpenBao itself opens it.
    opened = bao.call("POST", "transit/decrypt/kveil", {"ciphertext": f.wrapped()[-1].decode()})["data"]["plaintext"]
    assert PAYLOAD_MAGIC in base64.b64decode(opened)[:4] or len(base64.b64decode(opened)) >= 32
    # A new version of the KEK in the server: old wraps go on opening.
    bao.call("POST", "transit/keys/kveil/rotate", {})
    f.round_trip()


def test_transit_refusals_and_outage(tmp_path, bao):
    f = Folder(tmp_path, transit(bao), {"BAO_TOKEN": bao.token()}).init()
    sealed = f.seal("x").stdout
    f.env["BAO_TOKEN"] = "s.nonsense"
    r = f.kveil("keys", "list", "-c", "kveil.yaml", check=2)
    assert "token" in r.stderr and "nonsense" not in r.stderr
    f.env["KVEIL_HTTP_LISTEN"] = "127.0.0.1:0"
    assert "token" in f.kveil("run", "-c", "kveil.yaml", check=2).stderr
    f.env["BAO_TOKEN"] = bao.root
    bao.call("POST", "transit/keys/other", {})
    good = (tmp_path / "kveil.yaml").read_text()
    (tmp_path / "kveil.yaml").write_text(good.replace("key: kveil,", "key: other,"))
    f.kveil("apply", "-c", "kveil.yaml", "-r", "rules.yaml", stdin="{}\n", check=2)
    (tmp_path / "kveil.yaml").write_text(good)
    bao.stop()
    r = f.seal("x", check=None)
    assert r.returncode != 0 and r.stdout == "" and "127.0.0.1" in r.stderr
    bao.start()
    assert json.loads(f.open(sealed).stdout) == {"a": "x"}


def test_transit_rewraps_under_the_keks_newest_version(tmp_path, bao):
    f = Folder(tmp_path, transit(bao), {"BAO_TOKEN": bao.token()}).init()
    f.kveil("keys", "rotate", "-c", "kveil.yaml", "pii", "--now")
    f.kveil("keys", "destroy", "-c", "kveil.yaml", "pii@1", "--yes", "--now")
    sealed = f.seal("canary-4711").stdout
    bao.call("POST", "transit/keys/kveil/rotate", {})
    assert f.kveil("keys", "rewrap", "-c", "kveil.yaml").stdout.startswith("3 versions")
    # The registry's own secret as well.
    assert all(w.startswith(b"vault:v2:") for w in f.wrapped() if w)
    bao.call("POST", "transit/keys/kveil/config", {"min_decryption_version": 2})
    assert json.loads(f.open(sealed).stdout) == {"a": "canary-4711"}
    before = f.wrapped()
    assert f.kveil("keys", "rewrap", "-c", "kveil.yaml").stdout.startswith("0 versions")
    assert f.wrapped() == before
    assert f.kveil("keys", "list", "-c", "kveil.yaml").stdout.count("destroyed") == 1


def test_transit_approle_and_tls(tmp_path):
    b = Bao(tmp_path, tls=certificate(tmp_path, "tls")).start()
    try:
        b.token()
        b.call("POST", "sys/auth/approle", {"type": "approle"})
        b.call("POST", "auth/approle/role/kveil", {"token_policies": "kveil", "token_ttl": "4s", "token_max_ttl": "6s"})
        role = b.call("GET", "auth/approle/role/kveil/role-id")["data"]["role_id"]
        secret = b.call("POST", "auth/approle/role/kveil/secret-id", {})["data"]["secret_id"]
        how = 'role_id: "${env:ROLE}", secret_id: "${env:SECRET}"'
        f = Folder(tmp_path, transit(b, how, ", ca_file: tls.pem"), {"ROLE": role, "SECRET": secret}).init()
        f.round_trip()
        # Without the CA file, with another's, or with one that is none the server is not trusted.
        g = tmp_path / "untrusted"
        g.mkdir()
        certificate(g, "other")
        (g / "none.pem").write_text("nothing")
        for extra in ("", ", ca_file: other.pem", ", ca_file: none.pem", ", ca_file: missing.pem"):
            r = Folder(g, transit(b, how, extra), f.env).kveil("keys", "init", "-c", "kveil.yaml", check=None)
            assert r.returncode != 0 and re.search("certificate|ca_file", r.stderr), (extra, r.stderr)
    finally:
        b.stop()

# --- one of two away ---

TWO = """\
kafka: {{bootstrap_servers: "127.0.0.1:1", group_id: none}}
rules: rules.yaml
keys:
  registry: file:keys.json
  keks:
    local: {{provider: file, path: kek}}
    guard: {kek}
  data:
    pii: {{algorithm: aes-256-gcm, kek: local, rotate_every: 24h}}
    cards: {{algorithm: aes-256-siv, kek: local}}
    far: {{algorithm: aes-256-gcm, kek: guard}}
    dead-letters: {{algorithm: aes-256-gcm, kek: local}}
"""


def test_commands_need_only_the_kek_they_use(tmp_path, bao):
    f = Folder(tmp_path, transit(bao), {"BAO_TOKEN": bao.token()})
    (tmp_path / "kveil.yaml").write_text(TWO.format(kek=transit(bao)))
    f.kveil("keys", "kek", "local")
    f.init()
    sealed = f.seal("x").stdout

    def states(name):
        rows = json.loads(f.kveil("keys", "list", "--json").stdout)
        return {r["version"]: r["state"] for r in rows if r["name"] == name}

    bao.stop()
    f.kveil("keys", "rotate", "pii", "--now")
    f.kveil("keys", "retire", "pii@1")
    assert states("pii") == {1: "retired", 2: "active"} and states("far") == {1: "unreachable"}
    assert "primaryKeyId" in f.kveil("keys", "export", "--tink", "pii", "--clear").stdout
    f.kveil("keys", "export", "--tink", "cards", "--clear", "-o", "set.json")
    assert "already" in f.kveil("keys", "import", "set.json", "cards").stdout  # which needs no custodian to say
    f.kveil("keys", "init")
    # What needs the one that is away says so, and changes nothing.
    for args in (("rotate", "far"), ("export", "--tink", "far", "--clear")):
        r = f.kveil("keys", *args, check=1)
        assert "kek_unavailable: " in r.stderr and "guard" in r.stderr and r.stdout == "", (args, r.stderr)
    # Everything that can move moves, and the rest is named and counted.
    text = (tmp_path / "kveil.yaml").read_text()
    (tmp_path / "kveil.yaml").write_text(
        text.replace("  data:", "    new: {provider: file, path: kek-new}\n  data:").replace("cards: {algorithm: aes-256-siv, kek: local",
                                                                                   "cards: {algorithm: aes-256-siv, kek: new"))
    f.kveil("keys", "kek", "new")
    r = f.kveil("keys", "rewrap", "--json", check=1)
    assert json.loads(r.stdout) == {"wrapped_anew": 1, "unnamed": 0, "unreachable": 2}  # far, and the registry's own secret
    assert "guard" in r.stderr and "again" in r.stderr
    bao.start()
    assert json.loads(f.kveil("keys", "rewrap", "--json").stdout) == {"wrapped_anew": 0, "unnamed": 0, "unreachable": 0}
    assert states("far") == {1: "active"}
    assert json.loads(f.open(sealed).stdout) == {"a": "x"}


def test_commands_do_without_a_kek_file_that_is_not_here(tmp_path):
    f = Folder(tmp_path, "{provider: file, path: kek-far}")
    (tmp_path / "kveil.yaml").write_text(TWO.format(kek="{provider: file, path: kek-far}"))
    f.kveil("keys", "kek", "local")
    f.kveil("keys", "kek", "guard")
    f.init()
    sealed = f.seal("x").stdout
    (tmp_path / "kek-far").rename(tmp_path / "elsewhere")
    f.kveil("keys", "rotate", "pii", "--now")
    f.kveil("keys", "backup", "b.json")
    rows = {r["name"]: r["state"] for r in json.loads(f.kveil("keys", "list", "--json").stdout)}
    assert rows["far"] == "unreachable" and rows["cards"] == "active"
    for args in (("rotate", "far"), ("export", "--tink", "far", "--clear"), ("check", "--keys")):
        args = args if args[0] == "check" else ("keys", *args)
        r = f.kveil(*args, check=1)
        assert "kek-far is not there" in r.stderr + r.stdout, (args, r.stderr)
    before = (tmp_path / "keys.json").read_bytes()
    assert f.kveil("keys", "evict", "guard", "--yes", check=None).returncode != 0
    assert (tmp_path / "keys.json").read_bytes() == before
    # A worker that starts without it says so, and does not begin.
    assert "kek-far is not there" in f.kveil("run", "-c", "kveil.yaml", check=2).stderr
    (tmp_path / "elsewhere").rename(tmp_path / "kek-far")
    assert {r["state"] for r in json.loads(f.kveil("keys", "list", "--json", "far").stdout)} == {"active"}
    assert json.loads(f.open(sealed).stdout) == {"a": "x"}


def loosen(kek):
    kek.chmod(0o644)


def damage(kek):
    kek.write_bytes(b"no key at all")


def exchange(kek):
    kek.write_bytes(os.urandom(32))


def ask_for_a_passphrase(kek):
    kek.write_text("kveil-kek scrypt 15 8 3 AAAAAAAAAAAAAAAAAAAAAA== " + "A" * 54 + "==\n")


@pytest.mark.parametrize("spoil, why", [(loosen, "0644"), (damage, "32 random bytes"), (exchange, ""),
                                        (ask_for_a_passphrase, "passphrase")])
def test_commands_do_without_a_kek_file_that_is_wrong(tmp_path, spoil, why):
    f = Folder(tmp_path, "{provider: file, path: kek-far}")
    (tmp_path / "kveil.yaml").write_text(TWO.format(kek="{provider: file, path: kek-far}"))
    f.kveil("keys", "kek", "local")
    f.kveil("keys", "kek", "guard")
    f.init()
    sealed = f.seal("x").stdout
    kek, good = tmp_path / "kek-far", (tmp_path / "kek-far").read_bytes()
    spoil(kek)
    f.kveil("keys", "rotate", "pii", "--now")
    f.kveil("keys", "backup", "b.json")
    f.kveil("keys", "history")
    f.kveil("keys", "export", "--tink", "pii", "--clear", "-o", "pii.json")
    rows = {r["name"]: r["state"] for r in json.loads(f.kveil("keys", "list", "--json").stdout)}
    assert rows["far"] == "unreachable" and rows["cards"] == "active"
    # Nothing is wrapped by it, and nobody begins to seal beside it.
    wrapped = f.wrapped()
    f.kveil("keys", "rewrap", check=None)
    for args in (("keys", "rotate", "far"), ("keys", "export", "--tink", "far", "--clear"), ("check", "--keys")):
        r = f.kveil(*args, check=None)
        assert r.returncode != 0 and why in r.stderr + r.stdout, (args, r.stderr)
    for args in (("run", "-c", "kveil.yaml"), ("keys", "init")):
        if spoil is not exchange:
            assert why in f.kveil(*args, check=2).stderr
    assert sorted(f.wrapped()) == sorted(wrapped)
    # What needs it to open the registry names the file.
    both = {tmp_path / "kek": (tmp_path / "kek").read_bytes(), kek: good}
    spoil(tmp_path / "kek")
    assert why in f.kveil("keys", "list", check=2).stderr
    for path, was in both.items():
        path.write_bytes(was)
        path.chmod(0o600)
    assert {r["state"] for r in json.loads(f.kveil("keys", "list", "--json", "far").stdout)} == {"active"}
    assert json.loads(f.open(sealed).stdout) == {"a": "x"}


def limit_locked_memory(kib):
    ctypes.CDLL(None).prctl(24, 14)  # PR_CAPBSET_DROP, CAP_IPC_LOCK: with it there is no limit
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (kib << 10, kib << 10))


def test_too_little_locked_memory_says_how_much_is_enough(tmp_path):
    f = Folder(tmp_path, "{provider: file, path: kek-far}")
    (tmp_path / "kveil.yaml").write_text(TWO.format(kek="{provider: file, path: kek-far}"))
    f.kveil("keys", "kek", "local")
    f.kveil("keys", "kek", "guard")
    codes = {}
    for kib in range(64, 272, 16):
        for made in tmp_path.glob("*keys.json*"):
            made.unlink()
        r = subprocess.run([str(KVEIL), "keys", "init"], cwd=tmp_path, capture_output=True, text=True,
                           preexec_fn=lambda: limit_locked_memory(kib))
        assert r.returncode == 0 or "allow 256 KiB at least" in r.stderr, (kib, r.stderr)
        codes[kib] = r.returncode
    assert codes[64] != 0 and codes[256] == 0, codes


def test_a_stranger_and_garbage_are_outages(tmp_path, bao):
    """Behind the same address: nothing is published that was not proved, and what was there is as it was."""
    door = Door(bao.port)
    f = Folder(tmp_path, transit(bao), {"BAO_TOKEN": bao.root})
    (tmp_path / "kveil.yaml").write_text(TWO.format(kek=transit(door)).replace("kek: local, rotate", "kek: guard, rotate"))
    f.kveil("keys", "kek", "local")
    f.init()
    sealed = f.seal("x").stdout
    bao.call("POST", "transit/keys/other", {})
    before = (tmp_path / "keys.json").read_bytes()
    versions = f.kveil("keys", "list", "--json").stdout
    ways = {f"/v1/transit/{way}/kveil": f"/v1/transit/{way}/other" for way in ("encrypt", "decrypt", "rewrap")}
    garbage = [json.dumps({"data": data}).encode() for data in ({"ciphertext": "vault:v1:AAAA", "plaintext": "AAAA"}, {})]
    for door.instead, door.garbage in ((ways, None), *(({}, text) for text in [*garbage, b"<html>"])):
        r = f.kveil("keys", "rotate", "pii", "--now", check=None)
        assert r.returncode in (1, 2) and re.search("kek_unavailable|wrong_kek", r.stderr), (door.garbage, r.stderr)
        f.kveil("keys", "rewrap", check=None)
        assert (tmp_path / "keys.json").read_bytes() == before, door.garbage
        assert f.seal("y", check=None).stdout == ""
    door.instead, door.garbage = {}, None
    assert f.kveil("keys", "list", "--json").stdout == versions
    assert json.loads(f.open(sealed).stdout) == {"a": "x"}
    f.kveil("keys", "rotate", "pii", "--now")
    assert json.loads(f.open(f.seal("y").stdout).stdout) == {"a": "y"}
    door.close()


def test_either_of_two_keks_opens(tmp_path, bao):
    """The first is a service that is away, or gone for good, or a stranger answers in its place."""
    f = Folder(tmp_path, transit(bao), {"BAO_TOKEN": bao.token()})
    text = TWO.format(kek=transit(bao)).replace("kek: local, rotate", "kek: guard, rotate")
    text = text.replace("kek: guard", "kek: guard, also: local").replace("kek: local}", "kek: local, also: guard}")
    (tmp_path / "kveil.yaml").write_text(text)
    f.kveil("keys", "kek", "local")
    f.init()
    sealed = f.seal("x").stdout

    def row(name):
        return next(r for r in json.loads(f.kveil("keys", "list", name, "--json").stdout))

    assert (row("far")["kek"], row("far")["also"]) == ("guard", "local")
    bao.stop()
    assert row("far")["state"] == row("cards")["state"] == "active"
    assert json.loads(f.open(sealed).stdout) == {"a": "x"} and json.loads(f.open(f.seal("y").stdout).stdout) == {"a": "y"}
    assert "primaryKeyId" in f.kveil("keys", "export", "--tink", "far", "--clear").stdout
    # What is new is under both, so it waits.
    r = f.kveil("keys", "rotate", "far", check=1)
    assert "kek_unavailable: " in r.stderr and r.stdout == ""
    bao.start()
    f.kveil("keys", "rotate", "far")
    # A new version of the one that has versions, beside the other.
    bao.call("POST", "transit/keys/kveil/rotate", {})
    assert json.loads(f.kveil("keys", "rewrap", "--json").stdout)["wrapped_anew"] >= 2
    records = [r for r in json.loads((tmp_path / "keys.json").read_text())["keys"] if "guard" in r["kek"]]
    assert len(records) >= 3 and all(b"vault:v2:" in base64.b64decode(r["wrapped"]) for r in records)
    bao.stop()
    assert json.loads(f.open(sealed).stdout) == {"a": "x"}
    bao.start()


def test_check_asks_custodians_and_registry(tmp_path, bao):
    """With --keys; without it nobody is asked."""
    f = Folder(tmp_path, transit(bao), {"BAO_TOKEN": bao.token()})
    (tmp_path / "kveil.yaml").write_text(TWO.format(kek=transit(bao)))
    f.kveil("keys", "kek", "local")
    assert "keys init" in f.kveil("check", "-c", "kveil.yaml", "--keys", check=1).stderr
    f.init()
    assert f.kveil("check", "-c", "kveil.yaml", "--keys").stderr == ""
    good = (tmp_path / "kveil.yaml").read_text()
    (tmp_path / "kveil.yaml").write_text(good.replace("pii: {algorithm: aes-256-gcm", "pii: {algorithm: sm4-gcm"))
    assert "seals with aes-256-gcm" in f.kveil("check", "-c", "kveil.yaml", "--keys", check=1).stderr
    (tmp_path / "kveil.yaml").write_text(good)
    # A token that may unwrap and not wrap, then nobody at all.
    bao.call("PUT", "sys/policies/acl/kveil", {"policy": 'path "transit/decrypt/kveil" { capabilities = ["update"] }'})
    assert "refuses the token" in f.kveil("check", "-c", "kveil.yaml", "--keys", check=1).stderr
    bao.stop()
    r = f.kveil("check", "-c", "kveil.yaml", "--keys", check=1)
    assert "kek guard: " in r.stderr and "version 1 of 'far' cannot be reached" in r.stderr
    f.kveil("check", "-c", "kveil.yaml")


# --- public-key custodians ---

def issue(folder, name, days):
    """NAME.pem: a new certificate for NAME.key, which ends in that many days, or did."""
    import datetime
    import ipaddress
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    key = serialization.load_pem_private_key((folder / f"{name}.key").read_bytes(), None)
    who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = x509.CertificateBuilder(who, who, key.public_key(), x509.random_serial_number(),
                                   now - datetime.timedelta(days=30), now + datetime.timedelta(days=days))
    made = made.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
    (folder / f"{name}.pem").write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))


def openssl(cwd, *args):
    return subprocess.run(["openssl", *args], cwd=cwd, check=True, capture_output=True).stdout


@pytest.mark.parametrize("provider,algorithm", [("rsa-oaep", ["-newkey", "rsa:3072"]),
                                                ("ecdh", ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])])
def test_cms_opened_by_openssl(tmp_path, provider, algorithm):
    openssl(tmp_path, "req", "-x509", *algorithm, "-nodes", "-keyout", "kek.key", "-out", "kek.pem", "-days", "2",
            "-subj", "/CN=kek")
    (tmp_path / "kek.key").chmod(0o600)
    f = Folder(tmp_path, f"{{provider: {provider}, certificate: kek.pem, private_key: kek.key}}").init()
    f.round_trip()
    payloads = 0
    for n, w in enumerate(f.wrapped()):
        (tmp_path / f"{n}.der").write_bytes(w)
        plain = openssl(tmp_path, "cms", "-decrypt", "-inform", "DER", "-in", f"{n}.der", "-recip", "kek.pem", "-inkey",
                        "kek.key")
        payloads += plain.startswith(PAYLOAD_MAGIC)
        dump = openssl(tmp_path, "cms", "-cmsout", "-print", "-inform", "DER", "-in", f"{n}.der").decode()
        assert "id-smime-ct-authEnvelopedData" in dump and "aes-256-gcm" in dump and "sha256" in dump
    assert payloads >= 3
    (tmp_path / "kek.key").chmod(0o644)
    assert "kek.key" in f.kveil("keys", "list", "-c", "kveil.yaml", check=2).stderr


@pytest.mark.parametrize("provider,algorithm", [("rsa-oaep", "RSA"), ("ecdh", "EC")])
def test_a_certificate_is_renewed_and_its_end_is_told(tmp_path, provider, algorithm):
    openssl(tmp_path, "genpkey", "-out", "kek.key", "-algorithm", algorithm,
            *(["-pkeyopt", "ec_paramgen_curve:P-256"] if algorithm == "EC" else []))
    (tmp_path / "kek.key").chmod(0o600)
    issue(tmp_path, "kek", days=90)
    f = Folder(tmp_path, f"{{provider: {provider}, certificate: kek.pem, private_key: kek.key}}").init()
    sealed = f.seal("x").stdout
    assert "certificate" not in f.kveil("check", "-c", "kveil.yaml").stderr
    # The same key pair, another certificate: what the first one locked opens.
    issue(tmp_path, "kek", days=9.5)
    assert json.loads(f.open(sealed).stdout) == {"a": "x"}
    f.round_trip()
    assert "the certificate of KEK 'guard' expires in 9 days" in f.kveil("check", "-c", "kveil.yaml").stderr
    issue(tmp_path, "kek", days=-1)
    assert "the certificate of KEK 'guard' has expired" in f.kveil("check", "-c", "kveil.yaml").stderr
    assert json.loads(f.open(sealed).stdout) == {"a": "x"}


def test_each_reason_of_tls_has_its_text(tmp_path):
    certificate(tmp_path, "tls")
    certificate(tmp_path, "other")
    b = Bao(tmp_path, tls="tls").start()
    try:
        f = Folder(tmp_path, "{}", {"BAO_TOKEN": b.token()})

        def says(extra="", url=None):
            text = transit(b, extra=extra)
            (tmp_path / "kveil.yaml").write_text(CONFIG.format(kek=text.replace(b.url, url) if url else text))
            r = f.kveil("keys", "init", check=None)
            assert r.returncode != 0
            return r.stderr

        texts = [says(url=b.url.replace("https", "http")), says(", ca_file: other.pem"), says(),
                 says(", ca_file: tls.pem", b.url.replace("127.0.0.1", "localhost"))]
        assert "does it speak TLS?" in texts[0] and "https://" in texts[0]
        assert "self-signed" in texts[1] and "authority" in texts[1]
        assert re.search("names it", texts[3]), texts[3]
        # One that has ended.
        b.stop()
        issue(tmp_path, "tls", days=-1)
        server = subprocess.Popen(["openssl", "s_server", "-accept", str(b.port), "-cert", "tls.pem", "-key", "tls.key",
                                   "-www", "-quiet"], cwd=tmp_path, stdin=subprocess.DEVNULL)
        try:
            wait_for("it listens", lambda: answers(b.port))
            texts.append(says(", ca_file: tls.pem"))
        finally:
            server.kill()
            server.wait()
        assert "expired" in texts[-1] and "renewed" in texts[-1]
        assert len(set(texts)) == len(texts) - 1  # without a ca_file it is another's certificate as well
    finally:
        b.stop()


def test_sm2_opened_by_gmssl(tmp_path):
    from gmssl import sm2
    openssl(tmp_path, "genpkey", "-algorithm", "SM2", "-out", "sm2.key")
    openssl(tmp_path, "pkey", "-in", "sm2.key", "-pubout", "-out", "sm2.pub")
    (tmp_path / "sm2.key").chmod(0o600)
    f = Folder(tmp_path, "{provider: sm2, public_key: sm2.pub, private_key: sm2.key}").init()
    f.round_trip()
    text = openssl(tmp_path, "pkey", "-in", "sm2.key", "-text", "-noout").decode()

    def number(title):
        part = text.split(title + ":")[1]
        digits = ""
        for line in part.splitlines()[1:]:
            if not line.startswith(" "):
                break
            digits += line.strip().replace(":", "")
        return digits

    crypt = sm2.CryptSM2(private_key=number("priv")[-64:], public_key=number("pub")[-128:], mode=1)
    payloads = 0
    for w in f.wrapped():
        plain = crypt.decrypt(der_to_c1c3c2(w))
        payloads += plain.startswith(PAYLOAD_MAGIC)
    assert payloads >= 3


def der_to_c1c3c2(der):
    """GM/T 0009: SEQUENCE { INTEGER x, INTEGER y, OCTET STRING hash, OCTET STRING ciphertext }."""
    def take(b):
        n, head = b[1], 2
        if n & 0x80:
            head = 2 + (n & 0x7F)
            n = int.from_bytes(b[2:head], "big")
        return b[0], b[head:head + n], b[head + n:]

    tag, body, rest = take(der)
    assert tag == 0x30 and not rest
    parts = []
    while body:
        tag, value, body = take(body)
        parts.append((tag, value))
    (_, x), (_, y), (_, c3), (_, c2) = parts
    return x[-32:].rjust(32, b"\0") + y[-32:].rjust(32, b"\0") + c3 + c2
