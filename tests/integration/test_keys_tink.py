# SPDX-License-Identifier: Apache-2.0
"""`kveil keys` from outside, and Google Tink as the reader of what it exports."""
import base64
import io
import json
import os
import pathlib
import re
import signal
import stat
import subprocess
import time

import pytest
import tink
from tink import aead, cleartext_keyset_handle, daead, prf

ROOT = pathlib.Path(__file__).resolve().parents[2]
KVEIL = pathlib.Path(os.environ.get("KVEIL_BIN", ROOT / "build" / "src" / "cli" / "kveil"))

aead.register()
daead.register()
prf.register()

KEYS = """
kafka: {bootstrap_servers: "127.0.0.1:1", group_id: none}
rules: rules/
keys:
  registry: file:keys.json
  keks:
    local: {provider: file, path: kek}
  data:
    pii: {algorithm: aes-256-gcm, rotate_every: 24h}
    small: {algorithm: aes-128-gcm}
    misuse: {algorithm: aes-256-gcm-siv}
    ids: {algorithm: aes-256-siv}
    pepper: {algorithm: hmac-sha-256}
    pepper512: {algorithm: hmac-sha-512}
    cn: {algorithm: sm4-gcm}
    dead-letters: {algorithm: aes-256-gcm}
"""

RULES = """
name: orders
topics: [orders]
output: "{topic}.secure"
fields:
  - {path: "$.a", encrypt: {key: pii}}
  - {path: "$.b", encrypt: {key: small}}
  - {path: "$.c", encrypt: {key: misuse}}
  - {path: "$.d", encrypt: {key: ids}}
  - {path: "$.e", hash: {key: pepper}}
  - {path: "$.f", hash: {key: pepper512}}
"""


class Home:
    def __init__(self, path):
        self.path = path
        (path / "kveil.yaml").write_text(KEYS)
        self.kek = os.urandom(32)
        (path / "kek").write_bytes(self.kek)
        (path / "kek").chmod(0o600)

    def run(self, *args, expect=0, **more):
        p = subprocess.run([KVEIL, *args], cwd=self.path, capture_output=True, text=True, timeout=60, **more)
        assert p.returncode == expect, p.stderr
        return p

    def keys(self, *args, expect=0, **more):
        return self.run("keys", *args, expect=expect, **more)

    def export(self, name):
        return self.keys("export", "--tink", name, "--clear").stdout

    def handle(self, name):
        return cleartext_keyset_handle.read(tink.JsonKeysetReader(self.export(name)))


@pytest.fixture
def home(tmp_path):
    h = Home(tmp_path)
    h.keys("init")
    return h


def test_tink_reads_every_keyset(home):
    assert home.handle("pii").primitive(aead.Aead)
    assert home.handle("small").primitive(aead.Aead)
    assert home.handle("misuse").primitive(aead.Aead)
    assert home.handle("ids").primitive(daead.DeterministicAead)
    assert home.handle("pepper").primitive(prf.PrfSet)
    assert home.handle("pepper512").primitive(prf.PrfSet)
    p = home.keys("export", "--tink", "cn", "--clear")
    assert "sm4-gcm" in p.stderr and "docs/opening.md" in p.stderr
    assert json.loads(p.stdout)["key"][0]["keyData"]["typeUrl"] == "kveil/sm4-gcm"
    with pytest.raises(tink.TinkError):
        cleartext_keyset_handle.read(tink.JsonKeysetReader(p.stdout)).primitive(aead.Aead)


def test_tink_opens_what_kveil_sealed(home):
    """The outputs of the engine itself, every algorithm that Tink has."""
    (home.path / "rules").mkdir()
    (home.path / "rules" / "orders.yaml").write_text(RULES)
    record = {c: f"value {c} 值" for c in "abcdef"}
    p = home.run("apply", "-c", "kveil.yaml", "-r", "rules/orders.yaml", input=json.dumps(record) + "\n")
    out = json.loads(p.stdout)
    for field, name, kind in [("a", "pii", aead.Aead), ("b", "small", aead.Aead), ("c", "misuse", aead.Aead)]:
        sealed = base64.b64decode(out[field])
        opened = home.handle(name).primitive(kind).decrypt(sealed, f"orders:$['{field}']".encode())
        assert opened.decode() == record[field]
        with pytest.raises(tink.TinkError):
            home.handle(name).primitive(kind).decrypt(sealed, b"orders:$['elsewhere']")
    opened = home.handle("ids").primitive(daead.DeterministicAead).decrypt_deterministically(
        base64.b64decode(out["d"]), b"orders:$['d']")
    assert opened.decode() == record["d"]
    assert home.handle("pepper").primitive(prf.PrfSet).primary().compute(record["e"].encode(), 32).hex() == out["e"]
    assert home.handle("pepper512").primitive(prf.PrfSet).primary().compute(record["f"].encode(), 64).hex() == out["f"]


JOIN_RULES = """
name: %s
topics: [%s]
output: "{topic}.secure"
fields:
  - {path: "$.id", encrypt: {key: joined}}
  - {path: "$.list[*]", encrypt: {key: joined}}
  - {path: "$.alone", encrypt: {key: ids}}
  - {path: "$.told", encrypt: {key: joined, associated_data: elsewhere}}
  - {path: "header:user", encrypt: {key: joined}}
"""


def test_a_joined_key_makes_equal_values_equal_everywhere(home):
    config = home.path / "kveil.yaml"
    config.write_text(KEYS.replace("    pepper:", "    joined: {algorithm: aes-256-siv, join: customer}\n    pepper:", 1))
    home.keys("init")
    (home.path / "rules").mkdir()
    outs = []
    for name in ["orders", "returns"]:
        (home.path / "rules" / f"{name}.yaml").write_text(JOIN_RULES % (name, name))
        record = {"id": "C-1 值", "list": ["C-1 值", "C-2"], "alone": "C-1 值", "told": "C-1 值"}
        p = home.run("apply", "-c", "kveil.yaml", "-r", f"rules/{name}.yaml", input=json.dumps(record) + "\n")
        outs.append(json.loads(p.stdout))
    a, b = outs
    assert a["id"] == b["id"] == a["list"][0] == b["list"][0] != a["list"][1]
    assert a["alone"] != b["alone"]
    assert a["told"] != a["id"] and a["told"] == b["told"]
    joined = home.handle("joined").primitive(daead.DeterministicAead)
    assert joined.decrypt_deterministically(base64.b64decode(a["id"]), b"customer").decode() == "C-1 值"
    with pytest.raises(tink.TinkError):
        joined.decrypt_deterministically(base64.b64decode(a["id"]), b"orders:$['id']")
    inverse = home.run("invert", "-r", "rules/orders.yaml").stdout
    (home.path / "inverse.yaml").write_text(inverse)
    p = home.run("apply", "-c", "kveil.yaml", "-r", "inverse.yaml", input=json.dumps(b | {"alone": a["alone"]}) + "\n")
    assert json.loads(p.stdout) == record
    assert "joined" not in home.run("check", "-c", "kveil.yaml", "--strict").stderr


TOKEN_RULES = """
name: %s
topics: [%s]
output: "{topic}.secure"
fields:
  - {path: "$.card", tokenize: {key: cards, alphabet: digits, keep_last: 4, keep_chars: "-"}}
  - {path: "$.old", encrypt: {key: cards@1, alphabet: digits}}
  - {path: "$.list[*]", tokenize: {key: cards, alphabet: digits, keep_last: 4}}
  - {path: "$.alone", tokenize: {key: plates, alphabet: alphanumeric}}
  - {path: "$.member", tokenize: {key: ids}}
"""


def test_tokens_under_real_keys(home):
    """Joined, rotated, pinned, taken back; and each kind of key refused where the other is meant."""
    config = home.path / "kveil.yaml"
    config.write_text(KEYS.replace("    pepper:", "    cards: {algorithm: aes-256-ff1, join: card}\n"
                                   "    plates: {algorithm: aes-256-ff1}\n    pepper:", 1))
    home.keys("init")
    (home.path / "rules").mkdir()

    def apply(file, record, expect=0):
        return home.run("apply", "-c", "kveil.yaml", "-r", file, input=json.dumps(record) + "\n", expect=expect)

    record = {"card": "6222-0200-0000-0005", "old": "6222020000000005", "list": ["6222020000000005"],
              "alone": "aB3456", "member": "王小明"}
    outs = []
    for name in ["orders", "returns"]:
        (home.path / "rules" / f"{name}.yaml").write_text(TOKEN_RULES % (name, name))
        outs.append(json.loads(apply(f"rules/{name}.yaml", record).stdout))
    a, b = outs
    assert a["card"] == b["card"] and a["list"] == b["list"] == [a["card"].replace("-", "")]
    assert a["card"] != record["card"] and a["card"].endswith("-0005") and len(a["card"]) == 19
    assert a["alone"] != b["alone"] and a["member"] != b["member"]
    assert home.handle("ids").primitive(daead.DeterministicAead).decrypt_deterministically(
        base64.b64decode(a["member"]), b"orders:$['member']").decode() == record["member"]
    (home.path / "inverse.yaml").write_text(home.run("invert", "-r", "rules/orders.yaml").stdout)
    assert json.loads(apply("inverse.yaml", a).stdout) == record

    home.keys("rotate", "cards", "--now", "--yes")
    later = json.loads(apply("rules/orders.yaml", record).stdout)
    assert later["old"] == a["old"] and later["card"] != a["card"]
    assert json.loads(apply("inverse.yaml", later).stdout) == record
    home.keys("retire", "cards@1", "--yes")
    p = apply("rules/orders.yaml", record, expect=2)
    assert "'cards@1' protects nothing any more" in p.stderr
    assert json.loads(apply("inverse.yaml", {"old": a["old"]}).stdout) == {"old": record["old"]}

    wrong = [("tokenize: {key: pii}", "it encrypts and decrypts"),
             ("tokenize: {key: pii, alphabet: digits}", "it encrypts and decrypts"),
             ("tokenize: {key: cards}", "with an `alphabet`"), ("encrypt: {key: cards}", "with an `alphabet`"),
             ("tokenize: {key: ids, alphabet: digits}", "without an `alphabet`"),
             ("reencrypt: {from: cards, to: pii}", "with an `alphabet`"),
             ("detokenize: {key: pepper, alphabet: digits}", "it hashes")]
    rules = home.path / "rules" / "returns.yaml"
    for action, why in wrong:
        rules.write_text(f'name: r\ntopics: [r]\nfields:\n  - {{path: "$.a", {action}}}\n')
        p = home.run("check", "-c", "kveil.yaml", expect=1)
        assert why in p.stderr and "returns.yaml:4" in p.stderr


def test_a_pinned_version_seals_and_opens_alone(home):
    """orders.yaml seals with version 1 whatever comes later; a pin that is not there is refused."""
    (home.path / "rules").mkdir()
    rules = home.path / "rules" / "orders.yaml"
    rules.write_text(RULES.replace("key: pii", "key: pii@1").replace("key: ids", "key: ids@2")
                     .replace("key: pepper}", "key: pepper@1}"))
    apply = ["apply", "-c", "kveil.yaml", "-r", "rules/orders.yaml"]
    home.run("check", "-c", "kveil.yaml")
    record = json.dumps({c: c for c in "abcdef"}) + "\n"
    p = home.run(*apply, input=record, expect=2)
    assert "key 'ids' has no version 2" in p.stderr and "orders.yaml:9" in p.stderr
    before = {v["version"]: v["id"] for v in json.loads(home.keys("list", "--json").stdout)
              if v["name"] == "pii"}
    for name in ["pii", "ids", "pepper"]:
        home.keys("rotate", name, "--now", "--yes")
    first = json.loads(home.run(*apply, input=record).stdout)
    home.keys("rotate", "ids", "--now", "--yes")
    home.keys("rotate", "pepper", "--now", "--yes")
    again = json.loads(home.run(*apply, input=record).stdout)
    ids = {(v["name"], v["version"]): v["id"] for v in json.loads(home.keys("list", "--json").stdout)}

    def id_of(sealed):
        return int.from_bytes(base64.b64decode(sealed)[1:5], "big")

    assert id_of(again["a"]) == int(ids["pii", 1]) == int(before[1])
    assert id_of(again["d"]) == int(ids["ids", 2]) and again["d"] == first["d"]
    assert again["e"] == first["e"]
    rules.write_text(RULES.replace("encrypt: {key: pii}", "decrypt: {key: pii@2}"))
    p = home.run(*apply, input=json.dumps({"a": again["a"]}) + "\n", expect=1)
    assert "unknown_key" in p.stderr
    rules.write_text(RULES.replace("encrypt: {key: pii}", "decrypt: {key: pii@1}"))
    assert json.loads(home.run(*apply, input=json.dumps({"a": again["a"]}) + "\n").stdout) == {"a": "a"}
    rules.write_text(RULES.replace("key: pii", "key: pii@0"))
    p = home.run(*apply, input=record, expect=2)
    assert "names no version" in p.stderr


def test_the_wrapped_keyset_opens_with_the_kek(home, monkeypatch):
    """The page's own program, with the KEK's file as `kveil keys kek` writes it."""
    wrapped = home.keys("export", "--tink", "pii").stdout
    assert json.loads(wrapped)["keysetInfo"]["primaryKeyId"]
    (home.path / "keyset.json").write_text(wrapped)
    (home.path / "kek").write_bytes(base64.b64encode(home.kek) + b"\n")
    monkeypatch.chdir(home.path)
    program = re.search(r"^```python\n(import base64\nimport tink\n.*?)^```", (ROOT / "docs" / "opening.md").read_text(), re.M | re.S)[1]
    names = {}
    exec(program, names)
    handle = names["handle"]
    clear = home.handle("pii").primitive(aead.Aead)
    sealed = clear.encrypt(b"x", b"ad")
    assert handle.primitive(aead.Aead).decrypt(sealed, b"ad") == b"x"


def test_a_tink_keyset_comes_in_and_only_opens(home):
    handle = tink.new_keyset_handle(aead.aead_key_templates.AES256_GCM)
    text = io.StringIO()
    cleartext_keyset_handle.write(tink.JsonKeysetWriter(text), handle)
    theirs = home.path / "theirs.json"
    theirs.write_text(text.getvalue())
    theirs.chmod(0o644)
    assert "others" in home.keys("import", "theirs.json", "pii", expect=2).stderr
    theirs.chmod(0o600)
    home.keys("import", "theirs.json", "pii")
    rows = json.loads(home.keys("list", "--json").stdout)
    new = json.loads(text.getvalue())["primaryKeyId"]
    assert [r["state"] for r in rows if r["id"] == new] == ["opens only"]
    assert [r["state"] for r in rows if r["name"] == "pii" and r["id"] != new] == ["active"]
    assert "already" in home.keys("import", "theirs.json", "pii").stdout
    assert home.handle("pii").primitive(aead.Aead).decrypt(handle.primitive(aead.Aead).encrypt(b"x", b"a"), b"a") == b"x"
    # What kveil has no algorithm for is refused whole.
    other = tink.new_keyset_handle(aead.aead_key_templates.XCHACHA20_POLY1305)
    text = io.StringIO()
    cleartext_keyset_handle.write(tink.JsonKeysetWriter(text), other)
    theirs.write_text(text.getvalue())
    assert "no algorithm" in home.keys("import", "theirs.json", "pii", expect=2).stderr


def test_what_tink_seals_under_an_exported_keyset_kveil_knows(home):
    """The same key ids and layout both ways: the prefix is 0x01 and the primary's id."""
    sealed = home.handle("pii").primitive(aead.Aead).encrypt(b"x", b"ad")
    primary = json.loads(home.export("pii"))["primaryKeyId"]
    assert sealed[0] == 1 and int.from_bytes(sealed[1:5], "big") == primary


def test_files_are_private_and_warnings_are_given(home):
    p = home.keys("export", "--tink", "pii", "--clear", "-o", "set.json")
    assert "clear" in p.stderr
    assert stat.S_IMODE((home.path / "set.json").stat().st_mode) == 0o600
    r = home.keys("export", "--tink", "pii", "-o", "wrapped.json")
    assert r.stderr.count("\n") == 1 and 'key_exported key=pii detail="encrypted, to wrapped.json"' in r.stderr
    home.keys("export", "pii", expect=2)
    with open(home.path / "open.json", "w") as f:
        (home.path / "open.json").chmod(0o644)
        p = subprocess.run([KVEIL, "keys", "export", "--tink", "pii", "--clear"], cwd=home.path, stdout=f,
                           stderr=subprocess.PIPE, text=True)
        assert "others can read" in p.stderr


def test_follow_covers_tomorrow(home):
    p = subprocess.Popen([KVEIL, "keys", "export", "--tink", "pii", "--clear", "--follow", "f.json"], cwd=home.path,
                         stderr=subprocess.DEVNULL)

    def ids():
        return [k["keyId"] for k in json.loads((home.path / "f.json").read_text())["key"]]

    def wait(condition):
        end = time.time() + 20
        while not condition():
            assert time.time() < end, "the keyset did not follow"
            time.sleep(0.05)

    wait(lambda: (home.path / "f.json").exists())
    assert len(ids()) == 1
    primary = json.loads((home.path / "f.json").read_text())["primaryKeyId"]
    home.keys("rotate", "pii")  # active in a minute: published now, primary later
    wait(lambda: len(ids()) == 2)
    assert json.loads((home.path / "f.json").read_text())["primaryKeyId"] == primary
    home.keys("rotate", "pii", "--now")
    wait(lambda: json.loads((home.path / "f.json").read_text())["primaryKeyId"] != primary)
    assert len(ids()) == 3
    p.send_signal(signal.SIGTERM)
    assert p.wait(10) == 0


def test_a_backup_restores_and_never_seals_again(home):
    before = home.export("pii")
    home.keys("backup", "backup.json")
    assert json.loads((home.path / "backup.json").read_text())["kveil"] == "key backup"
    (home.path / "keys.json").unlink()
    p = home.keys("list", expect=2)
    assert "keys restore" in p.stderr
    assert "restore" in home.keys("init", expect=2).stderr  # never a fresh registry silently
    home.keys("restore", "backup.json")
    old = json.loads(before)["primaryKeyId"]
    rows = {r["id"]: r["state"] for r in json.loads(home.keys("list", "--json").stdout)}
    assert rows[old] == "opens only"
    assert json.loads(home.export("pii"))["primaryKeyId"] != old


def test_destroy_asks_and_says_what_survives(home):
    p = home.keys("destroy", "ids", expect=2, stdin=subprocess.DEVNULL)
    assert "exported" in p.stderr and "backups" in p.stderr and "--yes" in p.stderr
    assert home.export("ids")
    home.keys("destroy", "ids", "--yes", "--now")
    home.keys("export", "--tink", "ids", "--clear", expect=1)
    assert "wrapped" not in [r for r in json.loads((home.path / "keys.json").read_text())["keys"] if r["name"] == "ids"]


@pytest.mark.parametrize("damage", ["kek-missing", "kek-open", "kek-other", "registry-missing", "registry-cut",
                                    "registry-edited", "registry-open", "mark-missing", "yesterday"])
def test_what_is_wrong_ends_with_2_and_a_hint(home, damage):
    p = home.path
    if damage == "kek-missing":
        (p / "kek").unlink()
    elif damage == "kek-open":
        (p / "kek").chmod(0o644)
    elif damage == "kek-other":
        (p / "kek").write_bytes(os.urandom(32))
    elif damage == "registry-missing":
        (p / "keys.json").unlink()
    elif damage == "registry-cut":
        (p / "keys.json").write_bytes((p / "keys.json").read_bytes()[:-200])
    elif damage == "registry-edited":
        text = (p / "keys.json").read_text()
        (p / "keys.json").write_text(text.replace('"lease": 0', '"lease": 1'))
    elif damage == "registry-open":
        (p / "keys.json").chmod(0o664)
    elif damage == "mark-missing":
        (p / ".keys.json.mark").unlink()
    else:
        old = (p / "keys.json").read_bytes()
        home.keys("rotate", "pii", "--now")
        (p / "keys.json").write_bytes(old)
    before = sorted(f.name for f in p.iterdir())
    for action in (["list"], ["rotate", "pii"], ["export", "--tink", "pii"]):
        r = home.keys(*action, expect=2)
        assert "(" in r.stderr, "no hint: " + r.stderr
    assert sorted(f.name for f in p.iterdir()) == before, "something was made silently"


EDGE = """
kafka: {bootstrap_servers: "127.0.0.1:1", group_id: none}
rules: rules/
keys:
  registry: file:keys.json
  keks:
    edge: {provider: rsa-oaep, certificate: edge.pem%s}
    local: {provider: file, path: kek}
  data:
    pii: {algorithm: aes-256-gcm, kek: edge, rotate_every: 1h}
    dead-letters: {algorithm: aes-256-gcm, kek: edge}
"""


def test_an_edge_worker_locks_and_never_unlocks(tmp_path):
    """Two processes with the certificate only seal with keys of their own; who holds the private key opens both."""
    edge, centre = tmp_path / "edge", tmp_path / "centre"
    for p in (edge, centre):
        (p / "rules").mkdir(parents=True)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=edge", "-days", "9",
                    "-keyout", centre / "edge.key", "-out", edge / "edge.pem"], check=True, capture_output=True)
    (centre / "edge.key").chmod(0o600)
    (centre / "edge.pem").write_bytes((edge / "edge.pem").read_bytes())
    kek = os.urandom(32)
    for p in (edge, centre):
        (p / "kek").write_bytes(kek)
        (p / "kek").chmod(0o600)
    (edge / "kveil.yaml").write_text(EDGE % "")
    (centre / "kveil.yaml").write_text(EDGE % ", private_key: edge.key")
    rule = 'name: orders\ntopics: [orders]\noutput: "{topic}.x"\nfields:\n  - {path: "$.a", %s: {key: pii}}\n'
    (edge / "rules" / "orders.yaml").write_text(rule % "encrypt")
    (edge / "open.yaml").write_text(rule % "decrypt")
    (centre / "rules" / "orders.yaml").write_text(rule % "decrypt")

    def kveil(home, *args, expect=0, **more):
        p = subprocess.run([KVEIL, *args], cwd=home, capture_output=True, text=True, timeout=60, **more)
        assert p.returncode == expect, p.stderr
        return p

    kveil(edge, "keys", "init")
    seal = ["apply", "-c", "kveil.yaml", "-r", "rules/orders.yaml"]
    sealed = [kveil(edge, *seal, input=json.dumps({"a": f"value {i}"}) + "\n").stdout for i in range(2)]
    ids = {base64.b64decode(json.loads(s)["a"])[1:5] for s in sealed}
    assert len(ids) == 2  # a key of its own each time: nobody there can read the other's
    refused = kveil(edge, "apply", "-c", "kveil.yaml", "-r", "open.yaml", input=sealed[0], expect=2)
    assert "what locks" in refused.stderr

    kveil(edge, "keys", "backup", "b.json")
    kveil(centre, "keys", "restore", edge / "b.json")
    opened = kveil(centre, "apply", "-c", "kveil.yaml", "-r", "rules/orders.yaml", input="".join(sealed))
    assert [json.loads(s)["a"] for s in opened.stdout.splitlines()] == ["value 0", "value 1"]

    # A hash that two edge workers could not agree on is not a configuration.
    (edge / "kveil.yaml").write_text((EDGE % "") + "    pepper: {algorithm: hmac-sha-256, kek: edge}\n")
    assert "only locks" in kveil(edge, "keys", "init", expect=2).stderr


def test_a_kek_under_a_passphrase_is_scrypt_and_kwp(tmp_path):
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
    from cryptography.hazmat.primitives.keywrap import aes_key_unwrap_with_padding
    (tmp_path / "kveil.yaml").write_text(KEYS.replace("path: kek", 'path: kek, passphrase: "${env:KEK_PASSPHRASE}"'))
    env = os.environ | {"KEK_PASSPHRASE": "five words drawn at random"}

    def keys(*args, expect=0):
        p = subprocess.run([KVEIL, "keys", *args], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert p.returncode == expect, p.stderr
        return p

    assert "keys kek local" in keys("init", expect=2).stderr
    keys("kek", "local")
    assert stat.S_IMODE((tmp_path / "kek").stat().st_mode) == 0o600
    keys("init")
    magic, kdf, log_n, r, p, salt, wrapped = (tmp_path / "kek").read_text().split()
    assert (magic, kdf) == ("kveil-kek", "scrypt")
    outer = Scrypt(base64.b64decode(salt), 32, 2 ** int(log_n), int(r), int(p)).derive(b"five words drawn at random")
    kek = aes_key_unwrap_with_padding(outer, base64.b64decode(wrapped))
    # And that KEK is the one that wrapped the registry: payloads begin with their magic.
    for record in json.loads((tmp_path / "keys.json").read_text())["keys"]:
        assert aes_key_unwrap_with_padding(kek, base64.b64decode(record["wrapped"])).startswith(b"KVK1")


def test_processes_that_start_and_rotate_at_the_same_moment(tmp_path):
    """One registry, one first version of each key, one id a version, whoever came first."""
    for turn in range(5):
        home = Home.__new__(Home)
        home.path = tmp_path / str(turn)
        home.path.mkdir()
        (home.path / "kveil.yaml").write_text(KEYS)
        (home.path / "kek").write_bytes(os.urandom(32))
        (home.path / "kek").chmod(0o600)
        for args in (["init"], ["rotate", "pii", "--now"]):
            running = [subprocess.Popen([KVEIL, "keys", *args], cwd=home.path, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, text=True) for _ in range(8)]
            for p in running:
                _, said = p.communicate(timeout=60)
                assert p.returncode == 0, said
        rows = json.loads(home.keys("list", "--json").stdout)
        assert len({r["id"] for r in rows}) == len(rows)
        assert sorted(r["version"] for r in rows if r["name"] == "pii") == list(range(1, 10))
        assert all(r["version"] == 1 for r in rows if r["name"] != "pii")
