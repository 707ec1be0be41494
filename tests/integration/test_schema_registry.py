# SPDX-License-Identifier: Apache-2.0
"""kveil and a schema registry: Apicurio for what is common, a stub for what a real one does not do. Through `kveil schema`,
which asks as the worker does."""
import base64
import datetime
import io
import json
import os
import random
import subprocess
import time

import fastavro
import pytest

from broker import JARS, free_port
from conftest import KVEIL
from custodian import certificate
from registry import CONVERTER, ROOT, Apicurio, Registry, Stub, error, slowly

pytestmark = pytest.mark.long(85)

USER = {"type": "record", "name": "User", "namespace": "com.acme", "fields": [{"name": "phone", "type": "string"},
                                                                             {"name": "age", "type": "int", "default": 0}]}
RULES = """\
name: users
topics: [users]
format: avro
fields:
  - {path: "$.phone", mask: {keep_first: 3}}
  - {path: "$.age", mask: {}}
"""


class Shop:
    """kveil.yaml with a schema registry, a rule file, and `kveil schema`."""

    def __init__(self, folder):
        self.dir = folder
        (folder / "rules.yaml").write_text(RULES)
        (folder / "pw").write_text("hunter2")
        (folder / "pw").chmod(0o600)

    def config(self, *urls, **options):
        lines = "".join(f"  {k}: {v}\n" for k, v in options.items())
        (self.dir / "kveil.yaml").write_text(f"""\
kafka: {{bootstrap_servers: "127.0.0.1:1", group_id: g}}
rules: rules.yaml
keys:
  registry: file:keys.json
  keks: {{local: {{provider: file, path: kek}}}}
  data:
    dead-letters: {{algorithm: aes-256-gcm, kek: local}}
schema_registry:
  url: {json.dumps(list(urls))}
{lines}""")
        return self

    def run(self, *args, code=0, env=None):
        r = subprocess.run([str(KVEIL), "schema", *args], cwd=self.dir, capture_output=True, text=True, timeout=120,
                           env={**os.environ, **(env or {})})
        assert r.returncode == code, f"kveil schema {' '.join(args)}: exit {r.returncode}\n{r.stdout}\n{r.stderr}"
        assert "hunter2" not in r.stdout + r.stderr and base64.b64encode(b"kveil:hunter2").decode() not in r.stderr
        return r

    def get(self, id=7, **kw):
        return self.run("get", str(id), **kw)

    def fails(self, status, *words, id=7, args=None):
        r = self.run(*(args or ["get", str(id)]), code=1)
        assert f"{status}: " in r.stderr, r.stderr
        for word in words:
            assert word in r.stderr, r.stderr
        assert len(r.stderr) < 800
        return r.stderr

    def derived(self, action, operand="7", code=0):
        return self.run(action, "-r", "rules.yaml", operand, code=code)


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


@pytest.fixture
def stub():
    s = Stub()
    yield s
    s.stop()


@pytest.fixture
def other():
    s = Stub()
    yield s
    s.stop()


@pytest.fixture(scope="module")
def apicurio():
    a = Apicurio().start()
    yield a
    a.close()


# --- a schema by its id ---

def test_schema_and_what_goes_with_it(shop, stub):
    stub.schema(7, USER, guid="0a1b2c3d-0000-4000-8000-000000000001", metadata={"tags": {"com.acme.User.phone": ["PII", "GDPR"]}},
                ruleSet={"domainRules": [{"name": "seal", "kind": "TRANSFORM", "type": "ENCRYPT", "tags": ["PII"]}]})
    r = shop.config(stub.url + "/").get()
    assert json.loads(r.stdout) == USER
    assert "GUID 0a1b2c3d-0000-4000-8000-000000000001" in r.stderr
    assert "tag PII: com.acme.User.phone\ntag GDPR: com.acme.User.phone\n" in r.stderr and "'seal' encrypts" in r.stderr
    assert stub.paths() == ["/schemas/ids/7"] and "schemaregistry" in stub.asked[0].headers["Accept"]
    stub.on("GET", "/schemas/guids/0a1b2c3d-0000-4000-8000-000000000001", {"schema": '"string"'})
    assert shop.get("0A1B2C3D-0000-4000-8000-000000000001").stdout == '"string"\n'
    stub.on("GET", "/schemas/ids/7?subject=%3A.staging%3A", {"schema": '"int"'})
    assert shop.run("get", "--context", "staging", "7").stdout == '"int"\n'
    stub.schema(8, '{"type": "object"}', schemaType="JSON", references=[{"name": "a.json", "subject": "a", "version": 1}])
    r = shop.get(8)
    assert r.stdout == '{"type": "object"}\n' and r.stderr.startswith("JSON")
    # Of a known id it refers to that.
    derived = json.loads(shop.run("derive", "-c", "kveil.yaml", "-r", "rules.yaml", "7").stdout)
    assert derived.pop("kveil.schema")["id"] == 7
    assert derived == json.loads(shop.run("derive", "-r", "rules.yaml", file_of(shop, USER)).stdout)


def test_a_derived_schema_of_a_schema_out_of_reach(shop, stub):
    """What the values were is not guessed while the registry is away: the schema that opens them would be another one."""
    level = {"type": "enum", "name": "Level", "symbols": ["LOW", "HIGH"]}
    writer = {"type": "record", "name": "User", "fields": [{"name": "level", "type": level}]}
    for name, action in (("seal", "encrypt"), ("open", "decrypt")):
        (shop.dir / f"{name}.yaml").write_text(f"name: u\ntopics: [u]\nformat: avro\nfields: [{{path: $.level, {action}: {{key: k}}}}]\n")
    stub.schema(7, writer)
    sealed = shop.config(stub.url).run("derive", "-c", "kveil.yaml", "-r", "seal.yaml", "7").stdout
    stub.schema(8, sealed)
    back = ("derive", "-c", "kveil.yaml", "-r", "open.yaml", "8")
    assert json.loads(shop.run(*back).stdout) == writer
    stub.on("GET", "/schemas/ids/7", error(500, 50001, "later"))
    r = shop.run(*back, code=1)
    assert "schema_registry_unavailable" in r.stderr and r.stdout == ""
    # One that it does not have is another matter.
    stub.on("GET", "/schemas/ids/7", error(404, 40403, "Schema not found"))
    assert json.loads(shop.run(*back).stdout)["fields"][0]["type"] == "string"


def file_of(shop, schema):
    (shop.dir / "user.avsc").write_text(json.dumps(schema))
    return "user.avsc"


def ref(name, subject, version=1):
    return {"name": name, "subject": subject, "version": version}


def record(name, *fields, **more):
    return {"type": "record", "name": name, "fields": [{"name": f"f{i}", "type": t} for i, t in enumerate(fields)], **more}


def test_references_are_inlined(shop, stub):
    """Order names Address twice, by way of Customer too; Unit stands in the middle of another."""
    city = record("City", "string", namespace="geo")
    address = record("Address", "geo.City", {"type": "enum", "name": "Unit", "symbols": ["A", "B"]}, namespace="com.acme")
    customer = record("com.acme.Customer", "Address", ["null", "com.acme.Customer"], {"type": "array", "items": "Unit"})
    order = record("Order", "com.acme.Customer", {"type": "map", "values": "com.acme.Address"}, "geo.City", namespace="shop")
    references = {"city": [], "address": [ref("geo.City", "city")], "customer": [ref("com.acme.Address", "address")]}
    for subject, schema in (("city", city), ("address", address), ("customer", customer)):
        stub.version(subject, 1, schema, references=references[subject], metadata={"tags": {f"**.{subject}": ["PII"]}})
    stub.schema(7, order, references=[ref("com.acme.Customer", "customer"), ref("com.acme.Address", "address"), ref("geo.City", "city")])
    r = shop.config(stub.url).get()
    whole = json.loads(r.stdout)
    assert len(stub.paths()) == 4  # each once
    assert {line for line in r.stderr.splitlines() if line.startswith("tag")} == {
        "tag PII: **.city", "tag PII: **.address", "tag PII: **.customer"}
    # What Apache Avro and fastavro read: each name defined once, before it is used.
    parsed = fastavro.parse_schema(whole)
    value = {"f0": {"f0": {"f0": {"f0": "Rome"}, "f1": "B"}, "f1": None, "f2": ["A"]}, "f1": {"x": {"f0": {"f0": "Bari"}, "f1": "A"}},
             "f2": {"f0": "Pisa"}}
    out = io.BytesIO()
    fastavro.schemaless_writer(out, parsed, value)
    out.seek(0)
    # The same bytes by the schemas as they stand there.
    named = {}
    for schema in (city, address, customer):
        fastavro.parse_schema(schema, named)
    assert fastavro.schemaless_reader(out, fastavro.parse_schema(order, named), None) == value
    assert r.stdout.count('"name":"Address"') == 1
    stub.on("GET", "/schemas/ids/7?subject=%3A.st%3A", stub.answers["GET", "/schemas/ids/7"])
    stub.answers.update({(m, p.replace("/subjects/", "/subjects/%3A.st%3A")): a for (m, p), a in list(stub.answers.items())})
    assert shop.run("get", "--context", "st", "7").stdout == r.stdout and "/subjects/%3A.st%3Acity/versions/1?deleted=true" in stub.paths()


HOSTILE = {
    "huge": ((200, b'{"schema": "' + b"a" * (3 << 20) + b'"}'), "schema_registry_unavailable", "more than 2 MiB"),
    "junk": ((200, b"<html>welcome</html>"), "schema_registry_unavailable", "no answer of a schema registry"),
    "list": ((200, b"[]"), "schema_registry_unavailable", "no answer of a schema registry"),
    "values": ((200, b'{"schema": "1", "x": [' + b"[]," * 600_000 + b"[]]}"), "schema_registry_unavailable", "no answer"),
    "depth": ((200, b'{"x": ' + b"[" * 5000 + b"]" * 5000 + b"}"), "schema_registry_unavailable", "no answer"),
    "none": ({"id": 7}, "schema_registry_unavailable", "no schema in its answer"),
    "redirect": ((302, {"Location": "/schemas/ids/8"}), "schema_registry_unavailable", "302", "follows none"),
    "wrong path": ((404, b"<html>not found</html>"), "schema_registry_unavailable", "404", "/apis/ccompat/v7"),
    "jersey": (error(404, 404, "HTTP 404 Not Found"), "schema_registry_unavailable", "404: HTTP 404 Not Found"),
    "unauthorized": (error(401, 401, "Unauthorized"), "schema_registry_unavailable", "401: Unauthorized", "username and password"),
    "forbidden": (error(403, 40301, "User is denied"), "schema_registry_unavailable", "403: User is denied"),
    "busy": (error(429, 42901, "slow down"), "schema_registry_unavailable", "429: slow down"),
    "broken": (error(500, 50001, "two\nlines \x1b[31m" + "x" * 5000), "schema_registry_unavailable", "500: two lines  [31mxxx"),
    "unknown": (error(404, 40403, "Schema 7 not found"), "schema_pending", "does not know schema 7"),
    "not JSON": ({"schema": "{", "references": [ref("a", "good")]}, "avro_schema", "the schema: not JSON"),
    "many values": ({"schema": "[" + "{}," * 200_000 + "{}]", "references": [ref("a", "good")]}, "avro_schema", "too many parts"),
    "large": ({"schema": '"' + " " * (1 << 20) + '"'}, "avro_schema", "more than 1 MiB"),
    "cycle": ({"schema": '"A"', "references": [ref("a", "a")]}, "avro_schema", "lead back to a version 1"),
    "deep references": ({"schema": '"A"', "references": [ref("n0", "n0")]}, "avro_schema", "references nested too deep"),
    "many references": ({"schema": '"A"', "references": [ref(f"w{i}", f"w{i}") for i in range(300)]}, "avro_schema", "too many references"),
    "large references": ({"schema": '"A"', "references": [ref("l0", "l0"), ref("l1", "l1")]}, "avro_schema", "more than 1 MiB"),
    "two definitions": ({"schema": '"A"', "references": [ref("x", "x"), ref("y", "y")]}, "avro_schema", "references define X"),
    "odd reference": ({"schema": '"A"', "references": [{"name": "x", "version": 1}]}, "avro_schema", "one of its references is none"),
    "missing reference": ({"schema": '"A"', "references": [ref("gone", "gone")]}, "schema_pending", "gone version 1, a reference of schema 7"),
    "odd tags": ({"schema": '"string"', "metadata": {"tags": {"a": "PII"}}}, "avro_schema", "metadata.tags are not lists"),
    "many tags": ({"schema": '"string"', "metadata": {"tags": {f"a{i}": ["PII"] for i in range(5000)}}}, "avro_schema", "too many metadata.tags"),
    "nested": ({"schema": '{"type":"array","items":' * 300 + '"int"' + "}" * 300, "references": [ref("a", "good")]}, "avro_schema", "nested too deep"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_registry(shop, stub, what):
    answer, status, *words = HOSTILE[what]
    stub.on("GET", "/schemas/ids/7", answer)
    stub.version("good", 1, "string").version("a", 1, "string", references=[ref("b", "b")]).version("b", 1, "string", references=[ref("c", "a")])
    for i in range(40):
        stub.version(f"n{i}", 1, "string", references=[ref(f"n{i + 1}", f"n{i + 1}")])
    for i in range(300):
        stub.version(f"w{i}", 1, record(f"W{i}", "int"))
    for i in range(2):
        stub.version(f"l{i}", 1, record(f"L{i}", "int", doc="x" * 600_000))
    stub.version("x", 1, record("X", "int")).version("y", 1, record("X", "long"))
    said = shop.config(stub.url).fails(status, *words)
    assert "\x1b" not in said
    assert len(stub.paths()) <= 258 and "/schemas/ids/8" not in stub.paths()


def test_slow_registry(shop, stub):
    """A byte at a time: one request, and all of them together, are over in time."""
    stub.on("GET", "/schemas/ids/7", (200, slowly(1000, 0.05)))
    start = time.time()
    shop.config(stub.url, timeout="300ms").fails("schema_registry_unavailable", "schema 7")
    assert time.time() - start < 20  # the body alone takes 50
    many = [ref(f"w{i}", f"w{i}") for i in range(200)]
    stub.schema(7, "A", references=many)
    for r in many:
        def answer(asked, r=r):
            time.sleep(0.15)
            return {"schema": json.dumps(record(r["name"], "int"))}
        stub.on("GET", f"/subjects/{r['subject']}/versions/1?deleted=true", answer)
    start = time.time()
    shop.fails("schema_registry_unavailable", "no answer within 4 times")
    assert time.time() - start < 20  # all of them take 30


# --- several addresses ---

@pytest.mark.parametrize("first", [error(503, 50301), (200, b"junk"), error(404, 40403), (302, {"Location": "/"}), error(500, 50001)])
def test_the_next_address_is_asked(shop, stub, other, first):
    stub.on("GET", "/schemas/ids/7", first)
    other.schema(7, USER)
    assert json.loads(shop.config(stub.url, other.url).get().stdout) == USER
    assert stub.paths() == other.paths() == ["/schemas/ids/7"]


def test_an_address_that_is_down_is_left_alone(shop, stub, other):
    """Within one call: what its references need is not asked there again. 404 of some, with others down, is not an answer."""
    stub.on("GET", "/schemas/ids/7", error(503, 50301))
    other.schema(7, '"A"', references=[ref("A", "a")]).version("a", 1, record("A", "int"))
    dead = f"http://127.0.0.1:{free_port()}"
    assert '"name":"A"' in shop.config(dead, stub.url, other.url).get().stdout
    assert stub.paths() == ["/schemas/ids/7"] and len(other.paths()) == 2
    shop.config(dead, other.url).fails("schema_pending", "schema 9", id=9)
    shop.config(dead, dead + "/x").fails("schema_registry_unavailable", dead)


# --- who may ask ---

def test_credentials(shop, stub):
    def basic(asked):
        return {"schema": '"int"'} if asked.headers["Authorization"] == "Basic " + base64.b64encode(b"kveil:hunter2").decode() \
            else error(401, 401)
    stub.on("GET", "/schemas/ids/7", basic)
    assert shop.config(stub.url, username="kveil", password='"${file:pw}"').get().stdout == '"int"\n'
    (shop.dir / "pw").write_text("wrong")
    shop.fails("schema_registry_unavailable", "401", "refuses the credentials")
    asked = len(stub.asked)

    def rotated(asked):  # the file changes once kveil runs
        (shop.dir / "pw").write_text("token-2")
        return {"schema": '"long"'} if asked.headers["Authorization"] == "Bearer token-2" else error(401, 401)
    stub.on("GET", "/schemas/ids/7", rotated)
    assert shop.config(stub.url, bearer_token='"${file:pw}"').get().stdout == '"long"\n'
    assert [a.headers["Authorization"] for a in stub.asked[asked:]] == ["Bearer wrong", "Bearer token-2"]
    proxy = "http://127.0.0.1:1"
    assert shop.get(env={"http_proxy": proxy, "HTTP_PROXY": proxy, "ALL_PROXY": proxy}).stdout == '"long"\n'


def test_tls(shop, tmp_path):
    certificate(tmp_path, "server"), certificate(tmp_path, "client")
    s = Stub(tmp_path / "server.pem", tmp_path / "server.key", clients=tmp_path / "client.pem").schema(7, '"int"')
    try:
        shop.config(s.url).fails("schema_registry_unavailable", "ca_file")
        shop.config(s.url, ca_file="server.pem").fails("schema_registry_unavailable")
        assert not s.asked
        assert shop.config(s.url, ca_file="server.pem", certificate="client.pem", private_key="client.key").get().stdout == '"int"\n'
    finally:
        s.stop()
    shop.config(s.url, ca_file="nope.pem")
    assert "ca_file" in shop.get(code=2).stderr
    (tmp_path / "client.key").chmod(0o644)
    r = subprocess.run([str(KVEIL), "check", "-c", "kveil.yaml"], cwd=shop.config(s.url, certificate="client.pem", private_key="client.key").dir,
                       capture_output=True, text=True)
    assert "every user of this host can read it" in r.stderr + r.stdout


# --- the derived schema ---

def confluent(stub, subject="users.secure-value", id=40, rules=None, text=None, mangle=None, query=""):
    """Registers as Confluent's registry does: what is sent stands under the id, with these rules beside it."""
    def register(asked):
        refusal = mangle and mangle(asked)
        if refusal:
            return refusal
        back = {"schema": text or asked.json["schema"], "guid": "0a1b2c3d-0000-4000-8000-00000000002a", **({"ruleSet": rules} if rules else {})}
        stub.on("GET", f"/schemas/ids/{id}?subject={subject}", back)
        return {"id": id}
    return stub.on("POST", f"/subjects/{subject}/versions{query}", register).schema(7, USER)


def test_register(shop, stub):
    confluent(stub)
    assert shop.config(stub.url).derived("register").stdout == "40\n"
    sent = stub.asked[1].json
    assert sent["ruleSet"] == {"migrationRules": [], "domainRules": [], "encodingRules": []}
    assert sent["schema"] + "\n" == shop.run("derive", "-c", "kveil.yaml", "-r", "rules.yaml", "7").stdout
    assert set(sent) == {"schema", "ruleSet"}
    assert shop.derived("register", operand=file_of(shop, USER)).stdout == "40\n"


def test_where_the_rule_file_says(shop, stub):
    """Context, spelling and output of the rule file; a subject beside it."""
    rules = shop.dir / "rules.yaml"
    rules.write_text(rules.read_text().replace("fields:", 'output: "safe.{topic}"\nschema: {context: stage, normalize: true}\nfields:'))
    confluent(stub, subject="%3A.stage%3Asafe.users-value", query="?normalize=true")
    stub.on("GET", "/schemas/ids/7?subject=%3A.stage%3A", stub.answers["GET", "/schemas/ids/7"])
    assert shop.config(stub.url).derived("register").stdout == "40\n"
    confluent(stub, subject="%3A.stage%3Aother", query="?normalize=true", id=41)
    assert shop.run("register", "-r", "rules.yaml", "--subject", "other", "7").stdout == "41\n"
    rules.write_text(rules.read_text().replace("[users]", "[users, customers]"))
    assert "--subject" in shop.derived("register", code=2).stderr


def test_older_registries_know_no_rule_sets(shop, stub):
    def older(asked):
        for word in ("encodingRules", "ruleSet"):
            if word in json.dumps(asked.json) and (word != "ruleSet" or older.know_none):
                return error(422, 422, f"Unrecognized field: {word}")
    older.know_none = False
    confluent(stub, mangle=older)
    assert shop.config(stub.url).derived("register").stdout == "40\n"
    assert stub.asked[2].json["ruleSet"] == {"migrationRules": [], "domainRules": []}
    older.know_none = True
    assert shop.derived("register").stdout == "40\n" and "ruleSet" not in stub.asked[-2].json


REFUSALS = {
    "domain rules": (dict(rules={"domainRules": [{"name": "r", "type": "CEL"}]}), "adds rules to schema 40"),
    "encoding rules": (dict(rules={"encodingRules": [{"name": "r", "type": "ENCRYPT_PAYLOAD"}]}), "adds rules to schema 40"),
    "rules we cannot read": (dict(rules={"domainRules": "all"}), "adds rules to schema 40"),
    "another schema": (dict(text='"string"'), "schema 40 is another"),
    "incompatible": (dict(mangle=lambda asked: error(409, 409, "Schema being registered is incompatible")), "409: Schema being registered"),
    "invalid": (dict(mangle=lambda asked: error(422, 42201, "Invalid schema")), "422: Invalid schema"),
    "read-only": (dict(mangle=lambda asked: error(422, 42205, "Subject is in read-only mode")), "read-only"),
    "not allowed": (dict(mangle=lambda asked: error(403, 40301, "User is denied")), "403: User is denied", "register: false"),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_registering_is_refused(shop, stub, what):
    how, *words = REFUSALS[what]
    confluent(stub, **how)
    r = shop.config(stub.url).derived("register", code=1)
    assert "schema_refused: " in r.stderr and r.stdout == "", r.stderr
    for word in ("users.secure-value", *words):
        assert word in r.stderr


def test_migration_rules_may_stay(shop, stub):
    confluent(stub, rules={"migrationRules": [{"name": "m", "type": "JSONATA"}], "domainRules": []})
    assert shop.config(stub.url).derived("register").stdout == "40\n"


def test_look_up_and_compatibility(shop, stub):
    stub.schema(7, USER)
    at = "/subjects/users.secure-value"
    compatibility = f"/compatibility{at}/versions/latest?verbose=true"
    assert "would take it" in shop.config(stub.url).derived("check").stdout  # no such subject yet
    assert stub.paths() == ["/schemas/ids/7", at, at, compatibility]  # derived by its id, and without
    stub.on("POST", compatibility, {"is_compatible": False, "messages": [
        "{errorType:'TYPE_MISMATCH', description:'first'}", "{errorType:'X', description:'second'}", "{oldSchema: '{\"default\": 7}'}"]})
    r = shop.derived("check", code=1)
    assert "schema_refused: " in r.stderr and "first" in r.stderr and "second" not in r.stderr
    assert "second" in r.stdout and "oldSchema" not in r.stdout
    stub.on("POST", compatibility, {"is_compatible": True})
    assert "would take it" in shop.derived("check").stdout
    derived = shop.run("derive", "-c", "kveil.yaml", "-r", "rules.yaml", "7").stdout
    stub.on("POST", at, {"id": 41, "version": 2}).on("GET", "/schemas/ids/41?subject=users.secure-value", {"schema": derived})
    assert "as 41" in shop.derived("check").stdout


# --- the same on Apicurio ---

@pytest.mark.timeout(900)
def test_apicurio(shop, apicurio):
    shop.config(apicurio.url)
    id = apicurio.register("users-value", USER)
    order = record("Order", "com.acme.User", ["null", "com.acme.User"])
    whole = apicurio.register("orders-value", order, [ref("com.acme.User", "users-value")])
    assert json.loads(shop.get(id).stdout) == USER
    parsed = json.loads(shop.get(whole).stdout)
    assert parsed["fields"][0]["type"]["fields"] == USER["fields"] and parsed["fields"][1]["type"] == ["null", "com.acme.User"]
    shop.fails("schema_pending", "schema 1000000", id=1000000)
    assert "would take it" in shop.derived("check", operand=str(id)).stdout
    first = shop.derived("register", operand=str(id)).stdout
    assert int(first) != id and shop.derived("register", operand=str(id)).stdout == first
    assert json.loads(shop.get(int(first)).stdout)["fields"][1]["type"] == {"type": "string", "kveil.type": "int"}
    assert f"as {first}" in shop.derived("check", operand=str(id)).stdout
    # A field that is new without a default cannot be read from what was written before.
    apicurio.call("PUT", "/config/users.secure-value", {"compatibility": "BACKWARD"})
    bad = apicurio.register("bad-value", {**USER, "fields": USER["fields"] + [{"name": "new", "type": "string"}]})
    assert "schema_refused" in shop.derived("check", operand=str(bad), code=1).stderr
    r = shop.derived("register", operand=str(bad), code=1)
    assert "schema_refused" in r.stderr and "409" in r.stderr and "compatibility level" in r.stderr
    good = apicurio.register("good-value", {**USER, "fields": USER["fields"] + [{"name": "new", "type": "int", "default": 9}]})
    assert int(shop.derived("register", operand=str(good)).stdout) > 0


@pytest.mark.timeout(900)  # two servers of Java start within it
def test_confluents_serializers(make_kveil, kafka, apicurio):
    """What they write with a reference to another schema is protected by a worker; they read it as the registry says."""
    from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient
    from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
    from confluent_kafka.serialization import MessageField, SerializationContext
    k = make_kveil()
    k.config(kafka.bootstrap, extra=f"schema_registry: {{url: '{apicurio.url}', timeout: 20s}}\n")
    k.rules("""\
  - {path: "$.to.street", mask: {}}
  - {path: "$.other[*].zip", mask: {}}
  - {path: "$.note", replace: {with: "-"}}
  - {path: "$.mail", encrypt: {key: pii}}
""")
    rules = k.dir / "rules" / f"{k.name}.yaml"
    rules.write_text(rules.read_text().replace("format: json", "format: avro"))
    address = {"type": "record", "name": "Address", "namespace": "com.acme", "fields": [
        {"name": "street", "type": "string"}, {"name": "zip", "type": ["null", "int"], "default": None}]}
    customer = {"type": "record", "name": "Customer", "namespace": "shop", "fields": [
        {"name": "to", "type": "com.acme.Address"}, {"name": "other", "type": {"type": "array", "items": "com.acme.Address"}, "default": []},
        {"name": "note", "type": ["null", {"type": "enum", "name": "Note", "symbols": ["GOOD", "BAD"]}], "default": None},
        {"name": "mail", "type": "string"}, {"name": "id", "type": {"type": "long", "logicalType": "timestamp-millis"}}]}
    apicurio.register("address-value", address)
    client = SchemaRegistryClient({"url": apicurio.url})
    write = AvroSerializer(client, Schema(json.dumps(customer), "AVRO", [SchemaReference("com.acme.Address", "address-value", 1)]))
    rnd = random.Random(7)

    def home():
        return {"street": "Via " + "x" * rnd.randint(0, 9), "zip": rnd.choice([None, rnd.randint(0, 99999)])}
    values = [{"to": home(), "other": [home() for _ in range(rnd.randint(0, 3))], "note": rnd.choice([None, "GOOD", "BAD"]),
               "mail": f"CANARY{i}", "id": datetime.datetime.fromtimestamp(rnd.randint(0, 2 ** 30), datetime.timezone.utc)} for i in range(20)]
    kafka.produce(k.topic, [write(v, SerializationContext(k.topic, MessageField.VALUE)) for v in values])
    k.init().start()
    read = AvroDeserializer(client)
    for value, m in zip(values, kafka.consume(k.secure, len(values), timeout=100)):
        assert b"CANARY" not in m.value()
        opened = read(m.value(), SerializationContext(k.secure, MessageField.VALUE))
        assert len(opened.pop("mail")) > 20
        assert opened == {"to": {"street": "*" * len(value["to"]["street"]), "zip": value["to"]["zip"]}, "id": value["id"],
                          "other": [{**a, "zip": None if a["zip"] is None else "*" * len(str(a["zip"]))} for a in value["other"]],
                          "note": value["note"] and "-"}
    assert f"{k.secure}-value" in apicurio.call("GET", "/subjects") and kafka.end_offsets(k.dead) == {0: 0}
    assert k.stop() == 0


PERSON = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Person", "type": "object", "required": ["phone", "born"],
          "additionalProperties": False, "properties": {
              "phone": {"type": "string", "maxLength": 11}, "mail": {"type": "string"}, "born": {"type": "integer"},
              "pin": {"type": ["string", "integer"]}, "vip": {"type": "boolean"}, "none": {"type": "null"},
              "cards": {"type": "array", "items": {"type": "object", "required": ["number"], "properties": {"number": {"type": "string"}}}}}}
PERSON_RULES = """\
  - {path: "$.phone", mask: {}}
  - {path: "$.mail", encrypt: {key: pii}}
  - {path: "$['born','pin']", replace: {with: 0}, when: "@ > 0"}
  - {path: "$.cards[*].number", hash: {key: pepper}}
"""


def person(i):
    return {"phone": f"138{i:08d}", "mail": f"CANARY{i}", "born": 1970 + i, "vip": i % 2 == 0, "none": None,
            "cards": [{"number": f"CANARY{n}"} for n in range(i % 3)]}


def check_person(given, got):
    assert got["phone"] == "*" * 11 and len(got["mail"]) > 20 and got["born"] == 0
    assert [len(c["number"]) > 20 for c in got["cards"]] == [True] * len(given["cards"])
    assert {n: got[n] for n in ("vip", "none")} == {n: given[n] for n in ("vip", "none")}


def make_people(make_kveil, kafka, rules=PERSON_RULES):
    k = make_kveil()
    k.config(kafka.bootstrap)
    k.rules(rules)
    return k.init()


@pytest.mark.timeout(900)  # a server of Java starts within it
def test_confluents_serializer_of_json_schema(make_kveil, kafka, apicurio):
    """What it writes comes out with the same id, and is still what the schema says; else it is a dead letter, which can be
    replayed under better rules."""
    from confluent_kafka.schema_registry import SchemaRegistryClient
    from confluent_kafka.schema_registry.json_schema import JSONDeserializer, JSONSerializer
    from confluent_kafka.serialization import MessageField, SerializationContext
    k = make_people(make_kveil, kafka)
    client = SchemaRegistryClient({"url": apicurio.url})
    write, context = JSONSerializer(json.dumps(PERSON), client), SerializationContext(k.topic, MessageField.VALUE)
    people = [person(i) for i in range(20)]
    sent = [write(p, context) for p in people]
    kafka.produce(k.topic, sent)
    k.start()
    read = JSONDeserializer(None, schema_registry_client=client)
    for given, before, m in zip(people, sent, kafka.consume(k.secure, len(people))):
        assert m.value()[:5] == before[:5] and before[0] == 0 and b"CANARY" not in m.value()
        check_person(given, read(m.value(), SerializationContext(k.secure, MessageField.VALUE)))
    assert kafka.end_offsets(k.dead) == {0: 0} and f"{k.secure}-value" not in apicurio.call("GET", "/subjects")
    # A text that would become a number, though the schema would take it.
    late = {**person(21), "pin": "4711"}
    kafka.produce(k.topic, [write(late, context)])
    dead, = kafka.consume(k.dead, 1, settle=0.5)
    assert dict(dead.headers())["kveil.error.code"] == b"unsupported_framing"
    assert b"CANARY" not in dead.value() and kafka.end_offsets(k.secure) == {0: 20}
    k.rules(PERSON_RULES.replace("'born','pin'", "'born'") + '  - {path: "$.pin", mask: {}}\n')
    k.run("replay", "-c", "kveil.yaml", check=0)
    m = kafka.consume(k.secure, 21)[20]
    got = read(m.value(), SerializationContext(k.secure, MessageField.VALUE))
    check_person(late, got)
    assert got["pin"] == "****" and b"CANARY" not in m.value()
    assert k.stop() == 0


def test_confluents_serializer_of_json_schema_in_headers(make_kveil, kafka):
    from confluent_kafka.schema_registry import SchemaRegistryClient, dual_schema_id_deserializer, header_schema_id_serializer
    from confluent_kafka.schema_registry.json_schema import JSONDeserializer, JSONSerializer
    from confluent_kafka.serialization import MessageField, SerializationContext
    registry = Registry().start()
    k = make_people(make_kveil, kafka, PERSON_RULES + '  - {path: "key:$.id", hash: {key: pepper}}\n')
    rules = k.dir / "rules" / f"{k.name}.yaml"
    rules.write_text(rules.read_text().replace("format: json", "format: {value: json, key: json}"))
    try:
        client = SchemaRegistryClient({"url": registry.url})
        conf = {"schema.id.serializer": header_schema_id_serializer}
        key_schema = {"title": "Key", "type": "object", "properties": {"id": {"type": ["string", "integer"]}}}
        write, write_key = (JSONSerializer(json.dumps(s), client, conf=conf) for s in (PERSON, key_schema))
        people = [person(i) for i in range(5)]
        for i, p in enumerate([*people, person(6)]):
            headers = []
            key = write_key({"id": f"CANARY{i}" if i < 5 else 5}, SerializationContext(k.topic, MessageField.KEY, headers))
            value = write(p, SerializationContext(k.topic, MessageField.VALUE, headers))
            assert value[:1] == key[:1] == b"{" and {n for n, _ in headers} == {"__key_schema_id", "__value_schema_id"}
            kafka.produce(k.topic, [{"value": value, "key": key, "headers": headers}])
        k.start()
        conf = {"schema.id.deserializer": dual_schema_id_deserializer}
        read = JSONDeserializer(None, schema_registry_client=client, conf=conf)
        for p, m in zip(people, kafka.consume(k.secure, len(people), settle=0.5), strict=True):
            assert b"CANARY" not in m.value() + m.key()
            check_person(p, read(m.value(), SerializationContext(k.secure, MessageField.VALUE, m.headers())))
            assert len(read(m.key(), SerializationContext(k.secure, MessageField.KEY, m.headers()))["id"]) > 20
        dead, = kafka.consume(k.dead, 1)
        assert dict(dead.headers())["kveil.error.code"] == b"unsupported_framing"
        assert k.stop() == 0
    finally:
        registry.stop()


@pytest.mark.timeout(900)  # two servers of Java start within it
def test_apicurios_serializers(make_kveil, kafka, apicurio, tmp_path):
    """The same with Apicurio's own for Kafka, in the framing that they share with Confluent's."""
    path = f"{tmp_path}:{CONVERTER}/*:{JARS}/*"
    subprocess.run(["javac", "-cp", path, "-d", tmp_path, ROOT / "tests" / "integration" / "ApicurioSerde.java"], check=True)

    def ask(*questions):
        done = subprocess.run(["java", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", path,
                               "ApicurioSerde", *apicurio.serializers()],
                              input="".join("\t".join(q) + "\n" for q in questions), capture_output=True, text=True, timeout=300)
        answers = done.stdout.split("\n")[:-1]
        assert len(answers) == len(questions) and not [a for a in answers if a.startswith("!")], done.stdout + done.stderr[-2000:]
        return answers
    k = make_kveil()
    k.config(kafka.bootstrap, extra=f"schema_registry: {{url: '{apicurio.url}', timeout: 20s}}\n")
    k.rules("""\
  - {path: "$.phone", mask: {keep_last: 4}}
  - {path: "$.level", replace: {with: "-"}}
  - {path: "$.scan", encrypt: {key: pii}}
""")
    rules = k.dir / "rules" / f"{k.name}.yaml"
    rules.write_text(rules.read_text().replace("format: json", "format: avro"))
    fields = [{"name": "phone", "type": ["null", "string"], "default": None}, {"name": "n", "type": "long"},
              {"name": "level", "type": {"type": "enum", "name": "Level", "symbols": ["LOW", "HIGH"]}},
              {"name": "scan", "type": {"type": "fixed", "name": "Scan", "size": 6}}]
    one = json.dumps(record("Person", *[f["type"] for f in fields]) | {"fields": fields})
    two = json.dumps(json.loads(one) | {"fields": fields + [{"name": "more", "type": "double", "default": 0.5}]})
    values = [{"phone": {"string": "13812345678"}, "n": n, "level": "HIGH", "scan": "CANARY"} for n in range(6)]
    for n, value in enumerate(values):  # two versions in turn
        value.update({"more": 1.5} if n % 2 else {})
    written = ask(*(("write", k.topic, two if n % 2 else one, json.dumps(v)) for n, v in enumerate(values)))
    kafka.produce(k.topic, [base64.b64decode(w) for w in written])
    k.init().start()
    got = kafka.consume(k.secure, len(values), timeout=100)
    for value, text in zip(values, ask(*(("read", k.secure, base64.b64encode(m.value()).decode()) for m in got))):
        opened, want = json.loads(text), {**value, "phone": {"string": "*******5678"}, "level": "-"}
        assert b"CANARY" not in got[value["n"]].value() and len(opened.pop("scan")) > 20 and want.pop("scan")
        assert opened == want
    assert len(apicurio.call("GET", f"/subjects/{k.secure}-value/versions")) == 2 and kafka.end_offsets(k.dead) == {0: 0}
    assert k.stop() == 0
