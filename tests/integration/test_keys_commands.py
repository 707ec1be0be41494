# SPDX-License-Identifier: Apache-2.0
"""`kveil keys …` as its users have it, in several processes at one time, on both registries: a file and a topic."""
import base64
import http.server
import json
import os
import pty
import pwd
import random
import signal
import socket
import stat
import subprocess
import threading
import time
import uuid

import pytest
from conftest import KVEIL, wait_for

# Compacts within a second or two of every message.
EAGER = {"cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.001",
         "max.compaction.lag.ms": "100", "delete.retention.ms": "100"}
NAMES = [f"n{i:03d}" for i in range(150)]


@pytest.fixture(params=["file", "kafka"])
def make(request, make_kveil, kafka):
    """A kveil with two KEKs; configure(k, KEK, names) puts all names under one of them."""

    def configure(k, kek, names, keks=("local", "new"), rotate="24h", data=""):
        data += "".join(f"    {n}: {{algorithm: aes-256-gcm, kek: {kek}}}\n" for n in names)
        k.config(kafka.bootstrap, registry=k.registry, rotate=rotate, data=data)
        text = (k.dir / "kveil.yaml").read_text()
        text = text.replace("    local: {provider: file, path: kek}\n",
                            "".join(f"    {x}: {{provider: file, path: kek-{x}}}\n" for x in keks))
        (k.dir / "kveil.yaml").write_text(text.replace("kek: local", f"kek: {kek}"))

    def make(names=(), topics=False, config=None, init=True, **kw):
        k = make_kveil(topics=topics)
        for x in ("local", "new"):
            (k.dir / f"kek-{x}").write_bytes(os.urandom(32))
            (k.dir / f"kek-{x}").chmod(0o600)
        k.registry, k.keys, k.kafka = "file:keys.json", None, kafka
        if request.param == "kafka":
            k.keys = "kveil.keys." + uuid.uuid4().hex[:8]
            k.registry = f"kafka:{k.keys}"
            if config:
                kafka.create(k.keys, config=config)
        k.configure = lambda kek, names=names, **more: configure(k, kek, names, **{**kw, **more})
        k.configure("local")
        k.rules('  - {path: "$.v", encrypt: {key: pii}}\n')
        return k.init() if init else k

    return make


def start(k, *args, env=None):
    return subprocess.Popen([str(KVEIL), "keys", *args], cwd=k.dir, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, env=env)


def rows(k):
    return json.loads(k.run("keys", "list", "--json", check=0).stdout)


def states(k, name):
    return {r["version"]: r["state"] for r in rows(k) if r["name"] == name}


def apply(k, rules, line, check=0):
    return k.run("apply", "-c", "kveil.yaml", "-r", rules, input=line, check=check)


def rules_for(k, file, action, key="pii"):
    (k.dir / file).write_text(f'name: {k.name}\ntopics: [{k.topic}]\nformat: json\nfields:\n'
                              f'  - {{path: "$.v", {action}: {{key: {key}}}}}\n')
    return file


def records(k):
    """What the registry itself holds: for each id the record that compaction would leave, or the file's."""
    if not k.keys:
        return {r["id"]: r for r in json.loads((k.dir / "keys.json").read_text())["keys"]}
    last = {}
    for m in k.kafka.consume(k.keys, 1, settle=0.3):
        if m.key() and not m.key().startswith(b"!") and m.value():
            last[m.key()] = json.loads(m.value())
    return {r["id"]: r for r in last.values()}


# --- rewrap ---

def test_rewrap_is_killed_and_goes_on(make):
    k = make(NAMES)
    sealed = apply(k, rules_for(k, "seal.yaml", "encrypt", "n007"), '{"v":"x"}\n').stdout
    k.configure("new")
    for delay in (0.2, 0.3, 0.45):
        p = start(k, "rewrap")
        time.sleep(delay)
        p.kill()
        p.communicate()
        assert json.loads(apply(k, rules_for(k, "open.yaml", "decrypt", "n007"), sealed).stdout) == {"v": "x"}
    before = sum(r["kek"] == "new" for r in rows(k))
    out = k.run("keys", "rewrap", check=0).stdout
    total = len(NAMES) + 3
    assert out == f"{total - before} version{'s' if total - before != 1 else ''} wrapped anew\n"
    assert k.run("keys", "rewrap", check=0).stdout == "0 versions wrapped anew\n"
    assert {r["kek"] for r in rows(k)} == {"new"} == {r["kek"] for r in records(k).values()}
    # The old KEK is needed for nothing any more.
    k.configure("new", keks=("new",))
    (k.dir / "kek-local").unlink()
    assert json.loads(apply(k, "open.yaml", sealed).stdout) == {"v": "x"}
    k.run("keys", "rotate", "pii", "--now", check=0)


def test_rewrap_says_what_it_left_and_refuses_what_it_cannot_prove(make):
    k = make(["gone", "stays"])
    k.configure("new", names=["stays"])
    r = k.run("keys", "rewrap", check=0)
    assert "4 versions wrapped anew" in r.stdout
    assert "1 version of keys that keys.data does not name" in r.stderr
    assert json.loads(k.run("keys", "rewrap", "--json", check=0).stdout) == {"wrapped_anew": 0, "unnamed": 1,
                                                                               "unreachable": 0}
    assert {r["name"]: r["kek"] for r in rows(k)} == {"gone": "local", "stays": "new", "pii": "new", "pepper": "new",
                                                      "dead-letters": "new"}
    # Without the old KEK it says which key is missing it.
    k.configure("new", names=["stays"], keks=("new",))
    r = k.run("keys", "list", check=0)
    assert "'gone'" in r.stderr and "'local'" in r.stderr and "unreachable" in r.stdout
    # It holds up nothing else.
    (k.dir / "kek-third").write_bytes(os.urandom(32))
    (k.dir / "kek-third").chmod(0o600)
    k.configure("third", names=["gone", "stays"], keks=("new", "third"))
    r = k.run("keys", "rewrap", "--json", check=2)
    assert json.loads(r.stdout) == {"wrapped_anew": 4, "unnamed": 0, "unreachable": 1} and "destroy gone@1" in r.stderr
    k.configure("new", names=["stays"], keks=("local", "new", "third"))
    k.run("keys", "rewrap", check=0)
    k.configure("new", names=["stays"])
    # A public key proves nothing about what it wraps.
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=edge", "-days", "9", "-keyout",
                    "edge.key", "-out", "edge.pem"], cwd=k.dir, check=True, capture_output=True)
    text = (k.dir / "kveil.yaml").read_text()
    text = text.replace("  keks:\n", "  keks:\n    edge: {provider: rsa-oaep, certificate: edge.pem}\n")
    (k.dir / "kveil.yaml").write_text(text.replace("stays: {algorithm: aes-256-gcm, kek: new}",
                                                   "stays: {algorithm: aes-256-gcm, kek: edge}"))
    r = k.run("keys", "rewrap", check=2)
    assert "only locks" in r.stderr and "private key" in r.stderr
    assert {r["kek"] for r in rows(k) if r["name"] == "stays"} == {"new"}


def test_rewrap_never_brings_back_what_ends_meanwhile(make):
    """destroy and retire, each in a process of its own, while another moves everything to and fro."""
    k = make(NAMES[:40], config=EAGER)
    rng = random.Random(4711)
    left, ended, retired = list(NAMES[:40]), [], []
    for turn in range(3):
        k.configure("new" if turn % 2 == 0 else "local")
        now = [left.pop(rng.randrange(len(left))) for _ in range(4)]
        mover = start(k, "rewrap")
        time.sleep(rng.random() * 0.35)
        others = [start(k, "destroy", n, "--yes", "--now") for n in now[:3]] + [start(k, "retire", now[3])]
        for p in [mover, *others]:
            _, err = p.communicate(timeout=60)
            assert p.returncode == 0, err
        ended += now[:3]
        retired.append(now[3])
        found = {(r["name"], r["version"]): r["state"] for r in rows(k)}
        assert [n for n in ended if found[n, 1] != "destroyed"] == []
        assert [n for n in retired if found[n, 1] != "retired"] == []
        # In the registry too, for whoever comes when only the last message of each is left.
        kept = {(r["name"], r["version"]): r for r in records(k).values()}
        assert [n for n in ended if kept[n, 1]["state"] != "destroyed" or kept[n, 1]["wrapped"]] == []
        assert [n for n in retired if kept[n, 1]["state"] != "retired"] == []
    assert {r["kek"] for r in rows(k) if r["state"] != "destroyed"} == {"new"}


class SlowTransit(http.server.BaseHTTPRequestHandler):
    """As much of Transit as a KEK needs; before it wraps a key, the test may do something about that key."""
    before = staticmethod(lambda name: None)

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.answer({"ttl": 0})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if "/rewrap/" in self.path:
            self.answer({"ciphertext": body["ciphertext"]})
        elif "plaintext" in body:
            payload = base64.b64decode(body["plaintext"])
            if payload.startswith(b"KVK1"):
                self.before(payload[55:55 + payload[54]].decode())
            self.answer({"ciphertext": "vault:v1:" + body["plaintext"]})
        else:
            self.answer({"plaintext": body["ciphertext"].removeprefix("vault:v1:")})

    def answer(self, data):
        text = json.dumps({"data": data}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


def test_what_ends_while_it_is_wrapped_stays_ended(make, monkeypatch):
    """The order that a race seldom has: read, destroyed or retired by another process, written again."""
    k = make(NAMES[:6], config=EAGER)
    change = {"n001": ["destroy", "n001", "--yes", "--now"], "n002": ["retire", "n002"], "n003": ["rotate", "n003", "--now"]}

    def before(name):
        args = change.pop(name, None)
        if args:
            k.run("keys", *args, check=0)

    monkeypatch.setattr(SlowTransit, "before", staticmethod(before))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), SlowTransit)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        k.configure("new")
        text = (k.dir / "kveil.yaml").read_text()
        monkeypatch.setenv("SLOW_TOKEN", "t")
        slow = f'{{provider: transit, url: "http://127.0.0.1:{server.server_port}", key: k, '
        slow += 'token: "${env:SLOW_TOKEN}", timeout: 10s}'
        text = text.replace("kek: new", "kek: slow").replace("  keks:\n", f"  keks:\n    slow: {slow}\n")
        (k.dir / "kveil.yaml").write_text(text)
        # 9 that are there, and the one that came meanwhile was made under the new KEK at once.
        assert k.run("keys", "rewrap", check=0).stdout == "8 versions wrapped anew\n" and not change
        found = {(r["name"], r["version"]): r["state"] for r in rows(k)}
        assert (found["n001", 1], found["n002", 1], found["n003", 1]) == ("destroyed", "retired", "previous")
        assert {r["kek"] for r in rows(k) if r["state"] != "destroyed"} == {"slow"}
        kept = {(r["name"], r["version"]): r for r in records(k).values()}
        assert kept["n001", 1]["state"] == "destroyed" and kept["n001", 1]["wrapped"] == ""
        assert kept["n002", 1]["state"] == "retired" and kept["n002", 1]["kek"] == "slow"
    finally:
        server.shutdown()
        server.server_close()


def test_progress_is_a_bar_on_a_terminal(make):
    k = make(NAMES[:10])
    k.configure("new")
    main, side = pty.openpty()
    p = subprocess.Popen([str(KVEIL), "keys", "rewrap"], cwd=k.dir, stdout=subprocess.PIPE, stderr=side, text=True)
    os.close(side)
    out, _ = p.communicate(timeout=60)
    said = b""
    try:
        while chunk := os.read(main, 4096):
            said += chunk
    except OSError:
        pass
    os.close(main)
    assert p.returncode == 0 and out == "13 versions wrapped anew\n"
    assert b"[########################################] 13 of 13" in said


# --- destroy, retire ---

def test_a_running_worker_forgets_a_destroyed_key(make, kafka):
    k = make(topics=True)
    seal = rules_for(k, "seal.yaml", "encrypt")
    old = apply(k, seal, '{"v":"old"}\n').stdout.strip().encode()
    k.rules('  - {path: "$.v", decrypt: {key: pii}}\n')
    k.start()
    kafka.produce(k.topic, [old])
    assert json.loads(kafka.consume(k.secure, 1)[0].value()) == {"v": "old"}
    r = k.run("keys", "destroy", "pii@1", "--yes", "--now", check=0)
    assert "exported" in r.stderr and "backups" in r.stderr and ("Kafka compacts" in r.stderr) == bool(k.keys)
    ended = time.time()
    new = apply(k, seal, '{"v":"new"}\n').stdout.strip().encode()

    def forgotten():
        kafka.produce(k.topic, [old])
        time.sleep(0.5)
        return k.metric("kveil_records_failed_total", code="key_destroyed") > 0

    wait_for("the key is forgotten", forgotten, timeout=60)
    assert time.time() - ended < 60
    kafka.produce(k.topic, [old, new])
    last = wait_for("the new one", lambda: [m for m in kafka.consume(k.secure, 1, settle=0.5) if b"new" in m.value()])
    assert json.loads(last[0].value()) == {"v": "new"}
    letter = kafka.consume(k.dead, 2)[0]
    headers = dict(letter.headers())
    assert headers["kveil.error.code"] == b"key_destroyed" and old not in letter.value()
    assert k.stop() == 0
    # A worker that begins now knows it as well.
    assert apply(k, rules_for(k, "open.yaml", "decrypt"), old.decode() + "\n", check=1).stdout == ""
    assert states(k, "pii") == {1: "destroyed", 2: "active"}


def test_what_a_lost_kek_wrapped_is_given_up(make):
    """Its keys are in the way of all others until somebody says that they are gone."""
    k = make(["a", "b"])
    text = (k.dir / "kveil.yaml").read_text()
    (k.dir / "kveil.yaml").write_text(text.replace("    dead-letters:",
                                                   "    lost: {algorithm: aes-256-gcm, kek: new}\n    dead-letters:"))
    k.init()
    k.run("keys", "rotate", "lost", "--now", check=0)
    sealed = apply(k, rules_for(k, "seal.yaml", "encrypt"), '{"v":"x"}\n').stdout
    (k.dir / "kek-new").unlink()
    k.configure("local", keks=("local",))
    r = k.run("keys", "list", check=0)
    assert r.stderr.count("of 'lost' cannot be reached: KEK 'new' does not open it here") == 2 and "destroy" not in r.stderr
    # Nothing else is held up by it.
    k.run("keys", "rotate", "pii", check=0)
    k.run("keys", "backup", "with-the-lost", "-c", "kveil.yaml", check=0)
    assert len([x for x in json.loads((k.dir / "with-the-lost").read_text())["keys"] if x["name"] == "lost"]) == 2
    assert "not_found: " in k.run("keys", "destroy", "nobody", "--yes", "--now", check=2).stderr
    assert k.run("keys", "destroy", "lost@1", "--yes", "--now", check=0).stdout == "lost: 1 version destroyed\n"
    r = k.run("keys", "destroy", "lost", "--yes", "--now", check=0)
    assert "lost@2, unreachable, under KEK new" in r.stderr
    assert r.stdout == "lost: 1 version destroyed\n"
    assert states(k, "lost") == {1: "destroyed", 2: "destroyed"}
    assert json.loads(apply(k, rules_for(k, "open.yaml", "decrypt"), sealed).stdout) == {"v": "x"}


def test_a_destroyed_key_comes_back_by_no_way(make):
    k = make()
    k.run("keys", "backup", "backup.json", check=0)
    k.run("keys", "export", "--tink", "pii", "--clear", "-o", "pii.json", check=0)
    k.run("keys", "destroy", "pii@1", "--yes", "--now", check=0)
    assert "key_exists" in k.run("keys", "import", "pii.json", "pii", check=2).stderr
    k.run("keys", "restore", "backup.json", check=0)
    assert states(k, "pii")[1] == "destroyed"
    k.run("keys", "retire", "pii@1", check=0)
    assert "nothing to do" in k.run("keys", "destroy", "pii@1", "--yes", "--now", check=0).stdout
    assert states(k, "pii")[1] == "destroyed"
    k.run("keys", "backup", "after.json", check=0)
    text = (k.dir / "after.json").read_text()
    ended = [r for r in json.loads(text)["keys"] if r["name"] == "pii" and r["version"] == 1]
    assert ended[0]["wrapped"] == ""


def at_terminal(k, answer, *args):
    main, side = pty.openpty()
    p = subprocess.Popen([str(KVEIL), "keys", *args], cwd=k.dir, stdin=side, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True)
    os.write(main, answer.encode())
    out, err = p.communicate(timeout=60)
    os.close(main)
    os.close(side)
    return p.returncode, out, err


def test_rotate_asks_where_equal_values_stop_being_equal(make):
    k = make(data="    ids: {algorithm: aes-256-siv, kek: local}\n    cards: {algorithm: aes-256-ff1, kek: local}\n")
    for name in ("ids", "cards", "pepper"):
        r = k.run("keys", "rotate", name, "--now", check=2, stdin=subprocess.DEVNULL)
        assert "--yes" in r.stderr and "joins with older data break" in r.stderr
        assert ("'cards@1'" in r.stderr) == (name == "cards")
        code, out, err = at_terminal(k, "y\n", "rotate", name, "--now")
        assert code == 2 and out == "" and "nothing was changed" in err
        assert states(k, name) == {1: "active"}
    assert at_terminal(k, "ids\n", "rotate", "ids", "--now")[0] == 0
    k.run("keys", "rotate", "cards", "--now", "--yes", check=0, stdin=subprocess.DEVNULL)
    assert states(k, "ids") == states(k, "cards") == {1: "previous", 2: "active"}
    # So does taking one out of use, which also stops what needs it.
    for name in ("ids", "cards", "pepper@1"):
        bare = name.split("@")[0]
        r = k.run("keys", "retire", name, check=2, stdin=subprocess.DEVNULL)
        assert "--yes" in r.stderr and f"wait until `kveil keys rotate {bare}`" in r.stderr
        assert ("'cards@2'" in r.stderr) == (name == "cards")
        assert "retired" not in states(k, bare).values()
    assert at_terminal(k, "cards\n", "retire", "cards@1")[0] == 0 and states(k, "cards")[1] == "retired"
    k.run("keys", "retire", "ids", "--yes", check=0, stdin=subprocess.DEVNULL)
    # Where nothing is lost, nothing is asked: no key, no such name, a cipher with a nonce.
    assert "joins" not in k.run("keys", "rotate", "pii", "--now", check=0, stdin=subprocess.DEVNULL).stderr
    assert "joins" not in k.run("keys", "rotate", "nobody", "--now", check=2, stdin=subprocess.DEVNULL).stderr


def test_each_change_of_keys_is_an_event(make):
    """Who, on which host, by which command, and what became of which version; no key byte in it."""
    k = make()

    def events(*args):
        r = k.run("keys", *args, check=0, stdin=subprocess.DEVNULL)
        lines = [line.split("event: ", 1)[1] for line in r.stderr.splitlines() if " event: " in line]
        who = f'command="keys {args[0]}" user={pwd.getpwuid(os.geteuid()).pw_name} host={socket.gethostname()}'
        assert all(line.endswith(who) for line in lines), lines
        return [line[:-len(who) - 1] for line in lines]

    made = events("rotate", "pii", "--now")
    ids = {r["version"]: r["id"] for r in rows(k) if r["name"] == "pii"}
    since, = (r["active_from"] for r in rows(k) if (r["name"], r["version"]) == ("pii", 2))
    assert made == [f"key_created key=pii version=2 id={ids[2]} algorithm=aes-256-gcm kek=local due={since}"]
    out = events("export", "--tink", "pii", "--clear", "-o", "set.json")
    assert out == ['key_exported key=pii detail="in clear, to set.json"']
    for name, *args in (("key_disabled", "disable"), ("key_enabled", "enable"), ("key_destroy_scheduled", "destroy", "--yes"),
                        ("key_destroy_cancelled", "cancel")):
        told, = events(*args, "pii@1")
        assert told.startswith(f"{name} key=pii version=1 id={ids[1]} algorithm=aes-256-gcm kek=local"), told
        assert ("due=20" in told) == (name == "key_destroy_scheduled")
    assert events("backup", "b.json") == [f"registry_backed_up count={len(rows(k))} detail=b.json"]
    assert events("retire", "pii@1") == [f"key_retired key=pii version=1 id={ids[1]} algorithm=aes-256-gcm kek=local"]
    gone = events("destroy", "pii", "--yes", "--now")
    # In whichever order: a topic keeps its records in none.
    begins = [f"key_destroyed key=pii version={v} id={ids[v]} algorithm=aes-256-gcm kek=local fingerprint=" for v in (1, 2)]
    assert all(line.startswith(b) for line, b in zip(sorted(gone[:2]), begins))
    assert gone[2].startswith("key_created key=pii version=3 ")
    assert events("restore", "b.json")[-1].startswith("registry_restored")
    k.configure("new")
    wrapped = [r for r in rows(k) if r["state"] != "destroyed"]
    assert events("rewrap") == [f"keys_rewrapped count={len(wrapped)}"]
    assert events("list") == []


def test_destroy_asks(make):
    k = make()
    for answer in ("y\n", "pii@1\n", "\x04"):
        code, out, err = at_terminal(k, answer, "destroy", "pii@1")
        assert code == 2 and out == "" and "nothing was changed" in err, (answer, err)
    assert states(k, "pii") == {1: "active"}
    r = k.run("keys", "destroy", "pii", check=2, stdin=subprocess.DEVNULL)
    assert "--yes" in r.stderr and states(k, "pii") == {1: "active"}
    # At once it asks twice.
    for answer in ("pii\n\x04", "pii\nno\n"):
        code, out, err = at_terminal(k, answer, "destroy", "pii@1", "--now")
        assert code == 2 and out == "" and "cannot be undone" in err and "nothing was changed" in err
    assert states(k, "pii") == {1: "active"}
    assert at_terminal(k, "pii\npii\n", "destroy", "pii@1", "--now")[:2] == (0, "pii: 1 version destroyed\n")
    assert states(k, "pii") == {1: "destroyed", 2: "active"}
    # What is not there is said before anything is asked.
    for what in ("nobody", "pii@77"):
        r = k.run("keys", "destroy", what, check=2, stdin=subprocess.DEVNULL)
        assert "not_found: " in r.stderr and "never open" not in r.stderr
        assert "not_found: " in k.run("keys", "retire", what, check=2).stderr
    for what in ("pii@", "pii@0", "pii@-1", "pii@4294967296", "pii@1x"):
        assert f"'{what}'" in k.run("keys", "destroy", what, "--yes", "--now", check=2).stderr
    # A whole name: every version, the one to come too.
    k.run("keys", "rotate", "pii", check=0)
    assert k.run("keys", "destroy", "pii", "--yes", "--now", check=0).stdout == "pii: 2 versions destroyed\n"
    assert states(k, "pii") == {1: "destroyed", 2: "destroyed", 3: "destroyed", 4: "active"}


def test_import_opens_and_never_seals(make):
    """From Tink; twice changes nothing, and says so."""
    import io
    import tink
    from tink import aead, cleartext_keyset_handle
    aead.register()
    k = make()
    theirs = tink.new_keyset_handle(aead.aead_key_templates.AES256_GCM)
    text = io.StringIO()
    cleartext_keyset_handle.write(tink.JsonKeysetWriter(text), theirs)
    (k.dir / "theirs.json").write_text(text.getvalue())
    (k.dir / "theirs.json").chmod(0o600)
    box = theirs.primitive(aead.Aead).encrypt(b"from Tink", f"{k.name}:$['v']".encode())
    k.run("keys", "import", "theirs.json", "pii", check=0)
    k.run("keys", "rotate", "pii", "--now", check=0)
    line = json.dumps({"v": base64.b64encode(box).decode()}) + "\n"
    assert json.loads(apply(k, rules_for(k, "open.yaml", "decrypt"), line).stdout) == {"v": "from Tink"}
    ours = [r for r in rows(k) if r["name"] == "pii"]
    assert len({r["version"] for r in ours}) == len(ours) == 3
    imported = int.from_bytes(box[1:5], "big")
    assert [r["state"] for r in ours if r["id"] == imported] == ["opens only"]
    sealed = json.loads(apply(k, rules_for(k, "seal.yaml", "encrypt"), '{"v":"x"}\n').stdout)["v"]
    assert int.from_bytes(base64.b64decode(sealed)[1:5], "big") != imported
    before = rows(k)
    assert k.run("keys", "import", "theirs.json", "pii", check=0).stdout == "pii: every key of this keyset is there already\n"
    assert json.loads(k.run("keys", "import", "theirs.json", "pii", "--json", check=0).stdout) == {"name": "pii", "added": 0}
    assert rows(k) == before
    # It is exported with the rest, and retired and destroyed like the rest.
    k.run("keys", "export", "--tink", "pii", "--clear", "-o", "all.json", check=0)
    assert imported in [x["keyId"] for x in json.loads((k.dir / "all.json").read_text())["key"]]
    version = next(r["version"] for r in ours if r["id"] == imported)
    k.run("keys", "destroy", f"pii@{version}", "--yes", "--now", check=0)
    r = apply(k, "open.yaml", line, check=1)
    assert "key_destroyed" in r.stderr and not r.stdout


def test_an_import_that_was_cut_off_is_run_again(make):
    """What it had brought in by then is passed over; another key with the same id is not."""
    k = make(["n"])

    def keyset(*keys):
        rows = [{"keyData": {"typeUrl": "type.googleapis.com/google.crypto.tink.AesGcmKey", "keyMaterialType": "SYMMETRIC",
                             "value": base64.b64encode(b"\x1a\x20" + bytes([fill]) * 32).decode()},
                 "status": "ENABLED", "keyId": i, "outputPrefixType": "TINK"} for i, fill in keys]
        (k.dir / "set.json").write_text(json.dumps({"primaryKeyId": keys[0][0], "key": rows}))
        (k.dir / "set.json").chmod(0o600)

    def imported():
        return {r["id"] for r in rows(k) if r["name"] == "pii" and r["state"] == "opens only"}

    keyset((7, 1), (8, 2))
    k.run("keys", "import", "set.json", "pii", check=0)
    keyset((7, 1), (8, 2), (9, 3))
    assert k.run("keys", "import", "set.json", "pii", check=0).stdout == "pii: 1 version added that opens and never seals\n"
    assert imported() == {7, 8, 9}
    k.run("keys", "import", "set.json", "pii", check=0)
    keyset((7, 1), (8, 77), (10, 4))
    assert "key_exists: " in k.run("keys", "import", "set.json", "pii", check=2).stderr
    assert "key_exists: " in k.run("keys", "import", "set.json", "n", check=2).stderr
    assert imported() == {7, 8, 9}


def test_imports_beside_rotations(make):
    """A key that loses its number to a rotation comes in under the next, and stays after compaction."""
    k = make(["n"], config=EAGER)
    sets = {}
    for i in range(6):
        ids = [10 * (i + 1) + x for x in range(4)]
        sets[f"set{i}.json"] = ids
        keys = [{"keyData": {"typeUrl": "type.googleapis.com/google.crypto.tink.AesGcmKey", "keyMaterialType": "SYMMETRIC",
                             "value": base64.b64encode(b"\x1a\x20" + os.urandom(32)).decode()},
                 "status": "ENABLED", "keyId": x, "outputPrefixType": "TINK"} for x in ids]
        (k.dir / f"set{i}.json").write_text(json.dumps({"primaryKeyId": ids[0], "key": keys}))
        (k.dir / f"set{i}.json").chmod(0o600)
    done = threading.Event()

    def rotate():
        while not done.is_set():
            k.run("keys", "rotate", "pii", "--now", check=0)

    rotating = [threading.Thread(target=rotate) for _ in range(3)]
    for t in rotating:
        t.start()
    try:
        for pair in (("set0.json",), ("set1.json", "set2.json"), ("set3.json", "set4.json", "set5.json")):
            running = [start(k, "import", f, "pii") for f in pair]
            for p in running:
                out, err = p.communicate(timeout=120)
                assert p.returncode == 0 and out == "pii: 4 versions added that open and never seal\n", err
    finally:
        done.set()
        for t in rotating:
            t.join()
    ours = [r for r in rows(k) if r["name"] == "pii"]
    assert sorted(r["version"] for r in ours) == list(range(1, len(ours) + 1))
    assert len({r["version"] for r in ours}) == len({r["id"] for r in ours}) == len(ours)
    imported = {x for ids in sets.values() for x in ids}
    assert {r["id"] for r in ours if r["state"] == "opens only"} == imported
    assert "there already" in k.run("keys", "import", "set3.json", "pii", check=0).stdout
    time.sleep(2 if k.keys else 0)  # for compaction
    assert [r for r in rows(k) if r["name"] == "pii"] == ours


def test_retire_seals_no_more_and_opens(make):
    k = make()
    seal, opens = rules_for(k, "seal.yaml", "encrypt"), rules_for(k, "open.yaml", "decrypt")
    old = apply(k, seal, '{"v":"old"}\n').stdout
    assert "1 version retired" in k.run("keys", "retire", "pii", check=0).stdout
    new = apply(k, seal, '{"v":"new"}\n').stdout
    assert base64.b64decode(json.loads(old)["v"])[1:5] != base64.b64decode(json.loads(new)["v"])[1:5]
    out = apply(k, opens, old + new).stdout
    assert [json.loads(line)["v"] for line in out.splitlines()] == ["old", "new"]
    assert states(k, "pii") == {1: "retired", 2: "active"}


# --- export, backup: files ---

def test_files_that_are_written(make):
    k = make()
    os.umask(0o022)
    k.run("keys", "export", "--tink", "pii", "--clear", "-o", "clear.json", check=0)
    k.run("keys", "export", "--tink", "pii", "-o", "wrapped.json", check=0)
    k.run("keys", "backup", "backup.json", check=0)
    for f in ("clear.json", "wrapped.json", "backup.json"):
        assert stat.S_IMODE((k.dir / f).stat().st_mode) == 0o600
        first = (k.dir / f).read_bytes()
        (k.dir / f).chmod(0o644)
        k.run("keys", *(["backup", f] if f == "backup.json" else ["export", "--tink", "pii", "-o", f,
                        *(["--clear"] if f == "clear.json" else [])]), check=0)
        assert stat.S_IMODE((k.dir / f).stat().st_mode) == 0o600 and (k.dir / f).read_bytes()
        assert json.loads(first)
    assert "encryptedKeyset" in (k.dir / "wrapped.json").read_text()
    # A slip of the pen replaces no KEK, no registry, no configuration and no device.
    kek, config = (k.dir / "kek-local").read_bytes(), (k.dir / "kveil.yaml").read_bytes()
    for what in (["backup"], ["export", "--tink", "pii", "-o"], ["export", "--tink", "pii", "--clear", "--once", "--follow"]):
        for f in ("kek-local", "kveil.yaml", "/dev/null", ".", "nowhere/x.json"):
            r = k.run("keys", *what, f, check=None)
            assert r.returncode in (1, 2) and any(c in r.stderr for c in ("key_exists: ", "config: ", "io_error: ")), r.stderr
    assert (k.dir / "kek-local").read_bytes() == kek and (k.dir / "kveil.yaml").read_bytes() == config
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert "key_exists: " in k.run("keys", "kek", "local", check=2).stderr
    # Nothing half is left behind, and a full disk is a failure.
    assert not [f.name for f in k.dir.iterdir() if ".tmp" in f.name]
    for args in (["export", "--tink", "pii", "--clear"], ["list"], ["list", "--json"]):
        with open("/dev/full", "w") as full:
            p = subprocess.run([str(KVEIL), "keys", *args], cwd=k.dir, stdout=full, stderr=subprocess.PIPE, text=True)
        assert p.returncode == 1 and "No space" in p.stderr


def test_follow_survives_what_it_meets(make):
    """Killed while it writes, it leaves a whole keyset; begun again it goes on; ended by SIGTERM it ends well."""
    k = make()
    follow = ["export", "--tink", "pii", "--clear", "--follow", "f.json"]
    ids = lambda: [x["keyId"] for x in json.loads((k.dir / "f.json").read_text())["key"]]  # noqa: E731
    p = start(k, *follow)
    wait_for("the first", lambda: (k.dir / "f.json").exists())
    k.run("keys", "rotate", "pii", "--now", check=0)
    wait_for("the second", lambda: len(ids()) == 2)
    p.send_signal(signal.SIGKILL)
    p.communicate()
    k.run("keys", "destroy", "pii@1", "--yes", "--now", check=0)
    p = start(k, *follow)
    wait_for("one left", lambda: len(ids()) == 1)
    k.run("keys", "destroy", "pii", "--yes", "--now", check=0)
    wait_for("its successor", lambda: len(ids()) == 1 and ids() == [r["id"] for r in rows(k) if r["state"] == "active"
                                                                    and r["name"] == "pii"])
    p.send_signal(signal.SIGTERM)
    _, err = p.communicate(timeout=20)
    assert p.returncode == 0 and "Sanitizer" not in err
    assert stat.S_IMODE((k.dir / "f.json").stat().st_mode) == 0o600


def test_a_registry_that_came_with_an_image(make_kveil):
    """Containers of one image see one file, with one inode and one birth time, and each writes into its own layer."""
    k = make_kveil(topics=False)
    k.rules('  - {path: "$.v", encrypt: {key: pii}}\n')
    (k.dir / "in").write_text('{"v": "x"}\n')
    for name in ("build", "one", "two", "work-build", "work-one", "work-two", "at"):
        (k.dir / name).mkdir()

    def inside(layer, lower, *commands):
        """Runs commands in a container: lower is its image, layer its own."""
        options = f"lowerdir={lower},upperdir={k.dir}/{layer},workdir={k.dir}/work-{layer}"
        if os.geteuid():
            options += ",userxattr"
        script = " && ".join([f"mount -t overlay overlay -o {options} {k.dir}/at", f"cd {k.dir}/at", *commands])
        return subprocess.run(["unshare", "-m" if os.geteuid() == 0 else "-Urm", "sh", "-c", script], capture_output=True,
                              text=True, timeout=60)

    (k.dir / "image").mkdir()
    for name in ("kek", "kveil.yaml", "rules"):
        (k.dir / name).rename(k.dir / "image" / name)
    kveil = f"{k.binary} "
    apply = f"{kveil} apply -c kveil.yaml -r rules/{k.name}.yaml {k.dir}/in"
    # Made and used in one container it is this one's, and stays so after a restart.
    made = inside("build", f"{k.dir}/image", kveil + "keys init -c kveil.yaml", apply)
    assert made.returncode == 0, made.stderr
    assert inside("build", f"{k.dir}/image", apply).returncode == 0
    # As an image it belongs to nobody: two containers of it would give the same lease.
    image = f"{k.dir}/build:{k.dir}/image"
    for layer in ("one", "two"):
        r = inside(layer, image, apply)
        assert r.returncode == 2 and "registry_rolled_back" in r.stderr and "image of a container" in r.stderr, r.stderr
    ids = []
    for layer in ("one", "two"):
        r = inside(layer, image, kveil + "keys restore keys.json -c kveil.yaml", apply)
        assert r.returncode == 0, r.stderr
        ids.append(base64.b64decode(json.loads(r.stdout.splitlines()[-1])["v"])[1:5])
    assert ids[0] != ids[1]
