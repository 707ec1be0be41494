# SPDX-License-Identifier: Apache-2.0
"""Nothing that a rule names comes out of kveil anywhere, and no key: logs, errors, metrics, every page of the side port,
outputs, dead letters, the registry, and what others may read of the process."""
import base64
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid

import pytest

from conftest import PLAIN, wait_for

FIELDS = """\
  - {path: "$.id_card", encrypt: {key: pii}}
  - {path: "$.phone", mask: {keep_first: 3, keep_last: 4}}
  - {path: "$.email", hash: {key: pepper}}
  - {path: "$.notes", remove: true}
  - {path: "$.nested[*].card", encrypt: {key: pii}}
  - {path: "key:$", hash: {key: pepper}}
  - {path: "header:who", encrypt: {key: pii}}
"""
# Whose record it is, is nobody's business either.
NAMED = """\
  - {path: "$.tenant", hash: {key: pepper}}
  - {path: "$.amount", encrypt: {key: "tenant-{$.tenant}", type: json}}
"""
PATTERN = '    "tenant-{}": {algorithm: aes-256-gcm, kek: local, new_per_second: 20}'
PAGES = ["/livez", "/readyz", "/healthz", "/metrics", "/stats", "/"]


def spellings(secret):
    """Every way in which bytes may stand in a text or a dump."""
    b64 = base64.b64encode(secret).rstrip(b"=")
    return {secret, secret.hex().encode(), secret.hex().upper().encode(), b64, base64.urlsafe_b64encode(secret).rstrip(b"=")}


def key_bytes(k, name):
    """The raw bytes of every version of a key, from a clear export (the last 32 bytes of Tink's message)."""
    text = k.run("keys", "export", "-c", "kveil.yaml", "--tink", name, "--clear", check=0).stdout
    return [base64.b64decode(e["keyData"]["value"])[-32:] for e in json.loads(text)["key"]]


def scan(what, data, needles):
    """Of a value that is found the last bytes are told, which say where it stood; of a key that it is one."""
    found = sorted({n[-5:] if n.startswith(b"kanarie") else b"a key" for n in needles if n in data})
    assert not found, f"{what}, {len(data)} bytes, holds {found}, which it must not"


def mappings(pid):
    """(start, end, flags) of what is mapped in a process."""
    start = end = None
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        head = line.split()[0]
        if "-" in head and not head.endswith(":"):
            start, end = (int(x, 16) for x in head.split("-"))
            readable = line.split()[1].startswith("r")
        elif head == "VmFlags:" and readable:
            yield start, end, line.split()[1:]


def image(pid):
    """Pieces of the process's memory with their flags, as a debugger with every right would see them."""
    with open(f"/proc/{pid}/mem", "rb", 0) as f:
        for start, end, flags in mappings(pid):
            try:
                f.seek(start)
                yield f.read(end - start), flags
            except OSError:
                continue


def record(canary, i):
    value = {"id": i, "id_card": f"{canary}-idc-{i}王", "phone": f"138{canary}{i:04d}", "email": f"{canary}-mail-{i}王",
             "notes": {"text": f"{canary}-notes-{i}"}, "nested": [{"card": f"{canary}-card-{i}"}, {}],
             "tenant": f"{canary}-ten-{min(i, 250)}", "amount": i}
    return {"key": f"{canary}-key-{i}".encode(), "value": json.dumps(value).encode(),
            "headers": [("who", f"{canary}-head-{i}".encode()), ("trace", b"t")]}


def test_no_canary_and_no_key_comes_out(make_kveil, kafka):
    k = make_kveil()
    k.binary = PLAIN
    canary = "kanarie" + uuid.uuid4().hex
    k.keys = "kveil.keys." + uuid.uuid4().hex[:8]
    k.config(kafka.bootstrap, extra="log: {level: debug}", workers=2, registry=f"kafka:{k.keys}", data=PATTERN)
    k.rules(FIELDS + NAMED)
    k.init()
    good = [record(canary, i) for i in range(500)]
    # Cut JSON, a value of a kind that encrypt does not take, bytes that are not UTF-8, an empty value.
    poison = [{"key": f"{canary}-p".encode(), "value": v} for v in (
        f'{{"id_card": "{canary}-cut'.encode(), json.dumps({"id_card": {canary: canary}}).encode(),
        f'{{"id_card": "{canary}'.encode() + b'\xff\xfe"}', b"")]
    # Names that none may have, one that is too long, and one that was destroyed.
    poison += [{"key": f"{canary}-p".encode(), "value": json.dumps({"tenant": t, "amount": 1}).encode()} for t in (
        f"{canary} ten", f"{canary}-ten@1", f"{canary}-ten-" + "x" * 200, f"{canary}-ten-gone")]
    (k.dir / "apply.yaml").write_text(f'name: {k.name}\ntopics: [{k.topic}]\noutput: "{{topic}}.x"\nfields:\n{NAMED}')
    k.run("apply", "-c", "kveil.yaml", "-r", "apply.yaml", input=poison[-1]["value"].decode() + "\n", check=0)
    k.run("keys", "destroy", f"tenant-{canary}-ten-gone", "--yes", "--now", check=0)
    kafka.produce(k.topic, good[:250] + poison + good[250:])
    p = k.start()
    pages = ""
    # On a fast machine they may all be made between two looks.
    wait_for("names wait, or all have their keys", lambda: k.metric("kveil_named_keys_waiting") > 0
             or k.metric("kveil_records_produced_total") >= len(good))
    pages += "".join(k.get(page)[1] for page in PAGES)
    kafka.consume(k.secure, len(good), timeout=60)
    for i in range(500, 510):  # fetched alone, into small buffers that are freed and not unmapped
        good.append(record(canary, i))
        kafka.produce(k.topic, [good[-1]])
    secure, dead = kafka.consume(k.secure, len(good)), kafka.consume(k.dead, len(poison), settle=1)
    assert len(dead) == len(poison)
    pages += "".join(k.get(page)[1] for page in PAGES)
    assert "kveil_" in pages

    letters = [dict(m.headers())["kveil.error.code"] for m in dead]
    assert letters.count(b"bad_template_value") == 3 and letters.count(b"key_destroyed") == 1
    keys = [key for name in ("pii", "pepper", "dead-letters", f"tenant-{canary}-ten-7", f"tenant-{canary}-ten-250")
            for key in key_bytes(k, name)]
    assert all(len(key) == 32 for key in keys) and len(keys) >= 3
    needles = {n for key in [*keys, (k.dir / "kek").read_bytes()] for n in spellings(key)} | {canary.encode()}
    # The scan can fail: the input has the canary, the clear keyset has the keys.
    with pytest.raises(AssertionError):
        scan("the input", good[0]["value"], needles)

    registry = kafka.consume(k.keys, 251)
    for topic, messages in ((k.secure, secure), (k.dead, dead), (k.keys, registry)):
        for m in messages:
            for part in (m.key() or b"", m.value() or b"", *[v or b"" for _, v in m.headers() or []]):
                scan(topic, part, needles)
    scan("the side port", pages.encode(), needles)

    # Once the load has stopped, no value is left in what a core image would hold, but for header values: librdkafka
    # frees the batches that it fetched as they are.
    for data, flags in image(p.pid):
        if "dd" not in flags:
            scan(f"the process ({' '.join(flags)})", data,
                 {f"{canary}-{word}".encode() for word in ("idc", "mail", "notes", "card", "key", "cut", "ten")})

    # The key bytes in the process lie in locked pages that no core image has, and nowhere else.
    copies = 0
    for data, flags in image(p.pid):
        for key in keys:
            if key in data:
                assert "dd" in flags and "lo" in flags, f"key bytes in a page with flags {flags}"
                copies += 1
    assert copies
    assert k.stop() == 0
    for file in k.dir.rglob("*"):
        if file.is_file() and file.name != "kek":
            scan(str(file), file.read_bytes(), needles)
    assert p.log.stat().st_size > 200


def test_apply_says_nothing_of_values(make_kveil, kafka):
    k = make_kveil(topics=False)
    canary = "kanarie" + uuid.uuid4().hex
    k.config(kafka.bootstrap, data=PATTERN)
    k.rules(FIELDS + NAMED)
    k.init()
    rules = ["apply", "-c", "kveil.yaml", "-r", f"rules/{k.name}.yaml"]
    lines = record(canary, 1)["value"].decode() + "\n"
    bad = [f'{{"id_card": "{canary}', json.dumps({"id_card": [canary]}), f'{{"{canary}": "\\ud800{canary}"}}',
           f"{canary}", f'{{"id_card": "{canary}"}}{canary}', json.dumps({"tenant": f"{canary} ", "amount": 1})]
    for how in ([], ["--explain"]):
        out = k.run(*rules, *how, input=lines, check=0)
        scan("apply", (out.stdout + out.stderr).encode(), {canary.encode()})
        for text in bad:
            r = k.run(*rules, *how, input=text + "\n")
            scan(f"the error for {text[:12]}…", (r.stdout + r.stderr).encode(), {canary.encode()})
    assert canary in k.run(*rules, "--diff", input=lines, check=0).stdout, "--diff shows values, to who asked for it"


@pytest.fixture
def stranger():
    """A folder and a live `kveil apply` of another user than root, with every limit on core images lifted."""
    if os.getuid() != 0:
        pytest.skip("needs root, to be somebody else")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="kveil-canary-"))
    binary = folder / "kveil"
    shutil.copy(PLAIN, binary)
    (folder / "kveil.yaml").write_text('kafka: {bootstrap_servers: "127.0.0.1:1", group_id: none}\nrules: rules.yaml\n'
                                       "keys:\n  registry: file:keys.json\n  keks: {local: {provider: file, path: kek}}\n"
                                       "  data:\n    pii: {algorithm: aes-256-gcm}\n    dead-letters: {algorithm: aes-256-gcm}\n")
    (folder / "rules.yaml").write_text('name: t\ntopics: [t]\noutput: "{topic}.x"\nfields: [{path: "$.a", encrypt: {key: pii}}]\n')
    for path in (folder, *folder.iterdir()):
        os.chown(path, 65534, 65534)
    me = {"user": 65534, "group": 65534, "extra_groups": [], "cwd": folder}
    for args in (["kek", "local"], ["init"]):
        subprocess.run([binary, "keys", *args, "-c", "kveil.yaml"], check=True, capture_output=True, **me)
    p = subprocess.Popen(["/bin/sh", "-c", "ulimit -c unlimited 2>/dev/null; exec ./kveil apply -c kveil.yaml -r rules.yaml"],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, **me)
    p.stdin.write(b'{"a": "canary"}\n')
    p.stdin.flush()
    time.sleep(1)
    assert p.poll() is None
    yield p, folder, me
    if p.poll() is None:
        p.kill()
        p.wait()
    shutil.rmtree(folder)


def test_its_own_user_cannot_read_the_process(stranger):
    p, folder, me = stranger
    look = "import sys; open(sys.argv[1], 'rb').read(1)"
    for name in ("mem", "environ", "maps"):
        r = subprocess.run([sys.executable, "-c", look, f"/proc/{p.pid}/{name}"], capture_output=True, text=True, **me)
        assert r.returncode != 0 and "PermissionError" in r.stderr, name
    if shutil.which("gcore"):
        subprocess.run(["gcore", "-o", folder / "image", str(p.pid)], capture_output=True, **me)
        assert not list(folder.glob("image*"))
    # The test can fail: another process of that user can be read.
    other = subprocess.Popen(["sleep", "60"], **me)
    try:
        subprocess.run([sys.executable, "-c", look, f"/proc/{other.pid}/environ"], check=True, **me)
    finally:
        other.kill()
        other.wait()


def test_a_crash_leaves_no_core(stranger):
    p, folder, _ = stranger
    limits = pathlib.Path(f"/proc/{p.pid}/limits").read_text()
    assert [line.split()[-3:-1] for line in limits.splitlines() if line.startswith("Max core")] == [["0", "0"]]
    os.kill(p.pid, signal.SIGSEGV)
    _, status = os.waitpid(p.pid, 0)
    p.returncode = -signal.SIGSEGV
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGSEGV and not os.WCOREDUMP(status)
    assert not list(folder.glob("core*"))
