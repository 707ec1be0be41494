# SPDX-License-Identifier: Apache-2.0
"""What was done to keys stands in the registry, authentic, with who and why; and it comes back with a backup."""
import json
import os
import pwd
import resource
import socket
import subprocess

from conftest import wait_for
from test_keys_commands import make, rows  # noqa: F401 (a fixture)


def history(k, *args, check=0):
    return json.loads(k.run("keys", "history", "--json", *args, check=check).stdout)


def registry_lines(k):
    return (k.dir / ".keys.json.events").read_text().splitlines()


def test_each_change_of_keys_is_kept_in_the_registry(make):
    k = make()
    began = history(k)
    assert began[0]["event"] == "registry_created" and {e["event"] for e in began[1:]} == {"key_created"}
    k.run("keys", "rotate", "pii", "--now", "--reason", "ceremony 7: \"yearly\"", check=0)
    k.run("keys", "retire", "pii@1", check=0)
    k.run("keys", "export", "--tink", "pii", "--clear", "-o", "set.json", check=0)
    events = history(k, "pii")
    ids = {r["version"]: r["id"] for r in rows(k) if r["name"] == "pii"}
    assert [(e["event"], e.get("version")) for e in events] == [
        ("key_created", 1), ("key_created", 2), ("key_retired", 1), ("key_exported", None)]
    rotated = events[1]
    assert rotated["due"] == next(r["active_from"] for r in rows(k) if (r["name"], r["version"]) == ("pii", 2))
    assert rotated["id"] == ids[2] and rotated["algorithm"] == "aes-256-gcm" and rotated["command"] == "keys rotate"
    assert rotated["reason"] == 'ceremony 7: "yearly"' and rotated["host"] == socket.gethostname()
    assert rotated["user"] == pwd.getpwuid(os.geteuid()).pw_name
    text = k.run("keys", "history", "pii", check=0).stdout.splitlines()
    assert len(text) == 4 and "key_retired" in text[2] and "pii@1" in text[2] and "reason: ceremony 7" in text[1]
    # Each names the one before it, and none is gone.
    everything = history(k)
    assert "previous" not in everything[0] and all("previous" in e for e in everything[1:])
    sequences = [e["sequence"] for e in everything]
    assert sequences == sorted(sequences) and len(set(sequences)) == len(sequences)
    assert k.run("keys", "rotate", "pii", "--reason", "x" * 2000).returncode == 2
    # A name that is spelled otherwise is told.
    assert "no key 'pij'" in k.run("keys", "history", "pij", check=2).stderr


def test_what_cannot_be_kept_is_told(make_kveil):
    """A disk that is full after the change and before its event: it is done, and the log says what the registry lacks."""
    k = make_kveil(topics=False)
    k.rules('  - {path: "$.v", encrypt: {key: pii}}\n')
    k.init()
    for _ in range(8):
        for action in ("disable", "enable"):
            k.run("keys", action, "pii@1", check=0)
    before, size = history(k), (k.dir / ".keys.json.events").stat().st_size
    assert size > 2 * (k.dir / "keys.json").stat().st_size
    r = k.run("keys", "rotate", "pii", "--now", check=0,
              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, size + 10)))
    assert "event: key_created key=pii version=2" in r.stderr and "event: event_unrecorded key=key_created" in r.stderr
    assert [r["version"] for r in rows(k) if r["name"] == "pii"] == [1, 2] and history(k) == before


def test_history_comes_back_with_a_backup(make):
    k = make()
    k.run("keys", "retire", "pii@1", "--reason", "lost laptop", check=0)
    before = history(k)
    k.run("keys", "backup", "b.json", check=0)
    assert history(k)[-1]["event"] == "registry_backed_up"
    if k.keys:
        k.kafka.admin.delete_topics([k.keys])[k.keys].result(30)
        wait_for("the topic is gone", lambda: k.keys not in k.kafka.admin.list_topics(timeout=10).topics)
    else:
        for name in ("keys.json", ".keys.json.events", ".keys.json.mark"):
            (k.dir / name).unlink()
    k.run("keys", "restore", "b.json", check=0)
    after = history(k)
    assert [e for e in before if e not in after] == []
    assert after[-1]["event"] in ("registry_restored", "key_created") and "lost laptop" in json.dumps(after)
    # A backup tells whether its history was altered.
    b = json.loads((k.dir / "b.json").read_text())
    assert b["format"] == 2 and len(b["events"]) == len(before)
    b["events"][-1] = b["events"][-1].replace("lost laptop", "nothing at all")
    (k.dir / "c.json").write_text(json.dumps(b, indent=1) + "\n")
    (k.dir / "c.json").chmod(0o600)
    r = k.run("keys", "restore", "c.json")
    assert r.returncode == 2 and "registry_corrupt" in r.stderr


def test_what_somebody_does_to_the_history_is_seen(make):
    k = make()
    k.run("keys", "rotate", "pii", "--now", check=0)
    k.run("keys", "rotate", "pii", "--now", check=0)
    if k.keys:
        forged = {"key": "!event/" + "0" * 32, "value": b'{"event":"key_retired","sequence":9,"mac":"' + b"A" * 43 + b'="}'}
        k.kafka.produce(k.keys, [forged, {"key": "!later/kind", "value": b"what a later kveil writes"}])
        r = k.run("keys", "list", check=0)
        assert "1 forged" in r.stderr
        assert len(history(k, "pii")) == 3
        return
    path = k.dir / ".keys.json.events"
    lines = registry_lines(k)
    # Out of the middle, three of them, from the end, all.
    for left in (lines[:-2] + lines[-1:], lines[:1] + lines[4:], lines[:-1], lines[:2]):
        path.write_text("\n".join(left) + "\n")
        r = k.run("keys", "history")
        assert r.returncode == 2 and f"{len(lines) - len(left)} of {len(lines)} events are missing" in r.stderr, (left, r.stderr)
    path.unlink()
    r = k.run("keys", "history", "--json")
    assert r.returncode == 2 and f"{len(lines)} of {len(lines)} events are missing" in r.stderr
    altered = [line.replace("keys rotate", "keys import") for line in lines[-2:]]
    path.write_text("\n".join(lines[:-2] + altered) + "\n")
    path.chmod(0o600)
    assert f"2 of {len(lines)} events are missing" in k.run("keys", "list", check=2).stderr
    # A writer that was killed leaves half a line: it is not an event, and the next one is whole.
    path.write_text("\n".join(lines) + "\n" + lines[-1][:40])
    assert len(history(k)) == len(lines)
    k.run("keys", "rotate", "pii", "--now", check=0, stdin=subprocess.DEVNULL)
    assert len(history(k)) == len(lines) + 1
    # Nor does what came since cover what was taken from the end before.
    path.write_text("\n".join(lines[:-1]) + "\n")
    assert "registry_rolled_back" in k.run("keys", "rotate", "pii", "--now", check=2, stdin=subprocess.DEVNULL).stderr
