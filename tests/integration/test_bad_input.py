# SPDX-License-Identifier: Apache-2.0
"""What others may send or put in our way, as a user meets it: a code on stderr, nothing on stdout, and never a value."""
import base64
import json
import os
import random
import re

import pytest
from test_keys_tink import Home

ALGORITHMS = ["aes-256-gcm", "aes-128-gcm", "aes-256-gcm-siv", "sm4-gcm", "sm4-cbc-hmac-sm3", "aes-256-siv"]
CANARY = "canary-6222020200112233"
CONFIG = """
kafka: {bootstrap_servers: "127.0.0.1:1", group_id: none}
rules: rules/
keys:
  registry: file:keys.json
  keks:
    local: {provider: file, path: kek}
  data:
%s
    cards: {algorithm: aes-256-ff1}
    pii: {algorithm: aes-256-gcm}
    dead-letters: {algorithm: aes-256-gcm}
"""


@pytest.fixture
def home(tmp_path):
    h = Home(tmp_path)
    (tmp_path / "rules").mkdir()
    (tmp_path / "kveil.yaml").write_text(CONFIG % "\n".join(f"    k-{a}: {{algorithm: {a}}}" for a in ALGORITHMS))
    h.keys("init")
    for name in ("orders", "returns"):
        fields = [f'  - {{path: "$.f{i}", encrypt: {{key: k-{a}}}}}' for i, a in enumerate(ALGORITHMS)]
        fields += [f'  - {{path: "$.g{i}", encrypt: {{key: k-{a}}}}}' for i, a in enumerate(ALGORITHMS)]
        fields.append('  - {path: "$.card", tokenize: {key: cards, alphabet: digits}}')
        (tmp_path / "rules" / f"{name}.yaml").write_text(
            f'name: {name}\ntopics: [{name}]\noutput: "{{topic}}.secure"\nfields:\n' + "\n".join(fields) + "\n")
        inverse = h.run("invert", "-r", f"rules/{name}.yaml").stdout
        (tmp_path / f"open-{name}.yaml").write_text(inverse)
        (tmp_path / f"move-{name}.yaml").write_text(re.sub(r"decrypt: \{key: \"?(k-[a-z0-9-]+)\"?\}",
                                                           r"reencrypt: {from: \1, to: pii}", inverse))
        assert "reencrypt" in (tmp_path / f"move-{name}.yaml").read_text()
    return h


def seal(home, record, name="orders"):
    return json.loads(home.run("apply", "-c", "kveil.yaml", "-r", f"rules/{name}.yaml", input=json.dumps(record) + "\n").stdout)


def apply(home, rules, lines, expect=1):
    """What came out, and for each line (from 1) the code that stderr gives."""
    p = home.run("apply", "-c", "kveil.yaml", "-r", rules, input="".join(line + "\n" for line in lines), expect=expect)
    assert CANARY not in p.stderr and "Sanitizer" not in p.stderr
    codes = {}
    for line in p.stderr.splitlines():
        m = re.match(r"-:(\d+): byte \d+: ([a-z_]+): .+ \(rule .+\)$", line)
        assert m, line
        codes[int(m[1])] = m[2]
    return p.stdout, codes


def refused(home, cases):
    """cases: (record, codes it may have). None comes through, neither opened nor moved to another key."""
    for rules in ("open-orders.yaml", "move-orders.yaml"):
        out, codes = apply(home, rules, [json.dumps(r) for r, _ in cases])
        assert out == ""
        for n, (record, may) in enumerate(cases, 1):
            assert codes.get(n) in may, (rules, record, codes.get(n), may)


def boxes(sealed, letter="f"):
    return {f"{letter}{i}": base64.b64decode(sealed[f"{letter}{i}"]) for i in range(len(ALGORITHMS))}


def text(b):
    return base64.b64encode(b).decode()


def test_ciphertexts_that_were_bent(home):
    sealed = seal(home, {f"f{i}": CANARY for i in range(len(ALGORITHMS))})
    rng = random.Random(4)
    cases = []
    for f, box in boxes(sealed).items():
        cut = {"bad_ciphertext", "authentication_failed"}
        cases += [({f: text(box[:n])}, cut) for n in [*range(0, 40), *range(40, len(box), 7), len(box) - 1]]
        cases += [({f: text(box + b"\0" * n)}, cut) for n in (1, 16, 1000)]
        for at in range(len(box)):
            bent = bytearray(box)
            bent[at] ^= 1 << rng.randrange(8)
            cases.append(({f: text(bytes(bent))}, {"bad_ciphertext" if at == 0 else "unknown_key" if at < 5 else
                                                   "authentication_failed"}))
        cases += [({f: text(bytes([n]) + box[1:])}, {"bad_ciphertext"}) for n in (0, 2, 3, 0xff)]  # other prefixes of Tink's
        cases += [({f: text(box[5:])}, {"bad_ciphertext"}), ({f: text(box[1:])}, {"bad_ciphertext", "unknown_key"})]
        cases += [({f: x}, {"bad_ciphertext"}) for x in (CANARY, "", "====", text(box)[:-1], text(box) + "=", "\u0000",
                                                         text(box).replace("A", "%", 1), box.hex())]
        cases += [({f: x}, {"unsupported_kind"}) for x in (1, True, {"x": CANARY}, [CANARY], -0.5e300)]
    refused(home, cases)
    assert all(CANARY not in json.dumps(sealed[f"f{i}"]) for i in range(len(ALGORITHMS)))


def test_ciphertexts_in_another_place(home):
    """Between fields, topics, keys, versions: the same bytes, and they do not open there."""
    record = {f"{letter}{i}": CANARY for letter in "fg" for i in range(len(ALGORITHMS))}
    sealed, theirs = seal(home, record), seal(home, record, "returns")
    cases = []
    for i in range(len(ALGORITHMS)):
        cases.append(({f"f{i}": sealed[f"g{i}"]}, {"authentication_failed"}))
        cases.append(({f"f{i}": theirs[f"f{i}"]}, {"authentication_failed"}))
        for k in range(len(ALGORITHMS)):
            if k != i:
                box = bytearray(base64.b64decode(sealed[f"f{k}"]))
                cases.append(({f"f{i}": text(box)}, {"unknown_key"}))
                box[1:5] = base64.b64decode(sealed[f"f{i}"])[1:5]
                cases.append(({f"f{i}": text(box)}, {"authentication_failed", "bad_ciphertext"}))
    refused(home, cases)
    # In its own place each opens.
    out, _ = apply(home, "open-orders.yaml", [json.dumps(sealed)], expect=0)
    assert json.loads(out) == record
    out, _ = apply(home, "open-returns.yaml", [json.dumps(theirs)], expect=0)
    assert json.loads(out) == record


def test_one_bad_field_keeps_the_whole_record_back(home):
    sealed = seal(home, {"f0": CANARY, "f1": "fine"})
    sealed["f0"] = sealed["f1"]
    good = seal(home, {"f0": "good"})
    out, codes = apply(home, "open-orders.yaml", [json.dumps(sealed), json.dumps(good), json.dumps(sealed)])
    assert [json.loads(line) for line in out.splitlines()] == [{"f0": "good"}]
    assert codes == {1: "unknown_key", 3: "unknown_key"}


def test_keys_that_are_unknown_or_destroyed(home):
    sealed = seal(home, {f"f{i}": CANARY for i in range(len(ALGORITHMS))})
    cases = []
    for f, box in boxes(sealed).items():
        cases += [({f: text(box[:1] + n.to_bytes(4, "big") + box[5:])}, {"unknown_key"}) for n in (0, 1, 2 ** 32 - 1)]
    refused(home, cases)
    for a in ALGORITHMS:
        home.keys("destroy", f"k-{a}", "--yes", "--now")
        if a == "aes-256-siv":  # nothing replaces it by itself
            home.keys("rotate", f"k-{a}", "--now", "--yes")
    refused(home, [({f: text(box)}, {"key_destroyed"}) for f, box in boxes(sealed).items()])
    ids = {r["id"] for r in json.loads(home.keys("list", "--json").stdout) if r["state"] == "destroyed"}
    p = home.run("apply", "-c", "kveil.yaml", "-r", "open-orders.yaml", input=json.dumps({"f0": sealed["f0"]}), expect=1)
    assert any(str(i) in p.stderr for i in ids) and p.stdout == ""


def test_in_a_stream_each_goes_to_the_dead_letters(make_kveil, kafka):
    """Between good records, from other topics and fields too: the good ones open, none is lost, none stops the rest."""
    k = make_kveil()
    k.init()
    for name in (k.name, "other"):
        (k.dir / f"seal-{name}.yaml").write_text(
            f'name: {name}\ntopics: [{name}]\nformat: json\nfields:\n  - {{path: "$.v", encrypt: {{key: pii}}}}\n'
            '  - {path: "$.w", encrypt: {key: pii}}\n  - {path: "$.x", encrypt: {key: dead-letters}}\n')

    def seal(record, name=k.name):
        line = json.dumps(record) + "\n"
        return json.loads(k.run("apply", "-c", "kveil.yaml", "-r", f"seal-{name}.yaml", input=line, check=0).stdout)

    whole, theirs = seal({"v": CANARY, "w": CANARY, "x": CANARY}), seal({"v": CANARY}, "other")
    box = base64.b64decode(whole["v"])
    bad = [(whole["w"], "authentication_failed"), (theirs["v"], "authentication_failed"), (whole["x"], "unknown_key"),
           (text(box[:-1]), "authentication_failed"), (text(box[:9]), "bad_ciphertext"), ("", "bad_ciphertext"),
           (text(b"\2" + box[1:]), "bad_ciphertext"), (text(box[:1] + b"\0\0\0\1" + box[5:]), "unknown_key"),
           (CANARY, "bad_ciphertext"), (7, "unsupported_kind")]
    k.rules('  - {path: "$.v", decrypt: {key: pii}}\n')
    k.start()
    stream = []
    for i in range(60):
        stream.append((json.dumps({"n": 2 * i, "v": whole["v"]}).encode(), None))
        value, code = bad[i % len(bad)]
        stream.append((json.dumps({"n": 2 * i + 1, "v": value}).encode(), code))
    kafka.produce(k.topic, [value for value, _ in stream])
    good = kafka.consume(k.secure, 60, settle=0.5)
    assert [json.loads(m.value()) for m in good] == [{"n": 2 * i, "v": CANARY} for i in range(60)]
    letters = kafka.consume(k.dead, 60, settle=0.5)
    assert len(good) == len(letters) == 60
    for m in letters:
        headers = dict(m.headers())
        assert headers["kveil.error.code"].decode() == stream[int(headers["kveil.error.offset"])][1]
        assert CANARY.encode() not in b"|".join([m.value(), *(v or b"" for v in headers.values())])
    assert k.stop() == 0 and CANARY not in k.processes[-1].log.read_text()


def test_tokens_that_are_none(home):
    cases = [({"card": x}, {"value_out_of_domain", "unsupported_kind"}) for x in
             ("12345", "", "622202020011223a", "６２２２０２０２００", " 622202020011", "-" * 20, True, [1], {"a": "1234567"})]
    out, codes = apply(home, "open-orders.yaml", [json.dumps(r) for r, _ in cases])
    assert out == ""
    assert all(codes.get(n) in may for n, (_, may) in enumerate(cases, 1)), codes


# --- the registry and its keys, as files ---

def lines_of(path):
    return path.read_text().splitlines(keepends=True)


def same(a, b):
    """As JSON has it: two members of an object may stand in either order."""
    try:
        return json.loads(a) == json.loads(b) and a.count('":') == b.count('":')
    except ValueError:
        return False


def test_a_registry_with_a_broken_line(home):
    """Every line of it cut short, doubled, left out, exchanged with the next, or filled with junk."""
    file, mark = home.path / "keys.json", (home.path / ".keys.json.mark").read_bytes()
    whole = lines_of(file)
    inode = file.stat().st_ino
    rng = random.Random(5)
    ways = [lambda ls, i: ls[:i] + [ls[i][:len(ls[i]) // 2]] + ls[i + 1:], lambda ls, i: ls[:i] + [ls[i], ls[i]] + ls[i + 1:],
            lambda ls, i: ls[:i] + ls[i + 1:], lambda ls, i: ls[:i] + ls[i:i + 2][::-1] + ls[i + 2:],
            lambda ls, i: ls[:i] + ["\u00ff\u0000\n"] + ls[i + 1:]]
    tried = 0
    for i in rng.sample(range(len(whole)), 24):
        for way in rng.sample(ways, 2):
            text = "".join(way(whole, i))
            if same(text, "".join(whole)):
                continue
            file.write_text(text)
            p = home.keys("list", expect=2)
            assert "registry_corrupt: " in p.stderr and "keys restore" in p.stderr and not p.stdout, p.stderr
            tried += 1
            assert file.stat().st_ino == inode and (home.path / ".keys.json.mark").read_bytes() == mark
    assert tried > 30
    file.write_text("".join(whole))
    assert home.keys("list").stdout


@pytest.mark.parametrize("what", ["an empty file", "a backup", "another registry", "another KEK", "huge", "deep", "a folder",
                                  "a later format"])
def test_what_is_no_registry(home, what):
    file = home.path / "keys.json"
    code = "registry_corrupt"
    if what == "an empty file":
        file.write_text("")
    elif what == "a backup":
        home.keys("backup", "b.json")
        file.write_text((home.path / "b.json").read_text())
    elif what == "another registry":
        (home.path / "other").mkdir()
        other = Home(home.path / "other")
        (other.path / "kek").write_bytes(home.kek)
        other.keys("init")
        file.write_text((other.path / "keys.json").read_text())
        code = "registry_corrupt|registry_rolled_back"
    elif what == "another KEK":
        (home.path / "kek").write_bytes(os.urandom(32))
        code = "wrong_kek"
    elif what == "huge":
        with open(file, "r+b") as f:
            f.truncate(3 << 30)
        code = "config"
    elif what == "deep":
        file.write_text("[" * 1_000_000)
    elif what == "a folder":
        file.unlink()
        file.mkdir()
        code = "config"
    else:
        text = file.read_text()
        file.write_text(text.replace('"format": 1', '"format": 99'))
        assert file.read_text() != text
        code = "unsupported"
    for args in (["keys", "list"], ["keys", "rotate", "pii"], ["apply", "-c", "kveil.yaml", "-r", "rules/orders.yaml"]):
        p = home.run(*args, expect=2, input=json.dumps({"f0": CANARY}) + "\n")
        assert re.search(f"({code}): ", p.stderr) and not p.stdout and CANARY not in p.stderr, p.stderr


# --- Tink's keysets ---

def keyset(key=b"\x1a\x20" + b"K" * 32, **changed):
    k = {"keyData": {"typeUrl": "type.googleapis.com/google.crypto.tink.AesGcmKey", "value": text(key),
                     "keyMaterialType": "SYMMETRIC"}, "status": "ENABLED", "keyId": 7, "outputPrefixType": "TINK"}
    k["keyData"] |= {n: v for n, v in changed.items() if n in k["keyData"]}
    k |= {n: v for n, v in changed.items() if n in k}
    return {"primaryKeyId": 7, "key": [k]}


def test_keysets_that_do_not_come_in(home):
    """Each with a code and without a byte of a key, none half: the registry stays as it was, byte by byte."""
    before = (home.path / "keys.json").read_bytes()
    file = home.path / "set.json"
    two = keyset()
    two["key"].append(keyset(keyId=8, outputPrefixType="RAW")["key"][0])
    own = json.loads(home.export("pii"))
    cases = [("config", {}), ("config", []), ("config", keyset() | {"primaryKeyId": 8}), ("config", keyset(keyId="7")),
             ("config", keyset(status="DISABLED")), ("unsupported", keyset(status="UNKNOWN_STATUS")),
             ("unsupported", keyset(typeUrl="type.googleapis.com/google.crypto.tink.ChaCha20Poly1305Key")),
             ("unsupported", keyset(typeUrl=text(b"K" * 32))), ("unsupported", keyset(key=b"\x1a\x18" + b"K" * 24)),
             ("unsupported", keyset(outputPrefixType="RAW")), ("unsupported", keyset(keyMaterialType="REMOTE")),
             ("config", keyset(value="?")), ("unsupported", two),
             ("config", {"primaryKeyId": 7, "key": keyset()["key"] * 2}),
             ("unsupported", {"encryptedKeyset": text(b"K" * 64), "keysetInfo": {}})]
    for code, bad in cases:
        file.write_text(json.dumps(bad))
        file.chmod(0o600)
        p = home.keys("import", "set.json", "pii", expect=2)
        assert f"set.json: {code}: " in p.stderr and not p.stdout, (bad, p.stderr)
        assert "S0tLS0tL" not in p.stderr and "KKKKKKKK" not in p.stderr
        assert (home.path / "keys.json").read_bytes() == before
    # The registry's own is there already.
    file.write_text(json.dumps(own))
    assert "already" in home.keys("import", "set.json", "pii").stdout
    assert (home.path / "keys.json").read_bytes() == before
    for raw, code in ((b"", "config"), (b"\xff\xfe", "config"), (b"[" * 300_000, "config"), (b" " * (17 << 20), "config")):
        file.write_bytes(raw)
        p = home.keys("import", "set.json", "pii", expect=2)
        assert f": {code}: " in p.stderr, p.stderr
    file.write_text(json.dumps(keyset()))
    assert "unsupported: " in home.keys("import", "set.json", "k-aes-256-siv", expect=2).stderr
    assert "not_found: " in home.keys("import", "set.json", "nobody", expect=2).stderr
    assert "not_found: " in home.keys("import", "nothing.json", "pii", expect=2).stderr
    assert (home.path / "keys.json").read_bytes() == before
    # An encrypted one of kveil's own is told to be one.
    home.keys("export", "--tink", "pii", "-o", "wrapped.json")
    assert "encrypted" in home.keys("import", "wrapped.json", "pii", expect=2).stderr
    # The good one comes in, opens and does not seal.
    assert "1 version added that opens" in home.keys("import", "set.json", "pii").stdout
    rows = [r for r in json.loads(home.keys("list", "--json").stdout) if r["id"] == 7]
    assert [r["state"] for r in rows] == ["opens only"]
    assert not [f for f in home.path.iterdir() if f.name.endswith(".tmp")]
