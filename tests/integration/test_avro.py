# SPDX-License-Identifier: Apache-2.0
"""Avro against fastavro: random schemas, random values, and what rules must make of both. KVEIL_AVRO_CASES=10000 for more."""
import base64
import io
import json
import os
import pathlib
import random
import struct
import subprocess

import fastavro
import pytest

from broker import JARS
from registry import CONVERTER, ROOT

BUILD = pathlib.Path(os.environ.get("KVEIL_BUILD", "build-asan"))
CASES = int(os.environ.get("KVEIL_AVRO_CASES", "150"))
HEAD = "name: t\ntopics: [in]\nformat: avro\nfields:\n"
SCALARS = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"]


class Schemas:
    """One random schema: names are short, so that `a` stands at many places and depths."""

    def __init__(self, rnd):
        self.rnd, self.named, self.count = rnd, [], 0

    def name(self):
        self.count += 1
        return f"T{self.count}"

    def type(self, depth, in_union=False):
        r = self.rnd
        kind = r.choice(SCALARS + ["fixed", "enum"] + ["array", "map", "record", "union", "ref"] * (depth < 4))
        if kind == "union" and in_union or kind == "ref" and not self.named:
            kind = "string"
        if kind in SCALARS:
            logical = {"int": "date", "long": "timestamp-micros"}.get(kind)
            return {"type": kind, "doc": "d", "logicalType": logical} if logical and r.random() < .3 else kind
        if kind == "ref":
            return r.choice(self.named)
        if kind == "array":
            return {"type": "array", "items": self.type(depth + 1)}
        if kind == "map":
            return {"type": "map", "values": self.type(depth + 1)}
        if kind == "union":
            return self.union(depth)
        name = self.name()
        if kind == "fixed":
            t = {"type": "fixed", "name": name, "size": r.randint(0, 4)}
        elif kind == "enum":
            t = {"type": "enum", "name": name, "symbols": ["A", "B", "C"][:r.randint(1, 3)]}
        else:
            return self.record(name, depth)
        self.named.append(name)
        return t

    def record(self, name, depth):
        r = self.rnd
        # Only behind a null may a record refer to itself, or its values would not end.
        t = {"type": "record", "name": name, "fields": []}
        for f in r.sample("abcd", r.randint(0, 4)):
            field = {"name": f, "type": self.type(depth + 1)}
            if r.random() < .3 and field["type"] in ("string", "int"):
                field["default"] = "clear" if field["type"] == "string" else 7
            t["fields"].append(field)
        if r.random() < .2:
            t["fields"].append({"name": "next", "type": ["null", name], "default": None})
        self.named.append(name)
        return t

    def union(self, depth):
        branches, seen = [], set()
        for _ in range(self.rnd.randint(1, 4)):
            known = len(self.named)
            t = self.type(depth + 1, in_union=True)
            sort = t if isinstance(t, str) else t.get("name", t["type"])
            if sort not in seen:
                seen.add(sort)
                branches.append(t)
            else:
                del self.named[known:]  # what stood in a branch that is not there
        return branches


def number(n):
    n, out = (n << 1) ^ (n >> 63), bytearray()
    while n > 0x7f:
        out.append(n & 0x7f | 0x80)
        n >>= 7
    return bytes(out + bytes([n]))


class Values:
    """The bytes of a random value, written here and not by fastavro: it has no blocks with sizes, and chooses branches."""

    def __init__(self, rnd, schema):
        self.rnd, self.types = rnd, {}
        self.learn(schema)

    def learn(self, t):
        if isinstance(t, list):
            for b in t:
                self.learn(b)
        elif isinstance(t, dict):
            if "name" in t:
                self.types[t["name"]] = t
            for inner in [t.get("items"), t.get("values")] + [f["type"] for f in t.get("fields", [])]:
                if inner is not None:
                    self.learn(inner)

    def text(self, n):
        t = ("aé\"" * n)[:n].encode()
        return number(len(t)) + t

    def blocks(self, elements):
        out = b""
        while elements:
            n = self.rnd.randint(1, len(elements))
            block = b"".join(elements[:n])
            out += number(-n) + number(len(block)) + block if self.rnd.random() < .5 else number(n) + block
            elements = elements[n:]
        return out + b"\0"

    def value(self, t, depth=0):
        r = self.rnd
        if isinstance(t, list):
            i = t.index("null") if depth > 6 and "null" in t else r.randrange(len(t))
            return number(i) + self.value(t[i], depth + 1)
        if isinstance(t, str) and t in self.types:
            t = self.types[t]
        kind = t if isinstance(t, str) else t["type"]
        n = r.randint(0, 3 if depth < 6 else 0)
        return {
            "null": lambda: b"", "boolean": lambda: r.choice([b"\0", b"\1"]),
            "int": lambda: number(r.choice([0, -1, 63, -65, 2**31 - 1, -2**31])),
            "long": lambda: number(r.choice([0, 1, -64, 64, 2**62])),
            "float": lambda: struct.pack("<f", r.choice([0.0, 1.5, -2.0])),
            "double": lambda: struct.pack("<d", r.choice([0.0, 0.1, -1e300])),
            "bytes": lambda: number(n) + r.randbytes(n), "string": lambda: self.text(n),
            "fixed": lambda: r.randbytes(t["size"]), "enum": lambda: number(r.randrange(len(t["symbols"]))),
            "array": lambda: self.blocks([self.value(t["items"], depth + 1) for _ in range(n)]),
            "map": lambda: self.blocks([number(1) + b"abcx"[i:i + 1] + self.value(t["values"], depth + 1)
                                        for i in range(n)]),
            "record": lambda: b"".join(self.value(f["type"], depth + 1) for f in t["fields"]),
        }[kind]()


def read(schema, data):
    """As plain values; logical types are left as numbers, for only the bytes are of interest."""
    def bare(t):
        if isinstance(t, list):
            return [bare(b) for b in t]
        if isinstance(t, dict):
            return {k: bare(v) if k in ("type", "items", "values") else
                    [{**f, "type": bare(f["type"])} for f in v] if k == "fields" else v
                    for k, v in t.items() if k != "logicalType"}
        return t
    stream = io.BytesIO(data)
    value = fastavro.schemaless_reader(stream, fastavro.parse_schema(bare(json.loads(json.dumps(schema)))), None)
    assert stream.read() == b""
    return value


def fields(t):
    if isinstance(t, list):
        for b in t:
            yield from fields(b)
    elif isinstance(t, dict):
        for f in t.get("fields", []):
            yield f
            yield from fields(f["type"])
        yield from fields(t.get("items"))
        yield from fields(t.get("values"))


def expected(v, change, at=None):
    """What the rule makes of every member `a` that is not null, at any depth."""
    if at == "a" and v is not None:
        return change(v)
    if isinstance(v, dict):
        return {k: expected(x, change, k) for k, x in v.items()}
    if isinstance(v, list):
        return [expected(x, change) for x in v]
    return v


def run_whole(cases):
    """Rules, schema, value, the key's schema and key, and what the schema was derived from; what came of it, derived schema,
    value, and those of the key."""
    def text(b):
        b = b if isinstance(b, bytes) else b.encode()
        return struct.pack("<I", len(b)) + b
    done = subprocess.run([BUILD / "tests" / "avro_cases"],
                          input=b"".join(text(t) for c in cases for t in (*c, b"")[:6]), capture_output=True, timeout=600)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    out, at, texts = done.stdout, 0, []
    while at < len(out):
        n, = struct.unpack_from("<I", out, at)
        texts.append(out[at + 4:at + 4 + n])
        at += 4 + n
    assert len(texts) == 5 * len(cases)
    return [(texts[i].decode(), texts[i + 1].decode(), texts[i + 2], texts[i + 3].decode(), texts[i + 4])
            for i in range(0, len(texts), 5)]


def run(cases):
    """Values alone: rules, schema, value, and what the schema was derived from."""
    return [r[:3] for r in run_whole([(*c[:3], b"", b"", *c[3:]) for c in cases])]


def make(seed, count):
    rnd = random.Random(seed)
    while count:
        schema = Schemas(rnd).record("R", 0)
        try:
            data = Values(rnd, schema).value(schema)
        except RecursionError:
            continue
        count -= 1
        yield schema, data


@pytest.mark.parametrize("rule, change", [
    ('path: "$..a", replace: {with: "***"}', lambda v: "***"),
    ('path: "$..a", nullify: true', lambda v: None),
])
def test_random_schemas(rule, change):
    made = list(make(rule, CASES))
    results = run([(HEAD + f"  - {{{rule}}}\n", json.dumps(schema), data) for schema, data in made])
    changed = 0
    for (schema, data), (code, derived, out) in zip(made, results):
        if code == "avro_schema":
            # One key of a map, and its values' type would change with it alone.
            assert "some elements" in derived and '"map"' in json.dumps(schema)
            continue
        assert code == "ok", (code, schema, derived)
        fastavro.parse_schema(json.loads(derived))
        assert read(json.loads(derived), out) == expected(read(schema, data), change), (schema, derived)
        assert all(not f.get("default") for f in fields(json.loads(derived)) if f["name"] == "a"), derived
        changed += out != data
    assert changed > CASES / 10


def sealed_types(t):
    """What the derived schema says of the values that were sealed."""
    if isinstance(t, list):
        for b in t:
            yield from sealed_types(b)
    elif isinstance(t, dict):
        if "kveil.type" in t:
            yield t["kveil.type"]
        for inner in [t.get("items"), t.get("values")] + [f["type"] for f in t.get("fields", [])]:
            yield from sealed_types(inner)


def has_merged(derived):
    return any(isinstance(was, list) for was in sealed_types(json.loads(derived)))


def has_wholes(derived):
    all_types = [t for was in sealed_types(json.loads(derived)) for t in (was if isinstance(was, list) else [was])]
    return bool({"record", "array", "map"} & {t if isinstance(t, str) else t["type"] for t in all_types})


@pytest.mark.parametrize("action, codes", [("key: k", {"ok", "unsupported_kind", "avro_schema"}),
                                           ("key: k, type: json", {"ok", "avro_schema"})])
def test_sealed_and_opened_again(action, codes):
    """Where the schema is known that the sealed one was derived from, that one comes back, and each byte of the value."""
    made = list(make(action, CASES))
    rule = HEAD + '  - {path: "$..a", %s: {%s}}\n'
    sealed = run([(rule % ("encrypt", action), json.dumps(schema), data) for schema, data in made])
    assert {code for code, _, _ in sealed} <= codes
    cases = [(schema, data, derived, out) for (schema, data), (code, derived, out) in zip(made, sealed) if code == "ok"]
    opened = run([(rule % ("decrypt", action), derived, out, json.dumps(schema)) for schema, _, derived, out in cases])
    without = run([(rule % ("decrypt", action), derived, out) for _, _, derived, out in cases])
    whole = 0

    def has_default_in_a(schema):
        """What stands in a value that the action does not take loses its defaults for good."""
        def holds(f):
            return '"default"' in json.dumps(f["type"]) or ("default" in f and f["type"] == "int" and "json" not in action)
        return any(f["name"] == "a" and holds(f) for f in fields(schema))

    for (schema, data, derived, out), known, unknown in zip(cases, opened, without):
        fastavro.parse_schema(json.loads(derived))
        if not has_default_in_a(schema):
            assert known[:2] == ("ok", json.dumps(schema)) and (known[2] == data or has_merged(derived)), (schema, derived, known)
            whole += out != data
        for code, text, value in (known, unknown):
            assert code in ("ok", "unsupported_kind"), (code, schema, text)
            if code == "ok":
                assert repr(read(json.loads(text), value)) == repr(read(schema, data)), (schema, text)
    assert whole > CASES / 40
    assert "json" not in action or sum(has_wholes(d) for _, _, d, _ in cases) > CASES / 40


def make_unions(seed, count):
    """Unions of all sorts in fields, arrays and maps; with and without a place elsewhere for the same types."""
    rnd = random.Random(seed)
    while count:
        s = Schemas(rnd)
        branches = s.union(2) + s.union(3)
        sorts = [t if isinstance(t, str) else t.get("name", t["type"]) for t in branches]
        if len(set(sorts)) != len(sorts):
            continue
        a = rnd.choice([branches, branches, {"type": "array", "items": branches}, {"type": "map", "values": branches}])
        schema = {"type": "record", "name": "R", "fields": [{"name": "a", "type": a}] + [
            {"name": n, "type": rnd.choice(s.named or ["int"])} for n in rnd.sample("bcd", rnd.randint(0, 2))]}
        rnd.shuffle(schema["fields"])
        try:
            fastavro.parse_schema(json.loads(json.dumps(schema)))
        except Exception:
            continue  # a type before its definition
        count -= 1
        yield schema, branches, Values(rnd, schema).value(schema)


@pytest.mark.parametrize("nulls", ["", ", on_null: transform"])
def test_branches_that_became_one(nulls):
    """Whatever `type: json` sealed comes back to its own branch, byte for byte. But for bytes: those are sealed as they are."""
    made = list(make_unions(nulls, 2 * CASES))
    def rules(schema, word, more=""):
        a = next(f["type"] for f in schema["fields"] if f["name"] == "a")
        inner = "" if isinstance(a, list) else "[*]" if a["type"] == "array" else ".*"
        return HEAD + f'  - {{path: "$.a{inner}", {word}: {{key: k, type: json}}{more}}}\n'

    sealed = run([(rules(s, "encrypt", nulls), json.dumps(s), d) for s, _, d in made])
    assert {r[0] for r in sealed} <= {"ok", "avro_schema"}, {r[:2] for r in sealed if r[0] not in ("ok", "avro_schema")}
    cases = [(*m, r[1], r[2]) for m, r in zip(made, sealed) if r[0] == "ok"]
    opened = run([(rules(s, "decrypt"), t, o, json.dumps(s)) for s, _, _, t, o in cases])
    # Under another key a value is what it was.
    again = run([(rules(s, "reencrypt").replace("key: k, type: json", "from: k, to: l"), t, o) for s, _, _, t, o in cases])
    assert {r[0] for r in again} == {"ok"}
    assert opened == run([(rules(s, "decrypt").replace("key: k", "key: l"), t, o, json.dumps(s))
                          for (s, *_), (_, t, o) in zip(cases, again)])
    merged = 0
    for (schema, branches, data, derived, out), known in zip(cases, opened):
        kinds = [t if isinstance(t, str) else t["type"] for t in branches]
        has_bytes = kinds.count("fixed") + kinds.count("bytes") > 1 or any(isinstance(t, str) and t[0] == "T" for t in branches)
        assert known[:2] == ("ok", json.dumps(schema)), (schema, derived, known)
        assert known[2] == data or has_bytes, (schema, derived, known, data)
        merged += not has_bytes and has_merged(derived) and out != data
    assert len(cases) > 1.6 * CASES and merged > CASES / 2, (len(cases), merged)


def opened_but_for_b(before, after):
    """What stands in a `b` that was not in an `a` is sealed still; all else is as it was."""
    if isinstance(before, dict):
        return isinstance(after, dict) and before.keys() == after.keys() and all(
            isinstance(after[k], (str, bytes)) or after[k] is None if k == "b" else
            repr(after[k]) == repr(v) if k == "a" else opened_but_for_b(v, after[k]) for k, v in before.items())
    if isinstance(before, list):
        return isinstance(after, list) and len(before) == len(after) and all(map(opened_but_for_b, before, after))
    return repr(before) == repr(after)


def test_opened_in_part(apache_avro):
    """Records, arrays and maps come back into a schema that is neither the writer's nor the sealed one. Its names may clash."""
    made = list(make("in part", 4 * CASES))
    seal = HEAD + "".join(f'  - {{path: "$..{f}", encrypt: {{key: k, type: json}}}}\n' for f in "ab")
    sealed = [(s, d, *r) for (s, d), r in zip(made, run([(seal, json.dumps(s), d) for s, d in made])) if r[0] == "ok"]
    rules = HEAD + '  - {path: "$..a", decrypt: {key: k, type: json}}\n'
    opened = run([(rules, derived, out, json.dumps(s)) for s, _, _, derived, out in sealed])
    good = [(case, r) for case, r in zip(sealed, opened) if r[0] == "ok"]
    assert {r[0] for r in opened} <= {"ok", "avro_schema"} and len(good) > len(sealed) * .8, [r[:2] for r in opened if r[0] != "ok"]
    assert sum(has_wholes(case[3]) for case, _ in good) > CASES / 10
    for (schema, data, _, derived, out), (_, text, value) in good:
        assert opened_but_for_b(read(schema, data), read(json.loads(text), value)), (schema, derived, text)
    for (case, r), answer in zip(good, apache_avro([("read", text, base64_of(value)) for _, (_, text, value) in good])):
        assert not answer.startswith("!"), (answer, case[0], r[1])


def test_derived_schemas_can_be_derived_from_again():
    """A pure function: the same text again, and a fixed point of rules that change no more."""
    made = list(make("again", 50))
    rules = HEAD + '  - {path: "$..a", replace: {with: x}}\n'
    one, two = (run([(rules, json.dumps(s), d) for s, d in made]) for _ in range(2))
    assert one == two

# --- Apache Avro (Java) ---

@pytest.fixture(scope="module")
def apache_avro(tmp_path_factory):
    """Asks it many questions at once: tests/integration/ApacheAvro.java."""
    folder = tmp_path_factory.mktemp("avro")
    path = f"{folder}:{CONVERTER}/*:{JARS}/*"
    subprocess.run(["javac", "-cp", path, "-d", folder, ROOT / "tests" / "integration" / "ApacheAvro.java"], check=True)

    def ask(questions):
        lines = "".join("\t".join(q) + "\n" for q in questions)
        done = subprocess.run(["java", "-Xmx300m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
                               "-cp", path, "ApacheAvro"], input=lines, capture_output=True, text=True, check=True, timeout=600)
        answers = done.stdout.splitlines()
        assert len(answers) == len(questions), done.stderr[-2000:]
        return answers

    return ask


def base64_of(data):
    return base64.b64encode(data).decode()


@pytest.mark.parametrize("rule, change", [
    ('path: "$..a", replace: {with: "***"}', lambda v: "***"),
    ('path: "$..a", encrypt: {key: k, type: json}', lambda v: {"hex": "*"} if isinstance(v, dict) and list(v) == ["hex"] else "*"),
])
def test_apache_avro_writes_and_reads(apache_avro, rule, change):
    """Random values of random schemas, written by it: it reads what comes out by the derived schema, which it accepts."""
    schemas = [json.dumps(schema) for schema, _ in make(rule + "java", CASES)]
    written = [a.split("\t") for a in apache_avro([("write", str(i), s) for i, s in enumerate(schemas)])]
    assert not [w for w in written if w[0].startswith("!")]
    cases = [(s, base64.b64decode(w[0]), json.loads(w[1])) for s, w in zip(schemas, written)]
    results = run([(HEAD + f"  - {{{rule}}}\n", s, data) for s, data, _ in cases])
    good = [(case, r) for case, r in zip(cases, results) if r[0] == "ok"]
    assert {r[0] for r in results} <= {"ok", "avro_schema"} and len(good) > CASES * .8
    read_back = apache_avro([("read", derived, base64_of(out)) for _, (_, derived, out) in good])
    changed = 0

    def blur(v):
        """Ciphertexts are long, and no two are the same."""
        return change(v) if "encrypt" in rule else v
    for ((schema, data, value), (_, derived, out)), text in zip(good, read_back):
        assert not text.startswith("!"), (text, schema, derived)
        want = expected(value, change)
        assert expected(json.loads(text), blur) == want, (schema, derived)
        # Where nothing was sealed, a branch may have moved up.
        assert "encrypt" not in rule or want == value or len(out) > len(data) + 20
        changed += out != data
    assert changed > CASES / 10


def evolved(rnd, schema):
    """The next version of a schema: a field more, one less, or a wider type."""
    new = json.loads(json.dumps(schema))
    record = rnd.choice([new, *(f["type"] for f in fields(new) if isinstance(f["type"], dict) and f["type"].get("type") == "record")])
    kind = rnd.choice(["more", "less", "wider"])
    if kind == "more":
        name = rnd.choice([n for n in "abcdefg" if n not in [f["name"] for f in record["fields"]]])
        record["fields"].insert(rnd.randint(0, len(record["fields"])), rnd.choice([
            {"name": name, "type": "string", "default": "clear"}, {"name": name, "type": ["null", "int"], "default": None},
            {"name": name, "type": {"type": "map", "values": "bytes"}, "default": {}},
            {"name": name, "type": ["long", "null"], "default": 7}]))
    elif kind == "less" and record["fields"]:
        record["fields"].pop(rnd.randrange(len(record["fields"])))
    for f in record["fields"] if kind == "wider" else ():
        wider = {"int": "long", "float": "double", "string": ["null", "string"], "long": ["long", "string"]}
        if isinstance(f["type"], str) and f["type"] in wider and "default" not in f:
            f["type"] = wider[f["type"]]
    return new


@pytest.mark.parametrize("action", ["replace: {with: x}", "encrypt: {key: k, type: json}", "nullify: true", "mask: {}"])
def test_apache_avro_finds_derived_schemas_as_compatible(apache_avro, action):
    """BACKWARD, as a registry checks it: where a reader with the new schema reads what the old one wrote, one with the new derived
    schema reads what was written with the old derived one. Not so where a type that became two is one in the other version."""
    rnd = random.Random(action)
    made = [(old, evolved(rnd, old)) for old, _ in make(action + "fits", CASES)]
    pairs = [(json.dumps(old), json.dumps(new)) for old, new in made]
    fits = apache_avro([("fits", new, old) for old, new in pairs])
    pairs = [p for p, answer in zip(pairs, fits) if answer == "yes" and p[0] != p[1]]
    assert len(pairs) > CASES / 4
    rules = HEAD + f'  - {{path: "$..a", {action}}}\n'
    derived = run([(rules, schema, b"") for pair in pairs for schema in pair])
    both = [(old, new, a[1], b[1]) for (old, new), a, b in zip(pairs, derived[::2], derived[1::2])
            if "avro_schema" not in (a[0], b[0]) and "_protected" not in a[1] + b[1]]
    assert len(both) > len(pairs) * .5
    for case, answer in zip(both, apache_avro([("fits", new, old) for _, _, old, new in both])):
        assert answer == "yes", (answer, *case)
