# SPDX-License-Identifier: Apache-2.0
"""examples/debezium as it stands there: PostgreSQL, Debezium in Kafka Connect, a broker, kveil, and Kafka's JsonConverter as
the reader. What leaves kveil has the types that its schema says, nothing in clear, and comes back with the inverse file."""
import glob
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest

from broker import ARCHIVE, JARS, free_port
from conftest import Kveil, wait_for

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "debezium"
PLUGINS = pathlib.Path(os.environ.get("KVEIL_DEBEZIUM_JARS", ROOT / ".cache" / "connect-plugins" / "debezium-3.6.1.Final"))
CLEAR = ["91000100001", "91000100002", "91000100003", "91000100004", "13812345678", "13987654321", "13812340000", "13711112222", "13800000000",
         "2024-01-02T03:04:05", "Lhasa", "yv4BAg", "tall", "blond", "700100013", "700100024", "likes chess", "none of yours",
         "c4ca4238a0b923820dcc509a6f75849b", "B+9y"]
# Snapshot, insert, update, key update (delete, tombstone, insert), insert, delete with its tombstone, truncate.
EVENTS = {"typed": 10, "plain": 10, "flat": 9}


class Postgres:
    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="kveil-postgres-"))
        self.port = free_port()
        self.bin = sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1]
        # It will not run as root.
        self.user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
        if self.user:
            shutil.chown(self.dir, "postgres")
        data = self.dir / "data"
        subprocess.run([*self.user, f"{self.bin}/initdb", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync", "-D", data],
                       check=True, capture_output=True, cwd=self.dir)
        self.log = open(self.dir / "log", "ab")
        self.process = subprocess.Popen(
            [*self.user, f"{self.bin}/postgres", "-D", data, "-p", str(self.port), "-k", self.dir, "-h", "127.0.0.1",
             "-c", "wal_level=logical", "-c", "fsync=off"], stdout=self.log, stderr=subprocess.STDOUT, cwd=self.dir)
        wait_for("PostgreSQL", lambda: self.psql("-c", "SELECT 1").returncode == 0, 60)

    def psql(self, *args):
        return subprocess.run([f"{self.bin}/psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-q",
                               "-v", "ON_ERROR_STOP=1", *args], capture_output=True, text=True)

    def file(self, path):
        r = self.psql("-f", str(path))
        assert r.returncode == 0, r.stderr

    def close(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


def adapt(source, target, **places):
    text = source.read_text()
    for old, new in places.items():
        text = text.replace(old, new)
    target.write_text(text)


@pytest.fixture(scope="module")
def pipeline(broker, kafka, tmp_path_factory):
    """The topics' messages: pipeline['typed'] = (as Debezium wrote them, as kveil did), and the worker."""
    folder = tmp_path_factory.mktemp("debezium")
    postgres = Postgres()
    places = {"localhost:9092": broker.bootstrap, "database.port=5432": f"database.port={postgres.port}",
              "database.hostname=localhost": "database.hostname=127.0.0.1", "plugin.path=plugins": f"plugin.path={PLUGINS.parent}",
              "localhost:8083": f"127.0.0.1:{free_port()}", "/tmp/debezium.offsets": f"{folder}/offsets"}
    names = ["connect", *EVENTS]
    for name in names:
        adapt(EXAMPLE / f"{name}.properties", folder / f"{name}.properties", **places)
    topics = [f"{kind}.public.users" for kind in EVENTS]
    kafka.create(*(t + end for t in topics for end in ("", ".secure", ".dead")))
    connect = k = None
    log = open(folder / "connect.log", "ab")
    try:
        postgres.file(EXAMPLE / "schema.sql")
        connect = subprocess.Popen(
            ["java", "-Xmx400m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", f"-XX:SharedArchiveFile={ARCHIVE}", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
             "-cp", f"{JARS}/*", "org.apache.kafka.connect.cli.ConnectStandalone",
             *(str(folder / f"{name}.properties") for name in names)], stdout=log, stderr=subprocess.STDOUT)
        work = tmp_path_factory.mktemp("kveil")
        k = Kveil(work, broker.bootstrap, "users")
        adapt(EXAMPLE / "kveil.yaml", work / "kveil.yaml", **{"localhost:9092": broker.bootstrap, "127.0.0.1:9819": f"127.0.0.1:{k.port}"})
        shutil.copy(EXAMPLE / "rules" / "users.yaml", work / "rules")
        k.init().start()
        # Each connector streams behind its snapshot.
        for topic in topics:
            kafka.consume(topic, 1, timeout=120)
        wait_for("three slots", lambda: postgres.psql(
            "-Atc", "SELECT count(*) FROM pg_replication_slots WHERE active").stdout.strip() == "3", 60)
        postgres.file(EXAMPLE / "changes.sql")
        yield {kind: (kafka.consume(f"{kind}.public.users", n, timeout=90), kafka.consume(f"{kind}.public.users.secure", n, timeout=60))
               for kind, n in EVENTS.items()}, k, kafka
    except BaseException:
        print((folder / "connect.log").read_text()[-4000:])
        raise
    finally:
        if k:
            k.close()
        if connect:
            connect.kill()
            connect.wait()
        log.close()
        postgres.close()


def test_nothing_in_clear(pipeline):
    topics, k, kafka = pipeline
    for kind, (before, after) in topics.items():
        seen = b"".join(m.value() or b"" for m in before) + b"".join(m.key() or b"" for m in before)
        assert sum(c.encode() in seen for c in CLEAR) >= len(CLEAR) - 2, kind  # the list is of what was there
        for m in after:
            for part in (m.value() or b"", m.key() or b"", *(v or b"" for _, v in m.headers() or [])):
                assert not [c for c in CLEAR if c.encode() in part], (kind, part)
        assert kafka.end_offsets(f"{kind}.public.users.dead") == {0: 0}
        assert [m.value() is None for m in before] == [m.value() is None for m in after]
        assert [m.key() is None for m in before] == [m.key() is None for m in after]


def test_json_converter_takes_all_with_the_right_types(pipeline, read_connect):
    topics, _, _ = pipeline
    texts = {"STRING": ["id", "phone", "salary", "rate", "born", "seen", "doc", "photo", "grade", "bio"]}
    for kind, row in (("typed", "$.after"), ("flat", "$")):
        before, after = topics[kind]
        values = read_connect([m.value() for m in after if m.value()])
        keys = read_connect([m.key() for m in after if m.key()])
        assert all(key["$.id"].type == "STRING" and not key["$.id"].optional for key in keys)
        rows = [v for v in values if f"{row}.id" in v]
        for v in rows:
            for name in texts["STRING"]:
                assert (v[f"{row}.{name}"].type, v[f"{row}.{name}"].name) == ("STRING", "null"), name
            # What no rule names is as it was.
            changed, active = v[f"{row}.changed"], v[f"{row}.active"]
            assert (changed.type, changed.name) == ("INT64", "io.debezium.time.MicroTimestamp") and active.type == "BOOLEAN"
            assert v[f"{row}.phone"].default == "" and not v[f"{row}.phone"].optional
        first = rows[0]
        assert first[f"{row}.phone"].value == "138****5678" and first[f"{row}.changed"].value == "1704164645000000"
        assert first[f"{row}.tags[0]"].value == "****" and first[f"{row}.scores[1]"].type == "STRING"
        # One type holds what the condition took and what it left.
        assert rows[1][f"{row}.grade"].value == "12" and len(first[f"{row}.grade"].value) > 40
        # A key is what the row says, byte for byte, and a tombstone's is its row's.
        assert [k["$.id"].value for k in keys][:1] == [first[f"{row}.id"].value]
        # A column that came while it ran.
        assert any(v[f"{row}.note"].type == "STRING" for v in rows if f"{row}.note" in v)
        # A value that PostgreSQL did not send passes as the placeholder.
        assert "__debezium_unavailable_value" in {v[f"{row}.bio"].value for v in rows}


def test_with_schemas_and_without_tokens_are_the_same(pipeline):
    topics, _, _ = pipeline
    typed, plain = ([json.loads(m.value()) for m in topics[kind][1] if m.value()] for kind in ("typed", "plain"))
    assert [t["payload"]["op"] for t in typed] == [p["op"] for p in plain] == ["r", "c", "u", "d", "c", "c", "d", "t"]
    for t, p in zip(typed, plain):
        for image in ("before", "after"):
            t_row, p_row = t["payload"][image], p[image]
            assert (t_row is None) == (p_row is None)
            if t_row:
                assert all(t_row[c] == p_row[c] for c in ("id", "phone", "seen", "tags", "changed", "active"))
    moved = [dict(m.headers()) for m in topics["typed"][1] if {"__debezium.newkey", "__debezium.oldkey"} & set(dict(m.headers() or []))]
    assert moved


def test_the_inverse_file_gives_values_and_schemas_back(pipeline):
    topics, k, _ = pipeline
    inverse = k.run("invert", "-r", "rules/users.yaml", check=0).stdout
    (k.dir / "inverse.yaml").write_text(inverse)
    for kind, (before, after) in topics.items():
        lines = "".join(json.dumps({"key": m.key() and m.key().decode(), "payload": m.value() and m.value().decode()}) + "\n"
                        for m in after)
        out = k.run("apply", "-J", "-c", "kveil.yaml", "-r", "inverse.yaml", check=0, input=lines).stdout
        for m, line in zip(before, out.splitlines(), strict=True):
            record = json.loads(line)
            if m.key():
                # Without a schema nothing tells that the token was a number.
                assert record["key"].encode() == m.key() or kind == "plain" and json.loads(record["key"]) == {
                    "id": str(json.loads(m.key())["id"])}
            if m.value():
                check_opened(kind, json.loads(m.value()), json.loads(record["payload"]))


def check_opened(kind, original, opened):
    """Sealed columns are what they were, and so are their types; the others were not to be had back."""
    sealed = ("id", "salary", "rate", "born", "doc", "photo", "scores", "bio")
    rows = {"typed": lambda v: [v["payload"]["before"], v["payload"]["after"]], "plain": lambda v: [v["before"], v["after"]],
            "flat": lambda v: [v["payload"]]}[kind]
    for was, now in zip(rows(original), rows(opened)):
        if was and kind == "plain":
            was = {**was, "id": str(was["id"])}
        assert was is None and now is None or {c: was[c] for c in sealed} == {c: now[c] for c in sealed}
    if kind == "plain":
        return
    fields = original["schema"]["fields"], opened["schema"]["fields"]
    if kind == "typed":
        fields = [next(f["fields"] for f in side if f["field"] == "after") for side in fields]
    was, now = ({f["field"]: f for f in side if f["field"] in sealed} for side in fields)
    for f in was.values():
        if "default" in f:
            now[f["field"]].pop("default")
            f.pop("default")
    assert was == now
