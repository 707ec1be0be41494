# SPDX-License-Identifier: Apache-2.0
"""Random schemas inline: whatever a rule names is a canary in the row, in defaults and in lists of allowed values. None may
leave, and what leaves must be as its schema says. KVEIL_SCHEMAS: how many rule files."""
import base64
import json
import os
import random
import re
import subprocess

KVEIL = os.environ["KVEIL_BIN"]
TEXT, DIGITS = "CNRYZQX", "73519"  # what canaries begin with
ACTIONS = ["mask: {}", "hash: {key: pepper}", "encrypt: {key: pii}", "encrypt: {key: pii, type: json}", "nullify: true",
           "remove: true", "replace: {with: x}", "replace: {with: 7}", "tokenize: {key: ids}"]
INTEGERS = {"int8": 7, "int16": 15, "int32": 31, "int64": 63}


class Maker:
    """is_named: everything at the place is a canary."""

    def __init__(self, r):
        self.r, self.n = r, 0

    def text(self, is_named):
        self.n += is_named
        return f"{TEXT}{self.n:07}" if is_named else self.r.choice(["", "clear", "été", "a\"b\\"])

    def number(self, bits, is_named):
        if not is_named or bits < 31:  # shorter ones are not evidence
            return self.r.choice([0, 1, -5])
        self.n += 1
        return int(f"{DIGITS}{self.n % 10000:04}")

    def schema(self, depth=0):
        r = self.r
        kinds = [*INTEGERS, "float", "double", "boolean", "string", "string", "bytes", "decimal", "date", "enum", "timestamp"]
        kind = r.choice(kinds + (["struct", "array", "map"] if depth < 3 else []))
        s = {"type": kind, "optional": r.random() < .5}
        if kind == "decimal":
            s |= {"type": "bytes", "name": "org.apache.kafka.connect.data.Decimal", "version": 1, "parameters": {"scale": "0"}}
        elif kind == "date":
            s |= {"type": "int32", "name": "io.debezium.time.Date", "version": 1}
        elif kind == "timestamp":
            s |= {"type": "int64", "name": "org.apache.kafka.connect.data.Timestamp", "version": 1}
        elif kind == "enum":
            s |= {"type": "string", "name": "io.debezium.data.Enum", "version": 1, "parameters": {"allowed": "a,b"}}
        elif kind == "struct":
            s |= {"name": f"s{r.randrange(10**6)}", "fields": [self.schema(depth + 1) | {"field": c} for c in
                                                             r.sample("abcd", r.randrange(1, 4))]}
        elif kind == "array":
            s["items"] = self.schema(depth + 1)
        elif kind == "map":
            s |= {"keys": {"type": "string", "optional": False}, "values": self.schema(depth + 1)}
        if r.random() < .2:
            s["doc"] = "what it is"
        if kind == "string" and r.random() < .3:
            s["parameters"] = {"__debezium.source.column.length": "11"}
        return s

    def value(self, s, path, named, is_named=False):
        """Also puts canaries into the schema on the way: defaults, allowed values."""
        r = self.r
        is_named = is_named or any(n.fullmatch(path) for n in named)
        if s["optional"] and r.random() < .15:
            return None
        kind = s["type"]
        if kind in INTEGERS:
            v = self.number(INTEGERS[kind], is_named)
        elif kind in ("float", "double"):
            v = self.number(31, is_named) + .5
        elif kind == "boolean":
            v = r.random() < .5
        elif kind == "string":
            v = self.text(is_named)
            if "allowed" in s.get("parameters", {}) and is_named:
                s["parameters"]["allowed"] += "," + v
        elif kind == "bytes":
            v = base64.b64encode(self.text(is_named).encode()).decode()
        elif kind == "struct":
            v = {f["field"]: self.value(f, f"{path}.{f['field']}", named, is_named) for f in s["fields"]}
        elif kind == "array":
            v = [self.value(s["items"], f"{path}[]", named, is_named) for _ in range(r.randrange(3))]
        else:
            v = {k: self.value(s["values"], f"{path}.{k}", named, is_named) for k in r.sample("abc", r.randrange(3))}
        if r.random() < .15:
            s["default"] = v
        return v


def paths(s, path="$", own="$"):
    """Of all places of a schema: a rule's path, and the place as a pattern of Maker's."""
    if path != "$":
        yield path, own
    for f in s.get("fields", []):
        yield from paths(f, f"{path}.{f['field']}", f"{own}.{f['field']}")
    if "items" in s:
        yield from paths(s["items"], f"{path}[*]", f"{own}[]")
    if "values" in s:
        yield from paths(s["values"], f"{path}[*]", f"{own}.[abc]")
        yield from paths(s["values"], f"{path}.a", f"{own}.a")


def pattern(own):
    return re.compile(re.escape(own).replace(r"\[abc\]", "[abc]"))


def conforms(s, v, where="$"):
    """As JsonConverter reads it."""
    if v is None:
        assert s.get("optional") or "default" in s, where
        return
    t = s["type"]
    if t in INTEGERS:
        assert isinstance(v, int) and not isinstance(v, bool) and abs(v) < 2**INTEGERS[t], (where, t, v)
    elif t in ("float", "double"):
        assert isinstance(v, (int, float)) and not isinstance(v, bool), (where, t, v)
    elif t in ("boolean", "string"):
        assert isinstance(v, bool if t == "boolean" else str), (where, t, v)
    elif t == "bytes":
        base64.b64decode(v, validate=True)
    elif t == "struct":
        assert set(v) <= {f["field"] for f in s["fields"]}, (where, s, v)
        for f in s["fields"]:
            conforms(f, v.get(f["field"]), f"{where}.{f['field']}")
    elif t == "array":
        for x in v:
            conforms(s["items"], x, where + "[]")
    else:
        for k, x in v.items():
            conforms(s["values"], x, f"{where}.{k}")
    if "default" in s:
        conforms({k: x for k, x in s.items() if k != "default"}, s["default"], where + " default")


def is_apart(path, others):
    """A rule above or below another is refused; two that may meet are another test's."""
    def steps(p):
        return re.findall(r"\.\w+|\[\*\]", p)
    return all(len(a := steps(path)) and not all(x == y or "[*]" in (x, y) for x, y in zip(a, steps(o))) for o in others)


def some_rules(r, schema):
    chosen = []
    for path, own in r.sample(list(paths(schema)), k=len(list(paths(schema)))):
        if len(chosen) < 3 and is_apart(path, [p for p, _, _ in chosen]):
            when = ', when: "$.z.q != 1"' if r.random() < .2 else ""
            chosen.append((path, own, f"  - {{path: \"{path}\", {r.choice(ACTIONS)}{when}}}\n"))
    return chosen


def envelope_of(kind, schema, rows):
    if kind == "connect":
        return schema, rows[0]
    image = {k: v for k, v in schema.items() if k != "default"} | {"optional": True}
    source = {"type": "struct", "optional": False, "field": "source",
              "fields": [{"type": "string", "optional": False, "field": "connector"}]}
    return {"type": "struct", "optional": False, "name": "e.Envelope", "fields": [
        image | {"field": "before"}, image | {"field": "after"}, source, {"type": "string", "optional": False, "field": "op"}]}, \
        {"before": rows[1], "after": rows[0], "source": {"connector": "mysql"}, "op": "u"}


def test_random_schemas_inline(tmp_path):
    r = random.Random("inline")
    written = failed = 0
    codes = {}
    for number in range(int(os.environ.get("KVEIL_SCHEMAS", 120))):
        kind = r.choice(["connect", "debezium"])
        maker = Maker(r)
        schema = {"type": "struct", "optional": False, "name": "t.Value",
                  "fields": [maker.schema() | {"field": c} for c in r.sample(["m", "n", "o", "p"], r.randrange(2, 5))]}
        rules = some_rules(r, schema)
        named = [pattern(own) for _, own, _ in rules]
        file = tmp_path / f"{number}.yaml"
        file.write_text(f"name: t\ntopics: [in]\noutput: out\nenvelope: {kind}\nunmatched: {r.choice(['keep', 'keep', 'remove'])}\n"
                        "fields:\n" + "".join(t for _, _, t in rules))
        lines = []
        for _ in range(20):
            s = json.loads(json.dumps(schema))
            rows = [{f["field"]: maker.value(f, f"$.{f['field']}", named) for f in s["fields"]} for _ in range(2)]
            s, payload = envelope_of(kind, s, rows)
            lines.append(json.dumps({"schema": s, "payload": payload}, ensure_ascii=False))
        done = subprocess.run([KVEIL, "apply", "--demo-keys", "-r", file], input="\n".join(lines) + "\n", text=True,
                              capture_output=True)
        assert done.returncode in (0, 1), done.stderr
        outs = done.stdout.splitlines()
        written, failed = written + len(outs), failed + len(lines) - len(outs)
        for code in re.findall(r"^-:\d+: (?:byte \d+: )?(\w+)", done.stderr, re.M):
            codes[code] = codes.get(code, 0) + 1
        for text in [*outs, done.stderr]:
            assert TEXT not in text and DIGITS not in text, (file.read_text(), text, lines)
            for b in re.findall(r"[A-Za-z0-9+/]{12,}={0,2}", text):
                assert TEXT.encode() not in base64.b64decode(b + "=" * (-len(b) % 4)), (file.read_text(), text)
        for out in outs:
            event = json.loads(out)
            try:
                conforms(event["schema"], event["payload"])
            except AssertionError as e:
                raise AssertionError((file.read_text(), out)) from e
    print(written, "written,", failed, "failed:", codes)
    assert written > 4 * failed
