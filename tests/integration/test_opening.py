# SPDX-License-Identifier: Apache-2.0
"""The programs of docs/open/ on what kveil sealed: a consumer needs no kveil."""
import base64
import json
import shutil
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES, SM4

from conftest import KVEIL, ROOT

pytestmark = pytest.mark.long(80)

OPEN = ROOT / "docs" / "open"
VALUES = {"aes-256-gcm": "11010119900307447X", "aes-128-gcm": "", "aes-256-siv": "张伟", "aes-256-gcm-siv": "a" * 5000,
          "sm4-gcm": "北京市朝阳区 1 号\n\"quoted\""}
TINK = [a for a in VALUES if a != "sm4-gcm"]
CONFIG = """\
kafka: {bootstrap_servers: "127.0.0.1:1", group_id: none}
rules: rules.yaml
keys:
  registry: file:keys.json
  keks: {local: {provider: file, path: kek}}
  data:
    pepper: {algorithm: hmac-sha-256}
    pepper512: {algorithm: hmac-sha-512}
    dead-letters: {algorithm: aes-256-gcm}
"""


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    """A record that kveil apply sealed twice, with a new version of every key between, and every key exported."""
    home = tmp_path_factory.mktemp("opening")

    def kveil(*args, **kw):
        return subprocess.run([str(KVEIL), *args], cwd=home, check=True, capture_output=True, text=True, timeout=60,
                              **kw).stdout

    data = "".join(f"    {a}: {{algorithm: {a}}}\n" for a in VALUES)
    fields = "".join(f"  - {{path: \"$.customer['{a}']\", encrypt: {{key: {a}}}}}\n" for a in VALUES)
    hashes = '  - {path: "$.email", hash: {key: pepper}}\n  - {path: "$.mail", hash: {key: pepper512}}\n'
    (home / "kveil.yaml").write_text(CONFIG + data)
    (home / "rules.yaml").write_text(f'name: orders\ntopics: [t]\noutput: "{{topic}}.x"\nfields:\n{fields}{hashes}')
    kveil("keys", "kek", "local", "-c", "kveil.yaml")
    kveil("keys", "init", "-c", "kveil.yaml")
    record = json.dumps({"customer": VALUES, "email": "u@example.com", "mail": "u@example.com"})
    apply = ["apply", "-c", "kveil.yaml", "-r", "rules.yaml"]
    old = json.loads(kveil(*apply, input=record + "\n"))
    for name in [*VALUES, "pepper", "pepper512"]:
        kveil("keys", "rotate", "-c", "kveil.yaml", name, "--now", "--yes")
    new = json.loads(kveil(*apply, input=record + "\n"))
    for name in [*VALUES, "pepper", "pepper512"]:
        kveil("keys", "export", "-c", "kveil.yaml", "--tink", name, "--clear", "-o", f"{name}.json")
    assert not any(v and v in json.dumps([old, new], ensure_ascii=False) for v in VALUES.values())
    return home, old, new


def opens(sealed, algorithm, *program):
    """The program opens both versions' fields, and nothing at another place or with a bit changed."""
    home, old, new = sealed
    keyset, ad = str(home / f"{algorithm}.json"), f"orders:$['customer']['{algorithm}']"

    def run(*args):
        return subprocess.run([*map(str, program), *args], capture_output=True, timeout=120)

    for fields in old, new:
        r = run(keyset, ad, fields["customer"][algorithm])
        assert r.returncode == 0, r.stderr.decode()
        assert r.stdout.decode() == VALUES[algorithm] + "\n"
    field = new["customer"][algorithm]
    changed = field[:-6] + ("B" if field[-6] != "B" else "C") + field[-5:]
    for args in ([keyset, "orders:$['elsewhere']", field], [keyset, ad, changed]):
        r = run(*args)
        assert r.returncode != 0 and r.stdout == b""


@pytest.mark.parametrize("algorithm", TINK)
def test_python_with_tink(sealed, algorithm):
    opens(sealed, algorithm, sys.executable, OPEN / "open_tink.py")


def test_python_with_cryptography(sealed):
    opens(sealed, "sm4-gcm", sys.executable, OPEN / "open_sm4.py")


@pytest.mark.parametrize("algorithm", TINK)
def test_java_with_tink(sealed, java, algorithm):
    opens(sealed, algorithm, *java[1], "OpenTink")


def test_java_with_bouncy_castle(sealed, java):
    opens(sealed, "sm4-gcm", *java[1], "OpenSm4")


@pytest.fixture(scope="module")
def go(tmp_path_factory):
    if not shutil.which("go"):
        pytest.skip("no Go")
    folder = tmp_path_factory.mktemp("go")
    shutil.copy(OPEN / "open_tink.go", folder)
    for step in (["mod", "init", "open"], ["mod", "tidy"], ["build", "-o", "open", "."]):
        r = subprocess.run(["go", *step], cwd=folder, capture_output=True, text=True, timeout=600)
        assert r.returncode == 0, r.stderr
    return [folder / "open"]


@pytest.mark.parametrize("algorithm", TINK)
def test_go_with_tink(sealed, go, algorithm):
    opens(sealed, algorithm, *go)


TOKENS = [("62 2202-0000 1234 567", "digits", {"keep_first": 6, "keep_last": 4, "keep_chars": " -"}),
          ("Ab3" * 40, "alphanumeric", {}), ("京A12345京", "京沪粤AB12345", {"keep_first": 1})]


def test_tokens_of_a_form_taken_back(sealed, tmp_path):
    """Spaces, keys of two versions, long texts and letters beyond ASCII."""
    home, _, _ = sealed
    shutil.copy(home / "kek", tmp_path)
    (tmp_path / "kveil.yaml").write_text(CONFIG + "    forms: {algorithm: aes-256-ff1}\n")
    (tmp_path / "rules.yaml").write_text("name: orders\ntopics: [t]\nfields:\n" + "".join(
        f'  - {{path: "$.f{i}", tokenize: {json.dumps({"key": "forms", "alphabet": a, **more}, ensure_ascii=False)}}}\n'
        for i, (_, a, more) in enumerate(TOKENS)))

    def kveil(*args, **kw):
        return subprocess.run([str(KVEIL), *args], cwd=tmp_path, check=True, capture_output=True, text=True, **kw).stdout

    kveil("keys", "init", "-c", "kveil.yaml")
    record = json.dumps({f"f{i}": text for i, (text, _, _) in enumerate(TOKENS)})

    def tokens():
        return json.loads(kveil("apply", "-c", "kveil.yaml", "-r", "rules.yaml", input=record + "\n"))

    old = tokens()
    kveil("keys", "rotate", "-c", "kveil.yaml", "forms", "--now", "--yes")
    new = tokens()
    (tmp_path / "forms.json").write_text(kveil("keys", "export", "-c", "kveil.yaml", "--tink", "forms", "--clear"))
    keyset = json.loads((tmp_path / "forms.json").read_text())
    first = next(k["keyId"] for k in keyset["key"] if k["keyId"] != keyset["primaryKeyId"])
    for i, (text, alphabet, more) in enumerate(TOKENS):
        options = [f"--{name.replace('_', '-')}={value}" for name, value in more.items()]
        for token, version in ((new, []), (old, [f"--key-id={first}"])):
            assert token[f"f{i}"] != text
            r = subprocess.run([sys.executable, OPEN / "open_ff1.py", "forms.json", f"orders:$['f{i}']", token[f"f{i}"],
                                f"--alphabet={alphabet}", *options, *version], cwd=tmp_path, capture_output=True, text=True)
            assert r.returncode == 0 and r.stdout == text + "\n", r.stderr


@pytest.mark.parametrize("name,field,more", [("pepper", "email", []), ("pepper512", "mail", ["hmac-sha-512"])])
def test_hashes_computed_again(sealed, name, field, more):
    home, old, new = sealed
    out = subprocess.run([sys.executable, str(OPEN / "hash_tink.py"), str(home / f"{name}.json"), "u@example.com", *more],
                         check=True, capture_output=True, text=True).stdout
    assert [line.split()[0] for line in out.splitlines()] == [new[field], old[field]]


def test_a_keyset_of_sm4_goes_from_kveil_to_kveil(sealed, tmp_path):
    home, old, _ = sealed
    for f in ("kveil.yaml", "rules.yaml"):
        shutil.copy(home / f, tmp_path)
    (tmp_path / "open.yaml").write_text('name: orders\ntopics: [t]\noutput: "{topic}.x"\nfields:\n'
                                        "  - {path: \"$.customer['sm4-gcm']\", decrypt: {key: sm4-gcm}}\n")

    def kveil(*args, **kw):
        return subprocess.run([str(KVEIL), *args], cwd=tmp_path, check=True, capture_output=True, text=True, **kw).stdout

    kveil("keys", "kek", "local", "-c", "kveil.yaml")
    kveil("keys", "init", "-c", "kveil.yaml")
    kveil("keys", "import", "-c", "kveil.yaml", str(home / "sm4-gcm.json"), "sm4-gcm")
    out = kveil("apply", "-c", "kveil.yaml", "-r", "open.yaml", input=json.dumps(old) + "\n")
    assert json.loads(out)["customer"]["sm4-gcm"] == VALUES["sm4-gcm"]


def test_keys_named_from_records_open_without_kveil(tmp_path):
    """The one that sealed a field is in the backup under its id, and its bytes open the field."""
    config = CONFIG + '    "p-{}": {algorithm: aes-256-gcm}\n    "s-{}": {algorithm: sm4-gcm}\n'
    (tmp_path / "kveil.yaml").write_text(config)
    (tmp_path / "rules.yaml").write_text('name: orders\ntopics: [t]\noutput: "{topic}.x"\nfields:\n'
                                         '  - {path: "$.a", encrypt: {key: "p-{$.id}"}}\n  - {path: "$.b", encrypt: {key: "s-{$.id}"}}\n')

    def kveil(*args, **kw):
        return subprocess.run([str(KVEIL), *args], cwd=tmp_path, check=True, capture_output=True, text=True, timeout=60, **kw).stdout

    kveil("keys", "kek", "local")
    kveil("keys", "init")
    record = '{"id": 4711, "a": "13800138000", "b": "zhang@example.com"}\n'
    sealed = json.loads(kveil("apply", "-c", "kveil.yaml", "-r", "rules.yaml", input=record))
    kveil("keys", "backup", "b.json")

    def escrow(*keks):
        return subprocess.run([sys.executable, OPEN / "escrow.py", "b.json", *keks], cwd=tmp_path, capture_output=True, text=True,
                              timeout=60)

    r = escrow("local=kek")
    assert r.returncode == 0 and r.stderr == "", r.stderr
    keys = {int(i): (a, bytes.fromhex(k)) for _, _, i, a, _, k in map(str.split, r.stdout.splitlines())}
    for field, algorithm, clear in (("a", "aes-256-gcm", b"13800138000"), ("b", "sm4-gcm", b"zhang@example.com")):
        value = base64.b64decode(sealed[field])
        a, key = keys[int.from_bytes(value[1:5], "big")]
        assert a == algorithm
        cipher = AES(key) if algorithm == "aes-256-gcm" else SM4(key)
        opener = Cipher(cipher, modes.GCM(value[5:17], value[-16:])).decryptor()
        opener.authenticate_additional_data(f"orders:$['{field}']".encode())
        assert opener.update(value[17:-16]) + opener.finalize() == clear
    # A pattern whose own key does not open leaves its names closed, and says so.
    r = escrow("other=kek")
    assert r.stdout == "" and r.stderr.count("which was not opened") == 2


def test_a_backup_opens_without_kveil(tmp_path):
    """Every key, by a program that has the key-encryption key and the layout."""
    def kveil(*args):
        return subprocess.run([str(KVEIL), *args], cwd=tmp_path, check=True, capture_output=True, text=True, timeout=60)

    data = "".join(f"    {a}: {{algorithm: {a}}}\n" for a in VALUES)
    (tmp_path / "kveil.yaml").write_text(CONFIG + data)
    for args in (["kek", "local"], ["init"], ["rotate", "aes-256-gcm", "--now"], ["destroy", "sm4-gcm@1", "--yes", "--now"],
                 ["backup", "b.json"]):
        kveil("keys", *args)

    def escrow(*keks):
        return subprocess.run([sys.executable, OPEN / "escrow.py", "b.json", *keks], cwd=tmp_path, capture_output=True,
                              text=True, timeout=60)

    r = escrow("local=kek")
    assert r.returncode == 0 and r.stderr == "", r.stderr
    found = {(n, int(v)): (int(i), a, bytes.fromhex(k)) for n, v, i, a, _, k in map(str.split, r.stdout.splitlines())}
    rows = json.loads(kveil("keys", "list", "--json").stdout)
    assert set(found) == {(row["name"], row["version"]) for row in rows if row["state"] != "destroyed"}
    keyset = json.loads(kveil("keys", "export", "--tink", "aes-256-gcm", "--clear").stdout)
    for entry in keyset["key"]:
        key = base64.b64decode(entry["keyData"]["value"])[-32:]
        assert key in [k for i, a, k in found.values() if i == entry["keyId"] and a == "aes-256-gcm"]
    # A KEK's file under a passphrase: it is asked for.
    config = (tmp_path / "kveil.yaml").read_text()
    assert "local: {provider: file, path: kek}" in config
    (tmp_path / "kveil.yaml").write_text(config.replace(
        "local: {provider: file, path: kek}", 'local: {provider: file, path: kek2, passphrase: "${file:words}"}').replace(
        "file:keys.json", "file:keys2.json"))
    (tmp_path / "words").write_text("correct horse battery\n")
    (tmp_path / "words").chmod(0o600)
    kveil("keys", "kek", "local")
    kveil("keys", "init")
    kveil("keys", "backup", "b2.json")
    run = [sys.executable, OPEN / "escrow.py", "b2.json", "local=kek2"]
    r = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, timeout=60, input="correct horse battery\n")
    assert r.returncode == 0 and len(r.stdout.splitlines()) == len(json.loads((tmp_path / "b2.json").read_text())["keys"]), r.stderr
    r = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, timeout=60, input="wrong\n")
    assert r.returncode == 1 and r.stdout == "" and "this passphrase does not open kek2" in r.stderr
    # Another's key-encryption key, and none.
    (tmp_path / "other").write_bytes(bytes(range(200, 232)))
    r = escrow("local=other")
    assert r.returncode == 1 and r.stdout == "" and r.stderr.count("\n") == len(found)
    assert escrow("nobody=other").stdout == ""
