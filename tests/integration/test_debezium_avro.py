# SPDX-License-Identifier: Apache-2.0
"""examples/debezium in Avro: PostgreSQL, Debezium with Apicurio's AvroConverter, a real registry, kveil, and fastavro and the
converter as readers. The rules are those of the example."""
import subprocess

import pytest

from broker import ARCHIVE, JARS, free_port
from conftest import Kveil, wait_for
from registry import CONVERTER, Apicurio
from test_avro_run import unpack
from test_debezium import CLEAR, EXAMPLE, PLUGINS, Postgres, adapt

TOPIC = "avro.public.users"
EVENTS = 10  # as in test_debezium.py
CLASS = "io.apicurio.registry.utils.converter.AvroConverter"



def converter(registry, side):
    return "".join([f"{side}.converter={CLASS}\n", *(f"{side}.converter.{s}\n" for s in registry.serializers())])


@pytest.fixture(scope="module")
def pipeline(broker, kafka, tmp_path_factory):
    """The topic's messages as Debezium wrote them and as kveil did, the worker, and the registry."""
    folder, work = tmp_path_factory.mktemp("debezium"), tmp_path_factory.mktemp("kveil")
    places = {"localhost:9092": broker.bootstrap, "database.hostname=localhost": "database.hostname=127.0.0.1",
              "plugin.path=plugins": f"plugin.path={PLUGINS.parent},{CONVERTER.parent}", "typed": "avro",
              "plugin.discovery=service_load": "plugin.discovery=hybrid_warn",  # the converter's jar names no services
              "localhost:8083": f"127.0.0.1:{free_port()}", "/tmp/debezium.offsets": f"{folder}/offsets"}
    kafka.create(*(TOPIC + end for end in ("", ".secure", ".dead")))
    connect = k = postgres = None
    registry = Apicurio()
    log = open(folder / "connect.log", "ab")
    try:
        registry.start()
        postgres = Postgres()
        places["database.port=5432"] = f"database.port={postgres.port}"
        adapt(EXAMPLE / "connect.properties", folder / "connect.properties", **places)
        adapt(EXAMPLE / "typed.properties", folder / "avro.properties", **places)
        with open(folder / "avro.properties", "a") as f:
            f.write(converter(registry, "key") + converter(registry, "value"))
        postgres.file(EXAMPLE / "schema.sql")
        connect = subprocess.Popen(
            ["java", "-Xmx400m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", f"-XX:SharedArchiveFile={ARCHIVE}", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
             "-cp", f"{JARS}/*", "org.apache.kafka.connect.cli.ConnectStandalone", str(folder / "connect.properties"),
             str(folder / "avro.properties")], stdout=log, stderr=subprocess.STDOUT)
        k = Kveil(work, broker.bootstrap, "users")
        adapt(EXAMPLE / "kveil.yaml", work / "kveil.yaml", **{
            "localhost:9092": broker.bootstrap, "127.0.0.1:9819": f"127.0.0.1:{k.port}", "kveil-debezium": "kveil-debezium-avro"})
        with open(work / "kveil.yaml", "a") as f:
            f.write(f"schema_registry: {{url: '{registry.url}', timeout: 30s}}\n")
        adapt(EXAMPLE / "rules" / "users.yaml", work / "rules" / "users.yaml", **{
            "typed.public.users, plain.public.users, flat.public.users": TOPIC, "format: json": "format: avro"})
        k.init().start()
        kafka.consume(TOPIC, 1, timeout=120)
        wait_for("the slot", lambda: postgres.psql(
            "-Atc", "SELECT count(*) FROM pg_replication_slots WHERE active").stdout.strip() == "1", 60)
        postgres.file(EXAMPLE / "changes.sql")
        yield (kafka.consume(TOPIC, EVENTS, timeout=90), kafka.consume(f"{TOPIC}.secure", EVENTS, timeout=90), k, registry)
    except BaseException:
        print((folder / "connect.log").read_text()[-4000:])
        print(k and [p.read_text()[-3000:] for p in work.glob("run*.log")])
        raise
    finally:
        if k:
            k.close()
        if connect:
            connect.kill()
            connect.wait()
        log.close()
        if postgres:
            postgres.close()
        registry.close()


@pytest.mark.timeout(900)  # three servers of Java start within it
def test_nothing_in_clear_and_all_of_it_can_be_read(pipeline):
    before, after, k, registry = pipeline
    assert [m.value() is None for m in before] == [m.value() is None for m in after]
    assert [m.key() is None for m in before] == [m.key() is None for m in after]
    seen = b"".join((m.value() or b"") + (m.key() or b"") for m in before)
    assert sum(c.encode() in seen for c in CLEAR) >= 10
    for m in after:
        for part in (m.value() or b"", m.key() or b"", *(v or b"" for _, v in m.headers() or [])):
            assert not [c for c in CLEAR if c.encode() in part], part
    was, now = ([m.value() and unpack(registry, m.value())[1] for m in side] for side in (before, after))
    keys = [m.key() and unpack(registry, m.key())[1] for m in after]
    assert [e and e["op"] for e in was] == [e and e["op"] for e in now]
    for old, new, key in zip(was, now, keys):
        for image in ("before", "after") if old else ():
            a, b = old[image], new[image]
            assert (a is None) == (b is None)
            if b is None:
                continue
            # What no rule names is as it was; what one does is a text or bytes of another kind.
            assert (a["changed"], a["active"]) == (b["changed"], b["active"])
            assert a["phone"] in ("", None) or b["phone"] == a["phone"][:3] + "*" * (len(a["phone"]) - 7) + a["phone"][-4:]
            assert all(isinstance(b[c], str) for c in ("id", "phone")) and a["id"] != b["id"]
            assert b["photo"] is None or isinstance(b["photo"], bytes) and b["photo"] != a["photo"]
            if image == "after":
                assert key["id"] == b["id"]
    # What the registry has of the output tells nothing either.
    for side in ("key", "value"):
        for version in registry.call("GET", f"/subjects/{TOPIC}.secure-{side}/versions"):
            text = registry.call("GET", f"/subjects/{TOPIC}.secure-{side}/versions/{version}")["schema"]
            assert "13800000000" not in text


def test_the_converter_reads_it_with_its_schemas(pipeline, read_connect):
    """Apicurio's deserializer in Kafka Connect: names of changed columns' semantic types are gone, those of others are there."""
    _, after, _, registry = pipeline
    values, keys = (read_connect([part for part in parts if part], CLASS, *registry.serializers(), jars=CONVERTER)
                    for parts in ([m.value() for m in after], [m.key() for m in after]))
    rows = [v for v in values if "$.after.id" in v]
    for v in rows:
        for name, kind in (("id", "STRING"), ("phone", "STRING"), ("salary", "BYTES"), ("seen", "STRING"), ("photo", "BYTES")):
            assert (v[f"$.after.{name}"].type, v[f"$.after.{name}"].name) == (kind, "null"), (name, v[f"$.after.{name}"])
        assert v["$.after.changed"].name == "io.debezium.time.MicroTimestamp" and v["$.after.active"].type == "BOOLEAN"
    assert rows[0]["$.after.phone"].value == "138****5678" and keys[0]["$.id"].value == rows[0]["$.after.id"].value
