#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""peers.py --build BUILD [--records N] [--rounds N] [--only NAME…] [--json FILE] [--markdown FILE] [--svg FILE]: the orders of
bench/orders.py through kveil and through what people use or write in its place, on one broker, in turn.

CPU and records a second are taken between the first fifth of the records and the last, so that no start of a JVM and no
compilation on the way counts; all threads of a contestant's process count. `./dev bench peers` runs it."""
import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "bench"))
from rig import PARTITIONS, RULES, Side, cpu_seconds, filled, free_port, spread, status_mib  # noqa: E402

CACHE = ROOT / ".cache"
JARS = f"{CACHE}/kafka-4.1.0/*:{CACHE}/peers/*:{CACHE}/peers"
PYTHON = str(CACHE / "peers-venv" / "bin" / "python")
JAVA = ["java", "-Xmx1g", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", JARS]


class Peer(Side):
    """A contestant; what it has done is seen in its output topic."""

    def __init__(self, name, what, build, kafka, records):
        super().__init__(name, build, kafka, records)
        self.what = what

    def command(self, output, group):
        if self.name in ("F0", "F1"):
            return [str(self.build / "bench" / "forwarder"), self.name.lower(), self.kafka.bootstrap, self.input, output, group,
                    str(10 ** 12), str(self.growth)], None  # it is stopped, not left to end
        folder = pathlib.Path(tempfile.mkdtemp(prefix="kveil-bench-"))
        command = self.kveil(folder, RULES.format(input=self.input, output=output), group, "file:keys.json", "24h")
        if self.name == "kveil, exactly once":
            path = folder / "kveil.yaml"
            path.write_text(path.read_text() + "delivery: exactly-once\ninstance: bench\n")
        return command, folder

    def done(self, output, group):
        return sum(self.kafka.end_offsets(output).values())

    def round(self, number, watch=None):
        tag = f"{re.sub('[^a-zA-Z0-9]+', '-', self.name)}.{number}.{os.getpid()}"
        output, group = f"bench.{tag}", f"bench-{tag}"
        self.kafka.create(output, partitions=PARTITIONS)
        command, folder = self.command(output, group)
        with tempfile.TemporaryFile() as log:
            p = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
            try:
                self.measure(p, output, group, log)
            finally:
                p.send_signal(signal.SIGTERM)
                try:
                    p.wait(60)
                except subprocess.TimeoutExpired:
                    p.kill()
                    p.wait()
        self.kafka.delete(output)
        if folder:
            shutil.rmtree(folder)

    def measure(self, p, output, group, log):
        first, limit = None, time.monotonic() + 120 + self.records / 1000
        while True:
            n, now = self.done(output, group), (time.monotonic(), cpu_seconds(p.pid))
            if first is None and n >= self.records / 5:
                first = (n, *now)
            if n >= self.records:
                break
            if p.poll() is not None or time.monotonic() > limit:
                log.seek(0)
                sys.exit(f"{self.name} stopped at {n} records:\n" + log.read().decode(errors="replace")[-3000:])
            self.peak_rss = max(self.peak_rss, status_mib(p.pid, "VmHWM"))
            time.sleep(0.05)
        part = self.records - first[0]
        if part < self.records / 4:
            sys.exit(f"{self.name} was too fast to be measured: more --records")
        self.rate.append(part / (now[0] - first[1]))
        self.cpu.append((now[1] - first[2]) / part * 1e6)


class JavaLoop(Peer):
    def command(self, output, group):
        return [*JAVA, "JavaLoop", self.kafka.bootstrap, self.input, output, group], None


class PythonLoop(Peer):
    script = "python_loop.py"

    def command(self, output, group):
        return [PYTHON, str(HERE / self.script), self.kafka.bootstrap, self.input, output, group], None


class FieldEncryption(PythonLoop):
    script = "field_encryption.py"


class Connect(Peer):
    """It writes to no topic: its commits, once a second, say how far it is."""

    def command(self, output, group):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="kveil-bench-"))
        values = {"BOOTSTRAP": self.kafka.bootstrap, "FOLDER": folder, "PORT": free_port(), "GROUP": group, "INPUT": self.input}
        for name in ("connect-worker.properties", "connect-sink.properties"):
            text = (HERE / name).read_text()
            for k, v in values.items():
                text = text.replace(f"@{k}@", str(v))
            (folder / name).write_text(text)
        return [*JAVA, "org.apache.kafka.connect.cli.ConnectStandalone", "connect-worker.properties",
                "connect-sink.properties"], folder

    def done(self, output, group):
        return sum(max(0, self.kafka.committed(f"connect-{group}", self.input, i)) for i in range(PARTITIONS))


CONTESTANTS = [
    (Peer, "F0", "librdkafka alone: copies each record unchanged"),
    (Peer, "F1", "librdkafka alone: sends as many bytes as kveil, with timestamp and headers"),
    (Peer, "kveil", "two fields encrypted, one masked, one hashed"),
    (Peer, "kveil, exactly once", "the same in transactions of 100 ms"),
    (JavaLoop, "Java loop", "the same job by hand: Kafka's client, Jackson, JCE"),
    (PythonLoop, "Python loop", "the same job by hand: confluent-kafka, orjson, cryptography"),
    (FieldEncryption, "Confluent's field encryption", "its Python client: the two fields encrypted, nothing masked or hashed"),
    (Connect, "Kafka Connect", "its own Flatten and MaskField: four fields masked, nothing encrypted, written to no topic"),
]
SLOW = {"Confluent's field encryption": 10, "Python loop": 2}  # a part of the records is enough


def prepare():
    (CACHE / "peers").mkdir(parents=True, exist_ok=True)
    if not list((CACHE / "peers").glob("connect-file*.jar")):
        subprocess.run(["mvn", "-q", "-B", "-f", str(HERE / "pom.xml"), "dependency:copy-dependencies",
                        "-DexcludeTransitive=true", f"-DoutputDirectory={CACHE}/peers"], check=True)
    subprocess.run(["javac", "-nowarn", "-cp", JARS, "-d", str(CACHE / "peers"), str(HERE / "JavaLoop.java")], check=True)
    if not os.path.exists(PYTHON):
        subprocess.run([sys.executable, "-m", "venv", str(CACHE / "peers-venv")], check=True)
        subprocess.run([PYTHON, "-m", "pip", "install", "-q", "-r", str(HERE / "requirements.txt")], check=True)


def table(sides):
    by_name = {s.name: s for s in sides}
    base = statistics.median(by_name["kveil"].cpu) if "kveil" in by_name else None
    yield "| | what it does | CPU s a million | times kveil's | records/s | memory |"
    yield "|---|---|---|---|---|---|"
    for s in sides:
        cpu = statistics.median(s.cpu)
        times = f"{cpu / base:.1f}" if base else ""
        yield (f"| {s.name} | {s.what} | {cpu:.1f} ({min(s.cpu):.1f} to {max(s.cpu):.1f}) | {times} | "
               f"{statistics.median(s.rate):,.0f} | {s.peak_rss} MiB |")


def svg(sides):
    """CPU seconds a million records, a bar each; linear, for a logarithmic scale flatters the slow."""
    top = max(statistics.median(s.cpu) for s in sides)
    rows = []
    for i, s in enumerate(sides):
        cpu, y = statistics.median(s.cpu), 44 + 28 * i
        width = 400 * cpu / top
        colour = "#2f6f4f" if s.name.startswith("kveil") else "#8a8f98"
        rows.append(f'<text x="210" y="{y + 14}" text-anchor="end">{s.name}</text>'
                    f'<rect x="218" y="{y}" width="{width:.1f}" height="18" fill="{colour}"/>'
                    f'<text x="{226 + width:.1f}" y="{y + 14}">{cpu:.1f}</text>')
    height = 56 + 28 * len(sides)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 690 {height}" font-family="sans-serif" font-size="13">\n'
            f'<rect width="690" height="{height}" fill="#ffffff"/>\n'
            '<text x="16" y="26" font-weight="bold">CPU seconds for a million orders, topic to topic (less is better)</text>\n'
            + "\n".join(rows) + "\n</svg>\n")


def main():
    a = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    a.add_argument("--build", default="build-release")
    a.add_argument("--records", type=int, default=1_000_000)
    a.add_argument("--rounds", type=int, default=5)
    a.add_argument("--only", nargs="*")
    for name in ("json", "markdown", "svg"):
        a.add_argument(f"--{name}", type=pathlib.Path)
    args = a.parse_args()
    prepare()
    build = (ROOT / args.build).resolve()
    with filled(args.records) as kafka:
        sides = [kind(name, what, build, kafka, args.records // SLOW.get(name, 1)) for kind, name, what in CONTESTANTS
                 if not args.only or name in args.only]
        for number in range(args.rounds):
            for side in sides:
                side.round(number)
                print(f"round {number + 1}: {side.name}: {side.cpu[-1]:.2f} CPU s/million, {side.rate[-1]:,.0f} records/s",
                      flush=True)
    text = "\n".join(table(sides)) + "\n"
    print(text, end="")
    for s in sides:
        print(f"{s.name}: CPU {spread(s.cpu)}, rate {spread(s.rate)}")
    if args.json:
        args.json.write_text(json.dumps({s.name: {"cpu": s.cpu, "rate": s.rate, "peak_mib": s.peak_rss} for s in sides}, indent=1))
    if args.markdown:
        args.markdown.write_text(text)
    if args.svg:
        args.svg.write_text(svg(sides))


if __name__ == "__main__":
    main()
