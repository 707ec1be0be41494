# SPDX-License-Identifier: Apache-2.0
"""What holds after any fault: each record is there, once or as one dead letter, in the order of its key; and no canary anywhere."""
import collections
import json
import os
import pathlib
import time

from confluent_kafka import Consumer, TopicPartition

from world import KEYS, LEAST

LONGEST_S = 180  # without a record


def read_committed(kafka, topic, partitions):
    """All that a reader of committed records finds, partition by partition. Where a transaction hangs, that ends early."""
    c = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "checker", "isolation.level": "read_committed",
                  "auto.offset.reset": "earliest", "enable.auto.commit": False, "enable.partition.eof": True,
                  "fetch.message.max.bytes": 8_000_000})
    try:
        c.assign([TopicPartition(topic, p, 0) for p in range(partitions)])
        ends, end = set(), time.time() + LONGEST_S
        while len(ends) < partitions:
            assert time.time() < end, f"{topic}: nothing comes for {LONGEST_S} s, and that is not its end"
            some = c.consume(1000, 0.5)
            for m in some:
                if m.error():
                    ends.add(m.partition())
                else:
                    ends.discard(m.partition())
                    yield m
            if some:
                end = time.time() + LONGEST_S
    finally:
        c.close()


class Report:
    """Of one topic that Feed wrote: counts, of which all but `dead` should be 0."""

    def __init__(self):
        self.sent = self.lost = self.twice = self.disordered = self.altered = self.dead = 0

    def __str__(self):
        more = f", {self.disordered} out of order" * bool(self.disordered) + f", {self.altered} altered" * bool(self.altered)
        return f"{self.lost} lost, {self.twice} twice{more}"


def looks_right(world, i, m):
    """FIELDS: what no rule names is as it was, and what is removed is gone."""
    value = json.loads(m.value())
    return (value["id"], value["amount"], value["nested"][1]) == (i, 12.5, {}) and "notes" not in value and b'"amount": 12.5' in m.value()


def disordered(places):
    """places: where each number stands."""
    n, behind = 0, {}
    for i in sorted(places):
        n += places[i] < behind.get(i % KEYS, -1)
        behind[i % KEYS] = places[i]
    return n


def check_topic(world, topic, sent, missing=(), view=looks_right):
    """missing: the numbers that are to be dead letters. view(world, number, message): whether it came out as it should."""
    r, seen, first, last, keys = Report(), collections.Counter(), {}, {}, {}
    r.sent = sent
    for n, m in enumerate(read_committed(world.kafka, topic + ".secure", world.partitions)):
        i = int(dict(m.headers())["trace"])
        seen[i] += 1
        first.setdefault(i, n)
        last[i] = n
        r.altered += m.partition() != i % KEYS % world.partitions or keys.setdefault(i % KEYS, m.key()) != m.key()
        r.altered += not view(world, i, m)
    # At least once, a batch behind one that a broker refuses may pass it, and comes once more (docs/delivery.md).
    r.disordered = disordered(last) if missing else max(disordered(first), disordered(last))
    r.lost = len(set(range(sent)) - set(missing) - set(seen))
    r.twice = sum(n - 1 for n in seen.values())
    r.altered += len(set(seen) & set(missing)) + len(set(seen) - set(range(sent)))
    r.altered += len(set(keys.values())) != len(keys)
    return r


def dead_letters(world, topic):
    """How many by code. Under at-least-once a letter may come twice, with the record's own offset in it."""
    letters = [dict(m.headers()) for m in read_committed(world.kafka, topic + ".dead", world.partitions)]
    if world.mode == LEAST:
        letters = {(h["kveil.error.partition"], h["kveil.error.offset"]): h for h in letters}.values()
    return collections.Counter(h["kveil.error.code"].decode() for h in letters)


def holding(folder, needles, since=0):
    """The files written since then that hold one. What goes while it is looked for has its text under another name: brokers write
    a checkpoint beside the old one and rename it."""
    for place, _, names in os.walk(folder):
        for path in (pathlib.Path(place, name) for name in names):
            try:
                data = path.read_bytes() if path.is_file() and path.stat().st_mtime >= since else b""
            except FileNotFoundError:
                continue
            if any(n in data for n in needles):
                yield path


def leaks(world):
    """Where a canary stands and should not: what the brokers wrote to disk for any topic but the inputs (so what transactions
    took back, too), all files beside kveil.yaml (logs, registry, cores), what the side ports said."""
    found, inputs = list(world.watch.found), 0
    for b in world.brokers:
        for path in holding(b.dir / "data", world.needles, world.begin):
            if path.parent.name.rpartition("-")[0] in world.inputs:
                inputs += 1
            else:
                found.append("/".join(path.parts[-2:]))
    assert inputs, "the search finds no canary where there are some"
    found += [path.name for path in holding(world.dir, world.needles)]
    return found + cores(world)


def cores(world):
    """There should be none at all."""
    pattern = pathlib.Path("/proc/sys/kernel/core_pattern").read_text().strip()
    elsewhere = pathlib.Path(pattern).parent if pattern.startswith("/") else world.dir
    ours = [str(p.pid) for p in world.k.processes]
    return [f"a core: {p.name}" for p in [*world.dir.glob("core*"), *elsewhere.glob("*core*")]
            if p.is_file() and p.stat().st_mtime >= world.begin and (p.parent == world.dir or any(pid in p.name for pid in ours))]
