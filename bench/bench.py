#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""./dev bench: kveil against a bare loop of EVP calls (in process) and against bare librdkafka forwarders (topic to topic).

Everything is a ratio within one run: rounds are interleaved, medians and spread are shown. F0 copies each record
unchanged; F1 polls one by one and sends as many bytes as kveil does, with timestamp and headers; F2 is F1 with kveil's remedy
for librdkafka's empty polls.

    ./dev bench [engine] [topic] [avro] [events] [latency] [link] [memory] [rotation] [names] [scale] [polls]
                [--records N] [--rounds N] [--registry file|kafka] [--json FILE]

avro: the engine on orders in Avro against JSON, and against avro-c and fastavro reading and writing them.
events: orders as Debezium's updates: what a byte costs beside one of the orders, and topic to topic.
latency: what a record at 2,000 a second waits between its place in the input topic and that in the output topic.
link: topic to topic with the broker behind a link whose round trip is 50 ms, with the usual memory and with more.
polls: how often librdkafka's producing thread asks for nothing, for each produce request, with 2 partitions and with 16.
names: one key named from the record against 100,000 of them, the same records otherwise, the registry in a topic.
scale: workers and processes on 16 partitions, 1,000 partitions of 200 topics, records of 1 byte to 8 MiB; an output that is too slow.
"""
import argparse
import json
import os
import pathlib
import random
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time

from avro import avro
from events import byte_costs, growth, updates
from rig import (CONFIG, PARTITIONS, ROOT, RULES, Bench, Broker, Side, cpu_seconds, fill, filled, free_port, orders, spread,
                 status_mib)
from scale import scale

OPEN = """\
name: bench
topics: [{topic}]
format: json
output: "{{topic}}.open"
fields:
  - {{path: "$.customer.id_card", decrypt: {{key: pii}}}}
  - {{path: "$.card_number", decrypt: {{key: pii}}}}
"""


class Keeper(Side):
    """kveil with keys that outlive a round and rotate as `rotate` says."""

    def __init__(self, name, build, kafka, records, registry, rotate):
        super().__init__(name, build, kafka, records)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="kveil-bench-"))
        self.registry = "file:keys.json" if registry == "file" else f"kafka:bench.keys.{name}"
        self.rotate, self.opened, self.used = rotate, 0, {}

    def command(self, output, group):
        return self.kveil(self.folder, RULES.format(input=self.input, output=output), group, self.registry, self.rotate), \
            self.folder

    def start(self, number):
        self.output = f"bench.{self.name}.{number}.{os.getpid()}"
        self.kafka.create(self.output, partitions=PARTITIONS)
        command, folder = self.command(self.output, f"bench-{self.name}-{number}-{os.getpid()}")
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(command, cwd=folder, stdout=self.log, stderr=self.log)

    def fail(self, why):
        self.log.seek(0)
        sys.exit(f"{self.name}: {why}\n" + self.log.read().decode()[-3000:])

    def now(self):
        """Records out, CPU seconds."""
        if self.process.poll() is not None:
            self.fail(f"exit {self.process.returncode}")
        return sum(self.kafka.end_offsets(self.output).values()), cpu_seconds(self.process.pid)

    def stop(self):
        self.process.terminate()
        if self.process.wait(30):
            self.fail(f"exit {self.process.returncode}")

    def open_all(self):
        """Every record of the round goes back through kveil; which versions sealed them is read from their first bytes."""
        from confluent_kafka import Consumer, TopicPartition
        output, opened = self.output, f"{self.output}.open"
        self.kafka.create(opened, f"{output}.dead", partitions=PARTITIONS)
        command = self.kveil(self.folder, OPEN.format(topic=output), f"open-{output}", self.registry, "24h")
        with tempfile.TemporaryFile() as self.log:
            p = self.process = subprocess.Popen(command, cwd=self.folder, stdout=self.log, stderr=self.log)
            ends = self.kafka.end_offsets(output)
            c = Consumer({"bootstrap.servers": self.kafka.bootstrap, "group.id": "ids", "enable.auto.commit": False})
            c.assign([TopicPartition(output, i, 0) for i in ends])
            all_of_them, mark = sum(ends.values()), b'"card_number":"'
            left = all_of_them
            while left:
                for m in c.consume(10000, 1):
                    v = m.value()
                    at = v.index(mark) + len(mark)
                    self.used[v[at:at + 6]] = self.used.get(v[at:at + 6], 0) + 1  # 36 bits: 0x01 and 28 of the id
                    left -= 1
            c.close()
            limit = time.time() + 600
            while (done := sum(self.kafka.end_offsets(opened).values())) < all_of_them and time.time() < limit:
                if p.poll() is not None:
                    break
                time.sleep(0.2)
            p.terminate()
            if p.wait() != 0 or done != all_of_them or sum(self.kafka.end_offsets(f"{output}.dead").values()):
                self.fail(f"{done} of {all_of_them} records opened")
        self.opened += done
        self.kafka.delete(opened, f"{output}.dead")


def rotation(build, records, rounds, registry, result):
    """Keys that rotate every 2 s against keys that do not, under full load, until there were 100 rotations. Both run at the
    same time, so that whatever else the machine does is in both. Every record is opened afterwards."""
    with filled(records) as kafka:
        still = Keeper("still", build, kafka, records, registry, "24h")
        turning = Keeper("turning", build, kafka, records, registry, "2s")
        sides, number = (still, turning), 0
        while number < rounds or len(turning.used) <= 100:
            for side in sides if number % 2 else reversed(sides):
                side.start(number)
            first, limit = None, time.time() + 60 + records / 1000
            while True:
                now = [side.now() for side in sides]
                if not first and min(n for n, _ in now) > records / 50:
                    first = now
                if max(n for n, _ in now) >= records:
                    break
                if time.time() > limit:
                    turning.fail("too slow")
                time.sleep(0.05)
            for side, (n, cpu), (n0, cpu0) in zip(sides, now, first):
                side.rate.append(n - n0)
                side.cpu.append((cpu - cpu0) / (n - n0) * 1e6)
                side.stop()
            turning.open_all()
            kafka.delete(*(side.output for side in sides))
            number += 1
            print(f"round {number}: records in the same time {turning.rate[-1] / still.rate[-1]:.3f}, CPU s/million "
                  f"{turning.cpu[-1]:.2f} to {still.cpu[-1]:.2f}; {len(turning.used)} versions so far", flush=True)
        dead = sum(kafka.end_offsets("bench.in.dead").values())
        cpu = [a / b for a, b in zip(turning.cpu, still.cpu)]
        rate = [a / b for a, b in zip(turning.rate, still.rate)]
        print(f"{registry} registry: {len(turning.used)} versions sealed {turning.opened:,} records, every one opened; "
              f"{dead} dead letters")
        print(f"rotating every 2 s to not: rate {spread(rate)} (at least 0.95), CPU {spread(cpu)}")
        result["rotation"] = {"registry": registry, "versions": len(turning.used), "opened": turning.opened,
                              "rate": rate, "cpu": cpu}
        for side in sides:
            shutil.rmtree(side.folder)


def events(build, records, rounds, result):
    byte_costs(build, orders(20_000), RULES.format(input="bench.in", output="bench.out"), rounds, result)
    for name, schemas in (("events", False), ("events with schemas", True)):
        def make(count):
            return list(updates(orders(count), schemas))

        class OfEvents(Side):
            rules = "envelope: debezium\n" + RULES
            growth = growth(build / "src" / "cli" / "kveil", rules.format(input="i", output="o"), make(1000))
        print(f"{name}: {OfEvents.growth} bytes more a record")
        topic_to_topic(build, records, rounds, result, name, make, OfEvents)


def topic_to_topic(build, records, rounds, result, name="topic", make=orders, kind=Side):
    with filled(records, make=make) as kafka:
        sides = [kind(n, build, kafka, records) for n in ("f0", "f1", "kveil")]
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
        result[name] = {"cpu_to_f1": statistics.median(cpu), "rate_to_f1": statistics.median(rate),
                           **{s.name: {"cpu": s.cpu, "rate": s.rate, "peak_mib": s.peak_rss} for s in sides}}


class Roomy(Side):
    """kveil that may fetch 4 MiB at once."""

    def kveil(self, folder, *args):
        command = super().kveil(folder, *args)
        with open(folder / "kveil.yaml", "a", encoding="utf-8") as f:
            f.write("limits: {memory: 1GiB}\n")
        return command


def far_away(build, records, rounds, result):
    with filled(records, round_trip=0.05) as kafka:
        f1 = Side("f1", build, kafka, records)
        sides = {"f1": f1, "kveil": Side("kveil", build, kafka, records), "kveil with 1 GiB": Roomy("kveil", build, kafka, records)}
        for number in range(rounds):
            for n, side in enumerate(sides.values()):
                side.round(number * len(sides) + n)
            print(f"round {number + 1}: " + ", ".join(f"{n} {s.rate[-1] / 1000:.0f}k/s" for n, s in sides.items()), flush=True)
        for name in list(sides)[1:]:
            rate = [a / b for a, b in zip(sides[name].rate, f1.rate)]
            print(f"50 ms away, {name} to F1: rate {spread(rate)} (at least 0.95), "
                  f"CPU {spread([a / b for a, b in zip(sides[name].cpu, f1.cpu)])}")
        result["link"] = {n: {"cpu": s.cpu, "rate": s.rate} for n, s in sides.items()}


class Arrivals(threading.Thread):
    """When each record of a topic reached a consumer, by key."""

    def __init__(self, bootstrap, topic, records):
        from confluent_kafka import Consumer, TopicPartition
        super().__init__()
        self.consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": f"arrivals-{topic}", "enable.auto.commit": False})
        self.consumer.assign([TopicPartition(topic, p, 0) for p in range(PARTITIONS)])
        self.records, self.at = records, {}

    def run(self):
        limit = time.monotonic() + 120
        while len(self.at) < self.records and time.monotonic() < limit:
            if (m := self.consumer.poll(0.5)) and not m.error():
                self.at[m.key()] = time.monotonic()
        self.consumer.close()


class Waits(Side):
    """A contestant that is fed 2,000 records a second, spread evenly; what each record waited, in milliseconds."""

    def __init__(self, name, build, kafka, records):
        super().__init__(name, build, kafka, records)
        self.p50, self.p99 = [], []

    def round(self, number, lines):
        from confluent_kafka import Producer
        self.input, output = (f"latency.{self.name}.{number}.{way}" for way in ("in", "out"))
        self.kafka.create(self.input, output, f"{self.input}.dead", partitions=PARTITIONS)
        command, folder = self.command(output, f"latency-{self.name}-{number}")
        p = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        producer = Producer({"bootstrap.servers": self.kafka.bootstrap, "linger.ms": 0})
        before, after = (Arrivals(self.kafka.bootstrap, t, self.records) for t in (self.input, output))
        before.start(), after.start()
        began = None
        for n, (key, value) in enumerate(lines):
            producer.produce(self.input, value, key, partition=n % PARTITIONS)
            producer.poll(0)
            while not after.at and after.is_alive():
                producer.poll(0.01)  # the group's first assignment
            began = began or time.monotonic()
            time.sleep(max(0, began + n / 2000 - time.monotonic()))
        producer.flush(60)
        before.join(), after.join()
        if p.poll() is None:
            p.terminate()
        p.wait(30)
        if len(after.at) < self.records:
            sys.exit(f"{self.name}: {len(after.at)} of {self.records} records arrived")
        waits = sorted((after.at[k] - before.at[k]) * 1e3 for k in list(after.at)[self.records // 10:])
        self.p50.append(waits[len(waits) // 2])
        self.p99.append(waits[len(waits) * 99 // 100])
        if folder:
            shutil.rmtree(folder)


def latency(build, records, rounds, result):
    lines = orders(records)
    broker = Broker(extra={"log.retention.check.interval.ms": "3600000"}, steady=True).start()
    try:
        kafka = Bench(broker.bootstrap)
        sides = [Waits(n, build, kafka, records) for n in ("f0", "f1", "kveil")]
        for number in range(rounds):
            for side in sides:
                side.round(number, lines)
            print(f"round {number + 1}: " + ", ".join(f"{s.name} p50 {s.p50[-1]:.2f} ms p99 {s.p99[-1]:.2f} ms" for s in sides),
                  flush=True)
        for s in sides:
            print(f"{s.name:6} milliseconds at 2,000 records/s: p50 {spread(s.p50)}, p99 {spread(s.p99)}")
        result["latency"] = {s.name: {"p50_ms": s.p50, "p99_ms": s.p99} for s in sides}
    finally:
        broker.close()


def memory(build, records, result):
    """Resident memory over many records: flat, and under 200 MiB."""
    with filled(records, **{"log.segment.bytes": "268435456"}) as kafka:
        samples = []

        def watch(pid, n):
            samples.append((n, status_mib(pid, "VmRSS")))

        side = Side("kveil", build, kafka, records)
        side.round(0, watch)
        tenth = [max((m for n, m in samples if records * i / 10 <= n < records * (i + 1) / 10), default=0)
                 for i in range(10)]
        print("resident MiB by tenth of the run:", " ".join(f"{m:.0f}" for m in tenth), f"peak {side.peak_rss}")
        result["memory"] = {"by_tenth_mib": tenth, "peak_mib": side.peak_rss, "records": records}


class NamedSide(Side):
    """kveil with keys named from the record; what differs between two of these is their input. One registry for all rounds."""

    def __init__(self, name, build, kafka, records, folder):
        super().__init__(name, build, kafka, records)
        self.folder, self.input = folder, f"bench.{name}"

    def command(self, output, group):
        (self.folder / "rules" / "bench.yaml").write_text(
            RULES.format(input=self.input, output=output).replace("pii", '"tenant-{$.tenant}"'))
        config = CONFIG.format(bootstrap=self.kafka.bootstrap, group=group, port=free_port(), registry="kafka:kveil.keys",
                               rotate="24h")
        config = config.replace(
            "    pii:", '    "tenant-{}": {algorithm: aes-256-gcm, kek: local, new_per_second: 100000}\n    pii:')
        (self.folder / "kveil.yaml").write_text(config)
        kveil = str(self.build / "src" / "cli" / "kveil")
        subprocess.run([kveil, "keys", "init", "-c", "kveil.yaml"], cwd=self.folder, check=True, stdout=subprocess.DEVNULL)
        return [kveil, "run", "-c", "kveil.yaml"], None


def names(build, records, rounds, result):
    count = 100_000
    broker = Broker(extra={"log.retention.check.interval.ms": "3600000", "file.delete.delay.ms": "1000"}, steady=True).start()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="kveil-bench-"))
    try:
        kafka = Bench(broker.bootstrap)
        kafka.create("bench.one", "bench.many", partitions=PARTITIONS)
        kafka.create("bench.one.dead", "bench.many.dead", "bench.in.dead")
        (folder / "kek").write_bytes(os.urandom(32))
        (folder / "kek").chmod(0o600)
        (folder / "rules").mkdir()
        print(f"filling twice {records:,} orders: of one tenant, and of {count:,} at random", flush=True)
        draw = random.Random(1)
        fill(kafka, records, "bench.one", lambda n: "t000042")
        fill(kafka, records, "bench.many", lambda n: f"t{draw.randrange(count):06d}")
        one, many = (NamedSide(n, build, kafka, records, folder) for n in ("one", "many"))
        first = NamedSide("many", build, kafka, records, folder)
        first.round(1000)
        print(f"the first time, keys made on the way: {first.cpu[0]:.2f} CPU s/million, {first.rate[0]:,.0f} records/s, "
              f"peak {first.peak_rss} MiB", flush=True)
        for number in range(rounds):
            for side in (one, many):
                side.round(number)
            print(f"round {number + 1}: " + ", ".join(
                f"{s.name} {s.cpu[-1]:.2f} CPU s/million {s.rate[-1] / 1000:.0f}k/s" for s in (one, many)), flush=True)
        cpu = [a / b for a, b in zip(many.cpu, one.cpu)]
        rate = [a / b for a, b in zip(many.rate, one.rate)]
        for s in (one, many):
            print(f"{s.name:6} CPU s/million {spread(s.cpu)}; records/s {statistics.median(s.rate):,.0f}; peak {s.peak_rss} MiB")
        print(f"{count:,} names to one: CPU {spread(cpu)} (at most 2), rate {spread(rate)}")
        result["names"] = {"names": count, "cpu_to_one": statistics.median(cpu), "rate_to_one": statistics.median(rate)}
    finally:
        broker.close()
        shutil.rmtree(folder)


class Polled(Side):
    """With its calls of poll counted: see polls.c."""

    def __init__(self, name, build, kafka, records, partitions):
        super().__init__(name, build, kafka, records)
        self.partitions, self.per_request = partitions, []

    def round(self, number, watch=None):
        with tempfile.NamedTemporaryFile() as f:
            self.env = {**os.environ, "LD_PRELOAD": str((self.build / "bench" / "polls.so").resolve()), "KVEIL_BENCH_POLLS": f.name}
            super().round(number, watch)
            requests, empty = struct.unpack("QQ", pathlib.Path(f.name).read_bytes())
        self.requests = requests
        self.per_request.append(empty / requests)


def polls(build, records, rounds, result):
    for partitions in (2, 16):
        with filled(records, partitions=partitions) as kafka:
            sides = [Polled(n, build, kafka, records, partitions) for n in ("f0", "f1", "f2", "kveil")]
            for number in range(rounds):
                for side in sides:
                    side.round(number)
                print(f"round {number + 1}: " + ", ".join(
                    f"{s.name} {s.per_request[-1]:,.1f} empty polls a request, {s.requests} requests, {s.cpu[-1]:.2f} CPU s/million "
                    f"{s.rate[-1] / 1000:.0f}k/s" for s in sides), flush=True)
            *others, kveil = sides
            for s in sides:
                print(f"{partitions} partitions: {s.name:6} empty polls a produce request {spread(s.per_request)}; CPU s/million {spread(s.cpu)}; "
                      f"peak {s.peak_rss} MiB")
            for other in others:
                print(f"{partitions} partitions: kveil to {other.name}: CPU {spread([a / b for a, b in zip(kveil.cpu, other.cpu)])}, "
                      f"rate {spread([a / b for a, b in zip(kveil.rate, other.rate)])}")
            result[f"polls at {partitions}"] = {s.name: {"empty_per_request": s.per_request, "cpu": s.cpu, "rate": s.rate} for s in sides}


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
    a.add_argument("--registry", choices=["file", "kafka"], default="kafka")
    a.add_argument("--json")
    args = a.parse_args()
    build, result = ROOT / args.build, {}
    if "engine" in args.what:
        engine(build, result)
    if "avro" in args.what:
        avro(build, args.records or 100_000, args.rounds, result)
    if "topic" in args.what:
        topic_to_topic(build, args.records or 1_000_000, args.rounds, result)
    if "events" in args.what:
        events(build, args.records or 200_000, args.rounds, result)
    if "latency" in args.what:
        latency(build, args.records or 20_000, args.rounds, result)
    if "link" in args.what:
        far_away(build, args.records or 1_000_000, args.rounds, result)
    if "rotation" in args.what:
        rotation(build, args.records or 3_000_000, args.rounds, args.registry, result)
    if "memory" in args.what:
        memory(build, args.records or 10_000_000, result)
    if "polls" in args.what:
        polls(build, args.records or 400_000, args.rounds, result)
    if "names" in args.what:
        names(build, args.records or 1_000_000, args.rounds, result)
    if "scale" in args.what:
        scale(build, args.records or 1_000_000, args.rounds, result)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
