# SPDX-License-Identifier: Apache-2.0
"""What a restore does to a registry: nothing that is there is lost, ended or put out of use, and it says all it does."""
import datetime
import json
import subprocess

import pytest

from conftest import wait_for
from test_keys_commands import apply, make, rows, rules_for, start, states  # noqa: F401 (a fixture)
from test_keys_history import history

DATA = ("    tenant-{}: {algorithm: aes-256-gcm, kek: local}\n"
        "    cards: {algorithm: aes-256-ff1, kek: local}\n"
        "    notes: {algorithm: aes-256-siv, kek: local}\n")


def keys(k, *args, check=0):
    return k.run("keys", *args, check=check, stdin=subprocess.DEVNULL)


def said(k, *args, check=0):
    return json.loads(keys(k, *args, "--json", check=check).stdout)


def site(make, other, data=DATA):
    """Another place without a registry, with the same KEKs."""
    k = make(data=data, init=False)
    for kek in ("kek-local", "kek-new"):
        (k.dir / kek).write_bytes((other.dir / kek).read_bytes())
    return k


def make_names(k, *names):
    rules = rules_for(k, "names.yaml", "encrypt", '"tenant-{$.t}"')
    return [apply(k, rules, json.dumps({"v": "x", "t": t}) + "\n").stdout for t in names]


def past_due(k, name):
    row = next(r for r in rows(k) if r["name"] == name and "destroyed_from" in r)
    due = datetime.datetime.strptime(row["destroyed_from"], "%Y-%m-%dT%H:%M:%SZ") + datetime.timedelta(seconds=2)
    wait_for("it is due", lambda: datetime.datetime.utcnow() > due)
    return row


def versions(k):
    return {(r["name"], r["version"]): r["state"] for r in rows(k) + said(k, "list", "--prefix", "tenant-")}


def told(r):
    return {(v["name"].split("-")[0], v["version"]): (v["backup"], v["here"], v["stays"]) for v in r["versions"]}


def test_a_restore_changes_no_state_of_a_live_registry(make):
    a = make(data=DATA)
    make_names(a, "acme", "other")
    keys(a, "backup", "b1.json")
    b = site(make, a)
    keys(b, "restore", str(a.dir / "b1.json"))
    keys(b, "disable", "notes")
    before = versions(b)
    # What was done at the first site, by mistake or on purpose.
    keys(a, "disable", "pii")
    keys(a, "destroy", "tenant-acme", "--now", "--yes")
    keys(a, "destroy", "tenant-other", "--after", "9d", "--yes")
    keys(a, "retire", "pepper@1", "--yes")
    keys(a, "destroy", "cards", "--after", "1s", "--yes")
    past_due(a, "cards")
    keys(a, "backup", "b2.json")
    b2 = str(a.dir / "b2.json")
    dry = said(b, "restore", b2, "--dry-run")
    assert versions(b) == before
    real = said(b, "restore", b2)
    assert versions(b) == before
    for r in (dry, real):
        assert r["added"] == 0 and r["renumbered"] == 0 and r["left_out"] == 0
        seen = told(r)
        assert seen[("pii", 1)] == ("disabled", "in use", True)
        assert seen[("cards", 1)] == ("scheduled", "in use", True)
        assert seen[("pepper", 1)] == ("retired", "in use", True)
        assert seen[("notes", 1)] == ("in use", "disabled", True)
        assert seen[("tenant", 0)] == ("destroyed", "in use", True)  # the name as a whole
        assert {v["backup"] for v in r["versions"] if v["name"].startswith("tenant-")} == {"destroyed", "scheduled"}
    text = keys(b, "restore", b2).stdout
    card = next(r for r in rows(b) if r["name"] == "cards")
    assert f"cards@1 (id {card['id']}): to be destroyed from " in text and "in use here, and stays so" in text
    # Both stories are there, and a worker that reads them ends nothing.
    kinds = [e["event"] for e in history(b, "cards")]
    assert "key_destroy_scheduled" in kinds and "key_destroyed" not in kinds
    assert versions(b) == before
    make_names(b, "acme", "other")


def test_what_comes_in_does_not_seal_in_the_place_of_what_does(make):
    """Equal values stay equal at the second site, whatever the first one rotated; what that sealed opens."""
    a = make(data=DATA)
    keys(a, "backup", "b1.json")
    b = site(make, a)
    keys(b, "restore", str(a.dir / "b1.json"))
    fields = {"e.yaml": "encrypt: {key: notes}", "h.yaml": "hash: {key: pepper}",
              "t.yaml": "tokenize: {key: cards, alphabet: digits}", "o.yaml": "decrypt: {key: notes}"}
    for k in (a, b):
        for file, action in fields.items():
            (k.dir / file).write_text(f'name: two\ntopics: [two]\nfields:\n  - {{path: "$.v", {action}}}\n')

    def values(k):
        return [apply(k, file, '{"v":"4711471147114711"}\n').stdout for file in ("e.yaml", "h.yaml", "t.yaml")]

    before = values(b)
    assert before == values(a)
    for name in ("notes", "pepper", "cards", "tenant-{}"):
        keys(a, "rotate", name, "--now", "--yes")
    sealed = values(a)[0]
    keys(a, "backup", "b2.json")
    dry, real = said(b, "restore", str(a.dir / "b2.json"), "--dry-run"), said(b, "restore", str(a.dir / "b2.json"))
    assert dry["versions"] == real["versions"] and real["added"] == 4
    assert told(real) == {(n, 2): ("in use", "opens only", False) for n in ("notes", "pepper", "cards", "tenant")}
    assert {states(b, n)[1] for n in ("notes", "pepper", "cards", "tenant-{}")} == {"active"}
    assert values(b) == before
    assert json.loads(apply(b, "o.yaml", sealed).stdout) == {"v": "4711471147114711"}
    assert told(said(b, "restore", str(a.dir / "b2.json"))) == {}


def test_what_was_due_does_not_end_in_an_empty_registry(make):
    a = make(data=DATA)
    make_names(a, "acme")
    keys(a, "disable", "notes")
    keys(a, "destroy", "pepper", "--after", "30d", "--yes")
    keys(a, "destroy", "tenant-acme", "--after", "1s", "--yes")
    keys(a, "destroy", "cards", "--after", "1s", "--yes")
    past_due(a, "cards")
    keys(a, "backup", "b.json")
    backup = str(a.dir / "b.json")
    b = site(make, a)
    worth = said(b, "verify", backup)
    assert (worth["disabled"], worth["scheduled"], worth["overdue"]) == (1, 3, 2)
    assert "1 disabled, 3 scheduled to be destroyed (2 overdue; a restore brings those in disabled)" in keys(b, "verify", backup).stdout
    dry, real = said(b, "restore", backup, "--dry-run"), said(b, "restore", backup)
    assert told(dry) == told(real) == {
        ("notes", 1): ("disabled", "disabled", False), ("pepper", 1): ("scheduled", "scheduled", False),
        ("tenant", 1): ("scheduled", "disabled", False), ("cards", 1): ("scheduled", "disabled", False)}
    after = versions(b)
    assert {n: s for (n, _), s in after.items() if n in ("notes", "pepper", "cards")} == {
        "notes": "disabled", "pepper": "scheduled", "cards": "disabled"}
    assert [s for (n, _), s in after.items() if n.startswith("tenant-") and n != "tenant-{}"] == ["disabled"]
    due = {r["name"]: r["destroyed_from"] for r in rows(b) if "destroyed_from" in r}
    assert due == {r["name"]: r["destroyed_from"] for r in rows(a) if r["name"] == "pepper"}
    # It is the officer's to say now; once more changes nothing.
    assert told(said(b, "restore", backup))[("cards", 1)] == ("scheduled", "disabled", True)
    assert versions(b) == after
    keys(b, "enable", "cards")
    assert states(b, "cards") == {1: "active"}


def test_a_certificate_is_of_this_registry(make):
    a = make(data=DATA)
    make_names(a, "acme")
    keys(a, "backup", "b1.json")
    b = site(make, a)
    keys(b, "restore", str(a.dir / "b1.json"))
    keys(a, "destroy", "pii", "--now", "--yes", "--certificate", "c.json")
    keys(a, "destroy", "tenant-acme", "--now", "--yes", "--certificate", "acme.json")
    keys(a, "backup", "b2.json")
    keys(b, "restore", str(a.dir / "b2.json"))
    # The history came along, and the keys are alive here.
    for name, certificate in (("pii", "c.json"), ("tenant-acme", "acme.json")):
        assert "key_destroyed" in {e["event"] for e in history(b, name)}
        r = keys(b, "history", name, "--certificate", "own.json", check=None)
        assert r.returncode != 0 and "in use in this registry" in r.stderr and not (b.dir / "own.json").exists()
        r = keys(b, "verify", str(a.dir / certificate), check=1)
        assert "IN USE HERE" in r.stdout and "1 of them is in use in this registry" in r.stderr
        assert said(b, "verify", str(a.dir / certificate), check=1)["in_use_here"] == 1
        keys(a, "verify", certificate)
        keys(b, "destroy", name, "--now", "--yes")
        keys(b, "verify", str(a.dir / certificate))
        keys(b, "history", name, "--certificate", "own.json")
        (b.dir / "own.json").unlink()


def test_verify_counts_what_opens(make):
    """Names out of records are wrapped by a key of their pattern: under a KEK that does not open, none of them does."""
    k = make(data="    tenant-{}: {algorithm: aes-256-gcm, kek: new}\n")
    make_names(k, "acme", "other", "third")
    keys(k, "destroy", "tenant-third", "--now", "--yes")
    keys(k, "backup", "b.json")
    whole = said(k, "verify", "b.json")
    assert whole["unreachable"] == 0 and whole["destroyed"] == 1 and whole["opened"] == whole["versions"]
    (k.dir / "kek-new").write_bytes(bytes(range(32)))
    broken = said(k, "verify", "b.json", check=2)
    assert broken["versions"] == whole["versions"] and broken["opened"] == whole["versions"] - 3
    assert broken["unreachable"] == 3


def test_a_kek_that_does_not_open_holds_up_nothing_else(make):
    """What is under it comes in too, and the restore says so, as does the history."""
    data = "    late: {algorithm: aes-256-gcm, kek: new}\n"
    a = make(data=data)
    sealed = apply(a, rules_for(a, "e.yaml", "encrypt"), '{"v":"x"}\n').stdout
    keys(a, "backup", "b.json")
    b = site(make, a, data)
    right = (b.dir / "kek-new").read_bytes()
    (b.dir / "kek-new").write_bytes(bytes(range(32)))
    r = keys(b, "restore", str(a.dir / "b.json"), check=2)
    assert "wrong_kek" in r.stderr and "added" in r.stdout and "1 of them came in or is here, and cannot be opened" in r.stdout
    assert "registry_restored" in {e["event"] for e in history(b)}
    assert {row["name"]: row["state"] for row in rows(b) if row["version"] == 1}["late"] == "unreachable"
    # The rest is done: a cipher has its next version.
    assert states(b, "pii")[1] == "opens only" and len(states(b, "pii")) == 2
    (b.dir / "kek-new").write_bytes(right)
    assert said(b, "restore", str(a.dir / "b.json"))["unreachable"] == 0
    assert states(b, "late")[1] == "opens only"
    b.name, b.topic = a.name, a.topic
    assert json.loads(apply(b, rules_for(b, "d.yaml", "decrypt"), sealed).stdout) == {"v": "x"}


def test_the_history_says_whose_key_left_and_which_version(make):
    k = make(data=DATA)
    make_names(k, "acme")
    keys(k, "export", "--tink", "tenant-acme", "--clear", "-o", "acme.json")
    left = history(k, "tenant-acme")[-1]
    name = next(r["name"] for r in said(k, "list", "--prefix", "tenant-") if r["name"] != "tenant-{}")
    assert (left["event"], left["key"], left["detail"]) == ("key_exported", name, "in clear, to acme.json")
    pii = next(r for r in rows(k) if r["name"] == "pii")
    assert f"pii@1 (id {pii['id']})" in keys(k, "history", "pii").stdout


def go_back_to(k, old):
    """The registry as it was: a file that was copied, a topic that was."""
    if not k.keys:
        (k.dir / "keys.json").write_bytes(old)
        return
    k.keys += ".copy"
    k.registry = f"kafka:{k.keys}"
    k.kafka.create(k.keys, config={"cleanup.policy": "compact"})
    k.kafka.produce(k.keys, [{"key": m.key(), "value": m.value()} for m in old.values()])
    k.configure("local")


def test_what_went_back_takes_states_from_the_backup(make):
    """In both registries alike: what the backup knows to be retired or destroyed is so again."""
    k = make(data=DATA)
    encrypt = rules_for(k, "e.yaml", "encrypt")
    for _ in range(3):  # leases, by which a copied topic is known
        apply(k, encrypt, '{"v":"x"}\n')
    old = {m.key(): m for m in k.kafka.consume(k.keys, 1, settle=0.3)} if k.keys else (k.dir / "keys.json").read_bytes()
    keys(k, "retire", "pepper@1", "--yes")
    keys(k, "destroy", "cards", "--now", "--yes")
    keys(k, "backup", "b.json")
    there = len(rows(k))
    go_back_to(k, old)
    dry, real = said(k, "restore", "b.json", "--dry-run"), said(k, "restore", "b.json")
    now = versions(k)
    assert {n: now[n, 1] for n in ("pepper", "cards", "notes", "pii")} == {
        "pepper": "retired", "cards": "destroyed", "notes": "active", "pii": "opens only"}
    for r in (dry, real):
        assert told(r) == {("pepper", 1): ("retired", "retired", False), ("cards", 1): ("destroyed", "destroyed", False)}
        assert (r["added"], r["renumbered"], r["left_out"]) == (0, 0, 0) and r["skipped"] == there


# A topic's history goes with it.
@pytest.mark.parametrize("make", ["file"], indirect=True)
def test_a_version_that_is_gone_is_named(make):
    """The history outlives an older copy of the registry, and knows what that lacks."""
    k = make(data=DATA)
    old = (k.dir / "keys.json").read_bytes()
    keys(k, "rotate", "pii", "--now")
    gone = next(r for r in rows(k) if (r["name"], r["version"]) == ("pii", 2))
    (k.dir / "keys.json").write_bytes(old)
    (k.dir / "old.json").write_bytes(old)
    (k.dir / "old.json").chmod(0o600)
    assert "registry_rolled_back" in keys(k, "list", check=2).stderr
    for args in (("--dry-run",), ()):
        r = keys(k, "restore", "old.json", *args)
        assert f"pii@2 (id {gone['id']}): made once, and neither in the backup nor here" in r.stdout


# --- the file that a backup replaces ---

def test_a_backup_replaces_none_of_another_registry(make):
    a = make(data=DATA)
    keys(a, "backup", "b.json")
    b = site(make, a)
    keys(b, "init")
    held = (a.dir / "b.json").read_bytes()
    (b.dir / "b.json").write_bytes(held)
    for args in (["b.json"], ["--follow", "b.json"]):
        r = keys(b, "backup", *args, check=2)
        assert "key_exists: b.json is a backup of another registry" in r.stderr and "kveil keys restore" in r.stderr
        assert (b.dir / "b.json").read_bytes() == held
    keys(b, "backup", "other.json")
    keys(b, "backup", "other.json")


def test_a_backup_replaces_none_with_versions_that_the_registry_lacks(make):
    a = make(data=DATA)
    keys(a, "backup", "old.json")
    keys(a, "rotate", "notes", "--now", "--yes")
    keys(a, "destroy", "cards@1", "--yes", "--now")
    keys(a, "backup", "b.json")
    held = (a.dir / "b.json").read_bytes()
    only = next(r for r in rows(a) if (r["name"], r["version"]) == ("notes", 2))
    b = site(make, a)
    keys(b, "restore", str(a.dir / "old.json"))
    (b.dir / "b.json").write_bytes(held)
    for args in (["b.json"], ["--follow", "b.json"]):
        r = keys(b, "backup", *args, check=2)
        assert f"key_exists: b.json has notes@2 (id {only['id']})" in r.stderr and "kveil keys restore" in r.stderr
        assert (b.dir / "b.json").read_bytes() == held
    # The way out that it names. What is destroyed keeps nothing from being replaced.
    (b.dir / "b.json").chmod(0o600)
    keys(b, "restore", "b.json")
    keys(b, "backup", "b.json")
    keys(b, "destroy", "notes@2", "--yes", "--now")
    keys(b, "backup", "b.json")
    # One that was cut is not thrown away either.
    (b.dir / "b.json").write_bytes(held[:-100])
    assert "damaged backup" in keys(b, "backup", "b.json", check=2).stderr


def test_a_backup_that_follows_keeps_what_another_wrote(make):
    a = make(data=DATA)
    b = site(make, a)
    keys(b, "init")
    keys(b, "backup", "b.json")
    held = (b.dir / "b.json").read_bytes()
    p = start(a, "backup", "--follow", "f.json")
    try:
        wait_for("the first copy", lambda: (a.dir / "f.json").exists())
        (a.dir / "f.json").write_bytes(held)
        keys(a, "rotate", "notes", "--now", "--yes")
        wait_for("its word", lambda: "backup of another registry" in p.stderr.readline())
        assert (a.dir / "f.json").read_bytes() == held and p.poll() is None
        (a.dir / "f.json").unlink()
        wait_for("a copy again", lambda: (a.dir / "f.json").exists())
    finally:
        p.terminate()
        assert p.wait(30) == 0


def test_a_restore_says_which_number_each_version_got(make):
    """Rules pin versions by their numbers, and two sites gave one number to two keys."""
    a = make(data=DATA)
    keys(a, "backup", "b1.json")
    b = site(make, a)
    keys(b, "restore", str(a.dir / "b1.json"))
    for k in (a, b):
        for name in ("cards", "pii"):
            keys(k, "rotate", name, "--now", "--yes")
        for file, action in (("t.yaml", "tokenize"), ("pin2.yaml", "detokenize"), ("pin3.yaml", "detokenize")):
            key = {"pin2.yaml": "cards@2", "pin3.yaml": "cards@3"}.get(file, "cards")
            (k.dir / file).write_text('name: two\ntopics: [two]\nfields:\n'
                                      f'  - {{path: "$.v", {action}: {{key: {key}, alphabet: digits}}}}\n')
    number = "6222020000000005"
    token = apply(a, "t.yaml", json.dumps({"v": number}) + "\n").stdout
    keys(a, "backup", "b2.json")
    ids = {r["name"]: r["id"] for r in rows(a) if r["version"] == 2}
    r = said(b, "restore", str(a.dir / "b2.json"))
    here = {row["id"]: row["version"] for row in rows(b)}
    want = [{"name": n, "id": ids[n], "version_in_backup": 2, "version_here": here[ids[n]]} for n in ("cards", "pii")]
    assert r["renumbered"] == 2 and sorted(r["numbers"], key=lambda n: n["name"]) == want and here[ids["cards"]] == 3
    assert json.loads(apply(b, "pin3.yaml", token).stdout) == {"v": number}
    assert json.loads(apply(b, "pin2.yaml", token).stdout) != {"v": number}
    # Once more, it is there already, under that number.
    text = keys(b, "restore", str(a.dir / "b2.json")).stdout
    assert f"cards@2 of the backup (id {ids['cards']}) is cards@3 here\n" in text and "pin" in text
    assert said(b, "restore", str(a.dir / "b1.json"))["numbers"] == []


def test_verify_gives_no_command_on_another_registry(make):
    a = make(data=DATA)
    a.configure("new")
    keys(a, "rotate", "pii", "--now")
    keys(a, "backup", "b.json")
    b = site(make, a)
    keys(b, "init")
    b.configure("local", keks=("local",))
    r = keys(b, "verify", str(a.dir / "b.json"), check=None)
    assert r.returncode != 0 and "KEK 'new'" in r.stderr and "destroy" not in r.stderr
