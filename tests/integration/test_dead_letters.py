# SPDX-License-Identifier: Apache-2.0
"""`kveil dead-letters`: what waits, seen without its values unless they are asked for, replayed or let go."""
import gzip
import json
import os
import time

import pytest
from conftest import wait_for
from test_unreadable import GZIP, headers, record_by_hand, send_batch, set_config, two_members, varint, written_by_hand

BROKEN = b'{"id": 17, "phone": "13800138000", "name": "Li Na \xe6\x9d\x8e", "ok": Yes}'


def letters(k, *args, check=0, **kw):
    return k.run("dead-letters", *args, "-c", "kveil.yaml", check=check, **kw)


def fill(make_kveil, kafka):
    k = make_kveil()
    k.rules('  - {path: "$.p", mask: {}}\n')
    k.init().start()
    kafka.produce(k.topic, [{"value": BROKEN, "key": b"key-77", "headers": [("trace", b"abc"), ("näme 1", None)]},
                            {"value": b'{"p": [1]}'}, {"value": b'{"p": [2]}'}, {"value": b'{"p": "fine"}'}])
    kafka.consume(k.dead, 3)
    assert k.stop() == 0
    return k


def test_list_show_and_discard(make_kveil, kafka):
    k = fill(make_kveil, kafka)
    kek = (k.dir / "kek").read_bytes()
    (k.dir / "kek").unlink()  # counting needs no key
    out = letters(k, "list").stdout.splitlines()
    assert out[0].split()[:4] == ["TOPIC", "CODE", "RULE", "COUNT"] and out[-1] == "3 dead letters wait", out
    assert [line.split()[:4] for line in out[1:-1]] == \
        [[k.topic, "invalid_json", "-", "1"], [k.topic, "unsupported_kind", f"{k.name}/$.p", "2"]], out
    groups = json.loads(letters(k, "list", "--json").stdout)
    assert groups["letters"] == 3 and [g["count"] for g in groups["groups"]] == [1, 2]
    gauge = [line for line in letters(k, "list", "--metrics").stdout.splitlines() if line[0] != "#"]
    assert gauge == [f'kveil_dead_letters_waiting{{topic="{k.topic}",code="invalid_json",rule=""}} 1',
                     f'kveil_dead_letters_waiting{{topic="{k.topic}",code="unsupported_kind",rule="{k.name}/$.p"}} 2']
    assert "13800" not in letters(k, "show", check=None).stdout
    (k.dir / "kek").write_bytes(kek)
    (k.dir / "kek").chmod(0o600)

    shown = letters(k, "show").stdout
    assert f"{k.topic}[0]@0  invalid_json at byte 62" in shown, shown
    assert '{"id": 00, "phone": "00000000000", "name": "Xx Xx x", "ok": Xxx}' in shown
    assert "key    xxx-00" in shown and "header trace: xxx" in shown and "header xxxx 0: (null)" in shown
    for clear in ("138", "Na", "77", "Yes", "nä"):
        assert clear not in shown.split("\n", 1)[1].split(f"{k.topic}[0]@1")[0], clear
    r = letters(k, "show", f"{k.topic}[0]@1", "--json", "--clear")
    one = r.stdout
    assert f'event: dead_letters_shown count=1 detail={k.topic}[0]@1 command="dead-letters show" user=' in r.stderr
    assert "138" not in r.stderr and "dead_letters_shown" not in letters(k, "show").stderr
    assert json.loads(one) | {"ts": 0, "letter": ""} == {
        "topic": k.topic, "partition": 0, "offset": 1, "ts": 0, "code": "unsupported_kind", "rule": f"{k.name}/$.p",
        "byte": 6, "letter": "", "headers": [], "key": None, "payload": '{"p": [1]}'}
    assert "no such letter waits" in letters(k, "show", f"{k.topic}[0]@3", check=1).stderr

    r = letters(k, "discard", "--dry-run", "--yes", check=2)
    assert "--dry-run is not an option of `kveil dead-letters discard`" in r.stderr, r.stderr
    assert "--clear is not an option" in letters(k, "list", "--clear", check=2).stderr
    r = letters(k, "discard", check=2)
    assert "asks first" in r.stderr
    assert letters(k, "list").stdout.endswith("3 dead letters wait\n")
    assert 'event: dead_letters_discarded count=3 command="dead-letters discard"' in letters(k, "discard", "--yes").stderr
    assert letters(k, "list").stdout == "0 dead letters wait\n"
    assert "none waits" in letters(k, "show").stderr
    assert "0 replayed, 0 failed" in letters(k, "replay").stdout
    assert kafka.end_offsets(k.dead) == {0: 3} and kafka.end_offsets(k.secure) == {0: 1}


def test_each_series_of_the_gauge_is_there_once(make_kveil, kafka):
    """Prometheus refuses a page that has one twice; two topics may hold letters of one input topic."""
    k = fill(make_kveil, kafka)
    other = k.topic + ".other"
    kafka.create(other, other + ".secure", other + ".dead")
    rules = (k.dir / "rules" / f"{k.name}.yaml").read_text()
    (k.dir / "rules" / "other.yaml").write_text(rules.replace(f"[{k.topic}]", f"[{other}]").replace(f"name: {k.name}", "name: other"))
    kafka.produce(other + ".dead", [{"value": m.value(), "headers": m.headers()} for m in kafka.consume(k.dead, 3)])
    assert letters(k, "list").stdout.splitlines()[-1] == "6 dead letters wait"
    gauge = [line for line in letters(k, "list", "--metrics").stdout.splitlines() if line[0] != "#"]
    assert gauge == [f'kveil_dead_letters_waiting{{topic="{k.topic}",code="invalid_json",rule=""}} 2',
                     f'kveil_dead_letters_waiting{{topic="{k.topic}",code="unsupported_kind",rule="{k.name}/$.p"}} 4']


def test_replay_behind_what_was_shown(make_kveil, kafka):
    """Looking takes nothing away, and replay by either name is one."""
    k = fill(make_kveil, kafka)
    letters(k, "show")
    k.rules('  - {path: "$.p[*]", mask: {}}\n')
    assert "2 replayed, 1 failed" in letters(k, "replay", check=1).stdout
    assert json.loads(letters(k, "list", "--json").stdout)["letters"] == 1
    assert "did you mean" in k.run("dead-leters", check=2).stderr
    assert "say what to do" in letters(k, check=2).stderr
    assert "is too much" in letters(k, "list", "x", check=2).stderr
    assert "needs a number" in letters(k, "show", "--max", "many", check=2).stderr


def test_a_forged_letter_whose_headers_cannot_be_read(make_kveil, kafka):
    """It is told and passed over; the letters around it are counted, shown and replayed."""
    k = fill(make_kveil, kafka)
    forged = (0, b"x", varint(1) + varint(1) + b"u" + varint(-5))
    written_by_hand(kafka, k.dead, [forged])
    k.start()
    kafka.produce(k.topic, [b'{"p": [3]}'])
    kafka.consume(k.dead, 5)
    assert k.stop() == 0
    groups = json.loads(letters(k, "list", "--json").stdout)
    assert groups["letters"] == 5 and {g["code"]: g["count"] for g in groups["groups"]} == \
        {"invalid_json": 1, "unsupported_kind": 3, "unreadable_batch": 1}
    r = letters(k, "show")
    assert f"{k.topic}[0]@4" in r.stdout and f"{k.dead}[0]@3: the record's headers cannot be read" in r.stderr
    k.rules('  - {path: "$.p[*]", mask: {}}\n')
    r = letters(k, "replay", check=1)
    assert "3 replayed, 2 failed" in r.stdout and "headers cannot be read" in r.stdout + r.stderr
    # What is not JSON waits again, at the end; the forged one is behind the replay.
    r = letters(k, "replay", check=1)
    assert "0 replayed, 1 failed" in r.stdout
    assert kafka.end_offsets(k.dead) == {0: 7} and kafka.end_offsets(k.secure) == {0: 4}


def test_a_forged_batch_that_its_letters_do_not_fill(make_kveil, kafka):
    """The client says nothing of it. It is passed over, and the letters behind it are counted and replayed."""
    k = fill(make_kveil, kafka)
    send_batch(kafka, k.dead, two_members(record_by_hand(0, b"x")), 1, GZIP)
    send_batch(kafka, k.dead, gzip.compress(record_by_hand(0, b"x", more=9)), 1, GZIP)
    k.start()
    kafka.produce(k.topic, [b'{"p": [3]}'])
    wait_for("one more", lambda: kafka.end_offsets(k.dead) == {0: 6})
    assert k.stop() == 0
    r = letters(k, "list")
    assert r.stdout.endswith("4 dead letters wait\n") and "offsets 3 to 4 cannot be read" in r.stderr, r
    k.rules('  - {path: "$.p[*]", mask: {}}\n')
    assert "3 replayed, 1 failed" in letters(k, "replay", check=1).stdout


def test_a_forged_letter_that_lies_about_its_offset(make_kveil, kafka):
    """Its batch comes alone, and the next response would begin where it claims to be: the letters in between are replayed."""
    k = fill(make_kveil, kafka)
    written_by_hand(kafka, k.dead, [(0, b"x", None), (9, b"x", None)])
    kafka.produce(k.dead, [b"x" * 900_000])
    k.start()
    kafka.produce(k.topic, [b'{"p": [3]}'] * 10)
    wait_for("ten more", lambda: kafka.end_offsets(k.dead) == {0: 16})
    assert k.stop() == 0
    k.rules('  - {path: "$.p[*]", mask: {}}\n')
    r = letters(k, "replay", check=1)
    assert "12 replayed, 3 failed" in r.stdout and "offsets 4 to 4 cannot be read" in r.stderr, r


def test_a_letter_behind_a_gap_waits_for_its_proof(make_kveil, kafka):
    """The broker does not answer when it is asked whether nothing is in the gap: the letter is not passed over."""
    k = fill(make_kveil, kafka)
    written_by_hand(kafka, k.dead, [(-5000, b"x", None), (1, b"x", None)])
    k.rules('  - {path: "$.p[*]", mask: {}}\n')
    env = {**os.environ, "KVEIL_FAILPOINT": "no-first-answer"}
    assert "2 replayed, 2 failed" in letters(k, "replay", check=1, env=env).stdout


@pytest.mark.parametrize("delivery", ["at-least-once", "exactly-once"])
@pytest.mark.parametrize("code", ["unsupported_kind", "unreadable_batch"])
def test_a_letter_that_is_refused_waits_for_its_topic(make_kveil, kafka, code, delivery):
    """One of a batch holds no record: there is nothing more that could be left out of it. Neighbours go on."""
    k = make_kveil(partitions=2)
    k.config(kafka.bootstrap, extra=f"delivery: {delivery}\ninstance: a")
    k.rules('  - {path: "$.p", mask: {}}\n')
    set_config(kafka, k.dead, "max.message.bytes", 100)
    kafka.produce(k.topic, [b'{"p": "x"}'])
    if code == "unsupported_kind":
        kafka.produce(k.topic, [b'{"p": [1]}'])
    else:
        written_by_hand(kafka, k.topic, [(0, b'{"p":"x"}', varint(1) + varint(1) + b"u" + varint(-5))])
    kafka.produce(k.topic, [b'{"p": "x"}'])
    k.init().start(ready=False)
    wait_for("told", lambda: f"the dead letter itself is refused (it is for: {code})" in k.get("/readyz")[1])
    for n in range(1, 4):
        kafka.produce(k.topic, [b'{"p": "x"}'], partition=1)
        wait_for("its neighbour", lambda n=n: kafka.committed(k.group, k.topic, 1) == n)
    wait_for("what is before it", lambda: kafka.committed(k.group, k.topic) == 1)
    set_config(kafka, k.dead, "max.message.bytes", 1_000_000)
    wait_for("all", lambda: kafka.committed(k.group, k.topic) == 3, timeout=60)
    (letter,) = kafka.consume(k.dead, 1, settle=0.3)
    assert headers(letter)["kveil.error.offset"] == "1"
    assert len(kafka.consume(k.secure, 5, settle=0.3)) == 5 or delivery == "at-least-once"
    wait_for("ready", lambda: k.get("/readyz")[0] == 200)
    assert k.stop() == 0


def test_a_replay_needs_accepted_rules_as_a_start_does(make_kveil, kafka):
    k = make_kveil()
    k.config(kafka.bootstrap, extra="rules_guard: strict")
    k.rules('  - {path: "$.p", mask: {}}\n  - {path: "$.q", mask: {}}\n')
    k.init()
    k.run("rules", "accept", "-c", "kveil.yaml", check=0)
    k.start()
    kafka.produce(k.topic, [b'{"p": "canary-1", "q": [1]}'])
    kafka.consume(k.dead, 1)
    assert k.stop() == 0
    k.rules('  - {path: "$.none", mask: {}}\n')
    r = k.run("replay", "-c", "kveil.yaml", check=2)
    assert "not accepted" in r.stderr and "the rule for $.q" in r.stderr, r.stderr
    assert "1 would go through" in k.run("replay", "-c", "kveil.yaml", "--dry-run", check=0).stdout
    assert sum(kafka.end_offsets(k.secure).values()) == 0
    k.run("rules", "accept", "-c", "kveil.yaml", check=0)
    assert "1 replayed" in k.run("replay", "-c", "kveil.yaml", check=0).stdout


def test_only_a_topic_of_dead_letters_is_replayed(make_kveil, kafka):
    k = fill(make_kveil, kafka)
    for topic in (k.topic, k.secure):
        before = kafka.end_offsets(topic)
        for command in (["replay"], ["dead-letters", "list"], ["dead-letters", "show"], ["dead-letters", "discard", "--yes"]):
            r = k.run(*command, "-c", "kveil.yaml", "-t", topic, check=None)
            assert r.returncode and f"{topic} is not a topic of dead letters" in r.stderr, (command, r)
        assert kafka.end_offsets(topic) == before


def test_a_replay_sums_up_what_failed(make_kveil, kafka):
    k = make_kveil()
    k.rules('  - {path: "$.p", mask: {}}\n')
    k.init().start()
    kafka.produce(k.topic, [b'{"p": [%d]}' % i for i in range(12)] + [b"{oops"])
    kafka.consume(k.dead, 13)
    assert k.stop() == 0
    out = k.run("replay", "-c", "kveil.yaml", "--dry-run", check=1).stdout
    assert out.count(": unsupported_kind:") == 10 and out.count(": invalid_json:") == 1, out
    assert "        12 unsupported_kind, of which the first are above\n" in out and "         1 invalid_json\n" in out, out


def test_a_topic_full_of_letters_is_read_and_replayed_in_seconds(make_kveil, kafka):
    """Letters go out together and are committed together; half of them fail again."""
    count = 4000
    k = make_kveil()
    k.rules('  - {path: "$.p", mask: {}}\n')
    k.init().start()
    kafka.produce(k.topic, [{"value": b'{"p": [%d], "q": %s}' % (i, b"[]" if i % 2 else b'"x"')} for i in range(count)])
    wait_for("all letters", lambda: kafka.end_offsets(k.dead)[0] >= count, timeout=120)
    assert k.stop() == 0
    begin = time.monotonic()
    assert json.loads(letters(k, "list", "--json").stdout)["letters"] == count
    assert letters(k, "list", "--json").returncode == 0
    k.rules('  - {path: "$.p", remove: true}\n  - {path: "$.q", mask: {}}\n')
    r = k.run("replay", "-c", "kveil.yaml", check=1)
    assert f"{count // 2} replayed, {count // 2} failed" in r.stdout, r.stdout
    assert time.monotonic() - begin < 40
    replayed = [json.loads(m.value()) for m in kafka.consume(k.secure, count // 2, settle=0.5)]
    assert len(replayed) == count // 2 and all(set(v) == {"q"} for v in replayed)
    assert json.loads(letters(k, "list", "--json").stdout)["letters"] == count // 2
    k.rules('  - {path: "$.p", remove: true}\n  - {path: "$.q", remove: true}\n')
    assert "2000 replayed, 0 failed" in k.run("replay", "-c", "kveil.yaml", check=0).stdout
    assert kafka.end_offsets(k.secure)[0] == count


def test_letters_of_a_topic_that_is_left_out_are_not_called_none(make_kveil, kafka):
    k = fill(make_kveil, kafka)
    kafka.admin.delete_topics([k.secure])[k.secure].result(30)
    wait_for("it is told", lambda: f"left out: the output topic {k.secure}" in letters(k, "list").stderr)


def test_a_refused_letter_takes_no_other_with_it(make_kveil, kafka):
    """A broker refuses a batch as a whole for one record's sake."""
    k = make_kveil(topics=False)
    kafka.create(k.topic, config={"message.timestamp.after.max.ms": "9223372036854775807"})
    kafka.create(k.secure, config={"message.timestamp.after.max.ms": "3600000"})
    kafka.create(k.dead)
    k.rules('  - {path: "$.p", mask: {}}\n')
    k.init().start()
    records = [{"value": b'{"i":%d,"p":[]}' % i} for i in range(100)]
    records[40]["timestamp"] = int(time.time() * 1000) + 40 * 86400 * 1000
    kafka.produce(k.topic, records)
    kafka.consume(k.dead, 100)
    assert k.stop() == 0
    k.rules('  - {path: "$.p", remove: true}\n')
    out = k.run("replay", "-c", "kveil.yaml", check=1).stdout
    assert "99 replayed, 1 failed" in out and "refused_by_broker" in out, out
    assert {json.loads(m.value())["i"] for m in kafka.consume(k.secure, 99, settle=0.5)} == set(range(100)) - {40}
    assert "0 replayed, 1 failed" in k.run("replay", "-c", "kveil.yaml", check=1).stdout
