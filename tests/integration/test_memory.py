# SPDX-License-Identifier: Apache-2.0
"""limits.memory is held, whatever shape the records have, while the output takes nothing: a proxy before the broker
reads requests to produce and hands none on. What is measured is the peak of the release build's resident memory."""
import socket
import struct
import threading
import time

import pytest
from broker import Broker, free_port
from conftest import ORDER_FIELDS, PLAIN, Kafka, order, wait_for

pytestmark = pytest.mark.long(75)

MIB = 1 << 20
LIMIT = 64
PRODUCE = 0  # the request's API key


class Proxy(threading.Thread):
    """Between clients and the broker; requests to produce wait here until it `flows`, and take their time at a `rate`."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        self.to = port
        self.flows = threading.Event()
        self.flows.set()
        self.rate = None  # bytes a second

    def run(self):
        while True:
            client, _ = self.server.accept()
            broker = socket.create_connection(("127.0.0.1", self.to))
            for f in (self.requests, self.answers):
                threading.Thread(target=f, args=(client, broker), daemon=True).start()

    def requests(self, client, broker):
        stream = client.makefile("rb")
        try:
            while len(head := stream.read(6)) == 6:
                length, kind = struct.unpack(">ih", head)
                body = stream.read(length - 2)
                if kind == PRODUCE:
                    self.flows.wait()
                    time.sleep(length / self.rate if self.rate else 0)
                broker.sendall(head + body)
        except OSError:
            pass
        finally:
            broker.close()

    def answers(self, client, broker):
        try:
            while data := broker.recv(1 << 16):
                client.sendall(data)
        except OSError:
            pass
        finally:
            client.close()


@pytest.fixture(scope="module")
def stalling():
    b = Broker(advertised_port=free_port())
    proxy = Proxy(b.port)
    proxy.server.close()
    proxy.server = socket.create_server(("127.0.0.1", b.advertised_port))
    b.start()
    proxy.start()
    yield Kafka(b.bootstrap), proxy
    b.close()


def peak_mib(p):
    for line in open(f"/proc/{p.pid}/status"):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmHWM")


def value(i, size=0):
    return order(i, filler="x" * size)


SHAPES = {
    # name: (records, batch settings of the producer)
    "a large header": lambda: ({"value": value(i), "headers": [("h", b"x" * 300_000)]} for i in range(400)),
    "headers of the largest size": lambda: ({"value": value(i), "headers": [("h", b"x" * 7 * MIB)]} for i in range(40)),
    "many tiny headers": lambda: ({"value": value(i), "headers": [(f"h{n}", b"") for n in range(20_000)]}
                                  for i in range(80)),
    "large keys": lambda: ({"key": b"k" * 300_000, "value": value(i)} for i in range(400)),
    "large values": lambda: ({"value": value(i, 7 * MIB)} for i in range(20)),
    "tiny records": lambda: ({"value": b"{}"} for i in range(400_000)),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_stays_within_the_limit_while_the_output_takes_nothing(stalling, make_kveil, shape):
    kafka, proxy = stalling
    k = make_kveil(topics=False)
    k.binary = PLAIN
    kafka.create(k.topic, k.secure, k.dead, config={"max.message.bytes": str(16 * MIB)})
    # As many messages wait in the client's queue as ever may.
    limit = 192 if shape == "headers of the largest size" else LIMIT
    k.config(kafka.bootstrap, extra=f"limits: {{memory: {limit}MiB}}")
    k.rules(ORDER_FIELDS)
    k.init()
    kafka.produce(k.topic, SHAPES[shape]())
    proxy.flows.clear()
    p = k.start(ready=False)
    seen = [0.0, time.time()]

    def still():
        """Nothing has come in, and memory has not grown, for a while."""
        assert p.poll() is None, p.log.read_text()
        now = k.metric("kveil_records_consumed_total") + peak_mib(p)
        if now != seen[0]:
            seen[:] = [now, time.time()]
        return seen[0] > 0 and time.time() - seen[1] > 3
    wait_for("a standstill", still, timeout=60)
    consumed = k.metric("kveil_records_consumed_total")
    print(f"{shape}: {peak_mib(p):.0f} MiB, {consumed:.0f} records")
    assert consumed > 0
    assert peak_mib(p) <= 1.2 * limit
    proxy.flows.set()
    k.stop(p)
