# SPDX-License-Identifier: Apache-2.0
"""`kveil status`, and what a worker's log says when it begins."""
import contextlib
import http.server
import json
import re
import signal
import subprocess
import threading
import time

from broker import free_port
from conftest import KVEIL, ORDER_FIELDS, order, wait_for


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


def test_workers_without_a_partition_are_told(make_kveil, kafka):
    k = make_kveil(partitions=2)
    k.rules(ORDER_FIELDS)
    k.config(kafka.bootstrap, workers=3)
    k.init().start()
    idle = "workers: 1 of 3 idle, without a partition: the group has more workers than its largest input topic has partitions"
    wait_for("a remark", lambda: k.get("/readyz") == (200, idle + "\nok\n"), timeout=60)
    assert f"remark: {idle}" in status(k, "--once", f"127.0.0.1:{k.port}", check=0)


def test_a_topic_whose_records_all_fail_is_named(make_kveil, kafka):
    k = make_kveil()
    k.rules('  - {path: "$.p", mask: {}}\n')
    k.init().start()
    assert k.metric("kveil_topic_records_total", topic=k.topic, outcome="failed") == 0
    kafka.produce(k.topic, [{"value": b'{"p": "fine"}'}] + [{"value": b'{"p": [1]}'}] * 9)
    wait_for("nine failed", lambda: k.metric("kveil_topic_records_total", topic=k.topic, outcome="failed") == 9)
    time.sleep(1.5)
    assert k.get("/readyz") == (200, "ok\n")
    kafka.produce(k.topic, [{"value": b'{"p": [1]}'}] * 3)
    remark = f"the last 12 records of {k.topic} all failed: unsupported_kind"
    wait_for("a remark", lambda: k.get("/readyz") == (200, f"worker 1: failing: {remark}\nok\n"))
    assert f"remark: worker 1: failing: {remark}" in status(k, "--once", f"127.0.0.1:{k.port}", check=0)
    assert re.search(r"the last 1[0-2] records of \S+ all failed: unsupported_kind", k.processes[-1].log.read_text())

    k.rules('  - {path: "$.p[*]", mask: {}}\n')
    k.processes[-1].send_signal(signal.SIGHUP)
    wait_for("no remark under new rules", lambda: k.get("/readyz") == (200, "ok\n"))
    kafka.produce(k.topic, [{"value": b'{"p": ["1"]}'}])
    wait_for("protected", lambda: k.metric("kveil_topic_records_total", topic=k.topic, outcome="protected") == 2)
    assert k.metric("kveil_topic_records_total", topic=k.topic, outcome="failed") == 12


@contextlib.contextmanager
def stranger(answers):
    """Answers at a side port, by path, as (code, text)."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            code, text = answers[self.path]
            self.send_response(code)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_remarks_of_one_that_is_ready_are_told():
    metrics = 'kveil_build_info{version="1"} 1\n'
    with stranger({"/metrics": (200, metrics), "/readyz": (200, "custodian local: away\nok\n")}) as url:
        def asked(*args):
            r = subprocess.run([KVEIL, *args], capture_output=True, text=True, timeout=60)
            assert r.returncode == 0, r
            return r.stdout
        assert "  remark: custodian local: away\n" in asked("status", "--once", url) and "remark: ok" not in asked("status", "--once", url)
        assert json.loads(asked("status", "--json", url))["replicas"][0]["remarks"] == "custodian local: away\n"
        assert asked("health", "--ready", "--url", url) == "ready\ncustodian local: away\n"
        answer = json.loads(asked("health", "--ready", "--json", "--url", url))
        assert answer == {"ready": True, "reasons": [], "remarks": ["custodian local: away"]}


def test_what_a_stranger_answers_does_not_steer_the_terminal():
    labels = {"kveil_build_info": "version", "kveil_rules_info": "digest", "kveil_consumer_lag_records": "topic",
              "kveil_key_created_timestamp_seconds": "key", "kveil_key_rotation_overdue_seconds": "key"}
    metrics = "".join(f'{name}{{{label}="{label}\x1b[2J\u009b2J"}} 5\n' for name, label in labels.items())
    with stranger({"/metrics": (200, metrics), "/readyz": (503, "why\x1b[2J\u009b2J é\n")}) as url:
        r = subprocess.run([KVEIL, "status", "--once", url], capture_output=True, text=True, timeout=60)
    assert r.returncode == 1, r
    assert "\x1b" not in r.stdout and "\u009b" not in r.stdout, r.stdout
    assert "kveil version?[2J??2J  up" in r.stdout and "rules digest?[2J??2J" in r.stdout, r.stdout
    assert "overdue: the next version of key?[2J??2J, by" in r.stdout and "topic?[2J??2J: 1 partition" in r.stdout, r.stdout
    assert "waits: why?[2J?2J é" in r.stdout, r.stdout
