# SPDX-License-Identifier: Apache-2.0
"""What the benches share: orders, a broker full of them, and a contestant that takes them from topic to topic."""
import contextlib
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "integration"))
from broker import Broker, free_port  # noqa: E402
from conftest import Kafka  # noqa: E402
from link import Link  # noqa: E402

PARTITIONS = 2
CONFIG = """\
kafka: {{bootstrap_servers: {bootstrap}, group_id: {group}}}
workers: 1
rules: rules/
keys:
  registry: {registry}
  keks: {{local: {{provider: file, path: kek}}}}
  data:
    pii: {{algorithm: aes-256-gcm, kek: local, rotate_every: {rotate}}}
    pepper: {{algorithm: hmac-sha-256, kek: local}}
    dead-letters: {{algorithm: aes-256-gcm, kek: local}}
http: {{listen: "127.0.0.1:{port}"}}
"""
RULES = """\
name: bench
topics: ["{input}"]
format: json
output: "{output}"
fields:
  - {{path: "$.customer.id_card", encrypt: {{key: pii}}}}
  - {{path: "$.card_number", encrypt: {{key: pii}}}}
  - {{path: "$.customer.phone", mask: {{keep_first: 3, keep_last: 4}}}}
  - {{path: "$.customer.email", hash: {{key: pepper}}}}
"""



def spread(values):
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def orders(count):
    """Keys and values."""
    with tempfile.NamedTemporaryFile(suffix=".tsv") as f:
        subprocess.run([sys.executable, str(ROOT / "bench" / "orders.py"), str(count), f.name], check=True)
        return [line.rstrip("\n").split("\t", 1) for line in open(f.name, encoding="utf-8")]


def fill(kafka, records, topic="bench.in", tenant=None, make=orders, partitions=PARTITIONS):
    """The workload, made once and repeated as often as needed to reach `records`. tenant(n): a first member."""
    from confluent_kafka import Producer
    unique = min(records, 1_000_000)
    lines = make(unique)
    p = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 50, "batch.size": 1_000_000,
                  "queue.buffering.max.messages": 500_000})
    for n in range(records):
        key, value = lines[n % unique]
        if tenant:
            value = f'{{"tenant":"{tenant(n)}",{value[1:]}'
        while True:
            try:
                p.produce(topic, value, key, partition=n % partitions)
                break
            except BufferError:
                p.poll(0.05)
        if n % 1000 == 0:
            p.poll(0)
    assert p.flush(120) == 0


@contextlib.contextmanager
def filled(records, round_trip=0, make=orders, partitions=PARTITIONS, **config):
    """A broker with so many orders, or what `make` makes, in bench.in; config: of the broker's log, in place of one that clears up by itself late.
    round_trip: seconds that an answer takes longer."""
    config = config or {"log.retention.check.interval.ms": "3600000", "file.delete.delay.ms": "1000"}
    advertised = free_port() if round_trip else None
    broker = Broker(advertised_port=advertised, extra=config, steady=True).start()
    link = Link(advertised, broker.port, round_trip) if round_trip else None
    try:
        kafka = Bench(broker.bootstrap)
        kafka.create("bench.in", partitions=partitions)
        kafka.create("bench.in.dead")
        print(f"filling {records:,} orders", flush=True)
        fill(kafka, records, make=make, partitions=partitions)
        yield kafka
    finally:
        broker.close()
        if link:
            link.close()


def ended_badly(pid):
    """Has the process ended other than by exit 0? It is left to be reaped with its usage."""
    r = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    return r is not None and r.si_status != 0


def status_mib(pid, field):
    try:
        with open(f"/proc/{pid}/status") as f:
            return next((int(line.split()[1]) // 1024 for line in f if line.startswith(field)), 0)
    except OSError:
        return 0


def cpu_seconds(pid):
    """Of all its threads, so far."""
    with open(f"/proc/{pid}/stat") as f:
        return sum(map(int, f.read().rsplit(")", 1)[1].split()[11:13])) / os.sysconf("SC_CLK_TCK")


class Bench(Kafka):
    def delete(self, *topics):
        for f in self.admin.delete_topics(list(topics)).values():
            f.result(30)


class Side:
    """One contestant: a process that copies `input` into an output topic."""

    input = "bench.in"
    rules = RULES
    growth = 141  # bytes that F1 sends more than it read: what kveil adds to an order

    def __init__(self, name, build, kafka, records):
        self.name, self.build, self.kafka, self.records = name, build, kafka, records
        self.cpu, self.rate = [], []
        self.peak_rss = 0
        self.folder = None  # one that outlives a round
        self.partitions, self.env = PARTITIONS, None

    def command(self, output, group):
        if self.name != "kveil":
            return [str(self.build / "bench" / "forwarder"), self.name, self.kafka.bootstrap, self.input, output, group,
                    str(self.records), str(self.growth)], None
        folder = pathlib.Path(tempfile.mkdtemp(prefix="kveil-bench-"))
        return self.kveil(folder, self.rules.format(input=self.input, output=output), group, "file:keys.json", "24h"), folder

    def kveil(self, folder, rules, group, registry, rotate):
        """Fills the folder with what kveil needs; its KEK and its keys stay if they are there. Gives the command."""
        if not (folder / "kek").exists():
            (folder / "kek").write_bytes(os.urandom(32))
            (folder / "kek").chmod(0o600)
        (folder / "rules").mkdir(exist_ok=True)
        (folder / "rules" / "bench.yaml").write_text(rules)
        (folder / "kveil.yaml").write_text(CONFIG.format(bootstrap=self.kafka.bootstrap, group=group, port=free_port(),
                                                         registry=registry, rotate=rotate))
        kveil = str(self.build / "src" / "cli" / "kveil")
        subprocess.run([kveil, "keys", "init", "-c", "kveil.yaml"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        return [kveil, "run", "-c", "kveil.yaml"]

    def round(self, number, watch=None):
        output, group = f"bench.{self.name}.{number}.{os.getpid()}", f"bench-{self.name}-{number}-{os.getpid()}"
        self.kafka.create(output, partitions=self.partitions)
        command, folder = self.command(output, group)
        log = tempfile.TemporaryFile()
        p = subprocess.Popen(command, cwd=folder or self.folder, stdout=log, stderr=log, env=self.env)
        first, limit = None, time.time() + 60 + self.records / 2000
        while True:
            n, now = sum(self.kafka.end_offsets(output).values()), time.monotonic()
            if n and first is None:
                first = (n, now)
            if n >= self.records:
                break
            if ended_badly(p.pid) or time.time() > limit:
                log.seek(0)
                sys.exit(f"{self.name} stopped at {n} records:\n" + log.read().decode()[-3000:])
            # Not ru_maxrss: that is inherited from this process.
            self.peak_rss = max(self.peak_rss, status_mib(p.pid, "VmHWM"))
            if watch:
                watch(p.pid, n)
            time.sleep(0.05)
        os.kill(p.pid, signal.SIGTERM)  # a forwarder may have ended by itself: not reaped yet, so the id is still its own
        _, status, usage = os.wait4(p.pid, 0)
        p.returncode = os.waitstatus_to_exitcode(status)
        if p.returncode not in (0, -signal.SIGTERM):
            log.seek(0)
            sys.exit(f"{self.name}: exit {p.returncode}\n" + log.read().decode()[-3000:])
        self.cpu.append((usage.ru_utime + usage.ru_stime) / self.records * 1e6)
        self.rate.append((self.records - first[0]) / (now - first[1]))
        self.kafka.delete(output)
        if folder:
            shutil.rmtree(folder)
