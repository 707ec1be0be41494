# SPDX-License-Identifier: Apache-2.0
"""Change events in Avro, keys included: fastavro writes and reads them. What a rule names is a canary at every place
that an event can have it, and none may leave in clear."""
import base64
import io
import json
import random

import fastavro
import pytest

from test_avro import CASES, fields, read, run_whole

CANARY = "CANARYZQX"
HEAD = "name: t\ntopics: [in]\nformat: avro\nenvelope: debezium\nfields:\n"
RULES = """\
  - {path: $.id, tokenize: {key: ids}}
  - {path: $.phone, mask: {}}
  - {path: $.card, encrypt: {key: pii}}
  - {path: "$.tags[*]", hash: {key: pepper}}
  - {path: $.home.street, encrypt: {key: pii}}
"""
ABSENT = "__debezium_unavailable_value"


def record(name, *fields, **more):
    return {"type": "record", "name": name, "fields": [{"name": n, "type": t} for n, t in fields], **more}


def null_or(t):
    return ["null", t]


def source(*more):
    return record("Source", ("connector", "string"), ("table", "string"), ("db", "string"), *more)


def envelope(row, *more):
    """As Debezium's AvroConverter has it: one row type in two places, the second time by its name."""
    return record("Envelope", ("before", null_or(row)), ("after", null_or(row["name"])), ("source", source()),
                  ("op", "string"), ("ts_ms", null_or("long")), *more, namespace="shop.users",
                  **{"connect.name": "shop.users.Envelope"})


ROW = record("Value", ("id", "long"), ("phone", null_or("string")), ("n", "int"))
SOURCE = {"connector": "postgresql", "table": "users", "db": "shop"}


def pack(schema, value):
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(json.loads(json.dumps(schema))), value)
    return out.getvalue()


def event(before=None, after=None, op="u", **more):
    return {"before": before, "after": after, "source": SOURCE, "op": op, "ts_ms": 1, **more}


def run_one(rules, schema, value, key_schema=None, key=None, head=HEAD):
    """Value and key are plain values, or bytes."""
    def bytes_of(s, v):
        return v if isinstance(v, bytes) else pack(s, v)
    return run_whole([(head + rules, json.dumps(schema), bytes_of(schema, value),
                       json.dumps(key_schema) if key_schema else b"",
                       bytes_of(key_schema, key) if key_schema else b"")])[0]


def assert_no_canary(*texts):
    for t in texts:
        t = t if isinstance(t, bytes) else t.encode()
        assert CANARY.encode() not in t and base64.b64encode(CANARY.encode())[:10] not in t, t


# --- rows in all places ---

def test_a_row_is_protected_in_before_after_and_key():
    key_schema = record("Key", ("id", "long"), namespace="shop.users")
    code, derived, out, key_derived, key = run_one(
        RULES, envelope(ROW), event({"id": 7, "phone": CANARY, "n": 1}, {"id": 7, "phone": CANARY, "n": 2}),
        key_schema, {"id": 7})
    assert code == "ok", derived
    v, k = read(json.loads(derived), out), read(json.loads(key_derived), key)
    assert_no_canary(out, key)
    assert v["before"]["id"] == v["after"]["id"] == k["id"] != 7
    assert v["before"]["phone"] == v["after"]["phone"] == "*" * len(CANARY)
    assert (v["before"]["n"], v["after"]["n"], v["source"], v["op"]) == (1, 2, SOURCE, "u")
    # One row type, changed alike in both places, keeps its name.
    assert "_protected" not in derived and derived.count('"name":"Value"') == 1


def test_a_flat_row_and_its_copies_of_another_image():
    flat = record("User", ("id", "long"), ("phone", "string"), ("__before_phone", null_or("string")),
                  ("__source_query", null_or("string")), ("__op", "string"))
    code, derived, out, _, _ = run_one(RULES, flat, {"id": 1, "phone": CANARY, "__before_phone": CANARY,
                                                     "__source_query": f"UPDATE {CANARY}", "__op": "u"})
    assert code == "ok", derived
    assert_no_canary(out)
    v = read(json.loads(derived), out)
    assert v["__source_query"] is None and v["__op"] == "u" and v["__before_phone"] == v["phone"]


def test_statements_and_messages():
    schema = envelope(ROW, ("message", null_or(record("Message", ("prefix", "string"), ("content", "bytes")))))
    schema["fields"][2]["type"] = source(("query", null_or("string")))
    e = event(op="m", message={"prefix": "p", "content": CANARY.encode()})
    e["source"] = {**SOURCE, "query": f"INSERT {CANARY}"}
    code, derived, out, _, _ = run_one(RULES, schema, e)
    assert code == "ok", derived
    assert_no_canary(out)
    v = read(json.loads(derived), out)
    assert v["source"]["query"] is None and v["message"] == {"prefix": "p", "content": None}
    change = record("Change", ("source", source()), ("ddl", null_or("string")), ("databaseName", "string"),
                    ("tableChanges", {"type": "array", "items": "string"}))
    code, derived, out, _, _ = run_one(RULES, change, {"source": SOURCE, "ddl": f"DEFAULT '{CANARY}'",
                                                       "databaseName": "d", "tableChanges": []})
    assert code == "ok" and read(json.loads(derived), out)["ddl"] is None
    assert_no_canary(out)


def test_conditions_tables_and_absent_values():
    rules = ('  - {path: $.phone, table: users, mask: {}}\n'
             '  - {path: $.card, when: "$.n > 1", encrypt: {key: pii}}\n')
    row = record("Value", ("id", "long"), ("phone", "string"), ("card", "bytes"), ("n", "int"))
    schema = envelope(row)

    def go(n, table="users", phone=CANARY, card=CANARY.encode()):
        e = event(None, {"id": 1, "phone": phone, "card": card, "n": n})
        e["source"] = {**SOURCE, "table": table}
        code, derived, out, _, _ = run_one(rules, schema, e)
        assert code == "ok", derived
        return read(json.loads(derived), out)["after"]
    assert go(2)["phone"] == "*" * len(CANARY) and CANARY.encode() not in go(2)["card"]
    assert go(1)["card"] == CANARY.encode() and go(1)["phone"] == "*" * len(CANARY)
    assert go(2, table="orders")["phone"] == CANARY
    # What the source did not send passes, as text and as raw bytes.
    assert go(2, phone=ABSENT, card=ABSENT.encode()) == {"id": 1, "phone": ABSENT, "card": ABSENT.encode(), "n": 2}


REQUIRED = "  - {path: $.phone, required: true, mask: {}}\n"
COLLECTION = record("event", ("data_collection", "string"), ("event_count", "long"))
CONTROL = {
    "a heartbeat": (record("Heartbeat", ("ts_ms", "long")), {"ts_ms": 1}),
    "a transaction's end": (record("TransactionMetadataValue", ("status", "string"), ("id", "string"),
                                   ("event_count", null_or("long")), ("ts_ms", "long"),
                                   ("data_collections", null_or({"type": "array", "items": COLLECTION}))),
                            {"status": "END", "id": "1", "event_count": 1, "ts_ms": 1,
                             "data_collections": [{"data_collection": "s.t", "event_count": 1}]}),
    "a schema's change": (record("SchemaChangeValue", ("source", source()), ("ts_ms", "long"),
                                 ("databaseName", null_or("string")), ("schemaName", null_or("string")),
                                 ("ddl", null_or("string")), ("tableChanges", {"type": "array", "items": "string"})),
                          {"source": SOURCE, "ts_ms": 1, "databaseName": "d", "schemaName": None, "ddl": CANARY,
                           "tableChanges": []}),
}


@pytest.mark.parametrize("what", CONTROL)
def test_a_control_record_lacks_no_field(what):
    schema, value = CONTROL[what]
    code, derived, out, _, _ = run_one(REQUIRED, schema, value)
    assert code == "ok", derived
    assert_no_canary(out)
    dropped = HEAD.replace("envelope: debezium", "envelope: {kind: debezium, control: dead-letter}")
    assert run_one(REQUIRED, schema, value, head=dropped)[0] == "control_record"


def test_a_field_is_required_of_rows():
    truncated = run_one(REQUIRED, envelope(ROW), event(op="t"))
    assert truncated[0] == "ok", truncated
    assert run_one(REQUIRED, envelope(ROW), event(op="d"))[0] == "missing_field"
    assert run_one(REQUIRED, record("Value", ("id", "long"), ("ts_ms", "long")), {"id": 1, "ts_ms": 1})[0] == "missing_field"


# --- attacks: each leaves nothing in clear ---

STRING_ROW = record("Value", ("id", "string"), ("phone", null_or("string")))
KEY = record("Key", ("id", "string"))


def hidden():
    c = CANARY
    row = {"id": c, "phone": c}
    other = record("Other", ("phone", "string"))
    two = record("Envelope", ("before", ["null", STRING_ROW, other]), ("after", ["null", "Value", "Other"]),
                 ("source", source()), ("op", "string"))
    yield "two types of row", two, {"before": ("Other", {"phone": c}), "after": row, "source": SOURCE, "op": "u"}
    yield "a row that is a text", record("E", ("after", null_or("string")), ("source", source()), ("op", "string")), \
        {"after": json.dumps(row), "source": SOURCE, "op": "u"}
    yield "an event that is a text", "string", json.dumps(event(None, row))
    yield "an event in a list", {"type": "array", "items": STRING_ROW}, [row]
    yield "a union of an event and a text", [STRING_ROW, "string"], c
    yield "an event in a payload", record("P", ("payload", envelope(STRING_ROW))), {"payload": event(row, row)}
    renamed = json.loads(json.dumps(STRING_ROW))
    renamed["fields"][1] = {"name": "mobile", "type": "string", "aliases": ["phone"]}
    yield "a column that was renamed", envelope(renamed), event(None, {"id": c, "mobile": c})
    yield "branches of other types", envelope(record("Value", ("id", "string"), (
        "phone", ["null", "string", "bytes", record("Deep", ("x", "string")), {"type": "array", "items": "string"}]))), \
        event(None, {"id": c, "phone": [c]})
    yield "and bytes", envelope(record("Value", ("id", "string"), ("phone", ["bytes", "string"]))), \
        event(None, {"id": c, "phone": c.encode()})
    yield "a whole image beside the row", record("F", ("id", "string"), ("__before", STRING_ROW)), \
        {"id": c, "__before": row}
    yield "MongoDB's texts", record("E", ("after", "string"), ("op", "string"), ("source", source())), \
        {"after": json.dumps({"phone": c}), "op": "c", "source": {**SOURCE, "connector": "mongodb"}}
    enum = {"type": "enum", "name": "E", "symbols": [c, ABSENT]}
    yield "an enum's symbol", envelope(record("Value", ("id", "string"), ("phone", enum))), \
        event(None, {"id": c, "phone": c})


@pytest.mark.parametrize("what, schema, value", [pytest.param(*h, id=h[0]) for h in hidden()])
def test_hidden(what, schema, value):
    code, derived, out, key_derived, key = run_one(RULES, schema, value, KEY, {"id": CANARY})
    if code == "ok":
        assert_no_canary(out, key, derived, key_derived)
    else:
        assert not out and not key
        assert code in ("unsupported_envelope", "avro_schema", "unsupported_kind"), (code, derived)


def test_rows_in_rows():
    chain = record("Value", ("phone", "string"), ("parent", null_or("Value")))
    rules = '  - {path: "$..phone", mask: {}}\n'
    code, derived, out, _, _ = run_one(rules, envelope(chain), event(
        None, {"phone": CANARY, "parent": {"phone": CANARY, "parent": {"phone": CANARY, "parent": None}}}))
    assert code == "ok", derived
    assert_no_canary(out)


def test_maps_that_are_arrays_of_entries():
    """Connect writes a map with keys that may be null so: `phone` is a value in there."""
    entry = record("MapEntry", ("key", null_or("string")), ("value", "string"), **{"connect.internal.type": "MapEntry"})
    row = record("Value", ("id", "string"), ("attrs", {"type": "array", "items": entry}))
    value = event(None, {"id": "1", "attrs": [{"key": "phone", "value": CANARY}]})
    for path in ("$.attrs.phone", "$..phone"):
        code, why, out, _, _ = run_one(f'  - {{path: "{path}", mask: {{}}}}\n', envelope(row), value)
        assert code == "avro_schema" and "entries" in why and not out, (path, why)
    code, derived, out, _, _ = run_one('  - {path: "$.attrs[*].value", mask: {}}\n', envelope(row), value)
    assert code == "ok", derived
    assert_no_canary(out)


def test_what_only_looks_like_a_value_that_was_not_sent():
    enum = {"type": "enum", "name": "E", "symbols": ["A", ABSENT]}
    numbers = {"type": "array", "items": "int"}
    row = record("Value", ("id", "string"), ("phone", enum), ("tags", numbers))
    code, derived, out, _, _ = run_one(RULES, envelope(row), event(
        None, {"id": "1", "phone": ABSENT, "tags": list(ABSENT.encode())}))
    assert code == "ok", derived
    after = read(json.loads(derived), out)["after"]
    assert after["phone"] == "*" * len(ABSENT) and all(len(t) == 64 for t in after["tags"])
    assert "symbols" not in derived


def test_an_event_of_another_kind():
    """Under `connect` an event of Debezium is not a row: its columns lie where no rule looks."""
    got = run_one(RULES, envelope(STRING_ROW), event(None, {"id": CANARY, "phone": CANARY}),
                  head=HEAD.replace("debezium", "connect"))
    assert got[0] == "unsupported_envelope" and not got[2]
    code, derived, out, _, _ = run_one(RULES, STRING_ROW, {"id": CANARY, "phone": CANARY},
                                       head=HEAD.replace("debezium", "connect"))
    assert code == "ok", derived
    assert_no_canary(out)


@pytest.mark.parametrize("key_schema, key, envelope_is, want", [
    (KEY, {"id": CANARY}, "debezium", "ok"),
    (["null", KEY], {"id": CANARY}, "debezium", "ok"),
    (record("Whole", ("payload", KEY)), {"payload": {"id": CANARY}}, "debezium", "ok"),
    (record("Key", ("id", null_or("string"))), {"id": CANARY}, "debezium", "ok"),
    (record("Key", ("id", ["bytes", "string"])), {"id": CANARY.encode()}, "debezium", "ok"),
    # what holds no columns
    ("string", CANARY, "debezium", "key_column"),
    ("string", CANARY, '{kind: debezium, key: "$.id"}', "ok"),
    (null_or("string"), CANARY, '{kind: debezium, key: "$.id"}', "ok"),
    ({"type": "array", "items": "string"}, [CANARY], '{kind: debezium, key: "$.id"}', "key_column"),
    (record("Key", ("id", {"type": "array", "items": "string"})), {"id": [CANARY]}, "debezium", "unsupported_kind"),
    # an action that would give one key two values
    (record("Key", ("card", "string")), {"card": CANARY}, "debezium", "key_column"),
])
def test_keys(key_schema, key, envelope_is, want):
    code, derived, out, key_derived, got = run_one(
        RULES, envelope(STRING_ROW), event(None, {"id": CANARY, "phone": CANARY}), key_schema, key,
        head=HEAD.replace("envelope: debezium", f"envelope: {envelope_is}"))
    assert code == want, derived
    assert_no_canary(out, got)
    if want == "ok":
        read(json.loads(key_derived), got)


def test_a_key_that_no_rule_touches_keeps_its_bytes():
    schema, key = record("Key", ("n", "int"), ("other", "string")), {"n": 5, "other": "x"}
    value = event(None, {"id": 1, "phone": "1", "n": 1})
    a = run_one(RULES, envelope(ROW), value, schema, key)
    b = run_one('  - {path: $.phone, hash: {key: pepper}}\n', envelope(ROW), value, schema, key)
    assert a[0] == b[0] == "ok" and a[3] == b[3] == json.dumps(schema) and a[4] == b[4] == pack(schema, key)
    # …and a rule on the value alone leaves a protected key as it was.
    schema, key = record("Key", ("id", "long")), {"id": 5}
    a = run_one(RULES, envelope(ROW), value, schema, key)
    b = run_one(RULES.replace("mask: {}", "nullify: true"), envelope(ROW), value, schema, key)
    assert a[0] == b[0] == "ok" and a[3:] == b[3:] and a[2] != b[2] and a[4] != pack(schema, key)


# --- random ---

class Rows:
    """Rows of random types; a column that a rule names has canaries wherever its type can hold one."""

    def __init__(self, rnd):
        self.rnd, self.count = rnd, 0

    def column(self):
        """A type, and a value that may be a canary; None: the rules cannot take that branch."""
        r, self.count = self.rnd, self.count + 1
        return r.choice([
            ("string", CANARY), (null_or("string"), r.choice([None, CANARY])), (["string", "null"], CANARY),
            ("long", 7), (null_or("int"), r.choice([None, 7])), (["null", "long", "string"], r.choice([CANARY, 3])),
            ({"type": "enum", "name": f"E{self.count}", "symbols": [CANARY, "B"]}, CANARY),
            ({"type": "string", "logicalType": "uuid"}, CANARY)])

    def row(self):
        r = self.rnd
        named = {n: self.column() for n in ("id", "phone") if r.random() < .8}
        if r.random() < .5:
            named["card"] = r.choice([("string", CANARY), ("bytes", CANARY.encode()),
                                      (null_or("bytes"), CANARY.encode())])
        if r.random() < .5:
            named["tags"] = ({"type": "array", "items": r.choice(["string", null_or("string")])}, [CANARY] * r.randint(0, 3))
        if r.random() < .5:
            named["home"] = (null_or(record("Home", ("street", "string"), ("no", "int"))), {"street": CANARY, "no": 1})
        plain = {f"c{i}": r.choice([("int", 5), ("string", "plain"), (null_or("double"), 1.5)])
                 for i in range(r.randint(0, 3))}
        columns = list({**named, **plain}.items())
        r.shuffle(columns)
        schema = record("Value", *((n, t) for n, (t, _) in columns))
        for f in schema["fields"]:
            if f["type"] == "string" and r.random() < .5:
                f["default"] = CANARY if f["name"] in named else "plain"
        return schema, {n: v for n, (_, v) in columns}, plain


def shapes(rnd, schema, row):
    shape = rnd.choice(["event", "event", "flat", "payload"])
    if shape == "flat":
        return shape, schema, row
    before = rnd.choice([None, row])
    schema, value = envelope(schema), event(before, row, rnd.choice("cru"))
    return (shape, record("Whole", ("payload", schema)), {"payload": value}) if shape == "payload" else (shape, schema, value)


def test_random_rows():
    rnd, made = random.Random("events"), []
    for _ in range(CASES):
        schema, row, plain = Rows(rnd).row()
        shape, whole, value = shapes(rnd, schema, row)
        made.append((shape, whole, value, plain, "id" in row and row["id"]))
    cases = [(HEAD + RULES, json.dumps(s), pack(s, v), json.dumps(KEY), pack(KEY, {"id": CANARY}))
             for _, s, v, _, _ in made]
    changed = 0
    for (shape, schema, value, plain, id_), case, got in zip(made, cases, run_whole(cases)):
        code, derived, out, key_derived, key = got
        assert code == "ok", (code, derived, schema)
        named = json.dumps([f for f in fields(json.loads(derived)) if not f["name"].startswith("c")])
        assert_no_canary(out, key, named)
        v = read(json.loads(derived), out)
        row = (v["payload"] if shape == "payload" else v) if shape == "flat" else \
            (v["payload"] if shape == "payload" else v)["after"]
        assert {n: row[n] for n in plain} == {n: x for n, (_, x) in plain.items()}
        if id_ == CANARY:
            assert row["id"] == read(json.loads(key_derived), key)["id"]
        changed += out != case[2]
    assert changed > CASES / 2


# --- several types in one topic ---

def kinds(**more):
    user = {**record("User", ("phone", "string"), ("n", "int")), "namespace": "com.acme", **more}
    order = {**record("Order", ("phone", "string"), ("of", null_or("com.acme.User"))), "namespace": "com.acme"}
    return user, order


AVRO = "name: t\ntopics: [in]\nformat: avro\nfields:\n"


@pytest.mark.parametrize("name, is_it", [("com.acme.User", True), ("User", True), ("com.other.User", False),
                                         ("Users", False), ("user", False)])
def test_rules_for_one_record(name, is_it):
    user, _ = kinds()
    rules = f'  - {{path: $.phone, record: {name}, mask: {{}}}}\n'
    code, derived, out, _, _ = run_one(rules, user, {"phone": CANARY, "n": 1}, head=AVRO)
    assert code == "ok" and (CANARY.encode() not in out) == is_it, derived
    # in a union of types, each with its own rules
    rules += '  - {path: $.phone, record: Order, nullify: true}\n'
    user, order = kinds()
    both = [user, order]
    for what, value in (("com.acme.User", {"phone": CANARY, "n": 1}),
                        ("com.acme.Order", {"phone": CANARY, "of": {"phone": "inner", "n": 2}})):
        code, derived, out, _, _ = run_one(rules, both, (what, value), head=AVRO)
        assert code == "ok", derived
        got = read(json.loads(derived), out)
        if what == "com.acme.Order":
            # The rule on a user is for values that are one, and not for users in an order.
            assert got["phone"] is None and got["of"] == {"phone": "inner", "n": 2}
        assert (got["phone"] == CANARY) == (what == "com.acme.User" and not is_it)


def test_a_record_that_was_renamed_is_still_the_rules():
    for alias in ("User", "com.acme.User"):
        person = {**record("Person", ("phone", "string"), aliases=[alias]), "namespace": "com.acme"}
        for name in ("User", "com.acme.User"):
            code, derived, out, _, _ = run_one(f'  - {{path: $.phone, record: {name}, mask: {{}}}}\n', person,
                                               {"phone": CANARY}, head=AVRO)
            assert code == "ok", derived
            assert_no_canary(out)


def test_a_record_that_holds_itself_in_a_union():
    chain = record("Node", ("phone", "string"), ("next", null_or("Node")))
    rules = '  - {path: "$..phone", record: Node, mask: {}}\n'
    value = {"phone": CANARY, "next": {"phone": CANARY, "next": None}}
    for schema, v in ((chain, value), (["null", chain], ("Node", value)),
                      ([chain, record("Other", ("phone", "int"), ("node", "Node"))],
                       ("Node", value))):
        code, derived, out, _, _ = run_one(rules, schema, v, head=AVRO)
        assert code == "ok", derived
        assert_no_canary(out)
