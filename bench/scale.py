# SPDX-License-Identifier: Apache-2.0
"""How kveil grows: workers and processes on 16 partitions, a thousand partitions of two hundred topics, records of 1 byte to
8 MiB; and that it does not grow behind outputs that are too slow. Not a race: each figure stands beside the others of its kind, of one run."""
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

from link import Link
from rig import CONFIG, RULES, Bench, Broker, cpu_seconds, fill, free_port, orders, spread, status_mib

PARTITIONS = 16
TOPICS, EACH = 200, 5
IDLE_S = 20
SLOW_RECORDS, SLOW_BYTES, SLOW_S = 400_000, 1_000_000, 50
MIB = 1 << 20
REGEX = r'''
name: many
topics: ["^many\\.[0-9]+$"]
format: json
output: "{topic}.out"
fields:
  - {path: "$.customer.phone", mask: {keep_first: 3, keep_last: 4}}
'''


class Team:
    """So many processes of so many workers each, as one group."""

    def __init__(self, build, kafka, processes, workers, rules, more=""):
        self.kveil = str(build / "src" / "cli" / "kveil")
        self.kafka, self.folders, self.processes, self.ports = kafka, [], [], []
        self.log = tempfile.TemporaryFile()
        group = f"team-{processes}-{workers}-{time.monotonic_ns()}"
        kek = os.urandom(32)
        for _ in range(processes):
            folder = pathlib.Path(tempfile.mkdtemp(prefix="kveil-bench-"))
            self.folders.append(folder)
            self.ports.append(free_port())
            (folder / "kek").write_bytes(kek)
            (folder / "kek").chmod(0o600)
            (folder / "rules").mkdir()
            (folder / "rules" / "rules.yaml").write_text(rules)
            config = CONFIG.format(bootstrap=kafka.bootstrap, group=group, port=self.ports[-1], registry=f"kafka:keys.{group}",
                                   rotate="24h")
            (folder / "kveil.yaml").write_text(config.replace("workers: 1", f"workers: {workers}") + more)
        subprocess.run([self.kveil, "keys", "init"], cwd=self.folders[0], check=True, stdout=self.log, stderr=self.log)

    def start(self):
        self.began = time.monotonic()
        for folder in self.folders:
            self.processes.append(subprocess.Popen([self.kveil, "run"], cwd=folder, stdout=self.log, stderr=self.log))

    def is_ready(self):
        try:
            return all(urllib.request.urlopen(f"http://127.0.0.1:{p}/readyz", timeout=2).status == 200 for p in self.ports)
        except OSError:
            return False

    def wait(self, what, seconds=300):
        """Until what() is true; what it gave, and how long it took."""
        began = time.monotonic()
        while not (is_so := what()):
            if any(p.poll() is not None for p in self.processes) or time.monotonic() - began > seconds:
                self.log.seek(0)
                sys.exit("a process ended, or it took too long:\n" + self.log.read().decode()[-3000:])
            time.sleep(0.02)
        return is_so, time.monotonic() - began

    def cpu(self):
        return sum(cpu_seconds(p.pid) for p in self.processes)

    def rss(self, field="VmRSS"):
        return max(status_mib(p.pid, field) for p in self.processes)

    def stop(self):
        for p in self.processes:
            p.send_signal(signal.SIGTERM)
        for p in self.processes:
            if p.wait(60):
                sys.exit(f"exit {p.returncode}")
        for folder in self.folders:
            shutil.rmtree(folder)


def through(kafka, topic):
    return sum(kafka.end_offsets(topic).values())


def drained(team, output, records):
    """Records a second and CPU seconds a million between the first fifth of the records and the last."""
    team.start()
    team.wait(lambda: through(team.kafka, output) >= records / 5)
    n, cpu, began = through(team.kafka, output), team.cpu(), time.monotonic()
    team.wait(lambda: through(team.kafka, output) >= records)
    took = time.monotonic() - began
    return (records - n) / took, (team.cpu() - cpu) / (records - n) * 1e6


def teams(build, kafka, records, rounds, result):
    kafka.create("scale.in", partitions=PARTITIONS)
    kafka.create("scale.in.dead")
    fill(kafka, records, "scale.in", partitions=PARTITIONS)
    found = {}
    for number in range(rounds):
        for processes, workers in ((1, 1), (1, 2), (1, 4), (2, 1), (4, 1)):
            output = f"scale.out.{number}.{processes}.{workers}"
            kafka.create(output, partitions=PARTITIONS)
            team = Team(build, kafka, processes, workers, RULES.format(input="scale.in", output=output))
            rate, cpu = drained(team, output, records)
            peak = team.rss("VmHWM")
            team.stop()
            kafka.delete(output)
            found.setdefault(f"{processes} x {workers}", []).append((rate, cpu, peak))
    for name, rows in found.items():
        rate, cpu, peak = zip(*rows)
        print(f"processes x workers {name}: {statistics.median(rate):,.0f} records/s ({min(rate):,.0f} to {max(rate):,.0f}), "
              f"CPU s/million {spread(cpu)}, peak of one process {max(peak)} MiB", flush=True)
    result["teams"] = found


def many(build, kafka, result):
    """A thousand partitions by one regex: until ready, at rest, and when a topic joins."""
    team = Team(build, kafka, 1, 1, REGEX)
    kafka.create(*(f"many.{n}" for n in range(TOPICS)), *(f"many.{n}.out" for n in range(TOPICS + 1)), partitions=EACH)
    kafka.create(*(f"many.{n}.dead" for n in range(TOPICS + 1)))
    team.start()
    _, ready = team.wait(team.is_ready)
    time.sleep(5)
    cpu = team.cpu()
    time.sleep(IDLE_S)
    idle = (team.cpu() - cpu) / IDLE_S * 100
    record = orders(1)[0][1]
    for n in range(TOPICS):
        kafka.produce(f"many.{n}", [record.encode()] * 10)
    _, flow = team.wait(lambda: all(through(kafka, f"many.{n}.out") == 10 for n in range(TOPICS)))
    kafka.create(f"many.{TOPICS}", partitions=EACH)
    kafka.produce(f"many.{TOPICS}", [record.encode()])
    _, joined = team.wait(lambda: through(kafka, f"many.{TOPICS}.out"))
    print(f"{TOPICS * EACH:,} partitions of {TOPICS} topics: ready in {ready:.1f} s, {team.rss()} MiB, idle {idle:.1f} % of a core; "
          f"10 records in each topic within {flow:.1f} s; a new topic's first record after {joined:.1f} s", flush=True)
    result["many"] = {"ready_s": ready, "mib": team.rss(), "idle_percent": idle, "joined_s": joined}
    team.stop()


def sized(size):
    """A record of so many bytes; one with room for it has the fields of an order."""
    if size < 500:
        return b"1" * size
    order = json.loads(orders(1)[0][1])
    order["note"] = ""
    text = json.dumps(order, separators=(",", ":"))
    return text.replace('"note":""', f'"note":"{"n" * (size - len(text.encode()))}"').encode()


def sizes(build, kafka, result):
    rows = {}
    for size in (1, 100, 1000, 10_000, 100_000, MIB, 8 * MIB):
        record = sized(size)
        count = min(500_000, max(40, 400 * MIB // (size + 200)))
        name = f"size.{size}"
        big = {"max.message.bytes": str(16 * MIB)}
        kafka.create(name, f"{name}.out", f"{name}.dead", config=big)
        from confluent_kafka import Producer
        p = Producer({"bootstrap.servers": kafka.bootstrap, "message.max.bytes": 16 * MIB, "linger.ms": 20,
                      "queue.buffering.max.kbytes": 256 << 10})
        for _ in range(count):
            while True:
                try:
                    p.produce(name, record)
                    break
                except BufferError:
                    p.poll(0.05)
        assert p.flush(120) == 0
        rules = RULES.format(input=name, output=f"{name}.out")
        team = Team(build, kafka, 1, 1, rules, f"limits: {{record_bytes: {16 * MIB}, memory: {512 * MIB}}}\n")
        rate, cpu = drained(team, f"{name}.out", count)
        dead, peak = through(kafka, f"{name}.dead"), team.rss("VmHWM")
        team.stop()
        print(f"records of {size:>9,} bytes: {rate:>9,.0f} records/s, {rate * size / 1e6:>6.0f} MB/s, CPU s/million {cpu:,.1f}, "
              f"{cpu / size * 1e3:.2f} ns a byte, peak {peak} MiB, {dead} dead letters", flush=True)
        rows[size] = {"rate": rate, "cpu": cpu, "peak_mib": peak, "dead": dead}
        kafka.delete(name, f"{name}.out", f"{name}.dead")
    result["sizes"] = rows


def lag(team):
    """As /metrics has it; and the records of the input that have not come out."""
    text = urllib.request.urlopen(f"http://127.0.0.1:{team.ports[0]}/metrics", timeout=5).read().decode()
    told = sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith("kveil_consumer_lag_records{"))
    return told, SLOW_RECORDS - through(team.kafka, "slow.out")


def slow(build, result):
    """A backlog, and a link to the broker that takes 1 MB/s: what kveil holds, and whether it says how far behind it is."""
    port = free_port()
    broker = Broker(advertised_port=port, extra={"log.retention.check.interval.ms": "3600000"}, steady=True).start()
    link = Link(port, broker.port)
    try:
        kafka = Bench(broker.bootstrap)
        kafka.create("slow.in", "slow.out", partitions=2)
        kafka.create("slow.in.dead")
        fill(kafka, SLOW_RECORDS, "slow.in")
        team = Team(build, kafka, 1, 1, RULES.format(input="slow.in", output="slow.out"))
        link.rate = SLOW_BYTES
        team.start()
        team.wait(lambda: through(kafka, "slow.out"))
        _, known = team.wait(lambda: lag(team)[0], 30)
        peaks, off, end = [], [], time.monotonic() + SLOW_S
        while time.monotonic() < end:
            told, true = lag(team)
            peaks.append(team.rss())
            off.append(abs(told - true))
            time.sleep(1)
        behind, moved = lag(team)[1], through(kafka, "slow.out") / SLOW_S
        link.rate = None
        _, took = team.wait(lambda: through(kafka, "slow.out") == SLOW_RECORDS)
        print(f"behind a link of {SLOW_BYTES / 1e6:.0f} MB/s: {moved:,.0f} records/s, {statistics.median(peaks)} MiB, at most {max(peaks)}; "
              f"lag told after {known:.1f} s, off by {statistics.median(off):,.0f} records, at most {max(off):,.0f}; then {behind:,} records in {took:.1f} s", flush=True)
        result["slow"] = {"rate": moved, "mib": max(peaks), "lag_off": max(off), "behind": behind, "caught_up_s": took}
        team.stop()
    finally:
        link.close()
        broker.close()


def scale(build, records, rounds, result):
    slow(build, result)
    broker = Broker(extra={"log.retention.check.interval.ms": "3600000", "file.delete.delay.ms": "1000",
                           "message.max.bytes": str(16 * MIB), "replica.fetch.max.bytes": str(16 * MIB)}, steady=True).start()
    try:
        kafka = Bench(broker.bootstrap)
        many(build, kafka, result)
        sizes(build, kafka, result)
        teams(build, kafka, records, rounds, result)
    finally:
        broker.close()
