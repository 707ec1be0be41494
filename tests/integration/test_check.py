# SPDX-License-Identifier: Apache-2.0
"""`kveil check`: what `run` refuses, every problem in one round, and what works and is a risk. No broker."""
import json
import os
import re
import subprocess

import pytest

from conftest import KVEIL

CONFIG = """\
kafka: {bootstrap_servers: "localhost:9092", group_id: g, properties: {PROPERTIES}}
rules: rules/
keys:
  registry: file:keys.json
  keks: {local: {provider: file, path: kek}}
  data: {pii: {algorithm: aes-256-gcm}, dead-letters: {algorithm: aes-256-gcm}}
log: {format: json}
"""
RULES = 'name: NAME\ntopics: [in.NAME]\nfields:\n  - {path: "$.a", encrypt: {key: pii}}\n'


@pytest.fixture
def home(tmp_path):
    (tmp_path / "rules").mkdir()
    (tmp_path / "kveil.yaml").write_text(CONFIG.replace("PROPERTIES", ""))
    (tmp_path / "rules" / "a.yaml").write_text(RULES.replace("NAME", "a"))
    (tmp_path / "kek").write_bytes(os.urandom(32))
    (tmp_path / "kek").chmod(0o600)
    return tmp_path


def kveil(home, *args, **env):
    return subprocess.run([KVEIL, *args], cwd=home, env={**os.environ, **env}, capture_output=True, text=True, timeout=60)


def check(home, *args, **env):
    return kveil(home, "check", "-c", "kveil.yaml", *args, **env)


def properties(home, text):
    (home / "kveil.yaml").write_text(CONFIG.replace("PROPERTIES", text))


@pytest.mark.parametrize("text, words", [
    ("socket.timeout.ms: abc", ["kveil.yaml:1:", "socket.timeout.ms"]),
    ("security.protocl: ssl", ["security.protocl", "did you mean 'security.protocol'?"]),
])
def test_properties_that_librdkafka_refuses(home, text, words):
    properties(home, text)
    r = check(home)
    assert r.returncode == 1 and [w for w in words if w not in r.stderr] == [], r.stderr


def test_a_property_that_is_refused_does_not_show_a_secret(home):
    properties(home, 'ssl.key.pem: "${env:SECRET}"')
    r = check(home, SECRET="canary-secret")
    assert "canary" not in r.stderr + r.stdout


def test_the_environment_is_checked_and_named(home):
    r = check(home, KVEIL_RULES="")
    assert r.returncode == 1 and "KVEIL_RULES: error:" in r.stderr
    r = check(home, KVEIL_HTTP_LISTEN="nowhere")
    assert r.returncode == 1 and "KVEIL_HTTP_LISTEN: error:" in r.stderr
    r = check(home, KVEIL_WORKRES="2", KVEIL_PORT="tcp://10.0.0.1:9819")
    assert r.returncode == 0 and "KVEIL_WORKRES: warning:" in r.stderr and "KVEIL_WORKERS" in r.stderr
    assert "KVEIL_PORT" not in r.stderr


def test_every_problem_in_one_round(home):
    """Of the configuration, of each rule file, and of the files together."""
    (home / "kveil.yaml").write_text(CONFIG.replace("PROPERTIES", "") + "wrokers: 2\n")
    (home / "rules" / "a.yaml").write_text(RULES.replace("NAME", "a") + '  - {path: "$.b", maks: {}}\n')
    (home / "rules" / "b.yaml").write_text(RULES.replace("NAME", "a").replace("pii", "dead-letters"))
    r = check(home)
    assert r.returncode == 1
    for words in ("'wrokers'", "'maks'", "in.a has rules in", "seals dead letters"):
        assert words in r.stderr, r.stderr
    r = kveil(home, "check", "-r", "rules/a.yaml", "-r", "missing.yaml")
    assert r.returncode == 1 and "'maks'" in r.stderr and "missing.yaml" in r.stderr


@pytest.mark.parametrize("text, word", [
    ("sasl.kerberos.kinit.cmd: kinit", "sasl.kerberos.kinit.cmd"),
    ("enable.ssl.certificate.verification: 'false'", "enable.ssl.certificate.verification"),
])
def test_properties_that_are_a_risk(home, text, word):
    properties(home, text)
    assert (r := check(home)).returncode == 0 and f"warning: kafka.properties: {word}" in r.stderr, r.stderr
    assert check(home, "--strict").returncode == 1


def test_scram_that_newer_brokers_refuse(home):
    properties(home, "security.protocol: sasl_ssl, sasl.mechanism: SCRAM-SHA-512, sasl.username: u, sasl.password: '${env:PASSWORD}'")
    version = json.loads(kveil(home, "version", "--json").stdout)["libraries"]["librdkafka"]
    old = tuple(map(int, version.split(".")[:3])) < (2, 6, 1)
    r = check(home, PASSWORD="x")
    assert r.returncode == 0 and ("fails at brokers from Kafka 4.0 on" in r.stderr) == old, r.stderr


def test_one_value_with_several_tokens(home):
    text = (home / "kveil.yaml").read_text().replace("data: {", "data: {ids: {algorithm: aes-256-siv}, ")
    (home / "kveil.yaml").write_text(text)
    rules = 'name: b\ntopics: [in.b]\noutputs: [{name: one, topic: o1}, {name: two, topic: o2}]\nfields:\n'
    token = '  - {path: "%s", tokenize: {key: ids%s}}\n'

    def told(*lines):
        (home / "rules" / "b.yaml").write_text(rules + "".join(lines))
        r = check(home)
        assert r.returncode == 0, r.stderr
        return re.findall(r"b.yaml:(\d+):\d+: warning: one value has another token here than by (\S+):", r.stderr)

    one, two, other = token % ("$.id", ""), token % ("$.buyer.id", ""), token % ("$.sku", "")
    assert told(one, other) == []
    assert told(one, other, two, token % ("$.seller.id", "")) == [("7", "b/$.id")]
    assert told(other, one, two) == [("7", "b/$.id")]
    assert told(one, token % ("$.buyer.id", ", associated_data: x")) == []
    (home / "kveil.yaml").write_text(text.replace("siv}", "siv, join: person}"))
    assert told(one, two) == []


def test_a_bare_key_needs_a_deterministic_action(home):
    """The algorithm of the rule's key decides, which the configuration has."""
    (home / "kveil.yaml").write_text(CONFIG.replace("PROPERTIES", "").replace("data: {", "data: {ids: {algorithm: aes-256-siv}, "))
    text = 'name: a\ntopics: [in.a]\nenvelope: {kind: debezium, key: "$.id"}\nfields:\n  - {path: "$.id", encrypt: {key: %s}}\n'
    for key, code in (("pii", 1), ("pii@1", 1), ("ids", 0)):
        (home / "rules" / "a.yaml").write_text(text % key)
        r = check(home)
        assert r.returncode == code and ("a.yaml:5:5: error: no record passes" in r.stderr) == bool(code), r.stderr


def test_a_new_rule_file_beside_those_of_the_configuration(home):
    new = home / "new.yaml"
    new.write_text(RULES.replace("NAME", "new"))
    r = check(home, "-r", "new.yaml")
    assert r.returncode == 0 and r.stdout == "rules/a.yaml: 1 rule, ok\nnew.yaml: 1 rule, ok\n", r.stdout + r.stderr
    new.write_text(RULES.replace("NAME", "new").replace("pii", "pij"))
    assert check(home, "-r", "new.yaml").returncode == 1 and "did you mean 'pii'" in check(home, "-r", "new.yaml").stderr
    # The next version of a file that the configuration names, and that file itself.
    (home / "rules" / "b.yaml").write_text(RULES.replace("NAME", "b"))
    new.write_text(RULES.replace("NAME", "a") + '  - {path: "$.b", mask: {}}\n')
    r = check(home, "-r", "new.yaml")
    assert r.returncode == 0 and r.stdout == "rules/b.yaml: 1 rule, ok\nnew.yaml: 2 rules, ok\n", r.stdout + r.stderr
    r = check(home, "-r", "rules/a.yaml")
    assert r.returncode == 0 and r.stdout == "rules/b.yaml: 1 rule, ok\nrules/a.yaml: 1 rule, ok\n", r.stdout + r.stderr
    # What does not go together is an error as it would be in `rules`.
    new.write_text(RULES.replace("NAME", "new").replace("[in.new]", '["^in.*"]'))
    assert "new.yaml: error: the topic ^in.* has rules in rules/a.yaml already" in check(home, "-r", "new.yaml").stderr
    r = check(home, "-r", "nothing.yaml")
    assert r.returncode == 1 and "nothing.yaml: error: cannot be read" in r.stderr, r.stderr


def test_nothing_to_warn_of(home):
    r = check(home, "--strict")
    assert r.returncode == 0 and r.stderr == ""


def test_files_networks_and_memory_that_are_a_risk(home):
    (home / "rules" / "a.yaml").chmod(0o646)
    if os.geteuid() == 0:
        os.chown(home / "kek", 4711, 4711)
        assert "the key-encryption key of 'local' belongs to another user" in check(home).stderr
    r = check(home, KVEIL_KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1,kafka.example:9092", KVEIL_ALLOW_UNLOCKED_KEYS="1")
    assert r.returncode == 0, r.stderr
    for words in ("rules/a.yaml: warning:", "kafka.example:9092 cross a network in clear", "KVEIL_ALLOW_UNLOCKED_KEYS: warning:"):
        assert words in r.stderr, r.stderr
    properties(home, "security.protocol: ssl")
    assert "in clear" not in check(home, KVEIL_KAFKA_BOOTSTRAP_SERVERS="kafka.example:9092").stderr


def test_secrets_that_others_can_write_or_read(home):
    secret = home / "secret"
    properties(home, 'sasl.password: "${file:secret}"')
    secret.write_text("canary-secret\n")
    secret.chmod(0o606)
    r = check(home)
    assert r.returncode == 1 and "secret can be written by every user" in r.stderr
    secret.chmod(0o604)
    r = check(home)
    assert r.returncode == 0 and "that every user of this host can read" in r.stderr
    (home / "..data").symlink_to(".")  # as Kubernetes mounts it
    r = check(home)
    assert r.returncode == 0 and r.stderr == ""
    assert "canary" not in r.stderr


def test_run_says_the_risks_once_in_the_form_of_its_log(home):
    (home / "rules" / "a.yaml").chmod(0o646)
    r = kveil(home, "run", "-c", "kveil.yaml")  # there is no registry
    lines = [json.loads(line) for line in r.stderr.splitlines() if line.startswith("{")]
    said = [x for x in lines if "can write this rule file" in x["message"]]
    assert r.returncode == 2 and len(said) == 1 and said[0]["level"] == "warn" and said[0]["component"] == "config"


def test_tokens_of_a_format_need_a_pin(home):
    """Nothing in them tells which version made them; what Tink's layout holds does."""
    (home / "kveil.yaml").write_text(CONFIG.replace("PROPERTIES", "").replace(
        "data: {", "data: {cards: {algorithm: aes-256-ff1}, ids: {algorithm: aes-256-siv}, "))
    for rule, warned in (("detokenize: {key: cards, alphabet: digits}", True),
                         ("decrypt: {key: cards, alphabet: digits}", True),
                         ("detokenize: {key: cards@1, alphabet: digits}", False),
                         ("detokenize: {key: ids}", False), ("tokenize: {key: cards, alphabet: digits}", False)):
        (home / "rules" / "a.yaml").write_text(RULES.replace("NAME", "a") + f'  - {{path: "$.token", {rule}}}\n')
        r = check(home)
        assert r.returncode == 0 and ("key: cards@1" in r.stderr) == warned, (rule, r.stderr)


@pytest.mark.parametrize("registry", ["file:keys.json", "kafka:kveil.keys"])
def test_a_client_that_cannot_begin_is_an_error(home, registry):
    config = CONFIG.replace("PROPERTIES", 'security.protocol: ssl, ssl.ca.location: /nothing.pem')
    (home / "kveil.yaml").write_text(config)
    kveil(home, "keys", "init", "-c", "kveil.yaml")
    (home / "kveil.yaml").write_text(config.replace("file:keys.json", registry))
    for command in ("run", "replay"):
        r = kveil(home, command, "-c", "kveil.yaml", KVEIL_HTTP_LISTEN="127.0.0.1:0")
        assert r.returncode in (2, 3) and "ssl.ca.location failed" in r.stderr, (command, r.returncode, r.stderr[-500:])
    r = kveil(home, "keys", "list", "-c", "kveil.yaml")
    assert r.returncode == 0 if registry == "file:keys.json" else "ssl.ca.location failed" in r.stderr, r.stderr


def test_a_schema_registry_without_its_ca_file_is_an_error(home):
    (home / "kveil.yaml").write_text(CONFIG.replace("PROPERTIES", "") +
                                     'schema_registry: {url: "https://127.0.0.1:9", ca_file: nothing.pem}\n')
    kveil(home, "keys", "init", "-c", "kveil.yaml")
    r = kveil(home, "run", "-c", "kveil.yaml", KVEIL_HTTP_LISTEN="127.0.0.1:0")
    assert r.returncode in (2, 3) and "nothing.pem" in r.stderr, (r.returncode, r.stderr[-500:])
