# SPDX-License-Identifier: Apache-2.0
"""`kveil status`, and what a worker's log says when it begins."""
import json
import re

from broker import free_port
from conftest import ORDER_FIELDS, order, wait_for


def status(k, *args, check):
    return k.run("status", *args, check=check).stdout


def test_status_of_two_replicas(make_kveil, kafka):
    k = make_kveil()
    k.rules(ORDER_FIELDS)
    k.init().start()
    kafka.produce(k.topic, [order(i) for i in range(50)])
    wait_for("all committed", lambda: kafka.committed(k.group, k.topic) == 50)
    wait_for("no lag", lambda: k.metric("kveil_consumer_lag_records", topic=k.topic) == 0)
    url = f"http://127.0.0.1:{k.port}"
    out = status(k, url, check=0)  # no terminal: once
    assert re.search(rf"^{url}  ready  kveil \S+  up \d+ s  rules [0-9a-f]{{12}}  \d+ MiB  CPU \d+%$", out, re.M), out
    assert f"  {k.topic}: 1 partition, lag 0" in out and "50 in, 0 dead letters" in out and re.search(r"pii \d+ s", out), out
    assert out.splitlines()[2] in status(k, "-c", "kveil.yaml", check=0)
    one = json.loads(status(k, "--json", url, check=0))["replicas"][0]
    assert one["ready"] and one["consumed"] == 50 and one["topics"] == {k.topic: {"lag": 0.0, "partitions": 1.0}}

    first = k.processes[-1].log.read_text()
    digest = re.search(r"rules ([0-9a-f]{12}): 4 in 1 file, for " + re.escape(k.topic), first)
    assert digest and digest[1] == one["rules"], first
    assert re.search(r"kveil \S+ with librdkafka \S+, OpenSSL .*, libgcrypt", first) and "ready after" in first
    assert f"group {k.group} at " in first and "pii (aes-256-gcm by local)" in first

    # Another replica has other rules.
    other = k.port
    k.port = free_port()
    k.config(kafka.bootstrap)
    k.rules(ORDER_FIELDS + '  - {path: "$.note", mask: {}}\n')
    k.start()
    assert k.port != other
    both = [f"http://127.0.0.1:{p}" for p in (other, k.port)]
    out = status(k, *both, check=0)
    assert out.endswith("these replicas run different rules\n"), out
    assert json.loads(status(k, "--json", *both, check=0))["rules_differ"]
    k.stop(k.processes[-1])
    out = status(k, *both, check=1)
    assert "refused" in out, out
    gone = json.loads(status(k, "--json", *both, check=1))["replicas"][1]
    assert not gone["answers"] and gone["why"]


def test_status_says_why_it_waits(make_kveil, kafka):
    k = make_kveil(topics=False)
    kafka.create(k.topic, k.dead)
    k.rules(ORDER_FIELDS)
    k.init().start(ready=False)
    wait_for("it says so", lambda: k.secure in k.get("/readyz")[1])
    out = status(k, "--once", f"127.0.0.1:{k.port}", check=1)
    assert "NOT READY" in out and f"waits: topic {k.secure}" in out, out
    assert "which of them" in k.run("status", "-c", "kveil.yaml", "localhost:1", check=2).stderr
    assert "is not http://HOST:PORT" in status(k, "nonsense", check=1)
