# SPDX-License-Identifier: Apache-2.0
"""./dev bench events: the orders as Debezium's updates, without schemas and with them inline, under the same rules with
`envelope: debezium` in front. In process: what a byte of them costs beside a byte of the orders."""
import json
import pathlib
import statistics
import subprocess
import tempfile

SOURCE = {"version": "3.0.0.Final", "connector": "mysql", "name": "shop", "ts_ms": 1717718400123, "snapshot": "false",
          "db": "shop", "sequence": None, "ts_us": 1717718400123000, "ts_ns": 1717718400123000000, "table": "orders",
          "server_id": 223344, "gtid": None, "file": "mysql-bin.000003", "pos": 484, "row": 0, "thread": 7, "query": None}


def field(name, kind, optional=True):
    return {"type": kind, "optional": optional, "field": name} if isinstance(kind, str) else kind | {"field": name}


def struct(*fields):
    return {"type": "struct", "fields": list(fields), "optional": True}


ITEM = struct(field("sku", "string"), field("qty", "int32"), field("price", "double"))
ADDRESS = struct(field("city", "string"), field("street", "string"))
CUSTOMER = struct(*(field(n, "string") for n in ("name", "phone", "id_card", "email")), field("address", ADDRESS))
ORDER = struct(field("id", "string", False), field("event_time", "string"), field("customer", CUSTOMER),
               field("card_number", "string"), field("amount", "double"),
               field("items", {"type": "array", "items": ITEM, "optional": True}), field("notes", "string"))
KINDS = {str: "string", int: "int64", type(None): "string"}
SCHEMA = struct(
    field("before", ORDER | {"name": "shop.shop.orders.Value"}), field("after", ORDER | {"name": "shop.shop.orders.Value"}),
    field("source", struct(*(field(n, KINDS[type(v)]) for n, v in SOURCE.items()))
          | {"name": "io.debezium.connector.mysql.Source", "optional": False}),
    field("op", "string", False), field("ts_ms", "int64"))
SCHEMA |= {"optional": False, "name": "shop.shop.orders.Envelope", "version": 2}
KEY_SCHEMA = struct(field("id", "string", False)) | {"optional": False, "name": "shop.shop.orders.Key"}


def compact(what):
    return json.dumps(what, ensure_ascii=False, separators=(",", ":"))


def updates(orders, schemas):
    """Keys and values: each order's row before is the order in front of it."""
    source, schema, key_schema = compact(SOURCE), compact(SCHEMA), compact(KEY_SCHEMA)
    before = orders[-1][1]
    for key, after in orders:
        key = f'{{"id":"{key}"}}'
        event = f'{{"before":{before},"after":{after},"source":{source},"op":"u","ts_ms":1717718400456}}'
        before = after
        if schemas:
            key, event = f'{{"schema":{key_schema},"payload":{key}}}', f'{{"schema":{schema},"payload":{event}}}'
        yield key, event


def growth(kveil, rules, lines):
    """Bytes that a value has more when it comes out, on average."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as f:
        f.write(rules)
        f.flush()
        values = "".join(value + "\n" for _, value in lines).encode()
        done = subprocess.run([kveil, "apply", "--demo-keys", "-r", f.name], input=values, capture_output=True, check=True)
    return max(0, round((len(done.stdout) - len(values)) / len(lines)))


def byte_costs(build, orders, rules, rounds, result):
    kveil, costs = build / "src" / "cli" / "kveil", {}
    kinds = {"orders": (orders, rules), "without schemas": (updates(orders, False), "envelope: debezium\n" + rules),
             "schemas inline": (updates(orders, True), "envelope: debezium\n" + rules)}
    with tempfile.TemporaryDirectory() as name:
        for kind, (lines, text) in kinds.items():
            base = pathlib.Path(name) / kind
            base.with_suffix(".yaml").write_text(text)
            base.with_suffix(".tsv").write_text("".join(f"{key}\t{value}\n" for key, value in lines), encoding="utf-8")
            costs[kind] = []
        for _ in range(rounds):
            for kind in kinds:
                base = pathlib.Path(name) / kind
                done = subprocess.run([kveil, "bench", "--json", "--rounds", "5", "-r", base.with_suffix(".yaml"), "-f",
                                       base.with_suffix(".tsv")], capture_output=True, check=True)
                costs[kind].append(1e9 / json.loads(done.stdout)["sides"][0]["bytes_per_second"])
    for kind, most in (("without schemas", 1.15), ("schemas inline", 1.3)):
        ratios = [a / b for a, b in zip(costs[kind], costs["orders"])]
        print(f"Debezium's updates, {kind}, to orders: CPU a byte {statistics.median(ratios):.3f} "
              f"({min(ratios):.3f} to {max(ratios):.3f}) (at most {most}); {statistics.median(costs[kind]):.2f} ns")
    result["events"] = costs
