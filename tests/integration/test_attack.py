# SPDX-License-Identifier: Apache-2.0
"""The promise under attack: hostile records, kills at random moments, every log at its loudest; then every byte that
left is searched for what went in."""
import base64
import json
import os
import pathlib
import random
import time

import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ConfigSource
from conftest import wait_for

CANARY = "CANARY7f3a"
FIELDS = """\
  - {path: "$.p", mask: {keep_first: 0}}
  - {path: "$..s", encrypt: {key: pii}}
  - {path: "$.q", when: "$.c == 'CN'", hash: {key: pepper}}
  - {path: "$.q", remove: true}
  - {path: "$.w", mask: {}, to: "$.masked"}
  - {path: "key:$", hash: {key: pepper}}
  - {path: "header:user", encrypt: {key: pii}}
"""


def hostile(i, rng):
    """A record that names the canary only where a rule does, or that is not a record at all."""
    c = f"{CANARY}{i}"
    escaped = "".join(f"\\u{ord(x):04x}" for x in c)
    whole = [
        f'{{"p":"{c}"}}', f'{{"\\u0070":"{c}","p":"{c}","p":"{escaped}"}}', f'{{"a":[{{"s":"{c}"}}],"s":"{escaped}"}}',
        f'{{"q":"{c}","c":"CN"}}', f'{{"q":["{c}"],"c":5}}', f'{{"q":"{c}","c":{{"CN":1}}}}', f'{{"w":"{c}","masked":"{c}"}}',
        f'{{"w":"{c}","w":"{c}"}}', f'{{"p":["{c}"]}}', f'{{"s":{{"x":"{c}"}}}}', f'{{"p":"{c}","s":5}}',
        f'{{"w":"{c}","w":"{c}","masked":1}}', f'{{"p":"{c}"', f'{{"p":"{c}"}} {{"p":"{c}"}}', f'{{"p":"{c}\x00"}}',
        f'\ufeff{{"p":"{c}"}}', f'{{"p":"{c}\\ud800"}}', f"{{'p':'{c}'}}", f'{{"p":{c}}}', "[" * 300 + f'"{c}"' + "]" * 300,
    ]
    data = rng.choice(whole)
    value = data.encode(rng.choice(["utf-8", "utf-8", "utf-8", "utf-16"]))
    if rng.random() < 0.1:
        value = None
    if rng.random() < 0.1:
        value = value[:rng.randrange(len(value))] + b"\xff" + c.encode() if value else value
    return {"key": c.encode(), "value": value, "headers": [("user", c.encode()), ("user", None), ("n", str(i).encode())]}


def looks_clear(data):
    escaped = "".join(f"\\u{ord(x):04x}" for x in CANARY).encode()
    return any(x in data for x in (CANARY.encode(), escaped, CANARY.encode("utf-16-le"), base64.b64encode(CANARY.encode())[:12],
                                   CANARY.encode().hex().encode()))


def sealed(message, nonces):
    """Adds lease and counter of each AES-GCM ciphertext in a message."""
    def take(text):
        raw = base64.b64decode(text)
        if raw[:1] == b"\x01":
            nonces.setdefault(raw[1:17], set()).add(raw)
    def walk(v):
        for name, x in v.items() if isinstance(v, dict) else enumerate(v) if isinstance(v, list) else ():
            take(x) if name == "s" else walk(x)
    if message.value():
        walk(json.loads(message.value()))
    for name, x in message.headers() or []:
        if name == "user" and x:
            take(x)


@pytest.mark.long(60)
def test_nothing_clear_leaves_whatever_goes_wrong(make_kveil, kafka):
    rng = random.Random(20240607)
    k = make_kveil(partitions=2)
    k.rules(FIELDS)
    k.config(kafka.bootstrap, workers=2, extra="log: {level: debug}")
    config = k.dir / "kveil.yaml"
    config.write_text(config.read_text().replace("kafka:\n", "kafka:\n  properties: {debug: all}\n", 1))
    k.init()
    count = 6000
    scraped = b""
    k.start()
    for part in range(6):
        kafka.produce(k.topic, [{**hostile(i, rng), "partition": i % 2} for i in range(part * 1000, part * 1000 + 1000)])
        scraped += "".join(k.get(path)[1] for path in ("/metrics", "/stats", "/", "/readyz")).encode()
        time.sleep(rng.random() * 0.6)
        if part < 5:
            k.processes[-1].kill()
            k.processes[-1].wait()
            # Rules swapped for a torn file at the same time: the next start must refuse it, not run without it.
            if part == 2:
                file = k.dir / "rules" / f"{k.name}.yaml"
                text = file.read_text()
                file.write_text(text[:len(text) // 2] + "\n  - {path: \"$.")
                assert k.run("run", "-c", "kveil.yaml").returncode == 2
                file.write_text(text)
            k.start(ready=part % 2 == 0)
    wait_for("all of it committed", lambda: sum(kafka.committed(k.group, k.topic, p) for p in (0, 1)) == count, 60)
    scraped += "".join(k.get(path)[1] for path in ("/metrics", "/stats", "/", "/readyz")).encode()
    assert k.stop() == 0
    assert not looks_clear(scraped)
    ends = {t: sum(kafka.end_offsets(t).values()) for t in (k.secure, k.dead)}
    out, dead = kafka.consume(k.secure, ends[k.secure]), kafka.consume(k.dead, ends[k.dead])
    seen, nonces = set(), {}
    for m in out + dead:
        every = b"|".join([m.key() or b"", m.value() or b"", *(n.encode() + b"=" + (v or b"") for n, v in m.headers() or [])])
        assert not looks_clear(every), every
    for m in out:
        sealed(m, nonces)
        seen.add((m.partition(), int(dict(m.headers())["n"])))
    letters = {(int(dict(m.headers())["kveil.error.partition"]), int(dict(m.headers())["kveil.error.offset"])) for m in dead}
    assert len(seen) + len(letters) == count  # every record is in one or the other
    assert len(nonces) > 1000
    assert all(len(texts) == 1 for texts in nonces.values())  # a nonce never seals two texts
    for p in k.processes:
        assert not looks_clear(p.log.read_bytes())


def test_a_record_that_asks_for_much_memory_is_set_aside(make_kveil, kafka):
    k = make_kveil()
    k.rules('  - {path: "$.a[*]", remove: true}\n  - {path: "$.p", mask: {}}')
    big = ConfigResource(ConfigResource.Type.TOPIC, k.topic, incremental_configs=[
        ConfigEntry("max.message.bytes", "10000000", ConfigSource.DYNAMIC_TOPIC_CONFIG,
                    incremental_operation=AlterConfigOpType.SET)])
    kafka.admin.incremental_alter_configs([big])[big].result(30)
    k.init()
    p = k.start()
    hostile_array = b'{"a":[' + b"1," * 4_000_000 + b"1]}"
    kafka.produce(k.topic, [b'{"p":"x"}', hostile_array, hostile_array, b'{"p":"y"}'])
    assert [m.value() for m in kafka.consume(k.secure, 2)] == [b'{"p":"*"}', b'{"p":"*"}']
    assert k.metric("kveil_records_failed_total", code="too_large") == 2
    peak = next(x for x in (pathlib.Path("/proc") / str(p.pid) / "status").read_text().splitlines() if "VmHWM" in x)
    if "build-asan" not in os.environ.get("KVEIL_BIN", ""):
        assert int(peak.split()[1]) < 200 * 1024, peak
    assert k.stop() == 0
