# SPDX-License-Identifier: Apache-2.0
"""What a security officer would ask about: a line of the log and a counter each (docs/events.md). Keys' own events are in
test_keys_history.py and test_keys_commands.py, custodians' in test_custody_outage.py, the registry's in test_registry_attack.py."""
import hashlib
import os
import re
import signal
import urllib.error
import urllib.request

import pytest

from conftest import wait_for

GOOD, BAD = b'{"p":"x"}', b'{"p":{"not":"a text"}}'


def events(log, name):
    """The fields of each such event."""
    found = re.findall(rf"event: {name}( .*)?$", log.read_text(), re.M)
    return [{k: v.strip('"') for k, v in re.findall(r'(\w+)=("[^"]*"|\S+)', rest)} for rest in found]


@pytest.fixture
def told():
    def wait(p, name, count=1):
        wait_for(f"{count} {name}", lambda: len(events(p.log, name)) >= count, timeout=60)
        return events(p.log, name)[count - 1]
    return wait


def swap(k, fields, top=""):
    """Rules in the place of those that are there, at once: what is written in place is not taken without SIGHUP."""
    k.rules(fields, top=top, file="next")
    os.rename(k.dir / "rules" / "next", k.dir / "rules" / f"{k.name}.yaml")


def encrypting(k, fields="", top=""):
    swap(k, f'  - {{path: "$.p", encrypt: {{key: pii}}}}\n{fields}', top)


def test_a_run_tells_what_happens(make_kveil, kafka, told):
    k = make_kveil()
    encrypting(k, '  - {path: "$.q", mask: {}}\n')
    p = k.init().start()
    config, rules = told(p, "config_loaded"), told(p, "rules_loaded")
    assert config["detail"] == "kveil.yaml" and rules["count"] == "1" and rules["command"] == "run" and rules["user"] and rules["host"]
    assert all(re.fullmatch("[0-9a-f]{12}", e["digest"]) for e in (config, rules))

    kafka.produce(k.topic, [GOOD, BAD, GOOD])
    letter = told(p, "dead_letters_written")
    assert (letter["topic"], letter["count"], letter["detail"]) == (f"{k.topic}[0]", "1", "unsupported_kind")

    swap(k, "  - {path: ]")
    # Nothing could be made of them, but their bytes tell which they were.
    spoilt = hashlib.sha256((k.dir / "rules" / f"{k.name}.yaml").read_bytes()).hexdigest()
    assert told(p, "rules_refused")["digest"] == spoilt[:12]
    encrypting(k)
    weaker = told(p, "rules_weaker")
    assert "not accepted" in p.log.read_text() and weaker["digest"] != rules["digest"]
    p.send_signal(signal.SIGHUP)
    told(p, "rules_weaker", 2)
    assert told(p, "rules_loaded", 2)["digest"] == weaker["digest"]

    encrypting(k, top="on_error: stop")
    told(p, "rules_loaded", 3)
    # The worker takes them a moment later than they are told.
    wait_for("a stop", lambda: kafka.produce(k.topic, [BAD]) or events(p.log, "partition_stopped"), timeout=60, interval=1)
    stopped = told(p, "partition_stopped")
    assert stopped["topic"] == f"{k.topic}[0]" and "unsupported_kind" in p.log.read_text()
    encrypting(k)
    assert told(p, "partition_resumed")["topic"] == f"{k.topic}[0]"
    wait_for("both letters", lambda: kafka.end_offsets(k.dead)[0] >= 2)

    k.run("keys", "rotate", "-c", "kveil.yaml", "pii", "--now", check=0)
    active = told(p, "key_activated")
    assert (active["key"], active["version"], active["algorithm"], active["kek"]) == ("pii", "2", "aes-256-gcm", "local")

    assert k.metric("kveil_events_total", event="partition_stopped") == 1
    assert k.metric("kveil_events_total", event="rules_refused") >= 1
    assert k.stop() == 0
    assert "not\":" not in p.log.read_text() and "a text" not in p.log.read_text()

    k.rules('  - {path: "$.p", replace: {with: "gone"}}\n')
    r = k.run("replay", "-c", "kveil.yaml", check=0)
    assert re.search(r"event: dead_letters_replayed count=\d+ command=replay ", r.stderr), r.stderr


def test_a_page_of_this_host_alone(make_kveil, told):
    k = make_kveil()
    encrypting(k)
    p = k.init().start()
    for _ in range(3):
        # Somebody's page in a browser, whose name was made to point here.
        request = urllib.request.Request(f"http://127.0.0.1:{k.port}/stats", headers={"Host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=10)
        assert refused.value.code == 403
    assert told(p, "access_refused")["detail"] == "/stats"
    assert k.stop() == 0
    assert len(events(p.log, "access_refused")) == 1  # once a minute


def test_what_cannot_start_says_so(make_kveil):
    k = make_kveil(topics=False)
    k.rules("  - {path: ]")
    r = k.run("run", "-c", "kveil.yaml", check=2)
    assert re.search(r"event: config_refused digest=[0-9a-f]{12} detail=kveil.yaml command=run ", r.stderr), r.stderr
    r = k.run("run", "-c", "nowhere.yaml", check=2)
    assert "event: config_refused detail=nowhere.yaml" in r.stderr


def test_a_configuration_through_a_pipe(make_kveil):
    k = make_kveil(topics=False)
    r = k.run("run", "-c", "/dev/stdin", input="no_such_word: 1\n", check=2)
    assert "no_such_word" in r.stderr, r.stderr


def test_weaker_rules_are_told_at_a_start_and_when_they_are_accepted(make_kveil, kafka, told):
    k = make_kveil()
    encrypting(k, '  - {path: "$.q", mask: {}}\n')
    assert k.init().run("rules", "accept", "-c", "kveil.yaml", check=0).stderr.count("rules_weaker") == 0
    encrypting(k)
    p = k.start()
    weaker = told(p, "rules_weaker")
    assert weaker["detail"] == "not accepted, but in use" and weaker["count"] == "1"
    assert k.stop() == 0
    assert "rules_weaker" not in k.run("rules", "accept", "-c", "kveil.yaml", "--dry-run", check=1).stderr
    said = k.run("rules", "accept", "-c", "kveil.yaml", "--reason", "ticket 12", check=0).stderr
    line = next(x for x in said.splitlines() if "rules_weaker" in x)
    assert f"digest={weaker['digest']}" in line and "detail=accepted" in line and 'reason="ticket 12"' in line, line
    assert "rules_weaker" not in k.run("rules", "accept", "-c", "kveil.yaml", check=0).stderr
