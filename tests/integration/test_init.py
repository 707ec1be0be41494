# SPDX-License-Identifier: Apache-2.0
"""`kveil init`: what it writes holds together, and holds nothing of the sample."""
import json
import os
import pty
import subprocess
import uuid

import pytest
import yaml
from conftest import KVEIL

SAMPLE = [
    {"id": 7, "customer": {"id_card": "11010119900307758X", "phone": "13877130001", "full name": "Canary Lane"},
     "cards": [{"card_number": "4111111111111111", "cvv": 771}], "e-mail": "canary@lane.example", "mobile_no": 13900139771,
     "地址": "canary road 771", "it's": "odd", "memo": None, "ok": True, "amount": 12.5},
    {"id": 8, "extra": {"contact": "+14155577100"}, "list": ["canary", 771]},
]
CANARIES = ["Canary", "canary", "771", "4111", "11010119900307758", "1387713", "415557"]


def init(*args, cwd, stdin=subprocess.DEVNULL):
    return subprocess.run([str(KVEIL), "init", *args], cwd=cwd, stdin=stdin, capture_output=True, text=True, timeout=60)


def kveil(*args, cwd):
    r = subprocess.run([str(KVEIL), *args], cwd=cwd, capture_output=True, text=True, timeout=60)
    assert r.returncode == 0, r.stdout + r.stderr
    return r.stdout


@pytest.mark.parametrize("form", ["lines", "one"])
def test_from_a_sample(tmp_path, form):
    (tmp_path / "sample.json").write_text("\n".join(json.dumps(r, ensure_ascii=form == "one") for r in SAMPLE) + "\n"
                                          if form == "lines" else json.dumps(SAMPLE[0], indent=2))
    r = init("--sample", "sample.json", "--topic", "etl.orders", "--brokers", "kafka-1:9092,kafka-2:9092", "here", cwd=tmp_path)
    assert r.returncode == 0, r.stdout + r.stderr
    rules = yaml.safe_load((tmp_path / "here/rules/etl.orders.yaml").read_text())
    found = {f["path"]: next(k for k in f if k != "path") for f in rules["fields"]}
    wanted = {"$.customer.id_card": "encrypt", "$.customer.phone": "mask", "$.customer['full name']": "mask",
              "$.cards[*].card_number": "encrypt", "$.cards[*].cvv": "remove", "$['e-mail']": "hash",
              "$.mobile_no": "encrypt", "$.地址": "encrypt"}
    assert found == wanted | ({"$.extra.contact": "mask"} if form == "lines" else {})
    for name in ("etl.orders.yaml", "etl.orders.examples.yaml"):
        text = (tmp_path / "here/rules" / name).read_text()
        assert not [c for c in CANARIES if c in text], text
    # What it made is as visible as by `kveil keys`.
    assert "event: kek_created kek=local command=init " in r.stderr and "event: registry_created " in r.stderr
    made = json.loads(kveil("keys", "history", "--json", "-c", "here/kveil.yaml", cwd=tmp_path))
    assert [e["event"] for e in made][:2] == ["registry_created", "key_created"] and {e["command"] for e in made} == {"init"}
    # The lines that it prints to go on with.
    kveil("test", "-r", "here/rules/", cwd=tmp_path)
    kveil("check", "-c", "here/kveil.yaml", cwd=tmp_path)
    out = kveil("apply", "--demo-keys", "-r", "here/rules/etl.orders.yaml", "sample.json", cwd=tmp_path)
    assert "Canary" not in out and "4111" not in out and "13877130001" not in out and '"amount": 12.5' in out
    for line in ("kveil test -r here/rules/", "kveil apply --demo-keys --diff -r here/rules/etl.orders.yaml sample.json",
                 "kveil run -c here/kveil.yaml"):
        assert line in r.stdout
    assert (tmp_path / "here/kek").stat().st_mode & 0o777 == 0o600

    # Nothing that is there is changed.
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    for args in [["here"], ["--topic", "etl.orders", "here"], ["--topic", "other", "here"]]:
        r = init(*args, cwd=tmp_path)
        assert r.returncode == 2 and "already exists: nothing was written" in r.stderr
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_what_cannot_be_meant(tmp_path):
    (tmp_path / "bad.json").write_text('{"a": 1}\n[2]\n')
    for args, code, why in [
        (["--topic", "a/b"], 2, "not a topic name"),
        (["--topic", '..'], 2, "not a topic name"),
        (["--brokers", 'x" }'], 2, "is not HOST:PORT"),
        (["--sample", "none.json"], 2, "none.json"),
        (["--sample", "bad.json"], 1, "bad.json:2: no JSON object"),
        (["a", "b"], 2, "is too much"),
    ]:
        r = init(*args, cwd=tmp_path)
        assert r.returncode == code and why in r.stderr, (args, r)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.json"]


def test_it_asks_on_a_terminal(tmp_path):
    main, side = pty.openpty()
    try:
        os.write(main, b"kafka:9092\n\n\n")
        r = init("asked", cwd=tmp_path, stdin=side)
    finally:
        os.close(main)
        os.close(side)
    assert r.returncode == 0 and r.stderr.count(": ") >= 3 and "[localhost:9092]" in r.stderr, r
    config = yaml.safe_load((tmp_path / "asked/kveil.yaml").read_text())
    assert config["kafka"] == {"bootstrap_servers": "kafka:9092", "group_id": "kveil-orders"}
    assert yaml.safe_load((tmp_path / "asked/rules/orders.yaml").read_text())["topics"] == ["orders"]
    kveil("test", "-r", "asked/rules/", cwd=tmp_path)


ROW = {"id": 7, "phone": "13877130001", "email": "canary@lane.example", "amount": 3}
EVENTS = {
    "debezium": {"before": None, "after": ROW, "source": {"db": "d", "table": "t", "name": "canary"}, "op": "c", "ts_ms": 1},
    "connect": {"schema": {"type": "struct", "fields": []}, "payload": ROW},
    "canal": {"data": [ROW], "old": [{"phone": "13877130002"}], "database": "d", "table": "t", "type": "UPDATE", "isDdl": False},
    "maxwell": {"database": "d", "table": "t", "type": "insert", "ts": 1, "data": ROW},
    "ogg": {"table": "d.t", "op_type": "I", "after": ROW},
}
# Other events of Debezium.
AS_DEBEZIUM = {
    "wrapped": {"schema": {"type": "struct"}, "payload": EVENTS["debezium"]},
    "mongodb": {"before": None, "after": json.dumps(ROW | {"_id": {"$oid": "596e2758"}, "phone": {"$numberLong": ROW["phone"]}}),
                "updateDescription": None, "source": {"connector": "mongodb", "db": "d", "collection": "t"}, "op": "c"},
    "flat": ROW | {"__op": "c", "__source_table": "t"},
}


@pytest.mark.parametrize("kind", [*EVENTS, *AS_DEBEZIUM])
def test_from_change_events(tmp_path, kind):
    event = (EVENTS | AS_DEBEZIUM)[kind]
    (tmp_path / "sample.json").write_text(json.dumps(event) + "\n")
    (tmp_path / "gaps.json").write_text(json.dumps(event) + "\n\n null\nNULL\n" + json.dumps(event) + "\n")
    assert init("--sample", "gaps.json", "gaps", cwd=tmp_path).returncode == 0
    r = init("--sample", "sample.json", cwd=tmp_path)
    assert r.returncode == 0, r.stdout + r.stderr
    text = (tmp_path / "rules/sample.yaml").read_text()
    rules = yaml.safe_load(text)
    assert rules["envelope"] == ("debezium" if kind in AS_DEBEZIUM else kind)
    assert {f["path"] for f in rules["fields"]} == {"$.phone", "$.email"}
    examples = (tmp_path / "rules/sample.examples.yaml").read_text()
    assert not [c for c in CANARIES if c in text + examples]
    kveil("test", "--strict", "-r", "rules/", cwd=tmp_path)
    kveil("check", cwd=tmp_path)
    if kind not in ("connect", "wrapped"):  # with a schema, which this sample only hints at
        out = kveil("apply", "--demo-keys", "-r", "rules/sample.yaml", "sample.json", cwd=tmp_path)
        assert "1387713" not in out and "canary@" not in out and ('"amount": 3' in out or '\\"amount\\": 3' in out)


def test_columns_in_keys(tmp_path, kafka):
    """What stands in the records' keys has to be the same each time, or each record is a dead letter."""
    row = {"id_card": "11010119900307758X", "no": 7, "phone": "13877130001"}
    event = {"before": None, "after": row, "op": "c"}
    records = [{"topic": "t", "partition": 0, "offset": i, "key": json.dumps({"id_card": row["id_card"]}), "payload": value}
               for i, value in enumerate([json.dumps(event), None, json.dumps(event | {"op": "u"})])]
    (tmp_path / "sample.json").write_text("".join(json.dumps(r) + "\n" for r in records))
    r = init("--sample", "sample.json", "one", cwd=tmp_path)
    assert r.returncode == 0 and "kveil apply --demo-keys --diff -J -r one/rules/sample.yaml sample.json" in r.stdout, r
    topic = f"init.{uuid.uuid4().hex[:8]}"
    kafka.create(topic)
    kafka.produce(topic, [{"key": r["key"].encode(), "value": r["payload"] and r["payload"].encode()} for r in records])
    r = init("--sample", f"kafka:{topic}", "--brokers", kafka.bootstrap, "two", cwd=tmp_path)
    assert r.returncode == 0, r.stderr
    for where, name in (("one", "sample"), ("two", topic)):
        rules = yaml.safe_load((tmp_path / f"{where}/rules/{name}.yaml").read_text())
        assert rules["envelope"] == "debezium" and {f["path"]: list(f)[1] for f in rules["fields"]} == \
            {"$.id_card": "tokenize", "$.phone": "mask"}, rules
        kveil("check", "-c", f"{where}/kveil.yaml", cwd=tmp_path)
        kveil("test", "--strict", "-r", f"{where}/rules/", cwd=tmp_path)
        assert "~token(ids)" in (tmp_path / f"{where}/rules/{name}.examples.yaml").read_text().split("out_key")[1]
        out = kveil("apply", "--demo-keys", "-J", "-r", f"{where}/rules/{name}.yaml", "sample.json", cwd=tmp_path)
        assert "11010119900307758" not in out and "138771" not in out and len(out.splitlines()) == 3


@pytest.mark.parametrize("sample", [None, '{"a": 1}\n'])
def test_nothing_passes_that_was_not_thought_of(tmp_path, sample):
    (tmp_path / "no topic's.json").write_text(sample or "")  # so `orders`, as without a sample
    r = init(*(["--sample", "no topic's.json"] if sample else []), cwd=tmp_path)
    assert r.returncode == 0 and "0 rules suggested" in r.stdout
    assert yaml.safe_load((tmp_path / "rules/orders.yaml").read_text())["unmatched"] == "dead-letter"
    kveil("check", cwd=tmp_path)
    (tmp_path / "in.json").write_text('{"phone": "13877130001", "name": "Canary"}\n')
    r = subprocess.run([str(KVEIL), "apply", "--demo-keys", "-r", "rules/orders.yaml", "in.json"], cwd=tmp_path, capture_output=True,
                       text=True, timeout=60)
    assert r.returncode == 1 and "Canary" not in r.stdout + r.stderr


SCHEMA = {"type": "record", "name": "Customer", "namespace": "a.b", "fields": [
    {"name": "id", "type": "long"},
    {"name": "phone", "type": ["null", "string"], "default": None},
    {"name": "home", "type": {"type": "record", "name": "Place", "fields": [{"name": "street", "type": "string"}]}},
    {"name": "work", "type": ["null", "a.b.Place"]},
    {"name": "cards", "type": {"type": "array", "items": {"type": "record", "name": "Card", "fields": [
        {"name": "card_number", "type": "string"}, {"name": "next", "type": ["null", "Card"]}]}}},
    {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["A"]}}]}


def test_from_an_avro_schema(tmp_path):
    (tmp_path / "customer.avsc").write_text(json.dumps(SCHEMA, indent=1))
    r = init("--sample", "customer.avsc", cwd=tmp_path)
    assert r.returncode == 0, r.stdout + r.stderr
    rules = yaml.safe_load((tmp_path / "rules/customer.yaml").read_text())
    assert rules["name"] == "customer" and rules["topics"] == ["customer"]
    paths = {f["path"] for f in rules["fields"]}
    assert rules["format"] == "avro" and paths == {"$.phone", "$.home.street", "$.work.street", "$.cards[*].card_number"}
    kveil("check", cwd=tmp_path)
    kveil("schema", "derive", "-r", "rules/customer.yaml", "customer.avsc", cwd=tmp_path)


def test_from_a_topic(tmp_path, kafka):
    topic = f"init.{uuid.uuid4().hex[:8]}"
    kafka.create(topic, partitions=2)
    for i, row in enumerate([{"phone": "13877130001"}, {"email": "canary@lane.example"}, {"amount": 1}]):
        kafka.produce(topic, [json.dumps(row).encode()], partition=i % 2)
    kafka.produce(topic, [None, b"canary"])
    r = init("--sample", f"kafka:{topic}", "--brokers", kafka.bootstrap, cwd=tmp_path)
    assert r.returncode == 0, r.stdout + r.stderr
    rules = yaml.safe_load((tmp_path / f"rules/{topic}.yaml").read_text())
    assert rules["topics"] == [topic] and {f["path"] for f in rules["fields"]} == {"$.phone", "$.email"}
    assert "apply" not in r.stdout

    for sample, said in (("kafka:missing.topic", "has no topic missing.topic"), (f"kafka:{topic}", "already exists")):
        r = init("--sample", sample, "--brokers", kafka.bootstrap, cwd=tmp_path)
        assert r.returncode and said in r.stderr, r.stderr


def test_from_a_topic_in_avro(tmp_path, kafka):
    topic = f"init.{uuid.uuid4().hex[:8]}"
    kafka.create(topic)
    kafka.produce(topic, [b"\0\0\0\0\1canary"])
    r = init("--sample", f"kafka:{topic}", "--brokers", kafka.bootstrap, cwd=tmp_path)
    assert r.returncode == 1 and "--sample SCHEMA.avsc" in r.stderr and list(tmp_path.iterdir()) == []
    r = init("--sample", "kafka:t", "--brokers", "127.0.0.1:1", cwd=tmp_path)
    assert r.returncode == 1 and "127.0.0.1:1" in r.stderr


@pytest.mark.parametrize("gap", [None, "__debezium_unavailable_value"])
@pytest.mark.parametrize("first", ["gap", "object"])
def test_a_gap_where_an_object_stands_in_other_records(tmp_path, gap, first):
    """A delete's image, or a value that the database did not send: the rule is for what is in the object."""
    rows = [{"id": 1, "address": gap, "phone": None}, {"id": 2, "address": {"street": "1 Canary Road"}, "phone": "13877130001"}]
    rows = rows if first == "gap" else rows[::-1]
    (tmp_path / "sample.json").write_text("".join(json.dumps(r) + "\n" for r in rows))
    assert init("--sample", "sample.json", cwd=tmp_path).returncode == 0
    rules = yaml.safe_load((tmp_path / "rules/sample.yaml").read_text())
    assert {f["path"] for f in rules["fields"]} == {"$.phone", "$.address.street"}
    kveil("test", "--strict", "-r", "rules/", cwd=tmp_path)
    out = kveil("apply", "--demo-keys", "-r", "rules/sample.yaml", "sample.json", cwd=tmp_path)
    assert "Canary" not in out and "1387713" not in out and out.count("\n") == 2
