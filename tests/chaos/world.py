# SPDX-License-Identifier: Apache-2.0
"""What a row of chaos.py happens in: brokers, topics, records full of canaries, replicas of kveil, and somebody who watches them."""
import base64
import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import uuid

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "integration"))

from broker import Broker, answers, free_port  # noqa: E402
from conftest import Kafka, Kveil, Replica, wait_for  # noqa: E402
from test_canary import FIELDS, PAGES  # noqa: E402

ONCE, LEAST = "exactly-once", "at-least-once"
KEYS = 97
SESSION_S, TRANSACTION_S = 6, 15
MEMORY_MIB = 192
TOXIPROXY = ROOT / ".cache" / "bin" / "toxiproxy"


class Link:
    """Toxiproxy between kveil and a broker."""

    def __init__(self, to):
        self.api, self.port = free_port(), free_port()
        self.process = subprocess.Popen([str(TOXIPROXY), "-host", "127.0.0.1", "-port", str(self.api)],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("toxiproxy", lambda: answers(self.api))
        self.call("POST", "/proxies", {"name": "link", "listen": f"127.0.0.1:{self.port}", "upstream": f"127.0.0.1:{to}"})

    def call(self, method, path, body=None):
        request = urllib.request.Request(f"http://127.0.0.1:{self.api}{path}", method=method,
                                         data=None if body is None else json.dumps(body).encode())
        urllib.request.urlopen(request, timeout=10).close()

    def fault(self, kind, **attributes):
        """Both ways, until it is mended."""
        for way in ("upstream", "downstream"):
            self.call("POST", "/proxies/link/toxics", {"name": way, "type": kind, "stream": way, "attributes": attributes})

    def mend(self):
        for way in ("upstream", "downstream"):
            self.call("DELETE", f"/proxies/link/toxics/{way}")

    def close(self):
        self.process.kill()
        self.process.wait()


def cluster(count):
    """Brokers that are all controllers too, each partition on all of them."""
    ports, votes = [free_port() for _ in range(count)], [free_port() for _ in range(count)]
    most = str(count)
    brokers = [Broker(port=ports[i], extra={
        "node.id": str(i + 1),
        "controller.quorum.voters": ",".join(f"{n + 1}@127.0.0.1:{vote}" for n, vote in enumerate(votes)),
        "listeners": f"PLAINTEXT://127.0.0.1:{ports[i]},CONTROLLER://127.0.0.1:{votes[i]}",
        "default.replication.factor": most, "min.insync.replicas": str(max(1, count - 1)),
        "offsets.topic.replication.factor": most, "transaction.state.log.replication.factor": most,
        "transaction.state.log.min.isr": str(max(1, count - 1)),
    }) for i in range(count)]
    for b, vote in zip(brokers, votes):
        b.controller_port = vote
    starts = [threading.Thread(target=b.start) for b in brokers]
    for t in starts:
        t.start()
    for t in starts:
        t.join()
    return brokers


def linked_broker():
    """A broker that has a second door; what comes in there came through a Link."""
    port, door = free_port(), free_port()
    link = Link(door)
    vote = free_port()
    b = Broker(port=port, extra={
        "controller.quorum.voters": f"1@127.0.0.1:{vote}",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},LINK://127.0.0.1:{door},CONTROLLER://127.0.0.1:{vote}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port},LINK://127.0.0.1:{link.port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,LINK:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
    })
    return b.start(), link


def record(canary, i):
    """Each value that FIELDS names holds the canary."""
    value = {"id": i, "id_card": f"{canary}-idc-{i}王", "phone": f"138{canary}{i:04d}", "email": f"{canary}-mail-{i}王",
             "notes": {"text": f"{canary}-notes-{i}"}, "nested": [{"card": f"{canary}-card-{i}"}, {}], "amount": 12.50}
    return {"key": f"{canary}-key-{i % KEYS}".encode(), "value": json.dumps(value).encode(),
            "headers": [("who", f"{canary}-head-{i}".encode()), ("trace", b"%d" % i)]}


def spellings(secret):
    """As it is, in hex, and in base64: of that what does not depend on the bytes around it, however many stand before."""
    out = {secret, secret.hex().encode(), secret.hex().upper().encode()}
    for before in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            text = encode(b"\0" * before + secret)
            out.add(text[-(-8 * before // 6):8 * (before + len(secret)) // 6])
    return out


class Feed(threading.Thread):
    """Numbered records to a topic at a rate, until it ends and at least `least` are sent; a key's come in their order."""

    def __init__(self, world, topic, make, rate, least=0):
        super().__init__(daemon=True)
        self.world, self.topic, self.make, self.rate, self.least = world, topic, make, rate, least
        self.sent, self.errors, self.ended = 0, [], threading.Event()
        self.start()

    def run(self):
        p = Producer({"bootstrap.servers": self.world.kafka.bootstrap, "linger.ms": 5, "enable.idempotence": True,
                      "message.timeout.ms": 0, "message.max.bytes": 8_000_000, "reconnect.backoff.max.ms": 1000, "log_level": 2})
        begin = time.time()
        while not self.ended.is_set() or self.sent < self.least:
            r = {"partition": self.sent % KEYS % self.world.partitions, **self.make(self.sent)}
            while True:
                try:
                    p.produce(self.topic, on_delivery=self.told, **r)
                    break
                except BufferError:
                    p.poll(0.1)
            self.sent += 1
            p.poll(0)
            if not self.ended.is_set():
                time.sleep(max(0.0, begin + self.sent / self.rate - time.time()))
        if p.flush(300):
            self.errors.append("records that were not sent")

    def told(self, error, _):
        if error:
            self.errors.append(str(error))

    def end(self):
        self.ended.set()
        self.join()
        assert not self.errors, self.errors[:3]
        return self.sent


class Watch(threading.Thread):
    """Every second what each live replica's pages say, which may be no canary; and what it holds of memory and descriptors."""

    def __init__(self, world):
        super().__init__(daemon=True)
        self.world, self.found, self.samples, self.ended = world, [], [], threading.Event()
        self.start()

    def run(self):
        while not self.ended.wait(1):
            for r in list(self.world.replicas.values()):
                self.look(r)

    def look(self, r):
        if r.process is None or r.process.poll() is not None:
            return
        for page in PAGES:
            text = r.get(page)[1].encode()
            self.found += [f"{page} of {r.instance}" for n in self.world.needles if n in text]
        try:
            status = pathlib.Path(f"/proc/{r.process.pid}/status").read_text().splitlines()
            kib = {line.split(":")[0]: int(line.split()[1]) for line in status if line.startswith(("VmRSS", "VmHWM"))}
            files = len(os.listdir(f"/proc/{r.process.pid}/fd"))
        except OSError:
            return
        if len(kib) == 2:
            self.samples.append((time.time(), r.process.pid, kib["VmRSS"] / 1024, kib["VmHWM"] / 1024, files))

    def end(self):
        self.ended.set()
        self.join()


class World:
    """brokers: how many (or one that is there already); linked: kveil reaches its broker through self.link only."""

    def __init__(self, mode=ONCE, partitions=4, brokers=1, linked=False, fields=FIELDS, extra="", topics=True, **config):
        self.begin = time.time()
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="kveil-chaos-"))
        self.canary = "kanarie" + uuid.uuid4().hex
        self.needles = spellings(self.canary.encode())
        self.mode, self.partitions, self.link, self.owned = mode, partitions, None, isinstance(brokers, int)
        self.inputs, self.replicas, self.feeds = [], {}, []
        self.brokers, self.k, self.peek, self.watch = [], None, None, None
        self.more = contextlib.ExitStack()  # what a row began, to be ended with the world
        try:
            self.build(brokers, linked, fields, extra, topics, config)
        except BaseException:
            self.close()
            raise

    def build(self, brokers, linked, fields, extra, topics, config):
        if linked:
            broker, self.link = linked_broker()
            self.brokers = [broker]
        else:
            self.brokers = cluster(brokers) if self.owned else [brokers]
        self.kafka = Kafka(",".join(b.bootstrap for b in self.brokers))
        self.kafka.admin = AdminClient({"bootstrap.servers": self.kafka.bootstrap, "log_level": 2})
        self.k = k = Kveil(self.dir, self.kafka.bootstrap, "chaos" + uuid.uuid4().hex[:8])
        self.bootstrap = f"127.0.0.1:{self.link.port}" if linked else self.kafka.bootstrap
        k.config(f'"{self.bootstrap}"', extra=f"delivery: {self.mode}\ninstance: a\n{extra}", **config)
        k.rules(fields)
        self.inputs = [k.topic]
        wait_for("all brokers", lambda: self.live_brokers() >= len(self.brokers), 600)
        if topics:
            self.kafka.create(k.topic, k.secure, k.dead, partitions=self.partitions, replicas=len(self.brokers))
        # Nobody's: it never joins the group.
        self.peek = Consumer({"bootstrap.servers": self.kafka.bootstrap, "group.id": k.group, "enable.auto.commit": False,
                              "reconnect.backoff.max.ms": 1000, "log_level": 2})
        self.watch = Watch(self)

    def start(self, instance):
        """A replica; one of that name that is gone comes back."""
        r = self.replicas.setdefault(instance, Replica(self.k, instance))
        r.start()
        return r

    def kill(self, instance, how=signal.SIGKILL):
        """Gives how it ended, and after how long."""
        p, begin = self.replicas[instance].process, time.time()
        p.send_signal(how)
        return p.wait(60), time.time() - begin

    def feed(self, rate, least=0, topic=None, make=None):
        f = Feed(self, topic or self.k.topic, make or (lambda i: record(self.canary, i)), rate, least)
        self.feeds.append(f)
        return f

    def done(self, topic=None):
        """Records that are committed; -1: nobody answers."""
        parts = [TopicPartition(topic or self.k.topic, p) for p in range(self.partitions)]
        try:
            return sum(max(0, p.offset) for p in self.peek.committed(parts, 10))
        except KafkaException:
            return -1

    def moves(self, timeout=120, by=1, topic=None):
        """Waits for what is committed now to rise; gives how long that took."""
        begin = time.time()
        before = wait_for("an answer about the group", lambda: self.done(topic) + 1, timeout) - 1
        wait_for("progress", lambda: self.done(topic) >= before + by, timeout, 0.3)
        return time.time() - begin

    def stands(self, topic=None, timeout=60):
        """Waits until nothing more is committed."""
        seen = [self.done(topic), time.time()]

        def still():
            now = self.done(topic)
            if now != seen[0]:
                seen[:] = [now, time.time()]
            return time.time() - seen[1] > 4
        wait_for(f"{topic or self.k.topic} stands", still, timeout, 0.3)

    def all_done(self, stall=150):
        """The feeds end, and all that they sent is committed; however long it takes, but not without progress."""
        for f in self.feeds:
            f.end()
        for topic in self.inputs:
            end = sum(self.kafka.end_offsets(topic).values())
            while (done := self.done(topic)) != end:
                wait_for(f"progress of {topic}: {done} of {end} are committed", lambda: self.done(topic) != done, stall, 0.5)

    def pids(self):
        return [r.process.pid for r in self.replicas.values() if r.process.poll() is None]

    def rate_of_a_second(self):
        return self.feeds[0].rate

    def metric_of_all(self, name, **labels):
        return sum(r.metric(name, **labels) for r in self.replicas.values())

    def sanitized(self):
        return b"__asan_init" in pathlib.Path(self.k.binary).read_bytes()

    def live_brokers(self):
        try:
            return len(self.kafka.admin.list_topics(timeout=10).brokers)
        except KafkaException:  # it has only just come up
            return 0

    def leader(self, topic, partition):
        """The broker's number."""
        return self.kafka.admin.list_topics(topic, 10).topics[topic].partitions[partition].leader

    def in_sync(self):
        topics = self.kafka.admin.list_topics(timeout=10).topics
        return all(len(p.isrs) == len(p.replicas) for t in topics.values() for p in t.partitions.values())

    def stop(self):
        """All replicas, as a user does."""
        self.watch.end()
        for r in self.replicas.values():
            if r.process.poll() is None:
                code = self.k.stop(r.process)
                assert code == 0, f"{r.instance} exits {code}: {r.process.log.read_text()[-1500:]}"

    def logs(self):
        return "".join(p.log.read_text(errors="replace") for p in self.k.processes)

    def close(self, keep=False):
        for f in self.feeds:
            f.ended.set()
        if self.watch:
            self.watch.end()
        if self.k:
            self.k.close()
        self.more.close()
        if self.peek:
            self.peek.close()
        if self.link:
            self.link.close()
        self.kafka = None
        for b in self.brokers if self.owned else []:
            b.close()
        if keep:
            print(f"its folder: {self.dir}", file=sys.stderr, flush=True)
        else:
            shutil.rmtree(self.dir, ignore_errors=True)
