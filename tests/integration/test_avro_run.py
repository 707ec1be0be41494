# SPDX-License-Identifier: Apache-2.0
"""Records in Avro through a worker, a real broker and a schema registry."""
import base64
import io
import json
import signal
import struct
import time
import uuid

import fastavro
import pytest

from conftest import wait_for
from registry import Apicurio, Registry, error

V1 = {"type": "record", "name": "User", "namespace": "com.acme", "fields": [
    {"name": "n", "type": "long"},
    {"name": "phone", "type": ["null", "string"], "default": None},
    {"name": "pin", "type": "int", "default": 4711},
    {"name": "born", "type": {"type": "int", "logicalType": "date"}},
]}
V2 = {**V1, "fields": V1["fields"] + [{"name": "mail", "type": "string", "default": "CANARY@example.com"}]}
RULES = """\
  - {path: "$.phone", encrypt: {key: pii}}
  - {path: "$.pin", mask: {}}
  - {path: "$.mail", hash: {key: pepper}}
"""
CANARY = "13812345678"


@pytest.fixture
def registry():
    r = Registry().start()
    yield r
    r.stop()


def pack(schema, value):
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return out.getvalue()


def frame(number, schema, value):
    return struct.pack(">BI", 0, number) + pack(schema, value)


def unpack(registry, data):
    """As a consumer does: by the id in front and what the registry has for it."""
    magic, number = struct.unpack(">BI", data[:5])
    stream = io.BytesIO(data[5:])
    text = registry.call("GET", f"/schemas/ids/{number}")["schema"] if isinstance(registry, Apicurio) else \
        registry.schemas[number]["schema"]
    value = fastavro.schemaless_reader(stream, fastavro.parse_schema(json.loads(text)), None)
    assert magic == 0 and stream.read() == b""
    return number, value


def user(n, **more):
    return {"n": n, "phone": CANARY, "pin": 4711, "born": 7000, **more}


def make(make_kveil, kafka, registry, rules=RULES, partitions=1, top="", timeout="10s", data=""):
    k = make_kveil(partitions=partitions)
    k.config(kafka.bootstrap, extra=f"schema_registry: {{url: '{registry.url}', timeout: {timeout}}}\n",
             data=data)
    k.rules(rules, top=top)
    text = k.dir / "rules" / f"{k.name}.yaml"
    text.write_text(text.read_text().replace("format: json", "format: avro"))
    return k.init()


def assert_no_canary(registry, *messages):
    for m in messages:
        assert CANARY.encode() not in (m.value() or b"") and b"CANARY" not in (m.value() or b"")
    for subject, versions in registry.subjects.items():
        if subject.endswith(".secure-value"):
            for v in versions:
                assert "CANARY" not in registry.schemas[v]["schema"] and "4711" not in registry.schemas[v]["schema"]


def test_two_versions_interleaved_and_a_third_while_running(make_kveil, kafka, registry):
    k = make(make_kveil, kafka, registry)
    one, two = (registry.register(f"{k.topic}-value", v) for v in (V1, V2))
    k.start()
    kafka.produce(k.topic, [frame(two, V2, user(i, mail="CANARY")) if i % 2 else frame(one, V1, user(i))
                            for i in range(40)])
    got = kafka.consume(k.secure, 40, settle=0.5)
    assert_no_canary(registry, *got)
    derived = {i: unpack(registry, m.value()) for i, m in enumerate(got)}
    for i, (number, value) in derived.items():
        assert value["n"] == i and value["pin"] == "****" and str(value["born"]) == "1989-03-02"
        assert ("mail" in value) == bool(i % 2) and value["phone"] != CANARY
    # One derived schema a version, under the output's subject; each asked about once.
    assert len({number for number, _ in derived.values()}) == 2
    assert registry.subjects[f"{k.secure}-value"] == [derived[0][0], derived[1][0]]
    assert registry.count(rf"GET /schemas/ids/{one}$") == registry.count(rf"GET /schemas/ids/{two}$") == 1
    three = registry.register(f"{k.topic}-value", {**V1, "doc": "third"})
    kafka.produce(k.topic, [frame(three, V1, user(40)), frame(one, V1, user(41)), {"value": None, "key": b"k"}])
    third, again, tombstone = kafka.consume(k.secure, 43, settle=0.5)[40:]
    assert unpack(registry, third.value())[0] not in {number for number, _ in derived.values()}
    assert unpack(registry, again.value())[0] == derived[0][0] and tombstone.value() is None
    assert kafka.end_offsets(k.dead) == {0: 0}
    # A replica that starts later comes to the same ids.
    assert k.stop() == 0
    k.start()
    kafka.produce(k.topic, [frame(two, V2, user(43, mail="CANARY"))])
    assert unpack(registry, kafka.consume(k.secure, 44)[43].value())[0] == derived[1][0]
    assert k.stop() == 0


def test_more_schemas_than_a_worker_keeps(make_kveil, kafka, registry):
    """Thirty take twice what it may keep of them: each is gone when it comes again, and is taken up again."""
    k = make(make_kveil, kafka, registry)
    columns = [{"name": f"column_{i}", "type": ["null", "string"], "default": None} for i in range(2000)]
    ids = [registry.register(f"{k.topic}-value", {**V1, "doc": str(i), "fields": V1["fields"] + columns}) for i in range(30)]
    k.start()
    kafka.produce(k.topic, [struct.pack(">BI", 0, number) + pack(V1, user(i)) + bytes(2000) for i, number in enumerate(ids + ids)])
    got = kafka.consume(k.secure, 60, settle=0.5, timeout=120)
    assert_no_canary(registry, *got)
    numbers = [struct.unpack(">BI", m.value()[:5])[1] for m in got]
    assert numbers == registry.subjects[f"{k.secure}-value"] * 2 and len(set(numbers)) == 30
    assert [unpack(registry, m.value())[1]["n"] for m in (got[0], got[29], got[30], got[59])] == [0, 29, 30, 59]
    assert kafka.end_offsets(k.dead) == {0: 0} and k.stop() == 0


def test_with_apicurio(make_kveil, kafka):
    registry = Apicurio().start()
    try:
        k = make(make_kveil, kafka, registry, timeout="30s")
        one, two = (registry.register(f"{k.topic}-value", v) for v in (V1, V2))
        k.start()
        kafka.produce(k.topic, [frame(two, V2, user(i, mail="CANARY")) if i % 2 else frame(one, V1, user(i))
                                for i in range(10)])
        got = kafka.consume(k.secure, 10, settle=0.5, timeout=120)
        read = [unpack(registry, m.value()) for m in got]
        assert [v["n"] for _, v in read] == list(range(10)) and {v["pin"] for _, v in read} == {"****"}
        assert registry.call("GET", f"/subjects/{k.secure}-value/versions") == [1, 2]
        for number in {number for number, _ in read}:
            text = registry.call("GET", f"/schemas/ids/{number}")["schema"]
            assert "CANARY" not in text and "4711" not in text
        assert all(CANARY.encode() not in m.value() for m in got)
        # Rules whose schema it would refuse are told at the reload, before a record.
        registry.call("PUT", f"/config/{k.secure}-value", {"compatibility": "BACKWARD"})
        k.rules(RULES + '  - {path: "$.n", mask: {}}\n')
        rules = k.dir / "rules" / f"{k.name}.yaml"
        rules.write_text(rules.read_text().replace("format: json", "format: avro"))
        k.processes[-1].send_signal(signal.SIGHUP)
        why = wait_for("the condition", lambda: "schema_refused" in k.get("/readyz")[1] and k.get("/readyz")[1], timeout=60)
        assert f"{k.secure}-value" in why and "incompatible" in why
        assert registry.call("GET", f"/subjects/{k.secure}-value/versions") == [1, 2]
        registry.call("PUT", f"/config/{k.secure}-value", {"compatibility": "NONE"})
        wait_for("ready again", lambda: k.get("/readyz")[0] == 200, timeout=60)
        assert k.stop() == 0
    finally:
        registry.close()


def test_what_was_protected_is_opened_again(make_kveil, kafka, registry, keyset):
    """Decrypting takes the same way, and the writer's own schema comes out, each byte of the values as it was."""
    mark, places = b"twelve bytes", [{"city": "Basel", "since": 7}, {"city": CANARY, "since": None}]
    place = {"type": "record", "name": "com.acme.Place", "fields": [
        {"name": "city", "type": "string"}, {"name": "since", "type": ["null", {"type": "int", "logicalType": "date"}]}]}
    schema = {**V1, "fields": V1["fields"] + [
        {"name": "level", "type": {"type": "enum", "name": "Level", "symbols": ["LOW", "HIGH"]}, "default": "LOW"},
        {"name": "mark", "type": ["null", {"type": "fixed", "name": "Mark", "size": 12}]},
        {"name": "home", "type": ["null", place]}, {"name": "places", "type": {"type": "array", "items": "com.acme.Place"}}]}
    k = make(make_kveil, kafka, registry, rules=
             "".join(f'  - {{path: "$.{f}", encrypt: {{key: pii, type: json}}}}\n' for f in ("pin", "home", "places")) +
             "".join(f'  - {{path: "$.{f}", encrypt: {{key: pii}}}}\n' for f in ("phone", "level", "mark")))
    one = registry.register(f"{k.topic}-value", schema)
    sent = [frame(one, schema, user(i, level="HIGH", mark=mark if i else None, home=places[i - 1] if i else None, places=places))
            for i in range(3)]
    k.start()
    kafka.produce(k.topic, sent)
    sealed = kafka.consume(k.secure, 3)
    assert f'"kveil.schema":{{"id":{one},' in registry.latest(f"{k.secure}-value")[1]
    assert "HIGH" not in registry.latest(f"{k.secure}-value")[1] and mark not in b"".join(m.value() for m in sealed)
    assert k.stop() == 0
    # Sealed whole: Avro's single-object encoding, which the field's own schema reads.
    ciphertext = unpack(registry, sealed[2].value())[1]["home"]
    whole = keyset(k, "pii").decrypt(base64.b64decode(ciphertext), f"{k.name}:$['home']".encode())
    canonical = fastavro.schema.to_parsing_canonical_form(place)
    assert whole[:2] == b"\xc3\x01" and whole[2:10].hex() == fastavro.schema.fingerprint(canonical, "CRC-64-AVRO")
    assert fastavro.schemaless_reader(io.BytesIO(whole[10:]), fastavro.parse_schema(place), None) == places[1]
    rules, back = k.dir / "rules" / f"{k.name}.yaml", f"{k.topic}.back"
    kafka.create(back, f"{k.secure}.dead")
    rules.write_text(rules.read_text().replace(f"topics: [{k.topic}]", f"topics: [{k.secure}]\noutput: {back}")
                     .replace("encrypt:", "decrypt:"))
    k.start()
    assert [m.value() for m in kafka.consume(back, 3, settle=0.5)] == sent
    assert registry.subjects[f"{back}-value"] == [one]
    assert k.stop() == 0
    # A registry without it is no reason to leave values sealed: symbols are told as texts. What was sealed whole needs it.
    rules.write_text("".join(line + "\n" for line in rules.read_text().splitlines() if "$.home" not in line and "$.places" not in line))
    del registry.schemas[one]
    k.start(env={"KVEIL_FAILPOINT": "schemas-unknown-at-once"})
    kafka.produce(k.secure, [sealed[1].value()])
    value = unpack(registry, kafka.consume(back, 4, settle=0.5)[3].value())[1]
    assert (value["phone"], value["pin"], value["level"], value["mark"]) == (CANARY, 4711, "HIGH", mark)
    assert kafka.end_offsets(f"{k.secure}.dead") == {0: 0} and k.stop() == 0


def test_what_a_new_schema_lacks(make_kveil, kafka, registry):
    """A tag that vanishes counts on, and is told; so is a rule whose field has another name now."""
    def tagged(name, tag):
        return {"name": name, "type": "string", **({"confluent:tags": ["PII"]} if tag else {})}
    k = make(make_kveil, kafka, registry, rules='  - {tags: [PII], encrypt: {key: pii}}\n  - {path: "$.pin", mask: {}}\n')
    schemas = [{"type": "record", "name": "User", "namespace": "com.acme", "fields": fields} for fields in (
        [tagged("phone", True), {"name": "pin", "type": "int"}, tagged("mail", False)],
        [tagged("phone", False), {"name": "pin_code", "type": "int"}, tagged("mail", False)])]
    one = registry.register(f"{k.topic}-value", schemas[0], metadata={"tags": {"com.acme.*.mail": ["PII"]}})
    two = registry.register(f"{k.topic}-value", schemas[1])
    k.start()
    kafka.produce(k.topic, [frame(one, schemas[0], {"phone": CANARY, "pin": 7, "mail": CANARY})])
    kafka.consume(k.secure, 1)
    kafka.produce(k.topic, [frame(two, schemas[1], {"phone": CANARY, "pin_code": 7, "mail": CANARY})])
    got = kafka.consume(k.secure, 2, settle=0.5)
    assert_no_canary(registry, *got)
    assert [sorted(unpack(registry, m.value())[1]) for m in got] == [["mail", "phone", "pin"], ["mail", "phone", "pin_code"]]
    assert k.metric("kveil_events_total", event="schema_lacks_field") == 3
    assert k.stop() == 0
    said = (k.dir / "run0.log").read_text()
    for what in ("com.acme.User.phone is tagged PII no longer", "com.acme.User.mail is tagged PII no longer", "the rule for $.pin names"):
        assert said.count(what) == 1, said


def user_type(name="User", **tags):
    """Fields by name, tagged or not."""
    return {"type": "record", "name": name, "namespace": "com.acme", "fields": [
        {"name": field, "type": "string", **({"confluent:tags": ["PII"]} if tag else {})} for field, tag in tags.items()]}


def send(k, kafka, registry, schema, count, **more):
    """One record, and what came of all count records so far in the end."""
    number = registry.register(f"{k.topic}-value", schema, **more)
    kafka.produce(k.topic, [frame(number, schema, {f["name"]: CANARY for f in schema["fields"]})])
    got = kafka.consume(k.secure, count, settle=0.5)
    return unpack(registry, got[-1].value())[1]


@pytest.mark.parametrize("action, gone", [("encrypt: {key: pii}", False), ("mask: {}", False), ("nullify: true", False),
                                          ("remove: true", True)])
def test_a_tag_that_vanishes_counts_over_a_restart(make_kveil, kafka, registry, action, gone):
    """What the derived schema under the output's subject has tagged stays protected, also where nobody has met the
    tag; until rules are taken anew."""
    k = make(make_kveil, kafka, registry, rules=f"  - {{tags: [PII], {action}}}\n")
    one, two = user_type(phone=True, mail=False, n=False), user_type(phone=False, mail=False, n=False)
    three = user_type(phone=False, mail=False, n=False, more=False)
    tags = {"metadata": {"tags": {"com.acme.User.mail": ["PII"]}}}

    def is_clear(value):
        assert all((name not in value) == gone or value[name] == CANARY for name in ("phone", "mail"))
        return value.get("phone") == CANARY, value.get("mail") == CANARY
    k.start()
    assert is_clear(send(k, kafka, registry, one, 1, **tags)) == (False, False) and k.stop() == 0
    for count, schema in ((2, two), (3, three), (4, two)):
        k.start()
        if count > 2:  # of the latest schema it is told before a record shows it
            wait_for("what the latest lacks", lambda: k.metric("kveil_events_total", event="schema_lacks_field") == 2)
        assert is_clear(send(k, kafka, registry, schema, count)) == (False, False), count
        assert k.metric("kveil_events_total", event="schema_lacks_field") == (2 if count == 2 else 4)
        if count < 4:
            assert k.stop() == 0
    for subject in registry.subjects.values():
        assert len(subject) == 3
    # Whoever registers by hand gets the text that a worker would.
    text = k.run("schema", "derive", "-c", "kveil.yaml", "-r", f"rules/{k.name}.yaml",
                 str(registry.subjects[f"{k.topic}-value"][1]), check=0).stdout.strip()
    assert registry.schemas[registry.subjects[f"{k.secure}-value"][1]]["schema"] == text
    # Files that are replaced are taken at once, and decide nothing about tags.
    rules = k.dir / "rules" / f"{k.name}.yaml"
    (k.dir / "next").write_text(rules.read_text() + '  - {path: "$.n", mask: {}}\n')
    (k.dir / "next").rename(rules)
    wait_for("new rules", lambda: "took new rules" in (k.dir / "run3.log").read_text())
    assert is_clear(send(k, kafka, registry, two, 5)) == (False, False)
    k.processes[-1].send_signal(signal.SIGHUP)
    wait_for("new rules", lambda: (k.dir / "run3.log").read_text().count("took new rules") == 2)
    assert is_clear(send(k, kafka, registry, two, 6)) == (True, True) and k.stop() == 0
    # Which is a decision, and holds for the next program too.
    k.start()
    assert is_clear(send(k, kafka, registry, two, 7)) == (True, True) and k.stop() == 0


def test_tags_before_a_restart_are_those_of_the_type(make_kveil, kafka, registry):
    """Where a topic has several types: the latest version under the output's subject is another's."""
    k = make(make_kveil, kafka, registry, rules="  - {tags: [PII], encrypt: {key: pii}}\n")
    k.start()
    send(k, kafka, registry, user_type(phone=True), 1)
    for n in range(3):
        send(k, kafka, registry, user_type("Order", **{f"no{n}": True}), 2 + n)
    assert k.stop() == 0
    k.start()
    assert send(k, kafka, registry, user_type(phone=False), 5)["phone"] != CANARY
    # Of a type that nobody has met nothing is known.
    assert send(k, kafka, registry, user_type("Ticket", phone=False), 6)["phone"] == CANARY
    assert k.stop() == 0


def test_tags_before_a_restart_that_nobody_tells(make_kveil, kafka, registry):
    """While the registry keeps the output's subject from kveil, no record of a new schema passes."""
    k = make(make_kveil, kafka, registry, rules="  - {tags: [PII], encrypt: {key: pii}}\n")
    k.start()
    send(k, kafka, registry, user_type(phone=True), 1)
    assert k.stop() == 0
    answer, closed = registry.answer, f"/subjects/{k.secure}-value/versions/"
    registry.answer = lambda asked: error(403, 40301, "not for you") if asked.path.startswith(closed) else answer(asked)
    two = registry.register(f"{k.topic}-value", user_type(phone=False))
    k.start(ready=False)
    kafka.produce(k.topic, [frame(two, user_type(phone=False), {"phone": CANARY})])
    why = wait_for("the condition", lambda: "does not let kveil read" in k.get("/readyz")[1] and k.get("/readyz"))
    assert why[0] == 503 and "schema_refused" in why[1] and f"{k.secure}-value" in why[1]
    time.sleep(1)
    assert kafka.end_offsets(k.secure) == {0: 1} and kafka.end_offsets(k.dead) == {0: 0}
    registry.answer = answer
    assert unpack(registry, kafka.consume(k.secure, 2, timeout=60)[1].value())[1]["phone"] != CANARY
    assert k.stop() == 0


def test_a_tag_that_another_replica_met(make_kveil, kafka, registry):
    """While it runs, somebody else has registered a derived schema with a tag that this one has never seen."""
    k = make(make_kveil, kafka, registry, rules="  - {tags: [PII], encrypt: {key: pii}}\n")
    k.start()
    send(k, kafka, registry, user_type("Order", no=True), 1)
    registry.register(f"{k.secure}-value", user_type(phone=True))
    time.sleep(1.2)  # so long an answer is fresh
    assert send(k, kafka, registry, user_type(phone=False), 2)["phone"] != CANARY
    assert k.stop() == 0


def test_debezium_with_its_key(make_kveil, kafka, registry):
    """The commonest pair: AvroConverter for values and keys. The column is one token in before, after and key."""
    row = {"type": "record", "name": "Value", "fields": [
        {"name": "id", "type": "string"}, {"name": "phone", "type": ["null", "string"], "default": None}]}
    value = {"type": "record", "name": "Envelope", "namespace": "shop.users", "fields": [
        {"name": "before", "type": ["null", row], "default": None}, {"name": "after", "type": ["null", "Value"]},
        {"name": "source", "type": {"type": "record", "name": "Source", "fields": [
            {"name": "query", "type": ["null", "string"]}]}}, {"name": "op", "type": "string"}]}
    key = {"type": "record", "name": "Key", "namespace": "shop.users", "fields": [{"name": "id", "type": "string"}]}
    plain = {"type": "record", "name": "Key", "namespace": "shop.orders", "fields": [{"name": "no", "type": "long"}]}
    k = make(make_kveil, kafka, registry, rules='  - {path: "$.id", tokenize: {key: ids}}\n'
             '  - {path: "$.phone", encrypt: {key: pii}}\n', top="envelope: debezium\n",
             data="    ids: {algorithm: aes-256-siv, kek: local}")
    numbers = {name: registry.register(f"{k.topic}-{name}", s) for name, s in
               {"value": value, "key": key, "other": plain}.items()}

    def event(before, after, op, key_frame):
        source = {"query": f"UPDATE … '{CANARY}'"}
        return {"key": key_frame, "value": frame(numbers["value"], value, {
            "before": before, "after": after, "source": source, "op": op})}
    mine, canary = frame(numbers["key"], key, {"id": CANARY}), {"id": CANARY, "phone": CANARY}
    untouched = frame(numbers["other"], plain, {"no": 7})
    k.start()
    kafka.produce(k.topic, [event(None, canary, "c", mine), event(canary, canary, "u", mine),
                            event(canary, None, "d", mine), {"key": mine, "value": None},
                            event(None, canary, "c", untouched), event(None, canary, "c", b"no frame")])
    *events, deleted, other = kafka.consume(k.secure, 5, settle=0.5)
    assert_no_canary(registry, *events, deleted, other)
    read = [unpack(registry, m.value())[1] for m in events]
    keys = {m.key() for m in (*events, deleted)}
    token = unpack(registry, deleted.key())[1]["id"]
    assert len(keys) == 1 and CANARY.encode() not in keys.pop() and token != CANARY and deleted.value() is None
    assert [(e["before"] or {}).get("id") for e in read] == [None, token, token]
    assert [(e["after"] or {}).get("id") for e in read] == [token, token, None]
    assert {e["source"]["query"] for e in read} == {None}
    # The key's schema stands under the output's subject; a key that no rule touches keeps its bytes, the id among them.
    assert registry.subjects[f"{k.secure}-key"] == [unpack(registry, deleted.key())[0]]
    assert other.key() == untouched
    dead = kafka.consume(k.dead, 1)
    assert dict(dead[0].headers())["kveil.error.code"] == b"unsupported_framing"
    assert k.stop() == 0


def test_ids_in_headers(make_kveil, kafka, registry):
    k = make(make_kveil, kafka, registry)
    one = registry.register(f"{k.topic}-value", V1)
    guid = uuid.UUID(registry.schemas[one]["guid"]).bytes
    k.start()
    name, value = "__value_schema_id", pack(V1, user(0))
    by_id, by_guid = struct.pack(">BI", 0, one), b"\1" + guid
    kafka.produce(k.topic, [{"value": value, "headers": [(name, b"\0\0\0\0\7"), (name, by_id)]},
                            {"value": value, "headers": [("x", b"1"), (name, by_guid)]},
                            {"value": frame(one, V1, user(0)), "headers": [(name, None)]}])
    a, b, c = kafka.consume(k.secure, 3, settle=0.5)
    # Each refers to the writer's schema as values name it.
    derived, by_other = registry.subjects[f"{k.secure}-value"]
    text = registry.schemas[derived]["schema"]
    read = fastavro.parse_schema(json.loads(text))
    assert a.headers() == [(name, struct.pack(">BI", 0, derived))] * 2
    assert b.headers() == [("x", b"1"), (name, b"\1" + uuid.UUID(registry.schemas[by_other]["guid"]).bytes)]
    assert c.headers() == [(name, None)] and unpack(registry, c.value())[0] == derived
    for m in (a, b):
        assert fastavro.schemaless_reader(io.BytesIO(m.value()), read, None)["pin"] == "****"
    assert_no_canary(registry, a, b, c)
    assert k.stop() == 0


def test_a_registry_that_is_down_stops_nothing_that_is_known(make_kveil, kafka, registry):
    k = make(make_kveil, kafka, registry, partitions=2)
    one, two = (registry.register(f"{k.topic}-value", v) for v in (V1, V2))
    k.start()
    kafka.produce(k.topic, [frame(one, V1, user(0))], partition=0)
    kafka.consume(k.secure, 1)
    registry.stop()
    kafka.produce(k.topic, [frame(two, V2, user(i, mail="CANARY")) for i in range(5)], partition=0)
    wait_for("the condition", lambda: "schema_registry_unavailable" in k.get("/readyz")[1])
    # Other partitions go on, with schemas that are known.
    kafka.produce(k.topic, [frame(one, V1, user(i)) for i in range(5)], partition=1)
    wait_for("the other partition", lambda: kafka.end_offsets(k.secure)[1] == 5)
    assert kafka.end_offsets(k.secure)[0] == 1 and sum(kafka.end_offsets(k.dead).values()) == 0
    assert k.metric("kveil_schema_registry_up") == 0
    assert k.metric("kveil_retries_total", code="schema_registry_unavailable") > 0
    assert k.get("/livez")[0] == 200
    registry.start()
    got = kafka.consume(k.secure, 11, settle=0.5, timeout=60)
    assert_no_canary(registry, *got)
    wait_for("ready again", lambda: k.get("/readyz")[0] == 200)
    assert sum(kafka.end_offsets(k.dead).values()) == 0
    assert k.stop() == 0


def test_a_registry_that_takes_its_time_is_told_of(make_kveil, kafka, registry):
    k = make(make_kveil, kafka, registry, timeout="30s")
    one = registry.register(f"{k.topic}-value", V1)
    k.start()
    registry.answers.clear()
    kafka.produce(k.topic, [frame(one, V1, user(0))])
    wait_for("the condition", lambda: "schema_pending" in k.get("/readyz")[1], timeout=25)
    registry.answers.set()
    kafka.consume(k.secure, 1)
    wait_for("ready again", lambda: k.get("/readyz")[0] == 200)
    assert k.stop() == 0


def test_ids_that_nobody_knows(make_kveil, kafka, registry):
    k = make(make_kveil, kafka, registry, partitions=3, top="on_error: drop\n")
    one = registry.register(f"{k.topic}-value", V1)
    k.start(env={"KVEIL_FAILPOINT": "schemas-unknown-at-once"})
    good = frame(one, V1, user(0))
    kafka.produce(k.topic, [frame(900, V1, user(0)), good, frame(900, V1, user(0)), good], partition=0)
    kafka.produce(k.topic, [good] * 5, partition=1)
    wait_for("what is good", lambda: kafka.end_offsets(k.secure) == {0: 2, 1: 5, 2: 0})
    wait_for("what is not", lambda: kafka.end_offsets(k.dead)[0] == 2)
    dead = kafka.consume(k.dead, 2)
    assert {dict(m.headers())["kveil.error.code"] for m in dead} == {b"unknown_schema"}
    assert_no_canary(registry, *dead)
    # Many different ones: that is another registry, and the partition stops before all of them are dead letters.
    kafka.produce(k.topic, [frame(1000 + i, V1, user(i)) for i in range(40)], partition=2)
    wait_for("the stop", lambda: "that the registry does not know" in k.get("/readyz")[1], timeout=60)
    assert kafka.end_offsets(k.dead)[2] < 20 and kafka.end_offsets(k.secure)[2] == 0
    assert registry.count(r"GET /schemas/ids/1\d\d\d$") < 60
    kafka.produce(k.topic, [good], partition=1)
    wait_for("the others", lambda: kafka.end_offsets(k.secure)[1] == 6)
    assert k.stop() == 0


def test_what_is_framed_otherwise_is_named(make_kveil, kafka, registry):
    k = make(make_kveil, kafka, registry)
    one = registry.register(f"{k.topic}-value", V1)
    other = registry.register("j-value", {"type": "object"}, kind="JSON")
    sealed = registry.register("s-value", {**V1, "doc": "e"}, ruleSet={"domainRules": [
        {"name": "sealer", "kind": "TRANSFORM", "mode": "WRITEREAD", "type": "ENCRYPT", "tags": ["PII"]}]})
    broken = registry.register("b-value", '{"type": "record"}')
    k.start()
    bare = pack(V1, user(5))  # its first byte is not 0, which would be taken for a frame's
    kafka.produce(k.topic, [bare, b"\xc3\x01" + b"x" * 8 + bare, b"\x03\0" + b"x" * 16 + bare,
                            struct.pack(">BI", 0, other) + b'{"phone": "%s"}' % CANARY.encode(),
                            frame(sealed, V1, user(0)), frame(broken, V1, user(0)),
                            frame(one, V1, user(0))[:-1], frame(one, V1, user(0))])
    kafka.consume(k.secure, 1, settle=0.5)
    dead = kafka.consume(k.dead, 7, settle=0.5)
    assert [dict(m.headers())["kveil.error.code"].decode() for m in dead] == \
        ["unsupported_framing"] * 4 + ["avro_schema"] * 2 + ["invalid_avro"]
    assert_no_canary(registry, *dead)
    assert k.stop() == 0


def test_a_schema_that_somebody_else_registers(make_kveil, kafka, registry):
    k = make(make_kveil, kafka, registry, top="schema: {register: false}")
    one = registry.register(f"{k.topic}-value", V1)
    k.start()
    kafka.produce(k.topic, [frame(one, V1, user(0))])
    why = wait_for("the condition", lambda: "schema_not_registered" in k.get("/readyz")[1] and k.get("/readyz")[1])
    assert f"{k.secure}-value" in why and "kveil schema derive" in why
    assert kafka.end_offsets(k.dead) == {0: 0} and f"{k.secure}-value" not in registry.subjects
    (k.dir / "v1.avsc").write_text(json.dumps(V1))
    text = k.run("schema", "derive", "-r", f"rules/{k.name}.yaml", "v1.avsc", check=0).stdout.strip()
    derived = registry.register(f"{k.secure}-value", text)
    assert unpack(registry, kafka.consume(k.secure, 1, timeout=60)[0].value())[0] == derived
    # Derived by its id, a schema refers to that; kveil takes either.
    two = registry.register(f"{k.topic}-value", V2)
    kafka.produce(k.topic, [frame(two, V2, user(1, mail="CANARY"))])
    text = k.run("schema", "derive", "-c", "kveil.yaml", "-r", f"rules/{k.name}.yaml", str(two), check=0).stdout.strip()
    assert f'"kveil.schema":{{"id":{two},' in text
    derived = registry.register(f"{k.secure}-value", text)
    assert unpack(registry, kafka.consume(k.secure, 2, timeout=60)[1].value())[0] == derived
    assert k.stop() == 0


def test_a_derived_schema_that_is_refused_waits(make_kveil, kafka, registry):
    k = make(make_kveil, kafka, registry)
    one = registry.register(f"{k.topic}-value", V1)
    registry.refuse = "READER_FIELD_MISSING_DEFAULT_VALUE"
    k.start()
    kafka.produce(k.topic, [frame(one, V1, user(0))])
    wait_for("the condition", lambda: "schema_refused" in k.get("/readyz")[1])
    assert kafka.end_offsets(k.dead) == {0: 0}
    registry.refuse = None
    kafka.consume(k.secure, 1, timeout=60)
    assert k.stop() == 0


def neighbour(k, kafka):
    """Another topic beside the first, with rules of its own."""
    kafka.create(f"{k.topic}.b", f"{k.topic}.b.secure", f"{k.topic}.b.dead")
    text = (k.dir / "rules" / f"{k.name}.yaml").read_text()
    (k.dir / "rules" / "b.yaml").write_text(text.replace(f"name: {k.name}", "name: b").replace(f"[{k.topic}]", f"[{k.topic}.b]"))
    return f"{k.topic}.b"


def test_schemas_are_tried_before_the_first_record(make_kveil, kafka, registry):
    k = make(make_kveil, kafka, registry)
    other = neighbour(k, kafka)
    one, two = registry.register(f"{k.topic}-value", V1), registry.register(f"{other}-value", V2)
    subject = f"{k.secure}-value"
    registry.refused[subject] = "READER_FIELD_MISSING_DEFAULT_VALUE"
    k.start(ready=False)
    why = wait_for("the condition", lambda: "schema_refused" in k.get("/readyz")[1] and k.get("/readyz")[1])
    assert subject in why and "READER_FIELD_MISSING_DEFAULT_VALUE" in why and k.topic in why
    assert k.metric("kveil_events_total", event="latest_schema_refused") == 1
    # It is told until it is mended, and nothing was registered.
    for _ in range(20):
        assert "schema_refused" in k.get("/readyz")[1]
        time.sleep(0.1)
    kafka.produce(other, [frame(two, V2, user(0, mail="CANARY"))])
    assert_no_canary(registry, *kafka.consume(f"{other}.secure", 1))
    assert subject not in registry.subjects
    registry.refused.clear()
    wait_for("ready again", lambda: k.get("/readyz")[0] == 200)
    assert subject not in registry.subjects
    # The same at a reload: other rules make another schema.
    registry.refused[subject] = "TYPE_MISMATCH"
    rules = k.dir / "rules" / f"{k.name}.yaml"
    rules.write_text(rules.read_text() + '  - {path: "$.n", mask: {}}\n')
    k.processes[-1].send_signal(signal.SIGHUP)
    wait_for("the condition", lambda: "TYPE_MISMATCH" in k.get("/readyz")[1])
    kafka.produce(k.topic, [frame(one, V1, user(0))])
    kafka.produce(other, [frame(two, V2, user(1, mail="CANARY"))])
    kafka.consume(f"{other}.secure", 2)
    assert kafka.end_offsets(k.secure) == {0: 0} and kafka.end_offsets(k.dead) == {0: 0}
    registry.refused.clear()
    assert_no_canary(registry, *kafka.consume(k.secure, 1, timeout=60))
    wait_for("ready again", lambda: k.get("/readyz")[0] == 200)
    assert k.stop() == 0


def test_a_latest_schema_that_rules_do_not_fit(make_kveil, kafka, registry):
    """It may never be used: it is told, and stops nothing; a record of it is an error, and a newer one ends it."""
    k = make(make_kveil, kafka, registry)
    renamed = {**V1, "fields": [f for f in V1["fields"] if f["name"] != "phone"] + [
        {"name": "phone_number", "type": ["null", "string"], "default": None, "aliases": ["phone"]}]}
    one, two = (registry.register(f"{k.topic}-value", s) for s in (V1, renamed))
    k.start()
    why = wait_for("the remark", lambda: "will be errors" in k.get("/readyz")[1] and k.get("/readyz"))
    assert why[0] == 200 and k.topic in why[1] and "avro_schema" in why[1] and "phone_number" in why[1]
    said = k.run("status", "-c", "kveil.yaml").stdout
    assert "remark: worker 1: schemas: records of" in said and "phone_number" in said, said
    kafka.produce(k.topic, [frame(one, V1, user(0)), frame(two, renamed, {**user(1), "phone_number": CANARY}), frame(one, V1, user(2))])
    assert_no_canary(registry, *kafka.consume(k.secure, 2))
    dead, = kafka.consume(k.dead, 1)
    assert dict(dead.headers())["kveil.error.code"] == b"avro_schema"
    assert "will be errors" in k.get("/readyz")[1] and k.metric("kveil_events_total", event="latest_schema_refused") == 1
    registry.register(f"{k.topic}-value", V2)
    wait_for("no remark", lambda: k.get("/readyz") == (200, "ok\n"), timeout=60)
    assert k.stop() == 0
    said = (k.dir / "run0.log").read_text()
    assert said.count("latest_schema_refused") == 1 and f"schema {two}: avro_schema" in said, said


def test_a_newer_schema_ends_what_the_latest_one_began(make_kveil, kafka, registry):
    k = make(make_kveil, kafka, registry)
    registry.register(f"{k.topic}-value", V1)
    registry.refused[f"{k.secure}-value"] = lambda text: None if '"mail"' in text else "TYPE_MISMATCH"
    k.start(ready=False)
    wait_for("the condition", lambda: "TYPE_MISMATCH" in k.get("/readyz")[1])
    registry.register(f"{k.topic}-value", V2)
    wait_for("ready", lambda: k.get("/readyz")[0] == 200, timeout=60)
    assert k.stop() == 0


def test_what_cannot_be_tried_stops_no_start(make_kveil, kafka, registry):
    """A registry that is away, a subject that is not there, a registry that lets nobody ask."""
    k = make(make_kveil, kafka, registry)
    registry.stop()
    k.start()
    time.sleep(1)
    assert k.get("/readyz")[0] == 200
    registry.start()
    wait_for("the question", lambda: registry.count(r"GET /subjects/.*/versions/latest$"))
    one = registry.register(f"{k.topic}-value", V1)
    kafka.produce(k.topic, [frame(one, V1, user(0))])
    kafka.consume(k.secure, 1)
    assert k.stop() == 0
    registry.subjects.pop(f"{k.secure}-value")
    answer = registry.answer
    registry.answer = lambda asked: error(403, 40301, "not for you") if asked.path.startswith("/compatibility") else answer(asked)
    k.start()
    wait_for("the question", lambda: registry.count(r"POST /compatibility"))
    time.sleep(1)
    assert k.get("/readyz")[0] == 200 and k.stop() == 0


def test_dead_letters_are_replayed(make_kveil, kafka, registry):
    """What a rule could not take goes through another one, with its schema asked for by the replay."""
    k = make(make_kveil, kafka, registry, rules='  - {path: "$.phone", mask: {}}\n'
             '  - {path: "$.mail", hash: {key: pepper}, required: true}\n')
    one = registry.register(f"{k.topic}-value", V1)
    k.start()
    kafka.produce(k.topic, [frame(one, V1, user(7))])
    assert dict(kafka.consume(k.dead, 1)[0].headers())["kveil.error.code"] == b"missing_field"
    assert k.stop() == 0
    rules = k.dir / "rules" / f"{k.name}.yaml"
    rules.write_text(rules.read_text().replace(", required: true", ""))
    k.run("replay", "-c", "kveil.yaml", check=0)
    number, value = unpack(registry, kafka.consume(k.secure, 1)[0].value())
    assert value["n"] == 7 and value["phone"] == "*" * 11
    assert registry.subjects[f"{k.secure}-value"] == [number]


def test_a_replay_knows_tags_that_vanished(make_kveil, kafka, registry):
    """The dead letter's schema no longer has the tag that one before it had: the replay asks the output's subject."""
    k = make(make_kveil, kafka, registry, rules='  - {tags: [PII], mask: {}}\n  - {path: "$.mail", hash: {key: pepper}, required: true}\n')
    k.start()
    send(k, kafka, registry, user_type(phone=True, mail=False), 1)
    two = user_type(phone=False)
    kafka.produce(k.topic, [frame(registry.register(f"{k.topic}-value", two), two, {"phone": CANARY})])
    kafka.consume(k.dead, 1)
    assert k.stop() == 0
    rules = k.dir / "rules" / f"{k.name}.yaml"
    rules.write_text(rules.read_text().replace(", required: true", ""))
    k.run("replay", "-c", "kveil.yaml", check=0)
    assert unpack(registry, kafka.consume(k.secure, 2)[1].value())[1] == {"phone": "*" * 11}


def test_rules_need_a_registry(make_kveil, kafka):
    k = make_kveil()
    k.rules(RULES)
    text = k.dir / "rules" / f"{k.name}.yaml"
    text.write_text(text.read_text().replace("format: json", "format: avro"))
    r = k.run("check", "-c", "kveil.yaml")
    assert r.returncode == 1 and "schema_registry" in r.stdout + r.stderr
