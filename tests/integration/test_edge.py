# SPDX-License-Identifier: Apache-2.0
"""Edge workers: with the public half of a KEK they seal and never open; who holds the private half opens."""
import base64
import json
import os
import re
import subprocess

import pytest

from conftest import KVEIL

KEKS = {
    "rsa-oaep": ("certificate: edge.pem", ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=edge", "-days",
                                           "9", "-keyout", "edge.key", "-out", "edge.pem"]),
    "ecdh": ("certificate: edge.pem", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                                       "-subj", "/CN=edge", "-days", "9", "-keyout", "edge.key", "-out", "edge.pem"]),
    "sm2": ("public_key: edge.pem", ["genpkey", "-algorithm", "SM2", "-out", "edge.key"]),
}
KEYS = """\
keys:
  registry: file:keys.json
  keks:
    edge: {provider: %s, %s}
    local: {provider: file, path: kek}
  data:
    pii: {algorithm: aes-256-gcm, kek: edge, rotate_every: 1h}
    dead-letters: {algorithm: aes-256-gcm, kek: edge}
"""
OFFLINE = 'kafka: {bootstrap_servers: "127.0.0.1:1", group_id: none}\nrules: rules/\n'
RULE = 'name: %s\ntopics: [orders]\noutput: "{topic}.x"\nfields:\n  - {path: "$.a", %s}\n'


class Pair:
    """An edge and a centre: both hold the KEK of the registry, only the centre the private key."""

    def __init__(self, folder, provider, edge=None):
        self.edge, self.centre = edge or folder / "edge", folder / "centre"
        for home in self.edge, self.centre:
            (home / "rules").mkdir(parents=True, exist_ok=True)
        public, args = KEKS[provider]
        subprocess.run(["openssl", *args], cwd=self.centre, check=True, capture_output=True)
        if provider == "sm2":
            subprocess.run(["openssl", "pkey", "-in", "edge.key", "-pubout", "-out", "edge.pem"], cwd=self.centre, check=True)
        (self.centre / "edge.key").chmod(0o600)
        (self.edge / "edge.pem").write_bytes((self.centre / "edge.pem").read_bytes())
        kek = os.urandom(32)
        for home in self.edge, self.centre:
            (home / "kek").write_bytes(kek)
            (home / "kek").chmod(0o600)
        self.edge_keys = KEYS % (provider, public)
        (self.edge / "kveil.yaml").write_text(OFFLINE + self.edge_keys)
        (self.centre / "kveil.yaml").write_text(OFFLINE + KEYS % (provider, public + ", private_key: edge.key"))

    def kveil(self, home, *args, expect=0, **more):
        p = subprocess.run([str(KVEIL), *args], cwd=home, capture_output=True, text=True, timeout=60, **more)
        assert p.returncode == expect, p.stdout + p.stderr
        return p

    def open(self, lines, name="orders"):
        """What the centre reads, with the registry as the edge has it now."""
        self.kveil(self.edge, "keys", "backup", "-c", "kveil.yaml", "b.json")
        self.kveil(self.centre, "keys", "restore", "-c", "kveil.yaml", str(self.edge / "b.json"))
        (self.centre / "rules" / "open.yaml").write_text(RULE % (name, "decrypt: {key: pii}"))
        p = self.kveil(self.centre, "apply", "-c", "kveil.yaml", "-r", "rules/open.yaml", input="".join(lines))
        return [json.loads(line)["a"] for line in p.stdout.splitlines()]


@pytest.mark.parametrize("provider", KEKS)
def test_processes_that_start_at_one_moment(tmp_path, provider):
    pair = Pair(tmp_path, provider)
    (pair.edge / "rules" / "orders.yaml").write_text(RULE % ("orders", "encrypt: {key: pii}"))
    pair.kveil(pair.edge, "keys", "init", "-c", "kveil.yaml")
    running = [subprocess.Popen([str(KVEIL), "apply", "-c", "kveil.yaml", "-r", "rules/orders.yaml"], cwd=pair.edge, text=True,
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(4)]
    done = [p.communicate(json.dumps({"a": f"canary {i}"}) + "\n", timeout=60) for i, p in enumerate(running)]
    assert [p.returncode for p in running] == [0] * 4, done
    sealed = [out for out, _ in done]
    assert not any("canary" in line for line in sealed)
    assert len({base64.b64decode(json.loads(line)["a"])[1:5] for line in sealed}) == 4, "a key that two processes knew"
    assert pair.open(sealed) == [f"canary {i}" for i in range(4)]


def test_what_an_edge_must_not_do_is_refused(tmp_path):
    pair = Pair(tmp_path, "ecdh")
    rule, config = pair.edge / "rules" / "orders.yaml", pair.edge / "kveil.yaml"
    good = config.read_text()
    rule.write_text(RULE % ("orders", "encrypt: {key: pii}"))
    pair.kveil(pair.edge, "check", "-c", "kveil.yaml")
    pair.kveil(pair.edge, "keys", "init", "-c", "kveil.yaml")
    for command in (["export", "--tink", "pii", "--clear"], ["export", "--tink", "pii"], ["rotate", "pii"]):
        said = pair.kveil(pair.edge, "keys", *command, expect=2)
        assert "KEK 'edge' only locks here" in said.stderr and said.stdout == ""
    other = good.replace("  data:\n", "  data:\n    mine: {algorithm: aes-256-gcm, kek: local}\n")
    for action, keys in (("decrypt: {key: pii}", good), ("reencrypt: {from: pii, to: mine}", other)):
        rule.write_text(RULE % ("orders", action))
        config.write_text(keys)
        said = pair.kveil(pair.edge, "check", "-c", "kveil.yaml", expect=1)
        assert "only what locks" in said.stdout + said.stderr
        pair.kveil(pair.edge, "run", "-c", "kveil.yaml", expect=2)
        pair.kveil(pair.edge, "apply", "-c", "kveil.yaml", "-r", "rules/orders.yaml", input="{}\n", expect=2)
    # The other way round it seals what it can: from a key that it opens to one that it does not.
    rule.write_text(RULE % ("orders", "reencrypt: {from: mine, to: pii}"))
    pair.kveil(pair.edge, "check", "-c", "kveil.yaml")
    rule.write_text(RULE % ("orders", "encrypt: {key: pii}"))
    for algorithm in ("aes-256-siv", "aes-256-ff1", "hmac-sha-256", "hmac-sm3"):
        config.write_text(good.replace("  data:\n", f"  data:\n    x: {{algorithm: {algorithm}, kek: edge}}\n"))
        for command in (["check"], ["run"], ["keys", "init"], ["keys", "list"]):
            said = pair.kveil(pair.edge, *command, "-c", "kveil.yaml", expect=1 if command == ["check"] else 2)
            assert "only locks" in said.stdout + said.stderr, said
    # Nothing that opens the registry: said so, with what to do.
    config.write_text(re.sub(r"    local: .*\n", "", good))
    assert "unlock" in pair.kveil(pair.edge, "keys", "list", "-c", "kveil.yaml", expect=2).stderr


def test_what_an_edge_makes_never_seals_for_others(tmp_path):
    """At the centre the name's own KEK is another: a version from an edge opens there, and nothing is sealed with it."""
    pair = Pair(tmp_path, "ecdh")
    (pair.edge / "rules" / "orders.yaml").write_text(RULE % ("orders", "encrypt: {key: pii}"))
    pair.kveil(pair.edge, "keys", "init", "-c", "kveil.yaml")
    apply = ["apply", "-c", "kveil.yaml", "-r", "rules/orders.yaml"]
    sealed = pair.kveil(pair.edge, *apply, input='{"a": "canary"}\n').stdout
    # The same registry, as the centre sees it.
    config = (pair.centre / "kveil.yaml").read_text().replace("pii: {algorithm: aes-256-gcm, kek: edge", "pii: {algorithm: aes-256-gcm, kek: local")
    (pair.edge / "edge.key").write_bytes((pair.centre / "edge.key").read_bytes())
    (pair.edge / "edge.key").chmod(0o600)
    (pair.edge / "kveil.yaml").write_text(config)
    (pair.edge / "rules" / "open.yaml").write_text(RULE % ("orders", "decrypt: {key: pii}"))

    def versions(state):
        rows = json.loads(pair.kveil(pair.edge, "keys", "list", "-c", "kveil.yaml", "--json").stdout)
        return {(r["kek"], r["id"]) for r in rows if r["name"] == "pii" and r["state"] == state}

    edges = versions("opens only")
    assert {kek for kek, _ in edges} == {"edge"} and not versions("active")
    ours = pair.kveil(pair.edge, *apply, input='{"a": "canary 2"}\n').stdout
    assert versions("opens only") == edges and {kek for kek, _ in versions("active")} == {"local"}
    assert int.from_bytes(base64.b64decode(json.loads(ours)["a"])[1:5], "big") in {i for _, i in versions("active")}
    opened = pair.kveil(pair.edge, "apply", "-c", "kveil.yaml", "-r", "rules/open.yaml", input=sealed + ours).stdout
    assert [json.loads(line)["a"] for line in opened.splitlines()] == ["canary", "canary 2"]
    # rewrap is the operator's word that they are the centre's own from now on.
    pair.kveil(pair.edge, "keys", "rewrap", "-c", "kveil.yaml")
    assert not versions("opens only") and {kek for kek, _ in versions("active") | versions("previous")} == {"local"}


def test_a_worker_at_the_edge(make_kveil, kafka, tmp_path):
    k = make_kveil()
    text = (k.dir / "kveil.yaml").read_text()
    pair = Pair(tmp_path, "rsa-oaep", edge=k.dir)
    (k.dir / "kveil.yaml").write_text(re.sub(r"keys:\n.*(?=http:)", lambda _: pair.edge_keys, text, flags=re.S))
    k.rules('  - {path: "$.a", encrypt: {key: pii}}\n')
    k.init()
    values = [f"canary {i}" for i in range(50)]
    kafka.produce(k.topic, [json.dumps({"a": v}).encode() for v in values] + [b'{"a": "canary poison"'])
    k.start()
    sealed = [m.value().decode() for m in kafka.consume(k.secure, 50)]
    dead = kafka.consume(k.dead, 1)
    k.stop()
    # Restarted, it cannot read its own keys and makes others.
    kafka.produce(k.topic, [b'{"a": "canary again"}'])
    k.start()
    sealed.append(kafka.consume(k.secure, 51)[-1].value().decode())
    assert k.stop() == 0
    assert not any("canary" in line for line in sealed) and b"canary" not in dead[0].value()
    assert len({base64.b64decode(json.loads(line)["a"])[1:5] for line in sealed}) == 2
    assert pair.open([line + "\n" for line in sealed], name=k.name) == [*values, "canary again"]
