#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""./dev bench: kveil against a bare loop of EVP calls (in process) and against bare librdkafka forwarders (topic to topic).

Everything is a ratio within one run: rounds are interleaved, medians and spread are shown. F0 copies each record
unchanged; F1 polls one by one and sends as many bytes as kveil does, with timestamp and headers.

    ./dev bench [engine] [topic] [memory] [--records N] [--rounds N] [--json FILE]
"""
import argparse
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

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "integration"))
from broker import Broker, free_port  # noqa: E402
from conftest import Kafka  # noqa: E402

PARTITIONS = 2
CONFIG = """\
kafka: {{bootstrap_servers: {bootstrap}, group_id: {group}}}
workers: 1
rules: rules/
keys:
  registry: file:keys.json
  keks: {{local: {{provider: file, path: kek}}}}
  data:
    pii: {{algorithm: aes-256-gcm, kek: local, rotate_every: 24h}}
    pepper: {{algorithm: hmac-sha-256, kek: local}}
    dead-letters: {{algorithm: aes-256-gcm, kek: local}}
http: {{listen: "127.0.0.1:{port}"}}
"""
RULES = """\
name: bench
topics: [bench.in]
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


def fill(kafka, records):
    """The workload, made once and repeated as often as needed to reach `records`."""
    from confluent_kafka import Producer
    with tempfile.NamedTemporaryFile(suffix=".tsv") as f:
        unique = min(records, 1_000_000)
        subprocess.run([sys.executable, str(ROOT / "bench" / "orders.py"), str(unique), f.name], check=True)
        lines = [line.rstrip("\n").split("\t", 1) for line in open(f.name, encoding="utf-8")]
    p = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 50, "batch.size": 1_000_000,
                  "queue.buffering.max.messages": 500_000})
    for n in range(records):
        key, value = lines[n % unique]
        while True:
            try:
                p.produce("bench.in", value, key, partition=n % PARTITIONS)
                break
            except BufferError:
                p.poll(0.05)
        if n % 1000 == 0:
            p.poll(0)
    assert p.flush(120) == 0


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


class Side:
    """One contestant: a process that copies bench.in into an output topic."""

    def __init__(self, name, build, kafka, records):
        self.name, self.build, self.kafka, self.records = name, build, kafka, records
        self.cpu, self.rate = [], []
        self.peak_rss = 0

    def command(self, output, group):
        if self.name != "kveil":
            return [str(self.build / "bench" / "forwarder"), self.name, self.kafka.bootstrap, "bench.in", output, group,
                    str(self.records)], None
        folder = pathlib.Path(tempfile.mkdtemp(prefix="kveil-bench-"))
        (folder / "kek").write_bytes(os.urandom(32))
        (folder / "kek").chmod(0o600)
        (folder / "rules").mkdir()
        (folder / "rules" / "bench.yaml").write_text(RULES.format(output=output))
        (folder / "kveil.yaml").write_text(CONFIG.format(bootstrap=self.kafka.bootstrap, group=group, port=free_port()))
        kveil = str(self.build / "src" / "cli" / "kveil")
        subprocess.run([kveil, "keys", "init", "-c", "kveil.yaml"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        return [kveil, "run", "-c", "kveil.yaml"], folder

    def round(self, number, watch=None):
        output, group = f"bench.{self.name}.{number}.{os.getpid()}", f"bench-{self.name}-{number}-{os.getpid()}"
        self.kafka.create(output, partitions=PARTITIONS)
        if self.name == "kveil" and number == 0:
            self.kafka.create("bench.in.dead")
        command, folder = self.command(output, group)
        log = tempfile.TemporaryFile()
        p = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
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
        for f in self.kafka.admin.delete_topics([output]).values():
            f.result(30)
        if folder:
            shutil.rmtree(folder)


def topic_to_topic(build, records, rounds, result):
    broker = Broker(extra={"log.retention.check.interval.ms": "3600000", "file.delete.delay.ms": "1000"}).start()
    try:
        kafka = Kafka(broker.bootstrap)
        kafka.create("bench.in", partitions=PARTITIONS)
        print(f"filling {records:,} orders", flush=True)
        fill(kafka, records)
        sides = [Side(n, build, kafka, records) for n in ("f0", "f1", "kveil")]
        for number in range(rounds):
            for side in sides:
                side.round(number)
            print(f"round {number + 1}: " + ", ".join(
                f"{s.name} {s.cpu[-1]:.2f} CPU s/million {s.rate[-1] / 1000:.0f}k/s" for s in sides), flush=True)
        f0, f1, kveil = sides
        cpu = [a / b for a, b in zip(kveil.cpu, f1.cpu)]
        rate = [a / b for a, b in zip(kveil.rate, f1.rate)]
        for s in sides:
            print(f"{s.name:6} CPU s/million {spread(s.cpu)}; records/s {statistics.median(s.rate):,.0f}; "
                  f"peak {s.peak_rss} MiB")
        print(f"kveil to F1: CPU {spread(cpu)} (at most 1.6), rate {spread(rate)} (at least 0.85)")
        print(f"kveil to F0: CPU {spread([a / b for a, b in zip(kveil.cpu, f0.cpu)])}")
        result["topic"] = {"cpu_to_f1": statistics.median(cpu), "rate_to_f1": statistics.median(rate),
                           **{s.name: {"cpu": s.cpu, "rate": s.rate, "peak_mib": s.peak_rss} for s in sides}}
    finally:
        broker.close()


def memory(build, records, result):
    """Resident memory over many records: flat, and under 200 MiB."""
    broker = Broker(extra={"log.segment.bytes": "268435456"}).start()
    try:
        kafka = Kafka(broker.bootstrap)
        kafka.create("bench.in", partitions=PARTITIONS)
        print(f"filling {records:,} orders", flush=True)
        fill(kafka, records)
        samples = []

        def watch(pid, n):
            samples.append((n, status_mib(pid, "VmRSS")))

        side = Side("kveil", build, kafka, records)
        side.round(0, watch)
        tenth = [max((m for n, m in samples if records * i / 10 <= n < records * (i + 1) / 10), default=0)
                 for i in range(10)]
        print("resident MiB by tenth of the run:", " ".join(f"{m:.0f}" for m in tenth), f"peak {side.peak_rss}")
        result["memory"] = {"by_tenth_mib": tenth, "peak_mib": side.peak_rss, "records": records}
    finally:
        broker.close()


def engine(build, result):
    kveil = build / "src" / "cli" / "kveil"
    for name, args in (("engine", ["bench"]), ("rules", ["bench", "--rules-scale"])):
        r = subprocess.run([kveil, *args], text=True, capture_output=True)
        print(r.stdout, end="", flush=True)
        if r.returncode:
            sys.exit(r.stderr)
        r = subprocess.run([kveil, *args, "--json"], text=True, capture_output=True, check=True)
        result[name] = json.loads(r.stdout)


def main():
    a = argparse.ArgumentParser()
    a.add_argument("what", nargs="*", default=["engine", "topic"])
    a.add_argument("--build", default="build-release")
    a.add_argument("--records", type=int)
    a.add_argument("--rounds", type=int, default=5)
    a.add_argument("--json")
    args = a.parse_args()
    build, result = ROOT / args.build, {}
    if "engine" in args.what:
        engine(build, result)
    if "topic" in args.what:
        topic_to_topic(build, args.records or 1_000_000, args.rounds, result)
    if "memory" in args.what:
        memory(build, args.records or 10_000_000, result)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
