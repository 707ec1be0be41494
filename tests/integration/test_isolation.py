# SPDX-License-Identifier: Apache-2.0
"""A wait holds up its own partition only: one worker, several partitions and topics, and one of them in trouble."""
import json
import time

from conftest import wait_for
from custodian import Bao, transit
from test_tenants import FIELDS, PATTERN, record

RECORDS = [json.dumps({"v": f"value {i}"}).encode() for i in range(300)]


def test_invented_names_hold_up_their_own_partition(make_kveil, kafka):
    """Ten thousand names that nobody knows on one partition; the tenants of the other pass at once."""
    k = make_kveil(partitions=2)
    k.config(kafka.bootstrap, data=PATTERN.format(algorithm="aes-256-gcm", limit=1))
    k.rules(FIELDS)
    k.init().start()
    kafka.produce(k.topic, [record("acme", 0)], partition=1)
    wait_for("the first", lambda: kafka.end_offsets(k.secure)[1] == 1)
    kafka.produce(k.topic, [record(f"invented{i}", i) for i in range(10000)], partition=0)
    wait_for("a wait", lambda: k.metric("kveil_named_keys_waiting", pattern="tenant-{}") > 100)
    for i in range(1, 6):
        begin = time.time()
        kafka.produce(k.topic, [record("acme", i)] * 200, partition=1)
        wait_for("its neighbour", lambda: kafka.end_offsets(k.secure)[1] == 1 + 200 * i, timeout=5)
        assert time.time() - begin < 5
    assert kafka.end_offsets(k.secure)[0] < 500 and kafka.end_offsets(k.dead) == {0: 0, 1: 0}
    assert k.get("/readyz")[0] == 200
    wait_for("commits", lambda: kafka.committed(k.group, k.topic, 1) == 1001)
    assert k.stop() == 0


def two_topics(make_kveil, kafka, keys, keks="", token=None):
    """One worker; the second topic's rules seal with the key `brief`."""
    k = make_kveil()
    brief = k.topic + ".brief"
    kafka.create(brief, brief + ".secure", brief + ".dead")
    k.config(kafka.bootstrap, data=keys)
    f = k.dir / "kveil.yaml"
    f.write_text(f.read_text().replace("  data:\n", keks + "  data:\n"))
    k.rules('  - {path: "$.v", encrypt: {key: pii}}\n')
    k.rules('  - {path: "$.v", encrypt: {key: brief}}\n', file="brief.yaml")
    g = k.dir / "rules" / "brief.yaml"
    g.write_text(g.read_text().replace(f"[{k.topic}]", f"[{brief}]").replace(f"name: {k.name}", "name: brief"))
    if token:
        (k.dir / "token").write_text(token)
        (k.dir / "token").chmod(0o600)
    k.init().start()
    for topic in (k.topic, brief):
        kafka.produce(topic, RECORDS)
        wait_for("both", lambda: kafka.end_offsets(topic + ".secure") == {0: 300})
    return k, brief


def one_waits(k, kafka, brief):
    kafka.produce(brief, RECORDS)
    wait_for("the wait", lambda: f"{brief}[0] waits" in k.get("/readyz")[1])
    for i in range(2, 5):
        kafka.produce(k.topic, RECORDS)
        wait_for("the other topic", lambda: kafka.end_offsets(k.secure) == {0: 300 * i}, timeout=5)
    assert kafka.end_offsets(brief + ".secure") == {0: 300}
    wait_for("no lag", lambda: kafka.committed(k.group, k.topic) == 1200)


def goes_on(k, kafka, brief):
    wait_for("all", lambda: kafka.end_offsets(brief + ".secure") == {0: 600}, timeout=60)
    wait_for("ready", lambda: k.get("/readyz")[0] == 200)
    assert kafka.end_offsets(brief + ".dead") == {0: 0}
    assert k.processes[0].log.read_text().count("the outage is over") >= 1
    assert k.stop() == 0


def test_a_custodian_that_is_away_holds_up_its_own_keys(make_kveil, kafka, tmp_path):
    """It hangs, so that whoever asks it waits; what is at hand expires, and the other key is another custodian's."""
    bao = Bao(tmp_path).start()
    try:
        kek = f'    bao: {transit(bao, "token_file: token, timeout: 5s")}\n'
        k, brief = two_topics(make_kveil, kafka, "    brief: {algorithm: aes-256-gcm, kek: bao, rotate_every: 2s}", kek,
                             bao.root)
        bao.freeze()
        wait_for("its end", lambda: "'brief' has no version that may seal" in k.get("/readyz")[1], timeout=60)
        one_waits(k, kafka, brief)
        bao.thaw()
        goes_on(k, kafka, brief)
    finally:
        bao.thaw()
        bao.stop()


def test_what_waits_keeps_its_order_through_a_pause(make_kveil, kafka):
    """More than may be held of one partition: it is paused and read again, and nothing is skipped or done twice."""
    k = make_kveil(partitions=2)
    k.config(kafka.bootstrap, data=PATTERN.format(algorithm="aes-256-gcm", limit=3))
    k.rules(FIELDS)
    p = k.init().start()
    # Thirty names at once, and three a second; what is behind them is more than is held.
    names = [f"n{min(i // 100, 44)}" for i in range(9000)]
    kafka.produce(k.topic, [json.dumps({"i": i, "tenant": t, "v": "x", "more": "y" * 2000}).encode()
                            for i, t in enumerate(names)])
    done = 0
    while kafka.end_offsets(k.secure)[0] < 9000:
        kafka.produce(k.topic, [record("n0", done)] * 10, partition=1)
        done += 10
        wait_for("the other", lambda: kafka.end_offsets(k.secure)[1] == done, timeout=10)
        assert k.get("/livez")[0] == 200 and done < 2000
        time.sleep(0.2)
    got = [json.loads(m.value())["i"] for m in kafka.consume(k.secure, 9000 + done, settle=0.5) if m.partition() == 0]
    assert got == list(range(9000))
    assert k.stop() == 0 and kafka.committed(k.group, k.topic, 0) == 9000
