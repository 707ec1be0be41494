# SPDX-License-Identifier: Apache-2.0
"""A custodian that is down under `kveil run`: what is at hand seals until it expires, then work waits; few requests; readyz
says why; nothing dead-lettered, nothing clear, nothing lost; it goes on by itself."""
import base64
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
from custodian import Bao, Door, pkcs11, softhsm, transit

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
            log = p.log.read_text()
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


def outage(group, door, name, begin, end, word):
    """One outage, long enough for the keys at hand to expire. Gives how many requests came to the custodian meanwhile."""
    wait_for(f"{name}: ready before", group.ready, 40)
    before = group.out()
    when = time.time()
    begin()
    # What is at hand seals on.
    wait_for(f"{name}: sealing on", lambda: group.out() > before + 40, 4)
    wait_for(f"{name}: the keys expire", lambda: all("no_active_key" in r for r in group.reasons()), 30)
    for reason in group.reasons():
        assert word in reason, (name, reason)
    stands = group.out()
    time.sleep(1)
    group.alive()
    assert group.out() == stands, name
    asked = door.since(when)
    lasted = time.time() - when
    end()
    wait_for(f"{name}: ready by itself", group.ready, 40)
    wait_for(f"{name}: records flow", lambda: group.out() > stands, 10)
    print(f"{name}: {lasted:.1f} s, {len(asked)} requests")
    return len(asked), lasted


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
    group.feed()
    limit = "sys/quotas/rate-limit/all"
    asked = {}
    for name, begin, end, word in [
        ("refused", bao.stop, bao.start, "kek_unavailable"),
        ("frozen", bao.freeze, bao.thaw, "kek_unavailable"),
        ("503", lambda: bao.call("PUT", "sys/seal"), bao.unseal, "503"),
        ("429", lambda: bao.call("POST", limit, {"rate": 0.001, "path": "transit/"}),
         lambda: bao.call("DELETE", limit), "429"),
        ("revoked", revoke, grant, "refuses the token"),
    ]:
        asked[name] = outage(group, door, name, begin, end, word)
    # Two processes, four workers, four keys that are due every second: a few requests each, longer and longer apart.
    for name, (n, lasted) in asked.items():
        assert n <= 2 * 2 * 6, asked
    group.close(keyset, 10)


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
        wait_for("named", lambda: all("kek_unavailable: kek guard" in r for r in group.reasons()))
        time.sleep(4)
        group.alive()
        assert group.out() == 0
        assert len(door.since(begin)) <= 2 * 2 * 4, door.since(begin)

    config(k, kafka.bootstrap, kek, registry, "24h")
    k.init()
    group.feed()
    bao.stop()
    start_two()
    assert [k.stop(p) for p in k.processes] == [0, 0]
    k.processes.clear()
    group.ports.clear()
    bao.start()
    bao.freeze()
    start_two()
    bao.thaw()
    wait_for("ready by itself", group.ready, 40)
    wait_for("records flow", lambda: group.out() > 0)
    group.close(keyset, 1)


def test_the_end_comes_in_time_while_the_custodian_is_frozen(group, kafka, bao, door, keyset):
    k = group.k
    os.environ["BAO_TOKEN"] = bao.token()
    config(k, kafka.bootstrap, transit(bao, f'token: "{"${env:BAO_TOKEN}"}"'), "file:keys.json", "2s")
    k.init()
    group.start()
    group.feed()
    wait_for("records flow", lambda: group.out() > 0)
    bao.freeze()
    wait_for("it has noticed", lambda: "kek_unavailable" in group.reasons()[0], 20)
    begin = time.time()
    assert k.stop() == 0
    assert time.time() - begin < 15
    bao.thaw()
    k.start()
    group.close(keyset, 1)
