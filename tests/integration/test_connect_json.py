# SPDX-License-Identifier: Apache-2.0
"""Schemas inline, every type under every action, as Kafka's own JsonConverter reads what comes out."""
import json
import os
import pathlib

import pytest

from conftest import Kveil

DECIMAL = {"name": "org.apache.kafka.connect.data.Decimal", "version": 1, "parameters": {"scale": "2"}}
DATE = {"name": "org.apache.kafka.connect.data.Date", "version": 1}
# name: the schema, a value, its text in what the converter reads when it stays, and whether an action on texts takes it
TYPES = {
    "int8": ({"type": "int8"}, 7, True),
    "int16": ({"type": "int16"}, -300, True),
    "int32": ({"type": "int32"}, 70000, True),
    "int64": ({"type": "int64"}, 9007199254740993, True),
    "float": ({"type": "float"}, 1.5, True),
    "double": ({"type": "double"}, 2.5e-3, True),
    "boolean": ({"type": "boolean"}, True, True),
    "string": ({"type": "string"}, "张伟", True),
    "bytes": ({"type": "bytes"}, "yv4BAg==", True),
    "decimal": ({"type": "bytes", **DECIMAL}, "B+9y", True),
    "date": ({"type": "int32", **DATE}, 7370, True),
    "enum": ({"type": "string", "name": "io.debezium.data.Enum", "version": 1, "parameters": {"allowed": "m,f"}}, "f", True),
    "array": ({"type": "array", "items": {"type": "int32", "optional": True}}, [1, None], False),
    "map": ({"type": "map", "keys": {"type": "string"}, "values": {"type": "int64"}}, {"k": 1}, False),
    "variable": ({"type": "struct", "name": "io.debezium.data.VariableScaleDecimal", "version": 1,
                  "fields": [{"type": "int32", "field": "scale"}, {"type": "bytes", "field": "value"}]},
                 {"scale": 3, "value": "BGU="}, False),
}
ACTIONS = {
    "mask": "mask: {}", "hash": "hash: {key: pepper}", "token": "tokenize: {key: ids}", "seal": "encrypt: {key: pii}",
    "json": "encrypt: {key: pii, type: json}", "some": "when: \"$.flag == 1\", encrypt: {key: pii, type: json}",
    "moved": "to: \"$.%s_to\", encrypt: {key: pii, type: json}",
    "null": "nullify: true", "gone": "remove: true", "text": "replace: {with: x}",
}
ANY = ("json", "some", "moved", "null", "gone", "text")  # on values of every kind
FIELDS = [(f"{t}_{a}", t, a) for t, (_, _, is_scalar) in TYPES.items() for a in ACTIONS if is_scalar or a in ANY]


def record(flag, nulls=False, default=False):
    fields = [{**TYPES[t][0], "optional": True, "field": name} for name, t, _ in FIELDS]
    payload = {name: None if nulls else TYPES[t][1] for name, t, _ in FIELDS}
    schema = {"type": "struct", "fields": [*fields, {"type": "int32", "optional": False, "field": "flag"}], "optional": False}
    return {"schema": schema, "payload": {**payload, "flag": flag}}


@pytest.fixture(scope="module")
def worked(tmp_path_factory):
    """The originals, what kveil made of them, and what the inverse file made of that."""
    k = Kveil(tmp_path_factory.mktemp("connect"), "127.0.0.1:1", "c")
    k.config("127.0.0.1:1", data="    ids: {algorithm: aes-256-siv, kek: local}\n")
    k.rules("".join(f"  - {{path: \"$.{name}\", {ACTIONS[a] % name if '%' in ACTIONS[a] else ACTIONS[a]}}}\n" for name, _, a in FIELDS),
            top="envelope: connect")
    k.init()
    (k.dir / "inverse.yaml").write_text(k.run("invert", "-r", "rules/c.yaml", check=0).stdout)
    originals = [record(1), record(2), record(1, nulls=True)]

    def apply(rules, texts):
        lines = "".join(json.dumps({"key": None, "payload": t}) + "\n" for t in texts)
        r = k.run("apply", "-J", "-c", "kveil.yaml", "-r", rules, check=0, input=lines)
        return [json.loads(line)["payload"] for line in r.stdout.splitlines()]

    texts = [json.dumps(o, separators=(",", ":"), ensure_ascii=False) for o in originals]
    protected = apply("rules/c.yaml", texts)
    return [[t.encode() for t in side] for side in (texts, protected, apply("inverse.yaml", protected))]


def test_the_converter_reads_the_types_that_the_rules_give(worked, read_connect):
    before, after = read_connect(worked[0]), read_connect(worked[1])
    for number, (was, now) in enumerate(zip(before, after, strict=True)):
        for name, t, a in FIELDS:
            found = now.get(f"$.{name}_to" if a == "moved" else f"$.{name}")
            if a == "gone":
                assert not [path for path in now if path.startswith(f"$.{name}")], name
            elif a == "null":
                assert found.value == "null" and found.optional, name
                assert t in ("array", "map", "variable") or (found.type, t == "enum" or found.name) == \
                    (was[f"$.{name}"].type, t == "enum" or was[f"$.{name}"].name), name
            else:
                assert (found.type, found.name, found.optional) == ("STRING", "null", True), (name, found)
                assert (found.value == "null") == (number == 2), (name, found)
            if a == "some" and number == 1:
                clear = TYPES[t][1]
                assert found.value == (clear if isinstance(clear, str) else json.dumps(clear, separators=(",", ":"))), name
        assert now["$.flag"].type == "INT32"


def test_the_inverse_gives_types_and_values_back(worked, read_connect):
    before, opened = read_connect(worked[0]), read_connect(worked[2])
    for was, now in zip(before, opened, strict=True):
        for name, t, a in FIELDS:
            if a not in ("token", "seal", "json", "some", "moved"):
                continue
            paths = [path for path in was if path == f"$.{name}" or path.startswith((f"$.{name}.", f"$.{name}["))]
            assert paths
            for path in paths:
                assert repr(was[path]) == repr(now[path]), path


def test_nothing_of_it_is_in_clear(worked):
    for text in (worked[1][0], worked[1][2]):
        payload = json.loads(text)["payload"]
        for name, t, a in FIELDS:
            assert a in ("gone", "null") or payload.get(f"{name}_to" if a == "moved" else name) != TYPES[t][1], name
        assert b'"allowed"' not in text
