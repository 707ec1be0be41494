# SPDX-License-Identifier: Apache-2.0
"""A custodian that is down under `kveil run`: what is at hand seals until it expires, then work waits; few requests; readyz
says why; nothing dead-lettered, nothing clear, nothing lost; it goes on by itself."""
import base64
import contextlib
import json
import os
import re
import signal
import threading
import time
import urllib.error
import uuid

import pytest

from broker import free_port
from conftest import order, wait_for
from custodian import Bao, Door, Hsm, certificate, pkcs11, transit

KEYS = ["pii", "names", "cards", "mails"]
FIELDS = """\
  - {path: "$.customer.id_card", encrypt: {key: pii}}
  - {path: "$.customer.name", encrypt: {key: names}}
  - {path: "$.card_number", encrypt: {key: cards}}
  - {path: "$.customer.email", encrypt: {key: mails}}
  - {path: "$.customer.phone", mask: {keep_last: 2}}
"""


def config(k, bootstrap, kek, registry, period, port=None, workers=2):
    k.port = port or free_port()
    data = "".join(f"    {n}: {{algorithm: aes-256-gcm, kek: guard, rotate_every: {period}}}\n" for n in KEYS)
    (k.dir / "kveil.yaml").write_text(f"""\
kafka: {{bootstrap_servers: "{bootstrap}", group_id: {k.group}, consumer: {{session.timeout.ms: 6000}}}}
workers: {workers}
commit_interval: 200ms
rules: rules/
keys:
  registry: {registry}
  keks:
    guard: {kek}
  data:
{data}    dead-letters: {{algorithm: aes-256-gcm, kek: guard}}
http: {{listen: "127.0.0.1:{k.port}"}}
""")


class Group:
    """Replicas of one worker, each with a port and a configuration of its own, and a stream of records."""

    def __init__(self, k, kafka):
        self.k, self.kafka, self.ports, self.sent = k, kafka, [], 0
        self.stop = threading.Event()
        self.thread = None

    def start(self, **kw):
        p = self.k.start(**kw)
        self.ports.append(self.k.port)
        return p

    def feed(self):
        def run():
            while not self.stop.is_set():
                self.kafka.produce(self.k.topic, [{"value": order(i), "partition": i % 4}
                                                  for i in range(self.sent, self.sent + 40)])
                self.sent += 40
                time.sleep(0.1)

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def get(self, path):
        out = []
        for port in self.ports:
            self.k.port = port
            out.append(self.k.get(path))
        return out

    def reasons(self):
        return [text for _, text in self.get("/readyz")]

    def ready(self):
        return all(status == 200 for status, _ in self.get("/readyz"))

    def out(self):
        return sum(self.kafka.end_offsets(self.k.secure).values())

    def alive(self):
        assert all(p.poll() is None for p in self.k.processes)
        assert all(status == 200 for status, _ in self.get("/livez"))

    def close(self, keyset, least_versions):
        """All of it came, protected, opens, and nothing else left."""
        k, kafka = self.k, self.kafka
        self.stop.set()
        self.thread.join()
        wait_for("all committed", lambda: sum(kafka.committed(k.group, k.topic, p) for p in range(4)) == self.sent, 60)
        aeads = {n: keyset(k, n) for n in KEYS}
        places = {"pii": ("customer", "id_card"), "names": ("customer", "name"), "mails": ("customer", "email")}
        seen, ids = set(), set()
        for m in kafka.consume(k.secure, self.sent, settle=0.5):
            r = json.loads(m.value())
            i = int(r["id"][3:])
            clear = json.loads(order(i))
            for name, (a, b) in places.items():
                sealed = base64.b64decode(r[a][b])
                assert aeads[name].decrypt(sealed, f"{k.name}:$['{a}']['{b}']".encode()).decode() == clear[a][b]
                ids.add((name, sealed[1:5]))
            sealed = base64.b64decode(r["card_number"])
            assert aeads["cards"].decrypt(sealed, f"{k.name}:$['card_number']".encode()).decode() == clear["card_number"]
            assert re.fullmatch(r"\*{9}\d\d", r["customer"]["phone"])
            seen.add(i)
        assert seen == set(range(self.sent))
        assert len({i for n, i in ids if n == "pii"}) >= least_versions
        assert kafka.end_offsets(k.dead) == {p: 0 for p in range(4)}
        assert [k.stop(p) for p in k.processes] == [0] * len(k.processes)
        for p in k.processes:
            log = re.sub(r" id=\d+", "", p.log.read_text())  # which may hold any digits
            assert "138000" not in log and "110101199" not in log


@pytest.fixture
def group(make_kveil, kafka):
    k = make_kveil(partitions=4)
    k.rules(FIELDS)
    g = Group(k, kafka)
    yield g
    g.stop.set()


@pytest.fixture
def bao(tmp_path):
    b = Bao(tmp_path).start()
    yield b
    b.thaw()
    b.stop()


@pytest.fixture
def door(bao):
    d = Door(bao.port)
    yield d
    d.close()


def outage(group, name, begin, end, word, door=None):
    """One outage, long enough for the keys at hand to expire. Gives how many requests came to the custodian meanwhile."""
    wait_for(f"{name}: ready before", group.ready, 90)
    before = group.out()
    when = time.time()
    begin()
    # What is at hand seals on.
    wait_for(f"{name}: sealing on", lambda: group.out() > before + 40, 4)
    wait_for(f"{name}: the keys expire, and it says why",
             lambda: all(r.count(": outage: ") == 2 and word in r for r in group.reasons()), 30)
    time.sleep(0.5)  # what was sealed before is still on its way
    stands = group.out()
    time.sleep(1)
    group.alive()
    assert group.out() == stands, name
    asked = door.since(when) if door else []
    lasted = time.time() - when
    end()
    wait_for(f"{name}: ready by itself", group.ready, 90)
    wait_for(f"{name}: records flow", lambda: group.out() > stands, 10)
    print(f"{name}: {lasted:.1f} s, {len(asked)} requests")
    return len(asked), lasted


@pytest.mark.long(120)
def test_every_kind_of_outage(group, kafka, bao, door, keyset):
    k = group.k
    root, token = bao.root, "kveil-" + uuid.uuid4().hex

    def grant():
        bao.token(id=token, no_parent=True)
        (k.dir / "token").write_text(bao.token() + "\n")
        (k.dir / "token").chmod(0o600)

    def revoke():
        for t in (token, (k.dir / "token").read_text().strip()):
            bao.call("POST", "auth/token/revoke", {"token": t}, token=root)

    grant()
    registry = "kafka:kveil.keys." + uuid.uuid4().hex[:8]
    # One that was given its token, one that reads it from a file that others keep fresh.
    config(k, kafka.bootstrap, transit(door, f'token: "{"${env:BAO_TOKEN}"}", timeout: 2s'), registry, "2s")
    os.environ["BAO_TOKEN"] = token
    k.init()
    group.start()
    config(k, kafka.bootstrap, transit(door, "token_file: token, timeout: 2s"), registry, "2s")
    group.start()
    # A refused token while nothing is at hand and no rule is bound yet: no fault of the rules or the records.
    begin = time.time()
    revoke()
    wait_for("it says why", lambda: all("refuses the token" in r for r in group.reasons()), 20)
    time.sleep(5)
    group.feed()
    wait_for("the keys expired", lambda: all(r.count(": outage: ") == 2 for r in group.reasons()))
    time.sleep(1)
    assert group.out() == 0
    group.alive()
    asked = {"revoked": (len(door.since(begin)), time.time() - begin)}
    grant()
    wait_for("records flow", lambda: group.out() > 0, 90)
    limit = "sys/quotas/rate-limit/all"

    def throttle():
        """One request an hour, and that one is ours: whatever a worker asks is refused."""
        bao.call("POST", limit, {"rate": 1, "interval": "1h", "path": "transit/"})
        with contextlib.suppress(urllib.error.HTTPError):
            bao.call("POST", "transit/encrypt/kveil", {"plaintext": "YWJj"})

    for name, begin, end, word in [
        ("refused", bao.stop, bao.start, "kek_unavailable"),
        ("frozen", bao.freeze, bao.thaw, "kek_unavailable"),
        ("503", lambda: bao.call("PUT", "sys/seal"), bao.unseal, "503"),
        ("429", throttle, lambda: bao.call("DELETE", limit), "429"),
    ]:
        asked[name] = outage(group, name, begin, end, word, door)
    # Two processes, four workers, four keys that are due every second: a few requests each, longer and longer apart.
    for name, (n, lasted) in asked.items():
        assert n <= 2 * 2 * 6, asked
    group.close(keyset, 8)  # of those that were made between the outages; fewer on a machine that is busy


@pytest.mark.long(100)
def test_a_stranger_or_garbage_publishes_nothing(group, kafka, bao, door, keyset):
    """Behind the same address while keys are due, with the registry in a topic: it stays as it was, and all goes on after."""
    k = group.k
    os.environ["BAO_TOKEN"] = bao.root
    keys = "kveil.keys." + uuid.uuid4().hex[:8]
    config(k, kafka.bootstrap, transit(door), f"kafka:{keys}", "2s")
    k.init()
    bao.call("POST", "transit/keys/other", {})
    group.start()
    group.feed()

    def answer(garbage=None, stranger=False):
        ways = ("encrypt", "decrypt", "rewrap") if stranger else ()
        door.garbage = garbage
        door.instead = {f"/v1/transit/{way}/kveil": f"/v1/transit/{way}/other" for way in ways}

    def log():
        return sum(kafka.end_offsets(keys).values())

    mean_nothing = json.dumps({"data": {"ciphertext": "vault:v1:AAAA", "plaintext": "AAAA"}}).encode()
    for name, how in (("a stranger", {"stranger": True}), ("garbage", {"garbage": mean_nothing})):
        wait_for(f"{name}: ready before", group.ready, 90)
        stands = log()
        answer(**how)
        # wrong_kek: of a version that was published just before and not yet opened.
        wait_for(f"{name}: the keys expire, and it says why",
                 lambda: all(r.count(": outage: ") == 2 and re.search("kek_unavailable|wrong_kek", r) for r in group.reasons()),
                 90, show=group.reasons)
        group.alive()
        before = group.out()
        answer()
        wait_for(f"{name}: ready by itself", group.ready, 90)
        wait_for(f"{name}: records flow", lambda: group.out() > before, 90)
        assert log() < stands + 200, name
    # What was published the right KEK opens, and no message was taken for somebody else's.
    for m in kafka.consume(keys, log()):
        if m.value() and b'"wrapped":"' in m.value() and not (m.key() or b"!").startswith(b"!"):
            wrapped = base64.b64decode(json.loads(m.value())["wrapped"]).decode()
            assert bao.call("POST", "transit/decrypt/kveil", {"ciphertext": wrapped})["data"]["plaintext"]
    assert k.metric("kveil_registry_records_ignored_total") == 0
    group.close(keyset, 3)


@pytest.mark.long(25)
def test_a_start_while_the_custodian_is_down(group, kafka, bao, door, keyset):
    k = group.k
    os.environ["BAO_TOKEN"] = bao.token()
    registry = "kafka:kveil.keys." + uuid.uuid4().hex[:8]
    kek = transit(door, f'token: "{"${env:BAO_TOKEN}"}", timeout: 2s')

    def start_two():
        begin = time.time()
        for _ in range(2):
            config(k, kafka.bootstrap, kek, registry, "24h")
            group.start(ready=False)
            wait_for("live", lambda: k.get("/livez")[0] == 200)
        waits(begin)

    def waits(begin):
        wait_for("named", lambda: all("kek_unavailable: kek guard" in r for r in group.reasons()))
        time.sleep(3)
        group.alive()
        assert group.out() == 0
        assert len(door.since(begin)) <= 2 * 2 * 4, door.since(begin)

    config(k, kafka.bootstrap, kek, registry, "24h")
    k.init()
    group.feed()
    bao.stop()
    start_two()
    door.shut = True
    bao.start()
    bao.freeze()
    door.shut = False
    waits(time.time())
    bao.thaw()
    wait_for("ready by itself", group.ready, 90)
    wait_for("records flow", lambda: group.out() > 0)
    group.close(keyset, 1)


@pytest.mark.long(25)
def test_one_custodian_away_holds_up_no_other_and_no_end(group, kafka, bao, door, keyset):
    k = group.k
    os.environ["BAO_TOKEN"] = bao.token()

    def configure(server, port=None):
        config(k, kafka.bootstrap, transit(server, f'token: "{"${env:BAO_TOKEN}"}"'), "file:keys.json", "24h", port)
        text = (k.dir / "kveil.yaml").read_text()
        text = text.replace("  keks:\n", "  keks:\n    local: {provider: file, path: kek}\n")
        text = re.sub("names: .*", "names: {algorithm: aes-256-gcm, kek: local, rotate_every: 2s}", text)
        text = re.sub("mails: .*", "mails: {algorithm: aes-256-gcm, kek: guard, rotate_every: 8s}", text)
        (k.dir / "kveil.yaml").write_text(text)

    def names():
        rows = json.loads(k.run("keys", "list", "--json", check=0).stdout)
        return max(r["version"] for r in rows if r["name"] == "names")

    configure(door)
    k.init()
    group.start()
    group.feed()
    wait_for("records flow", lambda: group.out() > 0)
    # Somebody whose way is open makes a version that the worker cannot take in: its door is shut.
    door.shut = True
    configure(bao, k.port)
    k.run("keys", "rotate", "pii", "--now", check=0)
    wait_for("it has noticed", lambda: "kek_unavailable" in group.reasons()[0], 20)
    before = names()
    wait_for("the other's keys go on", lambda: names() >= before + 2, 20)
    stands = group.out()
    wait_for("records flow", lambda: group.out() > stands + 40)
    door.shut = False
    wait_for("ready", group.ready, 90)
    # A custodian that never answers does not keep the worker from ending in time.
    bao.freeze()
    wait_for("it asks", lambda: "kek_unavailable" in group.reasons()[0], 20)
    begin = time.time()
    assert k.stop() == 0 and time.time() - begin < 15
    bao.thaw()
    configure(bao)
    k.start()
    group.close(keyset, 2)


@pytest.mark.long(20)
def test_tokens_end_and_the_kek_has_a_new_version(group, kafka, tmp_path, keyset):
    """By TLS: one worker with a token that is renewed, one that logs in anew by AppRole. Nobody wraps while both tokens'
    first lives end."""
    k = group.k
    b = Bao(tmp_path, tls=certificate(tmp_path, "tls")).start()
    try:
        os.environ["BAO_ROOT"] = b.root
        b.call("POST", "sys/auth/approle", {"type": "approle"})
        b.call("POST", "auth/approle/role/kveil", {"token_policies": "kveil", "token_ttl": "4s", "token_max_ttl": "5s"})
        os.environ["ROLE"] = b.call("GET", "auth/approle/role/kveil/role-id")["data"]["role_id"]
        os.environ["SECRET"] = b.call("POST", "auth/approle/role/kveil/secret-id", {})["data"]["secret_id"]
        registry = "kafka:kveil.keys." + uuid.uuid4().hex[:8]

        def configure(how):
            config(k, kafka.bootstrap, transit(b, how, f", ca_file: {tmp_path}/tls.pem"), registry, "24h", workers=1)

        configure('token: "${env:BAO_ROOT}"')
        k.init()
        os.environ["BAO_TOKEN"] = b.token(ttl="4s")
        configure('token: "${env:BAO_TOKEN}"')
        group.start()
        configure('role_id: "${env:ROLE}", secret_id: "${env:SECRET}"')
        group.start()
        group.feed()
        time.sleep(7)
        configure('token: "${env:BAO_ROOT}"')
        k.run("keys", "rotate", "pii", "--now", check=0)
        new = max(json.loads(k.run("keys", "list", "--json", check=0).stdout),
                  key=lambda r: (r["name"] == "pii", r["version"]))["id"].to_bytes(4, "big")

        def switched():
            last = {m.partition(): m for m in kafka.consume(k.secure, group.out())}
            return all(base64.b64decode(json.loads(m.value())["customer"]["id_card"])[1:5] == new for m in last.values())

        wait_for("both seal with the new version", switched, 20)
        assert group.ready(), group.reasons()
        # The KEK's next version: everything moves to it, and the first one may go.
        b.call("POST", "transit/keys/kveil/rotate", {})
        assert k.run("keys", "rewrap", check=0).stdout.startswith("6 versions")
        assert k.run("keys", "rewrap", check=0).stdout.startswith("0 versions")
        b.call("POST", "transit/keys/kveil/config", {"min_decryption_version": 2})
        k.start()
        group.close(keyset, 2)
    finally:
        b.stop()


@pytest.mark.long(40)
def test_a_refused_login_is_not_repeated(group, kafka, bao, door, keyset):
    """A server locks a role out that keeps trying. A secret that comes anew in its file serves."""
    k = group.k
    bao.token()
    bao.call("POST", "sys/auth/approle", {"type": "approle"})
    bao.call("POST", "auth/approle/role/kveil", {"token_policies": "kveil", "token_ttl": "2s", "token_max_ttl": "2s"})
    role = "auth/approle/role/kveil/"
    os.environ["ROLE"] = bao.call("GET", role + "role-id")["data"]["role_id"]

    def secret():
        made = bao.call("POST", role + "secret-id", {})["data"]
        (k.dir / "secret").write_text(made["secret_id"] + "\n")
        (k.dir / "secret").chmod(0o600)
        return made["secret_id_accessor"]

    def logins(since):
        return [p for p in door.since(since) if p.endswith("/login")]

    accessor = secret()
    config(k, kafka.bootstrap, transit(door, 'role_id: "${env:ROLE}", secret_id: "${file:secret}"'),
           "kafka:kveil.keys." + uuid.uuid4().hex[:8], "2s")
    k.init()
    group.start()
    group.feed()
    wait_for("records flow", lambda: group.out() > 0)
    begin = time.time()
    bao.call("POST", role + "secret-id-accessor/destroy", {"secret_id_accessor": accessor})
    wait_for("it says why", lambda: "secret_id was refused" in group.reasons()[0], 90)
    refused = time.time()
    time.sleep(8)
    assert logins(refused) == [], "a role would be locked out"
    assert len(logins(begin)) <= 4  # the last of those that were granted, and the one that was refused
    group.alive()
    secret()
    wait_for("ready by itself", group.ready, 90)
    group.close(keyset, 2)


@pytest.mark.long(70)
def test_a_custodian_that_nobody_needs_now_is_asked(group, kafka, bao):
    """Keys that do not rotate: what would fail the next start is seen, told and counted now, and records flow."""
    k = group.k
    os.environ["BAO_TOKEN"] = bao.token()
    (k.dir / "kveil.yaml").write_text("")
    config(k, kafka.bootstrap, transit(bao), "file:keys.json", "24h")
    text = re.sub(", rotate_every: 24h", "", (k.dir / "kveil.yaml").read_text())
    text = text.replace("  keks:\n", "  keks:\n    local: {provider: file, path: kek}\n")
    (k.dir / "kveil.yaml").write_text(re.sub("names: .*", "names: {algorithm: aes-256-gcm, kek: local}", text))
    k.init()
    group.start()
    group.feed()

    def up(kek):
        return k.metric("kveil_kek_up", kek=kek)

    def says(*words):
        status, text = k.get("/readyz")
        assert status == 200
        return all(w in text for w in words)

    wait_for("both are asked", lambda: up("local") == up("guard") == 1)
    assert k.metric("kveil_retries_total", code="kek_unavailable") == 0
    bao.stop()
    (k.dir / "kek").chmod(0o644)
    wait_for("both are seen", lambda: up("local") == up("guard") == 0, 90)
    wait_for("both are told", lambda: says("custodian guard: kek_unavailable", "custodian local: kek_unavailable", "kek can be"))
    counted = k.metric("kveil_retries_total", code="kek_unavailable")
    assert counted >= 2
    (k.dir / "kek").chmod(0o600)
    wait_for("the file is well again", lambda: up("local") == 1)
    (k.dir / "kek").rename(k.dir / "away")
    wait_for("it is gone", lambda: up("local") == 0 and says("kek is not there"), 90)
    (k.dir / "kek").write_bytes(os.urandom(32))
    (k.dir / "kek").chmod(0o600)
    wait_for("it is another", lambda: says("another key than at the start"))
    # Nothing is published under a key that the next start would not have.
    stands = group.out()
    (k.dir / "away").rename(k.dir / "kek")
    bao.start()
    wait_for("all is well", lambda: up("local") == up("guard") == 1 and not says("custodian"), 90)
    assert group.out() > stands
    log = k.processes[0].log.read_text()
    for kek in ("guard", "local"):
        assert f"kek_away kek={kek} detail=" in log and f"kek_back kek={kek} command=run user=" in log
    assert k.metric("kveil_events_total", event="kek_away") >= 2
    group.stop.set()
    assert k.stop() == 0


@pytest.mark.long(85)
def test_an_hsm_drops_its_sessions_and_its_token(group, kafka, tmp_path, keyset):
    k, hsm = group.k, Hsm(tmp_path)
    os.environ.update(hsm.env)
    (k.dir / "pin").write_text("4711")
    (k.dir / "pin").chmod(0o600)
    config(k, kafka.bootstrap, pkcs11(module=hsm.module), "file:keys.json", "2s")
    k.init()
    group.start()
    group.feed()

    def line(word):
        return lambda: hsm.line(word)

    outage(group, "cut", line("cut"), line("up"), "kek_unavailable")
    outage(group, "hanging", line("hanging"), line("up"), "no answer within 10 s")
    tokens, away = tmp_path / "tokens", tmp_path / "away"
    outage(group, "removed", lambda: tokens.rename(away), lambda: away.rename(tokens), "kek_unavailable")
    # A PIN that is wrong is tried once, whatever comes to ask, and again when its file says another.
    (k.dir / "pin").write_text("not-the-pin")
    logins = hsm.logins()
    line("cut")()
    wait_for("it asked", lambda: "kek_unavailable" in group.reasons()[0], 30)
    line("up")()
    wait_for("the PIN is refused", lambda: "pin was refused" in group.reasons()[0], 90)
    time.sleep(4)
    assert hsm.logins() == logins + 1 and "not-the-pin" not in k.processes[0].log.read_text()
    group.alive()
    # Nor is a token's last try spent.
    line("final")()
    (k.dir / "pin").write_text("4711")
    wait_for("it leaves the last try", lambda: "one try of the PIN left" in group.reasons()[0], 90)
    assert hsm.logins() == logins + 1
    line("up")()
    wait_for("ready by itself", group.ready, 90)
    # Sessions that drop and may be opened anew are not an outage at all.
    before = group.out()
    for n in range(40):
        if n % 5 == 0:
            hsm.line(f"dropped {n}")
        assert "no_active_key" not in group.reasons()[0]
        time.sleep(0.1)
    assert group.out() > before
    group.close(keyset, 5)
