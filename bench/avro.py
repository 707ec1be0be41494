# SPDX-License-Identifier: Apache-2.0
"""./dev bench avro: the engine on orders in Avro, against the engine on the same orders in JSON, and against reading and
writing them and nothing else with avro-c and with fastavro."""
import io
import json
import pathlib
import statistics
import struct
import subprocess
import sys
import tempfile
import time

import fastavro

ROOT = pathlib.Path(__file__).resolve().parent.parent


def record(name, /, **fields):
    return {"type": "record", "name": name, "fields": [{"name": n, "type": t} for n, t in fields.items()]}


ITEM = record("Item", sku="string", qty="int", price="double")
ADDRESS = record("Address", city="string", street="string")
CUSTOMER = record("Customer", name="string", phone="string", id_card="string", email="string", address=ADDRESS)
ORDER = record("Order", id="string", event_time="string", customer=CUSTOMER, card_number="string", amount="double",
               items={"type": "array", "items": ITEM}, notes="string")


def prefixed(texts):
    return b"".join(struct.pack("<I", len(t)) + t for t in texts)


def prepare(folder, records):
    subprocess.run([sys.executable, ROOT / "bench" / "orders.py", str(records), folder / "orders"], check=True)
    lines = [line.split(b"\t", 1)[1] for line in (folder / "orders").read_bytes().splitlines()]
    schema, packed = fastavro.parse_schema(json.loads(json.dumps(ORDER))), []
    for line in lines:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, schema, json.loads(line))
        packed.append(out.getvalue())
    rules = (ROOT / "rules" / "bench.yaml").read_text()
    for name, text in (("json.yaml", rules), ("avro.yaml", rules.replace("format: json", "format: avro")),
                       ("schema", json.dumps(ORDER))):
        (folder / name).write_text(text)
    (folder / "json").write_bytes(prefixed(lines))
    (folder / "avro").write_bytes(prefixed(packed))
    return schema, packed


def measure_fastavro(schema, packed):
    """CPU seconds a million."""
    start = time.process_time()
    for p in packed:
        fastavro.schemaless_writer(io.BytesIO(), schema, fastavro.schemaless_reader(io.BytesIO(p), schema, None))
    return (time.process_time() - start) / len(packed) * 1e6


def avro(build, records, rounds, result):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        schema, packed = prepare(folder, records)
        done = subprocess.run([build / "bench" / "avro_engine", str(rounds), *(folder / f for f in (
            "json.yaml", "avro.yaml", "schema", "json", "avro"))], check=True, capture_output=True, text=True)
        each = [json.loads(line) for line in done.stdout.splitlines()]
        python = [measure_fastavro(schema, packed) for _ in range(rounds)]
    print(f"{records:,} orders, CPU s a million, {rounds} rounds")
    for what in ("json", "avro", "avro_c"):
        print(f"{what:8} {statistics.median(e[what] for e in each):.2f}")
    own = statistics.median(e["avro"] for e in each)
    ratios = {"to_json": statistics.median(e["avro"] / e["json"] for e in each),
              "avro_c_to_it": statistics.median(e["avro_c"] / e["avro"] for e in each),
              "fastavro_to_it": statistics.median(python) / own}
    print(f"fastavro {statistics.median(python):.2f}")
    print(f"in Avro to JSON {ratios['to_json']:.2f} (at most 0.7); avro-c {ratios['avro_c_to_it']:.1f} times as much "
          f"(at least 3), fastavro {ratios['fastavro_to_it']:.1f} times (at least 10)")
    result["avro"] = ratios
