# SPDX-License-Identifier: Apache-2.0
"""Change events of every kind that Flink knows, protected, as flink-json's own deserializers read them."""
import base64
import json
import os
import pathlib
import subprocess

import pytest

from conftest import ROOT, Kveil

JARS = pathlib.Path(os.environ.get("KVEIL_FLINK_JARS", ROOT / ".cache" / "flink-1.20.1"))
COLUMNS = ["id:STRING", "phone:STRING", "card:STRING", "pay:DOUBLE", "note:STRING", "n:INT"]
RULES = """\
  - {path: "$.phone", mask: {keep_last: 4}}
  - {path: "$.card", tokenize: {key: ids}}
  - {path: "$.pay", nullify: true}
  - {path: "$.note", when: "$.id == '1'", encrypt: {key: pii}}
"""
ONE = {"id": "1", "phone": "13812345678", "card": "110101199003077571", "pay": 1.5, "note": "calls 张伟", "n": 2}
TWO = {**ONE, "phone": "13900004321", "card": "110101199003074514"}
REST = {"id": "2", "phone": None, "card": "", "pay": None, "note": "none", "n": 1}


def debezium(op, before, after):
    return {"before": before, "after": after, "op": op, "ts_ms": 1,
            "source": {"connector": "mysql", "db": "shop", "table": "users", "query": "UPDATE users SET phone = '13900004321'"}}


def with_schema(op, before, after):
    types = {"pay": "double", "n": "int32"}
    fields = [{"type": types.get(name, "string"), "optional": True, "field": name} for name in ONE]
    row = {"type": "struct", "fields": fields, "optional": True, "name": "shop.users.Value"}
    return {"schema": {"type": "struct", "optional": False, "name": "shop.users.Envelope", "fields": [
                {**row, "field": "before"}, {**row, "field": "after"}, {"type": "string", "optional": False, "field": "op"}]},
            "payload": {"before": before, "after": after, "op": op}}


def changed(before, after):
    return {name: v for name, v in before.items() if v != after[name]}


def canal(op, before, after):
    kind = {"c": "INSERT", "u": "UPDATE", "d": "DELETE"}[op]
    text = lambda row: {name: v if v is None else str(v) for name, v in row.items()}
    return {"data": [text(after or before)], "old": [text(changed(before, after))] if op == "u" else None, "type": kind,
            "database": "shop", "table": "users", "isDdl": False, "es": 1, "ts": 1, "sql": "", "mysqlType": {"phone": "varchar(11)"}}


def maxwell(op, before, after):
    kind = {"c": "insert", "u": "update", "d": "delete"}[op]
    return {"database": "shop", "table": "users", "type": kind, "ts": 1, "data": after or before,
            **({"old": changed(before, after)} if op == "u" else {})}


def ogg(op, before, after):
    event = {"table": "SHOP.USERS", "op_type": {"c": "I", "u": "U", "d": "D"}[op], "op_ts": "2026-01-01 00:00:00", "pos": "1"}
    return {**event, **({"before": before} if before else {}), **({"after": after} if after else {})}


KINDS = {"debezium": debezium, "debezium+schema": with_schema, "canal": canal, "maxwell": maxwell, "ogg": ogg}


@pytest.fixture(scope="module")
def read_flink(tmp_path_factory):
    """Of each text the changes that Flink takes from it: the kind of change and the columns, as texts."""
    folder = tmp_path_factory.mktemp("flink")
    subprocess.run(["javac", "-cp", f"{JARS}/*", "-d", folder, ROOT / "tests" / "integration" / "ReadFlink.java"], check=True)

    def read(kind, texts):
        lines = "".join(base64.b64encode(t.encode()).decode() + "\n" for t in texts)
        out = subprocess.run(["java", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp",
                              f"{folder}:{JARS}/*", "ReadFlink", kind, *COLUMNS], input=lines, capture_output=True, text=True,
                             check=True).stdout
        records = [r.splitlines() for r in out.split("--\n")[:-1]]
        assert len(records) == len(texts) and "!" not in [r[0][0] for r in records], out
        return [[line.split("\t") for line in r] for r in records]

    return read


@pytest.mark.parametrize("kind", KINDS)
def test_flink_reads_what_comes_out(kind, read_flink, tmp_path):
    k = Kveil(tmp_path, "127.0.0.1:1", "f")
    k.config("127.0.0.1:1", data="    ids: {algorithm: aes-256-siv, kek: local}\n")
    k.rules(RULES, top=f"envelope: {kind.split('+')[0]}")
    k.init()
    (k.dir / "inverse.yaml").write_text(k.run("invert", "-r", "rules/f.yaml", check=0).stdout)

    def apply(rules, texts):
        lines = "".join(json.dumps({"key": None, "payload": t}) + "\n" for t in texts)
        r = k.run("apply", "-J", "-c", "kveil.yaml", "-r", rules, check=0, input=lines)
        return [json.loads(line)["payload"] for line in r.stdout.splitlines()]

    changes = [("c", None, ONE), ("u", ONE, TWO), ("d", TWO, None), ("c", None, REST), ("d", REST, None)]
    texts = [json.dumps(KINDS[kind](*c), ensure_ascii=False) for c in changes]
    protected = apply("rules/f.yaml", texts)
    opened = apply("inverse.yaml", protected)
    everything = "".join(protected)
    assert not [v for row in (ONE, TWO) for v in (row["phone"], row["card"], row["note"]) if v in everything]

    both = read_flink(kind, texts + protected + opened)
    clear, sealed, again = both[:len(texts)], both[len(texts):2 * len(texts)], both[2 * len(texts):]
    assert [[c[0] for c in r] for r in clear] == [["+I"], ["-U", "+U"], ["-D"], ["+I"], ["-D"]]
    assert [[c[0] for c in r] for r in sealed] == [[c[0] for c in r] for r in clear]
    tokens = {}
    for was, now in zip((c for r in clear for c in r), (c for r in sealed for c in r), strict=True):
        _, _, phone, card, _, note, n = was
        assert now[1] == was[1] and now[4] == "null" and now[6] == n
        assert now[2] == ("null" if phone == "null" else "*" * 7 + phone[-4:])
        assert tokens.setdefault(card, now[3]) == now[3]
        assert (now[5] == note) == (was[1] == "2")
    assert len(set(tokens.values())) == len(tokens) == 3
    for was, now in zip((c for r in clear for c in r), (c for r in again for c in r), strict=True):
        assert [was[i] for i in (0, 1, 3, 5, 6)] == [now[i] for i in (0, 1, 3, 5, 6)]
