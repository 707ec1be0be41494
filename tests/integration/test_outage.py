# SPDX-License-Identifier: Apache-2.0
"""The world breaks: nothing lost, nothing dead-lettered, nothing clear; it recovers by itself."""
import json
import signal
import subprocess
import time

import pytest

from broker import Broker
from conftest import ORDER_FIELDS, Kafka, order, wait_for


@pytest.fixture
def own_broker():
    b = Broker().start()
    yield b
    b.close()


@pytest.mark.long(65)
def test_broker_down_at_start_and_later(make_kveil, own_broker):
    kafka = Kafka(own_broker.bootstrap)
    k = make_kveil(bootstrap=own_broker.bootstrap, topics=False)
    k.rules(ORDER_FIELDS)
    k.init()
    kafka.create(k.topic, k.secure, k.dead)
    own_broker.stop()
    p = k.start(ready=False)
    wait_for("live", lambda: k.get("/livez")[0] == 200)
    wait_for("not ready", lambda: k.get("/readyz")[0] == 503)
    time.sleep(2)
    assert p.poll() is None
    own_broker.start()
    wait_for("ready by itself", lambda: k.get("/readyz")[0] == 200, timeout=60)
    n = 20000
    kafka.produce(k.topic, [order(i) for i in range(n)])
    kafka.consume(k.secure, 1000)
    own_broker.stop(kill=True)
    time.sleep(8)
    assert p.poll() is None and k.get("/livez")[0] == 200
    own_broker.start()
    wait_for("all committed", lambda: kafka.committed(k.group, k.topic) == n, timeout=120)
    ids = {json.loads(m.value())["id"] for m in kafka.consume(k.secure, n, settle=0.5)}
    assert ids == {f"ORD{i:010d}" for i in range(n)}
    assert kafka.end_offsets(k.dead) == {0: 0}
    assert k.stop() == 0


@pytest.mark.long(25)
def test_a_replay_in_an_outage_ends_on_a_signal(make_kveil, own_broker):
    kafka = Kafka(own_broker.bootstrap)
    k = make_kveil(bootstrap=own_broker.bootstrap, topics=False)
    k.rules('  - {path: "$.p", mask: {}}\n')
    k.init()
    kafka.create(k.topic, k.secure, k.dead)
    n = 8000
    kafka.produce(k.topic, [b'{"i":%d,"p":[1]}' % i for i in range(n)])
    k.start()
    wait_for("dead letters", lambda: kafka.end_offsets(k.dead) == {0: n}, timeout=120)
    assert k.stop() == 0
    k.rules('  - {path: "$.p[*]", mask: {}}\n')
    p = subprocess.Popen([str(k.binary), "replay", "-c", "kveil.yaml"], cwd=k.dir, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True)
    wait_for("replaying", lambda: kafka.end_offsets(k.secure)[0] > 0, interval=0.02)
    own_broker.freeze()
    try:
        time.sleep(1)
        assert p.poll() is None
        p.send_signal(signal.SIGTERM)
        out = p.communicate(timeout=20)[0]
        assert p.returncode == 3, out
    finally:
        own_broker.thaw()
        p.kill()
    k.run("replay", "-c", "kveil.yaml", check=0)
    ids = [json.loads(m.value())["i"] for m in kafka.consume(k.secure, n, settle=0.5)]
    assert set(ids) == set(range(n)) and len(ids) <= n + 64


@pytest.mark.long(50)
def test_a_frozen_broker_pauses_and_goes_on(make_kveil, own_broker):
    kafka = Kafka(own_broker.bootstrap)
    k = make_kveil(bootstrap=own_broker.bootstrap, topics=False)
    k.rules(ORDER_FIELDS)
    k.init()
    kafka.create(k.topic, k.secure, k.dead)
    n = 20000
    kafka.produce(k.topic, [order(i) for i in range(n)])
    p = k.start()
    kafka.consume(k.secure, 500)
    own_broker.freeze()
    time.sleep(12)
    assert p.poll() is None and k.get("/livez")[0] == 200
    own_broker.thaw()
    wait_for("all committed", lambda: kafka.committed(k.group, k.topic) == n, timeout=120)
    assert {json.loads(m.value())["id"] for m in kafka.consume(k.secure, n, settle=0.5)} == \
        {f"ORD{i:010d}" for i in range(n)}
    assert kafka.end_offsets(k.dead) == {0: 0}


@pytest.mark.long(45)
def test_sigterm_while_the_broker_is_frozen(make_kveil, own_broker):
    kafka = Kafka(own_broker.bootstrap)
    k = make_kveil(bootstrap=own_broker.bootstrap, topics=False)
    k.rules(ORDER_FIELDS)
    k.init()
    kafka.create(k.topic, k.secure, k.dead)
    n = 50000
    kafka.produce(k.topic, [order(i) for i in range(n)])
    k.start()
    kafka.consume(k.secure, 500)
    own_broker.freeze()
    time.sleep(1)
    begin = time.time()
    assert k.stop() == 0
    assert time.time() - begin < 15
    own_broker.thaw()
    k.start()
    wait_for("all committed", lambda: kafka.committed(k.group, k.topic) == n, timeout=120)
    assert {json.loads(m.value())["id"] for m in kafka.consume(k.secure, n, settle=0.5)} == \
        {f"ORD{i:010d}" for i in range(n)}
    assert k.stop() == 0


def test_idle_sigterm_while_the_broker_is_frozen(make_kveil, own_broker):
    kafka = Kafka(own_broker.bootstrap)
    k = make_kveil(bootstrap=own_broker.bootstrap, topics=False)
    k.config(own_broker.bootstrap, registry=f"kafka:{k.name}.keys")
    k.rules(ORDER_FIELDS)
    k.init()
    kafka.create(k.topic, k.secure, k.dead)
    kafka.produce(k.topic, [order(0)])
    k.start()
    wait_for("committed", lambda: kafka.committed(k.group, k.topic) == 1)
    own_broker.freeze()
    try:
        begin = time.time()  # at once: nothing has noticed yet, so the group is left in the usual way
        assert k.stop() == 0, k.processes[-1].log.read_text()
        assert time.time() - begin < 15
    finally:
        own_broker.thaw()


def test_brokers_gone_are_noticed_counted_and_come_back(make_kveil, own_broker):
    kafka = Kafka(own_broker.bootstrap)
    k = make_kveil(bootstrap=own_broker.bootstrap, topics=False)
    k.rules(ORDER_FIELDS)
    k.init()
    kafka.create(k.topic, k.secure, k.dead)
    k.start()
    kafka.produce(k.topic, [order(0)])
    wait_for("committed", lambda: kafka.committed(k.group, k.topic) == 1)
    for away, back in ((own_broker.stop, own_broker.start), (own_broker.freeze, own_broker.thaw)):
        counted = k.metric("kveil_retries_total", code="kafka_unavailable")
        away()
        wait_for("not ready", lambda: k.get("/readyz")[0] == 503, timeout=5)
        assert "kafka" in k.get("/readyz")[1]
        wait_for("counted", lambda: k.metric("kveil_retries_total", code="kafka_unavailable") > counted, timeout=5)
        back()
        wait_for("ready again", lambda: k.get("/readyz")[0] == 200, timeout=10)
    assert k.stop() == 0
