# SPDX-License-Identifier: Apache-2.0
"""An Apache Kafka broker (KRaft, one node) on loopback, started and stopped by the tests.

    python3 tests/integration/broker.py [--port N]     # runs until Ctrl-C; prints the bootstrap address
    python3 tests/integration/broker.py --archive      # prepares faster starts
"""
import argparse
import itertools
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
JARS = pathlib.Path(os.environ.get("KVEIL_KAFKA_JARS", ROOT / ".cache" / "kafka-4.1.0")).resolve()
ARCHIVE = JARS / "broker.jsa"  # of the classes that a broker loads; another JVM ignores it
CLUSTER_ID = "kveilTestsCluster00000"


# Tests run side by side: each of pytest's workers takes ports of a range of its own, below those that the kernel gives
# to clients, so that no port is lost between asking and listening.
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw9")[2:])  # 9: what runs beside them
_RANGE = [12000 + 2000 * _WORKER + (os.getpid() + i) % 2000 for i in range(2000)]
_ports = itertools.cycle(_RANGE)


def free_port():
    for port in _ports:
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def answers(port):
    with socket.socket() as s:
        s.settimeout(0.5)
        return s.connect_ex(("127.0.0.1", port)) == 0


def await_server(name, process, is_up, log, timeout):
    """One that ends, or takes too long, leaves its log in the error."""
    end = time.time() + timeout
    while time.time() < end and process.poll() is None:
        if is_up():
            return
        time.sleep(0.1)
    raise RuntimeError(f"{name} did not start:\n{log.read_text()[-4000:]}")


class Broker:
    """start() and stop() may be called again and again: the data stays until close(). joins: a first broker, of whose
    cluster this is one more. steady: for measurements; else it starts in half of the CPU time, and is slower later."""

    def __init__(self, port=None, advertised_port=None, extra=None, joins=None, steady=False):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="kveil-kafka-"))
        self.jvm = [] if steady else ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", f"-XX:SharedArchiveFile={ARCHIVE}"]
        self.port = port or free_port()
        self.advertised_port = advertised_port or self.port
        self.controller_port = joins.controller_port if joins else free_port()
        self.process = None
        controller = "" if joins else f",CONTROLLER://127.0.0.1:{self.controller_port}"
        properties = {
            "process.roles": "broker" if joins else "broker,controller",
            "node.id": "2" if joins else "1",
            "controller.quorum.voters": f"1@127.0.0.1:{self.controller_port}",
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port}{controller}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.advertised_port}",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(self.dir / "data"),
            "auto.create.topics.enable": "false",
            "num.partitions": "1",
            "offsets.topic.num.partitions": "4",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            "log.cleaner.backoff.ms": "200",
            **(extra or {}),
        }
        self.config = self.dir / "server.properties"
        self.config.write_text("".join(f"{k}={v}\n" for k, v in properties.items()))
        (self.dir / "simplelogger.properties").write_text("org.slf4j.simpleLogger.defaultLogLevel=warn\n")
        self._java("kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(self.config)).check_returncode()

    @property
    def bootstrap(self):
        return f"127.0.0.1:{self.advertised_port}"

    def _command(self, *args):
        return ["java", *self.jvm, "-Xms256m", "-Xmx768m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
                "-cp", f"{JARS}/*", *args]

    def _java(self, *args):
        return subprocess.run(self._command(*args), capture_output=True, text=True)

    def start(self, timeout=600):
        self.log = open(self.dir / "server.log", "ab")
        self.process = subprocess.Popen(self._command("kafka.Kafka", str(self.config)), stdout=self.log,
                                        stderr=subprocess.STDOUT)
        await_server("the broker", self.process, lambda: answers(self.port), self.dir / "server.log", timeout)
        return self

    def stop(self, kill=False):
        if self.process is None:
            return
        self.process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None
        self.log.close()

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def close(self):
        self.stop(kill=True)
        shutil.rmtree(self.dir, ignore_errors=True)


def archive():
    broker = Broker()
    made = ARCHIVE.with_suffix(f".{os.getpid()}")
    broker.jvm = [o for o in broker.jvm if "Archive" not in o] + [f"-XX:ArchiveClassesAtExit={made}"]
    try:
        broker.start().stop()
        made.rename(ARCHIVE)
    finally:
        broker.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--archive", action="store_true")
    args = parser.parse_args()
    if args.archive:
        sys.exit(archive())
    broker = Broker(args.port).start()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        print(broker.bootstrap, flush=True)
        broker.process.wait()
    except KeyboardInterrupt:
        pass
    finally:
        broker.close()
