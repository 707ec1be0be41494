# SPDX-License-Identifier: Apache-2.0
"""What can be taken back (disable, a destruction that is scheduled) and what proves what cannot."""
import datetime
import json
import re
import subprocess
import time

import pytest

from conftest import wait_for
from test_keys_commands import apply, make, rows, rules_for, states  # noqa: F401 (a fixture)
from test_keys_history import history

PATTERN = "    tenant-{}: {algorithm: aes-256-gcm, kek: local}\n"


def keys(k, *args, check=0):
    return k.run("keys", *args, check=check, stdin=subprocess.DEVNULL)


def test_disable_takes_a_key_away_and_enable_gives_it_back(make):
    k = make()
    encrypt, decrypt = rules_for(k, "e.yaml", "encrypt"), rules_for(k, "d.yaml", "decrypt")
    sealed = apply(k, encrypt, '{"v":"secret"}\n').stdout
    out = keys(k, "disable", "pii", "--reason", "a leak?")
    assert out.stdout.startswith("pii: 1 version disabled") and "no version of 'pii' is active" in out.stderr
    assert states(k, "pii") == {1: "disabled"}
    for rules, line in ((encrypt, '{"v":"secret"}\n'), (decrypt, sealed)):
        r = apply(k, rules, line, check=None)
        assert r.returncode != 0 and "key_disabled" in r.stderr and "secret" not in r.stdout
    r = k.run("keys", "export", "--tink", "pii", "--clear")
    assert r.returncode != 0 and "key_disabled" in r.stderr and r.stdout == ""
    assert keys(k, "disable", "pii").stdout == "pii: nothing to do\n"
    assert "version 1 of 'pii' is active" in keys(k, "enable", "pii").stderr
    assert states(k, "pii") == {1: "active"} and "secret" in apply(k, decrypt, sealed).stdout
    # One of two: the other one seals, and what this one sealed waits.
    keys(k, "rotate", "pii", "--now")
    keys(k, "disable", "pii@1")
    assert states(k, "pii") == {1: "disabled", 2: "active"}
    again = apply(k, encrypt, '{"v":"secret"}\n').stdout
    assert "secret" in apply(k, decrypt, again).stdout and "key_disabled" in apply(k, decrypt, sealed, check=None).stderr
    # Nothing else changes: a rewrap moves it, a backup has it and keeps it disabled.
    k.configure("new")
    keys(k, "rewrap")
    assert states(k, "pii") == {1: "disabled", 2: "active"}
    assert {e["event"] for e in history(k, "pii")} >= {"key_disabled", "key_enabled"}
    # A deterministic key does not fall back to an older one, whose equal values are others.
    keys(k, "rotate", "pepper", "--now", "--yes")
    keys(k, "disable", "pepper@2")
    assert states(k, "pepper") == {1: "previous", 2: "disabled"}
    for args in (("disable", "nobody"), ("enable", "pii@9"), ("cancel", "nobody@1")):
        assert "not_found" in keys(k, *args, check=2).stderr


def test_a_scheduled_end_can_be_cancelled(make):
    k = make()
    encrypt, decrypt = rules_for(k, "e.yaml", "encrypt"), rules_for(k, "d.yaml", "decrypt")
    sealed = apply(k, encrypt, '{"v":"secret"}\n').stdout
    keys(k, "rotate", "pii", "--now")
    r = keys(k, "destroy", "pii@1", "--yes")
    assert "1 version disabled, and destroyed by a running worker from" in r.stdout and "keys cancel pii" in r.stderr
    row = next(r for r in rows(k) if r["name"] == "pii" and r["version"] == 1)
    due = datetime.datetime.strptime(row["destroyed_from"], "%Y-%m-%dT%H:%M:%SZ")
    left = due - datetime.datetime.utcnow()
    assert row["state"] == "scheduled" and datetime.timedelta(days=6, hours=23) < left < datetime.timedelta(days=7)
    assert "key_disabled" in apply(k, decrypt, sealed, check=None).stderr
    assert "scheduled for " + row["destroyed_from"] in keys(k, "list", "pii").stdout
    # It stays so in a backup.
    keys(k, "backup", "b.json")
    assert "1 version no longer scheduled to be destroyed" in keys(k, "cancel", "pii@1").stdout
    assert states(k, "pii") == {1: "previous", 2: "active"} and "secret" in apply(k, decrypt, sealed).stdout
    assert keys(k, "cancel", "pii@1").stdout == "pii: nothing to do\n"
    for args in (("--after", "0s"), ("--after", "soon"), ("--after", "9999d"), ("--after", "1d", "--now"),
                 ("--certificate", "c.json")):
        keys(k, "destroy", "pii@1", "--yes", *args, check=2)
    assert states(k, "pii") == {1: "previous", 2: "active"}


@pytest.mark.parametrize("whole", [False, True], ids=["a version", "a name"])
def test_a_worker_ends_what_is_due(make, whole):
    k = make(data=PATTERN, topics=True)
    rules = rules_for(k, "t.yaml", "encrypt", '"tenant-{$.t}"')
    for t in ("acme", "other"):
        apply(k, rules, json.dumps({"v": "x", "t": t}) + "\n")
    keys(k, "rotate", "pii", "--now")
    name = "tenant-acme" if whole else "pii@1"
    keys(k, "destroy", name, "--yes", "--after", "1s", "--reason", "request 4711")
    # A command that comes along when it is due leaves it to the worker.
    due = datetime.datetime.utcnow() + datetime.timedelta(seconds=2)
    wait_for("it is due", lambda: datetime.datetime.utcnow() > due)
    keys(k, "disable", "dead-letters")
    keys(k, "enable", "dead-letters")
    assert ", overdue" in keys(k, "list", name.split("@")[0]).stdout
    r = keys(k, "history", name.split("@")[0], "--certificate", "c.json", check=2)
    assert "it is scheduled" in r.stderr and not (k.dir / "c.json").exists()
    k.start()
    wait_for("the worker destroys it", lambda: "destroyed" in keys(k, "list", name.split("@")[0]).stdout, timeout=60)
    assert k.stop() == 0
    if whole:
        r = apply(k, rules, '{"v":"x","t":"acme"}\n', check=None)
        assert "key_destroyed" in r.stderr and apply(k, rules, '{"v":"x","t":"other"}\n').returncode == 0
    else:
        assert states(k, "pii") == {1: "destroyed", 2: "active"}
    ended = history(k, name.split("@")[0])[-1]
    assert (ended["event"], ended["command"], ended["detail"]) == ("key_destroyed", "run", "as scheduled")
    keys(k, "history", name.split("@")[0], "--certificate", "c.json")
    # A worker did it: who wanted it, and why, is in the certificate as well, authentic.
    events = json.loads((k.dir / "c.json").read_text())
    assert [e["event"] for e in events] == ["key_destroyed", "key_destroy_scheduled"]
    order = events[1]
    assert (order["command"], order["reason"], order["id"]) == ("keys destroy", "request 4711", events[0]["id"])
    said = keys(k, "verify", "c.json").stdout
    assert "key_destroyed" in said and f"by {order['user']}@{order['host']}, keys destroy" in said and "request 4711" in said
    assert json.loads(keys(k, "verify", "c.json", "--json").stdout)["authentic"] == 1
    whole_text = (k.dir / "c.json").read_text()
    (k.dir / "c.json").write_text(whole_text.replace("request 4711", "request 4712"))
    assert k.run("keys", "verify", "c.json").returncode == 1
    (k.dir / "c.json").write_text("[\n  " + whole_text.splitlines()[2].strip() + "\n]\n")
    assert k.run("keys", "verify", "c.json").returncode == 1  # by itself it destroys nothing
    # Whom this ended is not there any more to be cancelled.
    for too_late in ("cancel", "enable", "disable"):
        r = keys(k, too_late, name, check=None)
        assert r.returncode != 0 and "key_destroyed" in r.stderr and r.stdout == ""


def test_a_certificate_proves_what_was_destroyed(make):
    k = make()
    wrapped = {r["version"]: r for r in rows(k) if r["name"] == "pii"}
    keys(k, "backup", "b.json")
    # Where the certificate cannot be written, nothing is destroyed.
    assert "io_error" in keys(k, "destroy", "pii@1", "--yes", "--now", "--certificate", "nowhere/c.json", check=1).stderr
    assert states(k, "pii") == {1: "active"}
    keys(k, "destroy", "pii@1", "--yes", "--now", "--certificate", "c.json", "--reason", "end of contract")
    events = json.loads((k.dir / "c.json").read_text())
    assert [(e["event"], e["key"], e["version"], e["id"], e["reason"]) for e in events] == [
        ("key_destroyed", "pii", 1, wrapped[1]["id"], "end of contract")]
    r = keys(k, "verify", "c.json")
    assert f"pii@1 (id {wrapped[1]['id']})" in r.stdout and events[0]["fingerprint"] in r.stdout
    assert json.loads(keys(k, "verify", "c.json", "--json").stdout) == {
        "certificate": True, "authentic": 1, "altered": 0, "in_use_here": 0}
    # The fingerprint is that of the wrapped bytes, which a backup has.
    import base64
    import hashlib
    record = next(r for r in json.loads((k.dir / "b.json").read_text())["keys"] if int(r["id"], 16) == wrapped[1]["id"])
    assert hashlib.sha256(base64.b64decode(record["wrapped"])).hexdigest() == events[0]["fingerprint"]
    text = (k.dir / "c.json").read_text()
    (k.dir / "c.json").write_text(text.replace("end of contract", "end of  contract"))
    r = k.run("keys", "verify", "c.json")
    assert r.returncode == 1 and "1 of 1 are not authentic" in r.stdout


@pytest.mark.parametrize("make", ["file"], indirect=True)
@pytest.mark.parametrize("how", ["cut", "gone"])
def test_a_key_is_not_enabled_by_the_loss_of_events(make, how):
    """In a file, what is disabled stands in the events alone: without them nothing goes on as if it were not."""
    k = make(data="    notes: {algorithm: aes-256-siv, kek: local}\n")
    rules = rules_for(k, "e.yaml", "encrypt", "notes")
    keys(k, "backup", "b.json")
    keys(k, "rotate", "pii", "--now")
    keys(k, "disable", "notes", "--reason", "suspected leak")
    assert "key_disabled" in apply(k, rules, '{"v":"x"}\n', check=1).stderr
    path = k.dir / ".keys.json.events"
    held = path.read_text()
    if how == "cut":
        path.write_text("".join(held.splitlines(keepends=True)[:-1]))
    else:
        path.unlink()
    for args in (["list"], ["backup", "c.json"], ["enable", "notes"], ["rewrap"]):
        r = keys(k, *args, check=2)
        assert "registry_rolled_back" in r.stderr and "kveil keys restore" in r.stderr, r.stderr
    assert "registry_rolled_back" in apply(k, rules, '{"v":"x"}\n', check=2).stderr
    # Put back, it is as it was.
    cut = path.read_text() if path.exists() else None
    path.write_text(held)
    path.chmod(0o600)
    assert states(k, "notes") == {1: "disabled"}
    # The registry itself knows no states: taken in, all are disabled until somebody says otherwise.
    path.unlink()
    if cut:
        path.write_text(cut)
        path.chmod(0o600)
    keys(k, "restore", "keys.json")
    living = {r["state"] for r in rows(k) if r["name"] == "notes" or r["version"] == 1}
    assert living == {"disabled"}, rows(k)
    assert "key_disabled" in apply(k, rules, '{"v":"x"}\n', check=1).stderr
    keys(k, "enable", "notes")
    apply(k, rules, '{"v":"x"}\n')


def test_verify_says_what_a_backup_is_worth(make):
    k = make()
    keys(k, "rotate", "pii", "--now")
    keys(k, "destroy", "pii@1", "--yes", "--now")
    said = keys(k, "backup", "b.json").stdout
    state = json.loads(keys(k, "verify", "b.json", "--json").stdout)
    living = len(rows(k)) - 1
    assert f"{living} versions, wrapped" in said
    assert (state["versions"], state["opened"], state["destroyed"], state["unreachable"]) == (living, living, 1, 0)
    assert state["events"] > 0 and state["events_missing"] == 0
    # Another KEK in the place of the right one.
    good = (k.dir / "kek-local").read_bytes()
    (k.dir / "kek-local").write_bytes(bytes(range(32)))
    assert "wrong_kek" in k.run("keys", "verify", "b.json", check=2).stderr
    (k.dir / "kek-local").write_bytes(good)
    b = json.loads((k.dir / "b.json").read_text())
    b["keys"].pop()
    (k.dir / "b.json").write_text(json.dumps(b, indent=1) + "\n")
    assert "registry_corrupt" in k.run("keys", "verify", "b.json", check=2).stderr


def test_every_command_speaks_json(make):
    k = make(data=PATTERN + "    cards: {algorithm: aes-256-ff1, kek: local, owner: payments, description: PANs,\n"
                            "      labels: {pci: scope-1}}\n")
    rules = rules_for(k, "t.yaml", "encrypt", '"tenant-{$.t}"')
    for t in range(5):
        apply(k, rules, json.dumps({"v": "x", "t": f"t{t}"}) + "\n")

    def said(*args):
        return json.loads(keys(k, *args, "--json").stdout)

    assert said("init")["created"] is False
    card = next(r for r in said("list") if r["name"] == "cards")
    assert (card["owner"], card["description"], card["labels"]) == ("payments", "PANs", {"pci": "scope-1"})
    assert said("rotate", "pii", "--now")["name"] == "pii"
    assert said("retire", "pii@1") == {"name": "pii", "versions": 1, "active": 2}
    assert said("disable", "pii@1")["versions"] == said("enable", "pii@1")["versions"] == 1
    assert said("destroy", "pii@1", "--yes")["versions"] == said("cancel", "pii@1")["versions"] == 1
    assert said("backup", "b.json")["file"] == "b.json"
    assert said("restore", "b.json", "--dry-run")["added"] == 0
    assert said("rewrap")["wrapped_anew"] == 0
    assert said("export", "--tink", "pii", "--clear", "-o", "pii.json") == {"name": "pii", "file": "pii.json", "clear": True}
    assert "takes a name without a version: pii" in keys(k, "history", "pii@1", check=2).stderr
    # Keys named from records: by prefix, a page at a time.
    first = said("list", "--prefix", "tenant-", "--limit", "3")
    rest = said("list", "--prefix", "tenant-", "--limit", "3", "--from", first[-1]["name"])
    names = [r["name"] for r in first + rest]
    assert len(first) == 3 and len(rest) == 2 and names == sorted(set(names))
    assert said("list", "--prefix", names[0])[0]["name"] == names[0]
    assert "wraps the keys of 5 names" in keys(k, "list").stdout
    keys(k, "destroy", "tenant-t0", "--yes", "--now")
    assert "wraps the keys of 4 names, and 1 more were destroyed" in keys(k, "list").stdout
    # A version that seals nothing is retired without a question about those that do.
    keys(k, "rotate", "cards", "--now", "--yes")
    r = keys(k, "retire", "cards@1")
    assert "wait" not in r.stderr and "joins" not in r.stderr and states(k, "cards") == {1: "retired", 2: "active"}
    assert "'cards@2'" in keys(k, "retire", "cards@2", check=2).stderr


def test_a_new_kek_beside_an_old_registry_is_not_made_unasked(make_kveil):
    k = make_kveil(topics=False).init()
    assert "exists" in keys(k, "kek", "local", check=2).stderr
    (k.dir / "kek").rename(k.dir / "kek.old")
    r = keys(k, "kek", "local", check=2)
    assert "restore the old one" in r.stderr and "--yes" in r.stderr and not (k.dir / "kek").exists()
    keys(k, "kek", "local", "--yes")
    assert "wrong_kek" in keys(k, "list", check=2).stderr
    (k.dir / "kek.old").rename(k.dir / "kek")
    keys(k, "list")
    # A second KEK, and the first one lost: the second opens the registry, which tells of the first.
    config = (k.dir / "kveil.yaml").read_text()
    (k.dir / "kveil.yaml").write_text(re.sub(r"( *)(local: {provider: file, path: kek})", r"\1\2\n\1more: {provider: file, path: more}",
                                             config))
    keys(k, "kek", "more")
    keys(k, "init")
    (k.dir / "kek").unlink()
    assert "restore the old one" in keys(k, "kek", "local", check=2).stderr
    # What is wrong comes first, nothing of it is to be destroyed, and each command says the same.
    keys(k, "kek", "local", "--yes")
    r = keys(k, "list")
    assert "wrong_kek" in r.stderr.splitlines()[0] and "destroy" not in r.stderr and "unreachable" in r.stdout, r.stderr
    assert "wrong_kek" in keys(k, "rotate", "pii", check=2).stderr


def test_a_backup_for_a_safe_opens_with_that_key_alone(make):
    """The private half is nowhere near; whoever has it brings the keys back, and under a KEK of their own."""
    k = make()
    encrypt, decrypt = rules_for(k, "e.yaml", "encrypt"), rules_for(k, "d.yaml", "decrypt")
    sealed = apply(k, encrypt, '{"v":"secret"}\n').stdout
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:3072", "-nodes", "-keyout", "safe.key", "-out", "safe.pem",
                    "-days", "90", "-subj", "/CN=safe"], cwd=k.dir, check=True, capture_output=True)
    (k.dir / "safe.key").chmod(0o600)
    path = k.dir / "kveil.yaml"
    plain = path.read_text()
    keks = "    local: {provider: file, path: kek-local}\n"
    assert keks in plain
    path.write_text(plain.replace(keks, keks + "    safe: {provider: rsa-oaep, certificate: safe.pem}\n"))
    keys(k, "init")
    keys(k, "backup", "safe.json", "--under", "safe")
    held = json.loads((k.dir / "safe.json").read_text())
    assert {r["kek"] for r in held["keys"]} | {r["kek"] for r in held["registry_keys"]} == {"safe"}
    r = keys(k, "verify", "safe.json", check=2)
    assert "wrong_kek" in r.stderr and "KEK 'safe', whose private key is not in this configuration" in r.stderr
    assert "not_found" in keys(k, "backup", "x.json", "--under", "nobody", check=2).stderr
    # Elsewhere: another KEK called local, and what was in the safe.
    (k.dir / "kek-local").write_bytes(bytes(range(32)))
    elsewhere = plain.replace(f"registry: {k.registry}", "registry: file:elsewhere.json")
    path.write_text(elsewhere.replace(
        keks, keks + "    safe: {provider: rsa-oaep, certificate: safe.pem, private_key: safe.key}\n"))
    state = json.loads(keys(k, "verify", "safe.json", "--json").stdout)
    assert state["opened"] == state["versions"] == len(held["keys"]) and state["unreachable"] == 0
    keys(k, "restore", "safe.json")
    assert "secret" in apply(k, decrypt, sealed).stdout
    keys(k, "rewrap")
    assert {r["kek"] for r in rows(k)} == {"local"} and "secret" in apply(k, decrypt, sealed).stdout


@pytest.mark.parametrize("make", ["file"], indirect=True)
def test_a_worker_forgets_events_that_are_gone(make):
    """Or its next event would have the mark promise what nobody has, and the repaired registry would count as rolled back."""
    k = make(topics=True, rotate="3s", data="    notes: {algorithm: aes-256-siv, kek: local}\n")
    k.start()
    keys(k, "disable", "notes")
    keys(k, "enable", "notes")
    keys(k, "backup", "b.json")
    path = k.dir / ".keys.json.events"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:2]))
    assert "registry_rolled_back" in keys(k, "list", check=2).stderr
    wait_for("the worker notices", lambda: "registry_rolled_back" in k.processes[-1].log.read_text())
    keys(k, "restore", "b.json")
    there = path.read_text().count("\n")
    wait_for("the worker records a rotation", lambda: path.read_text().count("\n") > there, timeout=60)
    time.sleep(4)
    keys(k, "list")
    assert k.stop() == 0
    keys(k, "list")


@pytest.mark.parametrize("make", ["file"], indirect=True)
def test_what_events_that_are_gone_may_have_said(make):
    """A registry's file alone, and a date of destruction whose cancellation was cut: disabled, until somebody says otherwise."""
    k = make(data="    notes: {algorithm: aes-256-siv, kek: local}\n")
    keys(k, "disable", "notes")
    path, mark = k.dir / ".keys.json.events", k.dir / ".keys.json.mark"
    held = {f: f.read_bytes() for f in (path, mark, k.dir / "keys.json")}
    for f in (path, mark):
        f.unlink()
    keys(k, "restore", "keys.json")
    assert {r["state"] for r in rows(k) if r["version"] == 1} == {"disabled"}, rows(k)
    for f, content in held.items():
        f.write_bytes(content)
    keys(k, "restore", "keys.json")
    keys(k, "enable", "notes")
    keys(k, "destroy", "pii", "--after", "30d", "--yes")
    keys(k, "cancel", "pii")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    assert "registry_rolled_back" in keys(k, "list", check=2).stderr
    keys(k, "restore", "keys.json")
    assert {r["state"] for r in rows(k) if (r["name"], r["version"]) == ("pii", 1)} == {"disabled"}, rows(k)
