# SPDX-License-Identifier: Apache-2.0
"""The rows of the suite: what goes wrong in each. How they are run and judged is in chaos.py."""
import base64
import json
import random
import re
import shutil
import signal
import subprocess
import time

import tink
from tink import aead, secret_key_access

from checker import check_topic, dead_letters, looks_right
from world import FIELDS, LEAST, ONCE, SESSION_S, TRANSACTION_S, Broker, record, wait_for

from custodian import Bao, transit
from registry import Registry
from test_avro_run import frame

POISON_FIELDS = FIELDS + """\
  - {path: "$.must", mask: {}, required: true}
  - {path: "$.digits", tokenize: {key: cards, alphabet: digits}}
  - {path: "$.sealed", decrypt: {key: pii}}
  - {path: "$.extra", encrypt: {key: "tenant-{$.tenant}", type: json}}
"""
POISON_KEYS = """\
    cards: {algorithm: aes-256-ff1, kek: local}
    "tenant-{}": {algorithm: aes-256-gcm, kek: local}
"""
SCHEMA = {"type": "record", "name": "User", "namespace": "com.acme", "fields": [{"name": "id", "type": "long"}, {"name": "phone", "type": "string"}]}
AVRO_FIELDS = """\
fields:
  - {path: "$.phone", mask: {keep_first: 3, keep_last: 4}}
  - {path: "key:$", hash: {key: pepper}}
  - {path: "header:who", encrypt: {key: pii}}
"""
FAR_FUTURE_MS = 40 * 86400 * 1000


def poison(n, canary, good):
    """The code of the nth letter, and what makes a good record bad."""
    def value(**changes):
        return {"value": json.dumps({**good, **changes}).encode()}

    kinds = [
        ("invalid_json", {"value": f'{{"id_card": "{canary}'.encode()}),
        ("unsupported_kind", value(id_card={canary: canary})),
        ("invalid_utf8", {"value": f'{{"id_card": "{canary}'.encode() + b'\xff\xfe"}'}),
        ("empty_value", {"value": b""}),
        ("invalid_surrogate", {"value": f'{{"id_card": "{canary}\\ud800"}}'.encode()}),
        ("too_deep", {"value": b"[" * 200 + f'"{canary}"'.encode() + b"]" * 200}),
        ("too_large", value(id_card=canary * 4000)),
        ("output_too_large", value(id_card=canary * 1500)),
        ("refused_by_broker", {"timestamp": int(time.time() * 1000) + FAR_FUTURE_MS}),
        ("missing_field", {"value": json.dumps({k: v for k, v in good.items() if k != "must"}).encode()}),
        ("value_out_of_domain", value(digits=canary)),
        ("bad_ciphertext", value(sealed=canary)),
        ("unknown_key", value(sealed=base64.b64encode(b"\1\0\0\0\1" + bytes(40)).decode())),
        ("bad_template_value", value(extra=1, tenant=f"{canary} ")),
    ]
    return kinds[n % len(kinds)]


class Opener:
    """Opens what FIELDS seals, as a consumer with Tink does, and counts."""

    def __init__(self, w):
        aead.register()
        text = w.k.run("keys", "export", "-c", "kveil.yaml", "--tink", "pii", "--clear", check=0).stdout
        self.aead = tink.json_proto_keyset_format.parse(text, secret_key_access.TOKEN).primitive(aead.Aead)
        self.w, self.count, self.ids = w, 0, set()

    def opens(self, i, m):
        value, canary = json.loads(m.value()), self.w.canary
        for sealed, path, clear in ((value["id_card"], "$['id_card']", f"{canary}-idc-{i}王"),
                                    (value["nested"][0]["card"], "$['nested'][*]['card']", f"{canary}-card-{i}")):
            box = base64.b64decode(sealed)
            self.ids.add(box[1:5])
            if self.aead.decrypt(box, f"{self.w.k.name}:{path}".encode()).decode() != clear:
                return False
        self.count += 1
        return True


class Row:
    """A fault that comes again and again while records flow. Numbers in pairs are for the full and for the short form."""
    name = fault = ""
    variants = [{"mode": ONCE}]   # what World is made with, each
    faults, records, rate = (10, 2), (20000, 2000), 1000
    replicas = ("a", "b")
    same_process = False          # none of them ends before it is told to

    def prepare(self, w):
        """Before the first replica starts. What it begins beside that is ended by w.more."""
        w.k.init()

    def make(self, w, i):
        return record(w.canary, i)

    def strike(self, w, count):
        """`count` faults. Gives what else is worth saying."""

    def check(self, w, sent):
        """What more than the usual there is to see when all have stopped. Gives what is worth saying."""

    def missing(self, w, sent):
        """Of the numbers below `sent` those that are to be dead letters, by number their code."""
        return {}

    def twice(self, w, count):
        """How many records may come twice."""
        return 0 if w.mode == ONCE else 1 << 60

    def view(self, w, i, m):
        """Whether record i came out as it should, but for its key and its order."""
        return looks_right(w, i, m)


class Killed(Row):
    """Every other kill comes while the group is still busy with the last."""
    name, fault = "C1", "kill -9 of one of two replicas, in full flow"
    faults, records = (50, 3), (100000, 3000)

    def strike(self, w, count):
        for n in range(count):
            if n % 2 == 0:
                w.moves()
            time.sleep(0.2 + random.random())
            instance = self.replicas[n % 2]
            w.kill(instance)
            w.start(instance)


class KilledAtLeastOnce(Killed):
    """What may come twice is what was not committed yet: on average no more than comes in a second."""
    name, variants = "C2", [{"mode": LEAST}]

    def twice(self, w, count):
        return count * self.rate


class Terminated(Row):
    name, fault = "C3", "SIGTERM of one replica after the other"
    variants = [{"mode": ONCE}, {"mode": LEAST}]
    faults = (20, 2)
    undrained = 0

    def strike(self, w, count):
        longest = 0.0
        for n in range(count):
            w.moves()
            code, took = w.kill(self.replicas[n % 2], signal.SIGTERM)
            assert code == 0 and took < 15, f"it ended with {code} after {took:.1f} s"
            longest = max(longest, took)
            w.start(self.replicas[n % 2])
        self.undrained = w.logs().count("stopping with records in flight")
        return f"each gone within {longest:.1f} s, {self.undrained} without a finished drain"

    def twice(self, w, count):
        return 0 if w.mode == ONCE or not self.undrained else count * self.rate


class Scaled(Row):
    """Two that join at once, and go: by turns as they should, and killed."""
    name, fault = "C4", "1, 3 and 1 replicas again; they go by SIGTERM and by kill -9"
    variants = [{"mode": ONCE}, {"mode": LEAST}]
    faults, replicas = (10, 1), ("a",)

    def strike(self, w, count):
        for n in range(count):
            for instance in "bc":
                w.start(instance)
            w.moves()
            time.sleep(2)
            for instance in "bc":
                code, took = w.kill(instance, signal.SIGKILL if n % 2 else signal.SIGTERM)
                assert n % 2 or (code == 0 and took < 15), f"{instance} ended with {code} after {took:.1f} s"
            w.moves()

    def twice(self, w, count):
        return 0 if w.mode == ONCE else count * self.rate


class BrokerKilled(Row):
    name, fault = "C5", "the broker killed, or stopped, and started; of three brokers the leader killed"
    variants = [{"mode": ONCE}, {"mode": ONCE, "brokers": 3}, {"mode": LEAST, "brokers": 3}]
    faults, rate, same_process = (10, 1), 500, True

    def strike(self, w, count):
        if len(w.brokers) == 1:
            return self.one(w, w.brokers[0], count)
        longest = 0.0
        for n in range(count):
            leader = w.leader(w.k.secure, n % w.partitions)
            w.brokers[leader - 1].stop(kill=True)
            longest = max(longest, w.moves(60, by=w.rate_of_a_second()))
            w.brokers[leader - 1].start()
            wait_for("all replicas in sync", w.in_sync, 120, 1)
        return f"goes on after {longest:.1f} s at most"

    def one(self, w, broker, count):
        longest = 0.0
        for n in range(count):
            w.moves()
            broker.stop(kill=n % 2 == 0)
            time.sleep(random.choice((1, 5, TRANSACTION_S + 3)) if count > 2 else 2)
            broker.start()
            longest = max(longest, w.moves(60))
        return f"goes on after {longest:.1f} s at most"


class BadLink(Row):
    name, fault = "C6", "a link with 1 s of latency each way, resets, a black hole of twice the transaction timeout"
    variants = [{"mode": ONCE, "linked": True}]
    faults, records, rate, same_process = (30, 3), (20000, 2000), 300, True

    def strike(self, w, count):
        longest = 0.0
        for n in range(count):
            if n % 3 == 0:
                w.link.fault("latency", latency=1000)
                time.sleep(20)
            elif n % 3 == 1:
                for _ in range(5):
                    w.link.fault("reset_peer", timeout=random.randrange(500))
                    time.sleep(1 + random.random())
                    w.link.mend()
                    time.sleep(random.random())
                w.link.fault("reset_peer", timeout=0)
            else:
                w.link.fault("timeout", timeout=0)
                time.sleep(2 * TRANSACTION_S)
            w.link.mend()
            longest = max(longest, w.moves(90))
        return f"goes on after {longest:.1f} s at most"


class Frozen(Row):
    name, fault = "C7", "SIGSTOP of one of two replicas, past session and transaction timeout"
    rate, same_process = 500, True

    def strike(self, w, count):
        for n in range(count):
            w.moves()
            time.sleep(random.random())
            zombie = w.replicas[self.replicas[n % 2]]
            zombie.process.send_signal(signal.SIGSTOP)
            w.moves(by=w.rate_of_a_second())  # the other one has its partitions
            time.sleep(max(SESSION_S, TRANSACTION_S) + 3)
            zombie.process.send_signal(signal.SIGCONT)
            wait_for("the zombie is well again", lambda: zombie.get("/readyz")[0] == 200, 90, 0.5)
        return f"{w.metric_of_all('kveil_transactions_total', outcome='aborted'):.0f} transactions aborted"


class Poisoned(Row):
    """Of a hundred records one is bad, of each kind in turn; the others come out as they should, and open."""
    name, fault = "C9", "1% poison of every kind"
    variants = [{"mode": ONCE, "fields": POISON_FIELDS, "extra": "limits: {record_bytes: 128KiB}", "data": POISON_KEYS, "topics": False},
                {"mode": LEAST, "fields": POISON_FIELDS, "extra": "limits: {record_bytes: 128KiB}", "data": POISON_KEYS, "topics": False}]
    faults, records, rate = (1000, 20), (100000, 2000), 2500

    def prepare(self, w):
        future = {"message.timestamp.after.max.ms": "9223372036854775807"}
        w.kafka.create(w.k.topic, partitions=w.partitions, config=future)
        w.kafka.create(w.k.dead, partitions=w.partitions, config=future)
        w.kafka.create(w.k.secure, partitions=w.partitions,
                       config={"message.timestamp.after.max.ms": "3600000", "max.message.bytes": "60000"})
        w.k.init()
        self.opener = None

    def make(self, w, i):
        good = record(w.canary, i)
        value = {**json.loads(good["value"]), "must": w.canary, "digits": f"{i:016d}"}
        good["value"] = json.dumps(value).encode()
        return good if i % 100 != 99 else {**good, **poison(i // 100, w.canary, value)[1]}

    def missing(self, w, sent):
        return {i: poison(i // 100, w.canary, {})[0] for i in range(99, sent, 100)}

    def view(self, w, i, m):
        self.opener = self.opener or Opener(w)
        return looks_right(w, i, m) and self.opener.opens(i, m)

    def check(self, w, sent):
        return f"{self.opener.count:,} opened"


class Rotated(Row):
    """Two sets of rules in turn, and a new version of the key each time."""
    name, fault = "C10", "reload of other rules, and a new version of the key, every 2 s"
    faults, records = (100, 3), (20000, 2000)

    def prepare(self, w):
        w.k.init()
        self.opener, self.marks = None, set()

    def strike(self, w, count):
        rules = w.k.dir / "rules" / f"{w.k.name}.yaml"
        text = rules.read_text()
        for n in range(count):
            begin = time.time()
            new = w.dir / "new.yaml"
            new.write_text(text if n % 2 else text.replace("keep_last: 4", 'keep_last: 4, char: "#"'))
            new.rename(rules)
            for instance in self.replicas:
                w.replicas[instance].process.send_signal(signal.SIGHUP)
            w.k.run("keys", "rotate", "pii", "--now", "-c", "kveil.yaml", check=0)
            time.sleep(max(0.0, begin + 2 - time.time()))
        wait_for("all have the rules", lambda: w.metric_of_all("kveil_config_last_reload_successful") == len(self.replicas), 60, 0.5)

    def view(self, w, i, m):
        self.opener = self.opener or Opener(w)
        phone = json.loads(m.value())["phone"]
        self.marks.add(phone[3])
        return looks_right(w, i, m) and self.opener.opens(i, m) and re.fullmatch(r"138([*#])\1+\d{4}", phone)

    def check(self, w, sent):
        assert self.marks == {"*", "#"}, self.marks
        return f"{self.opener.count:,} opened, of {len(self.opener.ids)} versions"


class AllAway(Row):
    """What needs nobody flows; what needs who is away waits, and comes."""
    name, fault = "C8", "custodian, key registry or schema registry away for 120 s"
    variants = [{"mode": LEAST, "extra": "", "partitions": 2}]
    faults, records, rate, same_process = (10, 3), (20000, 2000), 300, True

    def prepare(self, w):
        k = w.k
        self.brief, self.avro = k.topic + ".brief", k.topic + ".avro"
        self.bao, self.schemas = Bao(w.dir), Registry()
        for server in (self.bao, self.schemas):
            w.more.callback(server.stop)
            server.start()
        wait_for("the groups' own topic, on the first broker", lambda: w.done() >= 0, 60)
        w.brokers.append(Broker(joins=w.brokers[0]))
        w.brokers[1].start()
        wait_for("two brokers", lambda: w.live_brokers() == 2, 60)
        keys = k.topic + ".keys"
        w.kafka.create(keys, brokers=[2], config={"cleanup.policy": "compact"})
        for topic in (self.brief, self.avro):
            w.inputs.append(topic)
            w.kafka.create(topic, topic + ".secure", topic + ".dead", brokers=[1] * w.partitions)
        k.config(w.bootstrap, registry=f"kafka:{keys}", extra=f"instance: a\nschema_registry: {{url: '{self.schemas.url}', timeout: 5s}}",
                 data="    brief: {algorithm: aes-256-gcm, kek: bao, rotate_every: 2s}")
        (k.dir / "token").write_text(self.bao.root)
        (k.dir / "token").chmod(0o600)
        f = k.dir / "kveil.yaml"
        f.write_text(f.read_text().replace("  data:\n", f'    bao: {transit(self.bao, "token_file: token, timeout: 5s")}\n  data:\n'))
        for topic, name, changes in ((self.brief, "brief", ("key: pii", "key: brief")),
                                     (self.avro, "avro", ("format: json", "format: avro"))):
            text = (k.dir / "rules" / f"{k.name}.yaml").read_text().replace(f"[{k.topic}]", f"[{topic}]")
            if name == "avro":
                text = text[:text.index("fields:")] + AVRO_FIELDS
            (k.dir / "rules" / f"{name}.yaml").write_text(text.replace(f"name: {k.name}", f"name: {name}").replace(*changes))
        k.init()
        self.versions = 0
        self.new_schema()

    def new_schema(self):
        self.versions += 1
        self.schema = {**SCHEMA, "doc": str(self.versions)}
        self.number = self.schemas.register(self.avro + "-value", self.schema)

    def make_avro(self, w, i):
        return {**record(w.canary, i), "value": frame(self.number, self.schema, {"id": i, "phone": f"138{w.canary}{i:04d}"})}

    def strike(self, w, count):
        w.feed(50, topic=self.brief)
        w.feed(50, topic=self.avro, make=lambda i: self.make_avro(w, i))
        lasts = 120 if count > 3 else 25
        longest = 0.0
        for n in range(count):
            for topic in w.inputs:
                w.moves(120, topic=topic)
            waits = self.away(w, n % 3)
            end, flowed = time.time() + lasts, 0
            while time.time() < end:
                flowed = max(flowed, w.moves(20, by=w.rate_of_a_second(), topic=w.k.topic))
            w.stands(waits)
            w.moves(20, by=w.rate_of_a_second(), topic=w.k.topic)
            self.back(w, n % 3)
            longest = max(longest, w.moves(120, topic=waits))
        return f"others flow, no pause over {flowed:.1f} s; what waited goes on after {longest:.1f} s at most"

    def away(self, w, which):
        """Gives the topic that has to wait."""
        if which == 0:
            self.bao.stop()
        elif which == 1:
            w.brokers[1].stop(kill=True)
        else:
            self.schemas.stop()
            self.new_schema()
        return self.avro if which == 2 else self.brief

    def back(self, w, which):
        (self.bao.start, w.brokers[1].start, self.schemas.start)[which]()

    def check(self, w, sent):
        reports = []
        for n, topic in enumerate((self.brief, self.avro), 1):
            report = check_topic(w, topic, w.feeds[n].sent, view=lambda w, i, m: True)
            assert not (report.lost or report.disordered or report.altered or dead_letters(w, topic)), f"{topic}: {report}"
            reports.append(f"{topic.rsplit('.', 1)[1]}: {report}")
        return "; ".join(reports)


class DiskFull(Row):
    """A small disk for the registry's file, and one for a replica's log; full by turns, and freed."""
    name, fault = "C11", "disk full: the key registry's, the log's"
    faults, records, replicas, same_process = (6, 2), (20000, 2000), ("a",), True
    variants = [{"mode": ONCE, "registry": "file:keys/keys.json", "rotate": "2s"}]

    def prepare(self, w):
        for disk in ("keys", "logs"):
            (w.dir / disk).mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "kveil-chaos", str(w.dir / disk)], check=True)
            w.more.callback(subprocess.run, ["umount", "-l", str(w.dir / disk)], check=False)
        (w.dir / "run0.log").symlink_to("logs/run0.log")
        w.more.callback(self.keep_log, w.dir)
        w.k.init()

    def keep_log(self, folder):
        """For whoever looks into the folder when the disk is gone."""
        log = folder / "logs" / "run0.log"
        (folder / "run0.log").unlink()
        if log.exists():
            shutil.copy(log, folder)

    def fill(self, disk):
        with open(disk / "filler", "wb", 0) as f:
            try:
                while True:
                    f.write(bytes(4096))
            except OSError:
                pass

    def reload(self, w):
        """Has something to say of it."""
        w.replicas["a"].process.send_signal(signal.SIGHUP)

    def strike(self, w, count):
        a, log = w.replicas["a"], w.dir / "logs" / "run0.log"
        for n in range(count):
            disk = w.dir / ("keys", "logs")[n % 2]
            w.moves()
            self.fill(disk)
            if n % 2 == 0:
                wait_for("not ready", lambda: a.get("/readyz")[0] == 503, 120, 0.5)
                w.stands()
                assert a.get("/readyz")[0] == 503 and a.get("/livez")[0] == 200
                assert w.k.run("keys", "rotate", "pii", "--now", "-c", "kveil.yaml").returncode == 1
                (disk / "filler").unlink()
                wait_for("ready by itself", lambda: a.get("/readyz")[0] == 200, 120, 0.5)
            else:
                for _ in range(100):  # what room there was in the log's last page
                    self.reload(w)
                    time.sleep(0.05)
                size = log.stat().st_size
                self.reload(w)
                w.moves(by=5 * w.rate_of_a_second())
                assert log.stat().st_size - size < 4096 and a.get("/readyz")[0] == 200
                (disk / "filler").unlink()
                self.reload(w)
                wait_for("the log goes on", lambda: log.stat().st_size > size, 30)
        w.k.run("keys", "list", "-c", "kveil.yaml", check=0)


class Soaked(Row):
    """Faults are seconds. The first third is for warming up."""
    name, fault = "C12", "none, for as many seconds"
    faults, records, rate, same_process = (3600, 30), (20000, 2000), 500, True

    def strike(self, w, count):
        time.sleep(count)
        self.end = time.time()

    def check(self, w, sent):
        said, begin = [], w.watch.samples[0][0]
        for pid in {s[1] for s in w.watch.samples}:
            late = [s for s in w.watch.samples if s[1] == pid and begin + (self.end - begin) / 3 < s[0] < self.end]
            growth = slope([(s[0], s[2]) for s in late]) * 3600 / late[-1][2] * 100
            files = [s[4] for s in late]
            said.append(f"{late[-1][2]:.1f} MiB, {growth:+.2f}% an hour, {min(files)} to {max(files)} descriptors")
            # Of a short one the slope says nothing.
            assert self.end - begin < 600 or growth < 1, said
            assert slope([(s[0], s[4]) for s in late]) * 3600 < 1, said
        return "; ".join(said)


def slope(points):
    """Least squares, a second."""
    x, y = [p[0] for p in points], [p[1] for p in points]
    mx, my = sum(x) / len(x), sum(y) / len(y)
    return sum((a - mx) * (b - my) for a, b in zip(x, y)) / max(1e-9, sum((a - mx) ** 2 for a in x))


ROWS = [Killed, KilledAtLeastOnce, Terminated, Scaled, BrokerKilled, BadLink, Frozen, AllAway, Poisoned, Rotated, DiskFull, Soaked]
