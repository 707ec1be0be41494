#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Faults on real brokers, again and again while records flow; then all outputs, dead letters, logs, pages and disks are searched.

    ./dev chaos [NAME…] [--short] [--faults N] [--list] [--librdkafka VERSION] [--kafka VERSION]

NAME is of a row (C1). The last two: others than Debian's and the tests'. What each row did and what was seen goes to stdout as a line of a Markdown table; 1 if one failed.
"""
import argparse
import re
import subprocess
import sys
import time
import traceback

import pytest

from checker import check_topic, dead_letters, leaks
from rows import ROWS
from world import MEMORY_MIB, World

from broker import JARS
from conftest import KVEIL

HEAD = "| | fault | size | seen | |\n|---|---|---|---|---|"
ALL = {row.name: row for row in ROWS}


def versions():
    """What is tried with what."""
    told = subprocess.run([str(KVEIL), "version"], capture_output=True, text=True, check=True).stdout
    library = re.search(r"librdkafka +(\S+)", told)[1]
    return f"librdkafka {library}, Kafka {next(JARS.glob('kafka-clients-*.jar')).stem.rpartition('-')[2]}"


class Outcome:
    def __init__(self, row, variant):
        self.row, self.mode = row, variant.get("mode", "")
        self.size, self.seen, self.problems = "", [], []

    def line(self):
        seen = "; ".join(self.seen + [f"**{p}**" for p in self.problems])
        return f"| {self.row.name} | {self.row.fault} | {self.mode}, {self.size} | {seen} | {'FAILED' if self.problems else 'passed'} |"


def judge(row, w, count, out):
    """All have stopped."""
    sent = w.feeds[0].sent
    missing = row.missing(w, sent)
    report = check_topic(w, w.k.topic, sent, missing, row.view)
    out.size = f"{count} faults, {sent:,} records"
    out.seen.append(str(report))
    if report.lost or report.disordered or report.altered or report.twice > row.twice(w, count):
        out.problems.append("records are not what they should be")
    expected, dead = {}, dead_letters(w, w.k.topic)
    for code in missing.values():
        expected[code] = expected.get(code, 0) + 1
    out.seen.append(f"{sum(dead.values())} dead letters")
    if dict(dead) != expected:
        out.problems.append(f"dead letters: {dict(dead)} and not {expected}")
    if said := row.check(w, sent):
        out.seen.append(said)
    found = leaks(w)
    out.seen.append(f"{len(found)} canaries")
    if found:
        out.problems.append(f"canaries in {sorted(set(found))[:5]}")
    peak = max((s[3] for s in w.watch.samples), default=0)
    out.seen.append(f"at most {peak:.0f} MiB")
    if peak > 1.2 * MEMORY_MIB and not w.sanitized():
        out.problems.append("memory is over its limit")


def run(row, variant, short, brokers=None, faults=None):
    """One world; gives an Outcome. brokers: one to use that is there already."""
    out, begin = Outcome(row, variant), time.time()
    count, records = faults or row.faults[short], row.records[short]
    w = None
    try:
        w = World(**{**({"brokers": brokers} if brokers else {}), **variant})
        row.prepare(w)
        for instance in row.replicas:
            w.start(instance)
        w.feed(row.rate, records, make=lambda i: row.make(w, i))
        w.moves()
        pids = w.pids()
        print(f"{row.name} {out.mode}: flows", file=sys.stderr, flush=True)
        if said := row.strike(w, count):
            out.seen.append(said)
        w.all_done()
        if row.same_process and w.pids() != pids:
            out.problems.append("a process ended")
        w.stop()
        judge(row, w, count, out)
    except (Exception, pytest.fail.Exception) as e:
        traceback.print_exc()
        out.problems.append(str(e).splitlines()[0] if str(e) else type(e).__name__)
    finally:
        if w:
            w.close(keep=bool(out.problems))
    out.seen.append(f"{time.time() - begin:.0f} s")
    return out


def main():
    parser = argparse.ArgumentParser(prog="./dev chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--short", action="store_true", help="fewer faults and records")
    parser.add_argument("--faults", type=int, metavar="N", help="another number of them; for C12 seconds")
    parser.add_argument("--list", action="store_true", help="the rows, and no more")
    args = parser.parse_args()
    unknown = set(args.names) - set(ALL)
    if unknown:
        parser.error(f"no row {', '.join(sorted(unknown))}: {', '.join(ALL)}")
    rows = [ALL[n]() for n in args.names or ALL]
    if args.list:
        for row in rows:
            print(f"{row.name:4} {row.faults[args.short]:4} x {row.fault}")
        return 0
    print(versions() + "\n\n" + HEAD, flush=True)
    failed = 0
    for row in rows:
        for variant in row.variants:
            out = run(row, variant, args.short, faults=args.faults)
            print(out.line(), flush=True)
            failed += bool(out.problems)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
