# SPDX-License-Identifier: Apache-2.0
"""apply, check and test as a user meets them: no broker."""
import base64
import json
import os
import pty
import re
import subprocess

import pytest
from conftest import KVEIL, ROOT

ORDERS = ROOT / "rules" / "orders.yaml"
RECORD = {"customer": {"phone": "13812345678", "id_card": "110101199003074514", "email": "li@example.com"}}
BANNER = "DEMO KEYS"


def kveil(*args, stdin=None, cwd=None, env=None):
    return subprocess.run([str(KVEIL), *map(str, args)], input=stdin, capture_output=True, text=True, cwd=cwd or ROOT,
                          env=env, timeout=60)


def apply(rules, stdin, *args):
    return kveil("apply", "--demo-keys", "-r", rules, *args, stdin=stdin)


def problems(r):
    """stderr without the banner."""
    return [line for line in r.stderr.splitlines() if not line.startswith("***")]


@pytest.fixture
def rules(tmp_path):
    def write(fields, top="", name="r.yaml"):
        path = tmp_path / name
        path.write_text(f"name: test\ntopics: [t]\n{top}\nfields:\n{fields}")
        return path
    return write


# --- apply ---

def test_a_record_a_line():
    r = apply(ORDERS, "".join(json.dumps(RECORD) + "\n" for _ in range(3)))
    assert r.returncode == 0 and BANNER in r.stderr
    lines = r.stdout.splitlines()
    assert len(lines) == 3
    out = json.loads(lines[0])["customer"]
    assert out["phone"] == "138****5678"
    sealed = base64.b64decode(out["id_card"], validate=True)
    assert sealed[0] == 1 and len(sealed) == 1 + 4 + 12 + len(RECORD["customer"]["id_card"]) + 16
    assert re.fullmatch("[0-9a-f]{64}", out["email"])
    assert len({json.loads(line)["customer"]["id_card"] for line in lines}) == 3
    assert len({json.loads(line)["customer"]["email"] for line in lines}) == 1


def test_a_bad_record_gives_nothing_and_the_next_one_goes_on():
    r = apply(ORDERS, '{"a":1}\n{"customer":{"phone":"13812345678"}\n\n{"card_number":"6\n{"card_number":6}\n \t\r\n{"b":2}\n\n')
    assert r.returncode == 1
    assert r.stdout == '{"a":1}\n{"b":2}\n'
    assert [e.split(":")[1] for e in problems(r)] == ["2", "4", "5"]
    assert problems(r)[0].startswith("-:2: byte 35: invalid_json: ")
    assert "byte 15: unsupported_kind" in problems(r)[2] and "orders/$.card_number" in problems(r)[2]
    assert "13812345678" not in r.stderr


def test_a_file_of_one_document_over_several_lines(tmp_path):
    text = json.dumps(RECORD, indent=2)
    sample = tmp_path / "sample.json"
    sample.write_text(text + "\n")
    r = apply(ORDERS, None, sample)
    assert r.returncode == 0
    assert json.loads(r.stdout)["customer"]["phone"] == "138****5678"
    # All whitespace is as it was.
    assert re.sub(r'"[^"]*"', "", r.stdout) == re.sub(r'"[^"]*"', "", text + "\n")
    # Broken in its middle it is one bad record: no line of it comes out.
    sample.write_text('[\n"13812345678",\n{"a":1}\n{"phone": "13812345678"}\n]\n')
    r = apply(ORDERS, None, sample)
    assert r.returncode == 1 and r.stdout == ""
    assert len(problems(r)) == 1 and problems(r)[0].startswith(f"{sample}:4: byte ")
    # A first line cut short is not a document over several lines.
    r = apply(ORDERS, '{"a":\n{"b":2}\n')
    assert r.returncode == 1 and r.stdout == '{"b":2}\n' and problems(r)[0].startswith("-:1: byte 5: invalid_json")


def test_input_is_answered_line_by_line():
    p = subprocess.Popen([str(KVEIL), "apply", "-r", str(ROOT / "tests/rules/good_short.yaml")], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, text=True)
    for n in range(3):
        p.stdin.write('{"phone":"1"}\n')
        p.stdin.flush()
        assert p.stdout.readline() == '{"phone":"*"}\n'
    p.stdin.close()
    assert p.wait(10) == 0


def test_a_text_that_was_cut_is_no_record(rules, tmp_path):
    """The reader cuts what is too long. Without its key the rest may be as long as a record may be."""
    path = rules('  - {path: "$", mask: {keep_first: 1}}\n', "format: {value: text, key: text}\n")
    (tmp_path / "in").write_text("k\t" + "x" * ((9 << 20) - 2))
    r = kveil("apply", "-r", path, "-K", "\t", tmp_path / "in")
    assert r.returncode == 1 and r.stdout == "" and f"too_large: {(9 << 20) - 2} bytes; at most 8388608 are taken" in r.stderr, r.stderr


def test_a_line_over_the_limit_is_refused_and_the_next_one_goes_on():
    r = apply(ORDERS, '{"a":"' + "x" * (9 << 20) + '"}\n{"b":2}\n')
    assert r.returncode == 1 and r.stdout == '{"b":2}\n'
    size = len('{"a":""}') + (9 << 20)
    assert problems(r) == [f"-:1: byte 8388608: too_large: {size} bytes; at most 8388608 are taken"]
    # Behind a separator, and as the last line: the value's size without its key.
    r = apply(ORDERS, 'k\t{"a":"' + "x" * (20 << 20) + '"}', "-K", "\\t")
    assert f"too_large: {size + (11 << 20)} bytes;" in r.stderr
    line = '{"payload":"' + "x" * (60 << 20) + '"}'
    assert f"too_large: {len(line)} bytes;" in apply(ORDERS, line, "--json-records").stderr


def test_blank_lines_are_no_records(rules):
    assert apply(ORDERS, "\n\n").returncode == 0
    r = apply(ORDERS, '\n{"a":1}\n')
    assert r.returncode == 0 and r.stdout == '{"a":1}\n', r.stderr
    # A key and nothing behind it is a record; so is an empty text.
    r = apply(ORDERS, "k\t\n\n", "-K", "\\t")
    assert [p.split(":")[1:4] for p in problems(r)] == [["1", " byte 0", " empty_value"]], r.stderr
    r = kveil("apply", "-r", rules('  - {path: "$", mask: {}}\n', "format: text"), stdin="a\n\nb\n")
    assert r.returncode == 0 and r.stdout == "*\n\n*\n", r.stderr


def test_what_is_not_seen_in_a_line_is_named():
    r = apply(ORDERS, '{"a":1}\r\n\ufeff{"a":1}\n{"a":"\ufeff"}\n')
    assert r.stdout == '{"a":1}\n{"a":"\ufeff"}\n'
    assert [p.split(": ", 1)[1] for p in problems(r)] == [
        "byte 0: invalid_json: a byte order mark (U+FEFF) is not part of JSON: leave these three bytes out"]
    r = subprocess.run([KVEIL, "apply", "--demo-keys", "-r", ORDERS], input='{"a":1}'.encode("utf-16"), capture_output=True)
    assert b"-:1: byte 0: invalid_json: a byte order mark of UTF-16: JSON is UTF-8" in r.stderr


def test_keys_are_needed_or_not(rules):
    r = kveil("apply", "-r", ORDERS, stdin="{}\n")
    assert r.returncode == 2 and r.stdout == "" and "--demo-keys" in r.stderr
    plain = rules('  - {path: "$.a", mask: {}}\n')
    r = kveil("apply", "-r", plain, stdin='{"a":"x"}\n')
    assert r.returncode == 0 and r.stdout == '{"a":"*"}\n' and r.stderr == ""


def test_views():
    record = '{"amount":2500,"card":"6222","payer":{"iban":"DE00123456"}}\n'
    rules = ROOT / "rules" / "payments.yaml"
    lines = apply(rules, record).stdout.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["analytics", "finance"]
    assert "iban" not in json.loads(lines[0].split("\t")[1])["payer"]
    one = apply(rules, record, "--output", "analytics").stdout
    assert one.splitlines() == [lines[0].split("\t")[1]] or json.loads(one)["payer"] == {}
    r = apply(rules, record, "--output", "nobody")
    assert r.returncode == 2 and "analytics, finance" in r.stderr


def test_keys_and_headers(rules):
    path = rules('  - {path: "key:$", hash: {key: pepper}}\n  - {path: "header:user", remove: true, required: true}\n')
    r = apply(path, 'k1\t{"a":1}\nno separator\n', "-K", "\\t", "-H", "user=li")
    assert r.returncode == 1
    key, value = r.stdout.rstrip("\n").split("\t")
    assert re.fullmatch("[0-9a-f]{64}", key) and value == '{"a":1}'
    assert problems(r)[0].startswith("-:2: ")
    r = apply(path, '{"a":1}\n')
    assert r.returncode == 1 and "missing_field" in r.stderr


def test_diff_and_explain():
    line = json.dumps(RECORD) + "\n"
    r = apply(ORDERS, line, "--diff")
    assert r.returncode == 0 and "\033" not in r.stdout
    assert '  - "13812345678"\n  + "138****5678"\n' in r.stdout and "rule orders/$.customer.phone" in r.stdout
    r = apply(ORDERS, line, "--explain")
    assert r.returncode == 0
    assert re.search(r"\$\['customer'\]\['id_card'\]  encrypt pii  rule orders/\$\.customer\.id_card  applied", r.stdout)
    assert "absent" in r.stdout
    line_of = next(l for l in r.stdout.splitlines() if "$['customer']['id_card']" in l)
    argument = line_of.split("associated data ")[1]
    assert subprocess.run(["sh", "-c", f"printf %s {argument}"], capture_output=True, text=True).stdout == "orders:$['customer']['id_card']"
    assert "associated data" not in next(l for l in r.stdout.splitlines() if "mask" in l)
    for value in RECORD["customer"].values():
        assert value not in r.stdout
    # A record that fails tells nothing on stdout.
    r = apply(ORDERS, '{"customer":{"phone":"13812345678"},"card_number":1}\n', "--diff")
    assert r.returncode == 1 and r.stdout == ""
    assert apply(ORDERS, line, "--diff", "--explain").returncode == 2


def test_explain_names_associated_data_that_a_shell_takes(rules):
    path = rules("""  - {path: '$["a\\"`x`\\\\$HOME"]', encrypt: {key: pii}}
  - {path: "$.b[*]", tokenize: {key: t}}
  - {path: "$.c", encrypt: {key: pii, associated_data: "x:{$.id}"}}
  - {path: "$.d", encrypt: {key: pii, associated_data: "constant"}}
""")
    record = {'a"`x`\\$HOME': "1", "b": ["2"], "c": "3", "d": "4", "id": "secret"}
    r = apply(path, json.dumps(record) + "\n", "--explain")
    assert r.returncode == 0 and "secret" not in r.stdout, r.stderr
    shown = [line.split("associated data ")[1] for line in r.stdout.splitlines() if "associated data" in line]
    assert len(shown) == 4 and shown.pop(2) == "by template x:{$.id}", r.stdout
    said = [subprocess.run(["sh", "-c", f"printf %s {s}"], capture_output=True, text=True).stdout for s in shown]
    assert said == ["test:$['a\"`x`\\\\$HOME']", "test:$['b'][*]", "constant"], r.stdout


def test_each_command_tells_its_version():
    for name in ("run", "check", "apply", "keys"):
        r = kveil(name, "--version")
        assert r.returncode == 0 and r.stdout.startswith("kveil "), name


def test_check_takes_the_configuration_of_its_folder(tmp_path):
    assert kveil("check", cwd=tmp_path).returncode == 2
    (tmp_path / "kveil.yaml").write_text("rules: [")
    r = kveil("check", cwd=tmp_path)
    assert r.returncode == 1 and "kveil.yaml:1" in r.stderr
    (tmp_path / "r.yaml").write_text('name: n\ntopics: [t]\nfields: [{path: "$.a", mask: {}}]\n')
    assert kveil("check", "-r", "r.yaml", cwd=tmp_path).returncode == 0


def test_diff_and_explain_list_what_no_rule_names(rules):
    path = rules('  - {path: "$.a", mask: {}}\n')
    path.write_text(path.read_text() + "unmatched: remove\n")
    line = '{"a":"x","b":{"c":"canary"},"d":[1]}\n'
    r = apply(path, line, "--explain")
    assert r.returncode == 0 and "canary" not in r.stdout, r.stderr
    assert "  $['b']  dropped: no rule names it\n  $['d']  dropped: no rule names it\n" in r.stdout, r.stdout
    path.with_suffix(".examples.yaml").write_text('- {name: drops, in: {a: "x", b: 1}, out: {a: "*"}}\n')
    assert kveil("test", "-r", path).returncode == 0
    r = apply(path, line, "--diff")
    assert "  $['b']  dropped: no rule names it\n  - {\"c\":\"canary\"}\n  + (removed)\n" in r.stdout, r.stdout


def test_diff_is_coloured_on_a_terminal_unless_told_otherwise():
    def on_terminal(**env):
        master, slave = pty.openpty()
        p = subprocess.Popen([str(KVEIL), "apply", "--demo-keys", "--diff", "-r", str(ORDERS)], stdin=subprocess.PIPE,
                             stdout=slave, stderr=subprocess.DEVNULL, env={**os.environ, **env})
        p.communicate(json.dumps(RECORD).encode() + b"\n", timeout=30)
        os.close(slave)
        out = os.read(master, 65536)
        os.close(master)
        return out
    assert b"\033[31m" in on_terminal(NO_COLOR="")
    assert b"\033" not in on_terminal(NO_COLOR="1")


def test_a_terminal_is_not_told_what_a_record_says(rules):
    r = apply(rules('  - {path: "header:user", mask: {}}\n'), '{"a":1}\n', "-H", "user=\033[2Jli", "--diff")
    assert "\033" not in r.stdout and "\\u001b[2Jli" in r.stdout


def test_check_warns_of_names_that_look_alike(rules):
    fields = ['$.phone', '$.b.Phone', "$['e\u0301']", "$['x','X']", "$.c.X"]
    path = rules("".join(f'  - {{path: "{p}", mask: {{}}}}\n' for p in fields), top='clear: ["$.PHONE.id"]\n')
    warnings = [w.split(": ", 1)[1] for w in kveil("check", "-r", path).stderr.splitlines() if ": warning: " in w]
    assert len(warnings) == 3
    assert "['Phone'] looks like ['phone']: names match exactly" in warnings[1]
    assert "['e\u0301'] is not NFC and does not find ['\xe9']" in warnings[2]
    assert "['PHONE'] looks like ['phone']" in warnings[0]
    assert kveil("check", "--strict", "-r", path).returncode == 1


def test_output_that_cannot_be_written_is_a_failure():
    with open("/dev/full", "w") as full:
        r = subprocess.run([str(KVEIL), "apply", "--demo-keys", "-r", str(ORDERS)], input="{}\n", text=True, stdout=full,
                           stderr=subprocess.PIPE)
    assert r.returncode == 1 and problems(r) == ["kveil apply: writing the output failed: No space left on device"]
    p = subprocess.Popen([str(KVEIL), "apply", "--demo-keys", "-r", str(ORDERS)], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    p.stdout.close()
    try:
        p.stdin.write(b"{}\n" * 100000)
        p.stdin.close()
    except BrokenPipeError:
        pass
    # `kveil apply | head`: head knows that it went away.
    assert BANNER in (said := p.stderr.read().decode()) and said.count("\n") == 2
    assert p.wait(20) == 1


@pytest.mark.parametrize("args", [
    ["apply"], ["apply", "-r", "nothing.yaml", "--demo-keys"], ["apply", "-r", "rules", "--demo-keys"],
    ["apply", "-r", "rules/orders.yaml", "--demo-keys", "no-such-file"],
    ["apply", "-r", "rules/orders.yaml", "--demo-keys", "rules"], ["apply", "-r", "rules/orders.yaml", "-x"],
    ["apply", "-r", "rules/orders.yaml", "-K", ""], ["apply", "-r", "rules/orders.yaml", "-H", "x"],
    ["apply", "-r", "tests/rules/bad_paths.yaml", "--demo-keys"], ["apply", "-r", "rules/orders.yaml", "-c", "no.yaml"],
    ["apply", "-r", "rules/orders.yaml", "a", "b"], ["check", "--keys", "-r", "b"], ["test"],
    ["test", "-r", "tests/rules/bad_paths.yaml"], ["bench", "-r", "nothing.yaml"],
])
def test_usage_and_configuration_are_exit_2(args):
    r = kveil(*args, stdin="{}\n")
    assert r.returncode == 2 and r.stdout.replace("no examples: orders.examples.yaml beside orders.yaml holds them\n", "") == ""
    assert r.stderr


def test_check_finds_nothing_in_an_empty_folder(tmp_path):
    r = kveil("check", cwd=tmp_path)
    assert r.returncode == 2 and r.stdout == "" and "kveil.yaml" in r.stderr


def test_whole_records_as_kcat_prints_them():
    def line(key, payload, headers):
        return json.dumps({"topic": "t", "partition": 3, "headers": headers, "key": key, "payload": payload},
                          ensure_ascii=False)
    card, old = "110101199003077571", "110101199003074514"
    key = json.dumps({"id_card": card})
    lines = [line(key, json.dumps({"after": {"id_card": card, "phone": "13812345678", "text": 'a"b\n王'}}),
                  ["__debezium.oldkey", json.dumps({"id_card": old}), "x", None]),
             line(key, None, []),
             line(json.dumps({"phone": "13812345678"}), None, []),
             '{"key":null,"payload":null,"payload":"twice"}', "[]", '{"key":1,"payload":null}']
    r = kveil("apply", "-J", "--demo-keys", "-r", "rules/cdc/debezium.yaml", stdin="\n".join(lines))
    assert r.returncode == 1
    event, tombstone = [json.loads(x) for x in r.stdout.splitlines()]
    value = json.loads(event["payload"])["after"]
    assert event["topic"] == "t.secure" and event["partition"] == 3
    assert value["phone"] == "138****5678" and value["text"] == 'a"b\n王'
    assert json.loads(event["key"]) == {"id_card": value["id_card"]}
    assert tombstone == {**event, "headers": [], "payload": None}
    assert event["headers"][2:] == ["x", None] and old not in r.stdout and card not in r.stdout
    assert [x.split(":")[1] for x in r.stderr.splitlines() if x.startswith("-:")] == ["3", "4", "5", "6"]
    assert kveil("apply", "-J", "-K", ":", "--demo-keys", "-r", "rules/cdc/debezium.yaml", stdin="").returncode == 2


def test_whole_records_of_several_outputs(rules):
    path = rules("  - {path: $.a, mask: {}}\n", "outputs: [{name: one, topic: '{topic}.one'}, {name: two, topic: all}]")
    r = kveil("apply", "-J", "-r", path, stdin='{"topic":"t","payload":"{}"}\n{"payload":"{}"}\n{"topic":null,"payload":"{}"}\n')
    assert r.returncode == 0 and r.stdout == (
        'one\t{"topic":"t.one","payload":"{}"}\ntwo\t{"topic":"all","payload":"{}"}\n'
        'one\t{"payload":"{}"}\ntwo\t{"payload":"{}"}\none\t{"topic":null,"payload":"{}"}\ntwo\t{"topic":null,"payload":"{}"}\n'), r
    assert kveil("apply", "-J", "-r", path, "-o", "two", stdin='{"topic":"t","payload":"{}"}').stdout == '{"topic":"all","payload":"{}"}\n'


def test_headers_that_the_file_adds(tmp_path):
    (tmp_path / "r.yaml").write_text("name: t\ntopics: [in]\nheaders: {class: restricted}\nlineage: true\n"
                                     "fields: [{path: $.a, mask: {}}]\n")
    lineage = json.dumps({"rules": [{"rule": "t/$.a", "action": "mask"}]}, separators=(",", ":"))
    added = ["class", "restricted", "kveil.lineage", lineage]
    for own in (None, [], ["trace", "1"]):
        for line in [{"payload": '{"a":"x"}', "headers": own}] + ([] if own else [{"payload": '{"a":"x"}'}]):
            r = kveil("apply", "-J", "-r", str(tmp_path / "r.yaml"), stdin=json.dumps(line))
            assert r.returncode == 0, r.stderr
            assert json.loads(r.stdout) == {"payload": '{"a":"*"}', "headers": (own or []) + added}


def test_records_in_avro(tmp_path):
    """As JSON, with their keys and without; and the bytes of one value."""
    for name in ("value", "key"):
        (tmp_path / f"{name}.avsc").write_text(json.dumps(
            {"type": "record", "name": name, "fields": [{"name": "a", "type": "string"}]}))
    (tmp_path / "r.yaml").write_text("name: t\ntopics: [in]\nformat: {value: avro, key: avro}\n"
                                     'fields:\n  - {path: $.a, mask: {}}\n  - {path: "key:$.a", nullify: true}\n')
    (tmp_path / "framed").write_bytes(b"\0\0\0\0\7" + b"\6abc")
    files = {name: str(tmp_path / name) for name in ("r.yaml", "value.avsc", "key.avsc", "framed")}

    def apply(*args, stdin=""):
        return kveil("apply", "-r", files["r.yaml"], "--schema", files["value.avsc"], *args, stdin=stdin)
    r = apply("-K", "|", "--key-schema", files["key.avsc"], stdin='{"a":"key"}|{"a":"abc"}\n{"b":1}|{"a":"abc"}\n{"a":"k"}|{"a":"de"}\n')
    assert r.stdout == '{"a":null}|{"a":"***"}\n{"a":null}|{"a":"**"}\n' and r.returncode == 1 and "-:2: " in r.stderr, r.stdout + r.stderr
    assert apply(stdin='{"a":"abc"}\n').stdout == '{"a":"***"}\n'
    assert apply("--encoding", "framed", files["framed"]).stdout.encode() == b"\0\0\0\0\7" + b"\6***"
    for other, name in ((b"\3\0" + b"x" * 16, "AWS Glue"), (b"\3\5" + b"x" * 16, "AWS Glue"),
                        (b"\xc3\1" + b"x" * 8, "single-object encoding"), (b"", "not framed as Confluent")):
        (tmp_path / "other").write_bytes(other + b"\6abc")
        r = apply("--encoding", "framed", str(tmp_path / "other"))
        assert r.returncode == 1 and not r.stdout, r
        assert "unsupported_framing" in r.stderr and name in r.stderr and "0 and four bytes of an id" in r.stderr, r.stderr
    for args in (("--key-schema", files["key.avsc"]), ("--encoding", "bare", "-K", "|"), ("-J",)):
        assert apply(*args).returncode == 2, args
    assert "needs the schema" in kveil("apply", "-r", files["r.yaml"], stdin="{}").stderr
    # Whose schema is missing, and whose there is none of.
    assert "--key-schema FILE" in apply("-K", "|", stdin='{"a":"k"}|{"a":"v"}').stderr
    derived = kveil("schema", "derive", "--key", "-r", files["r.yaml"], files["key.avsc"])
    assert derived.returncode == 0 and json.loads(derived.stdout)["fields"][0]["type"] == ["null", "string"], derived
    (tmp_path / "r.yaml").write_text("name: t\ntopics: [in]\nformat: avro\nfields: [{path: $.a, mask: {}}]\n")
    for r in (apply("-K", "|", "--key-schema", files["key.avsc"]),
              kveil("schema", "derive", "--key", "-r", files["r.yaml"], files["key.avsc"])):
        assert r.returncode in (1, 2) and "the rules take keys in text" in r.stderr and "key: avro" in r.stderr, r


def test_json_that_names_a_json_schema(rules, tmp_path):
    path, frame = rules("  - {path: $.a, mask: {}}\n"), "\0\0\0\1\7"
    r = apply(path, f'{frame}{{"a":"xy"}}\n{frame}{{"a":1}}\n{{"a":1}}\n')
    assert r.stdout == f'{frame}{{"a":"**"}}\n{{"a":"*"}}\n' and r.returncode == 1
    assert "-:2: byte 10: unsupported_framing: an integer would become a string" in problems(r)[0]
    r = apply(path, json.dumps({"payload": frame + '{"a":"xy"}'}), "-J")
    assert json.loads(r.stdout) == {"payload": frame + '{"a":"**"}'}
    (tmp_path / "r.examples.yaml").write_text("""\
- {name: stays, in: {a: x}, out: {a: "*"}, headers: {__value_schema_id: "\\x010123456789abcdef"}}
- {name: changes, in: {a: 1}, error: unsupported_framing, headers: {__value_schema_id: "\\x010123456789abcdef"}}
- {name: may change, in: {a: 1}, out: {a: "*"}}
""")
    r = kveil("test", "-r", path)
    assert r.returncode == 0 and "3 passed" in r.stdout, r.stdout + r.stderr


# --- check ---

def test_what_is_shipped_passes():
    for folder in ("rules", "rules/inverse", "rules/cdc"):
        r = kveil("check", "-r", folder)
        assert r.returncode == 0, r.stderr
        r = kveil("test", "-r", folder, "--strict")
        assert r.returncode == 0, r.stdout + r.stderr


def test_every_problem_at_once(rules):
    path = rules('  - {path: "$.a[", mask: {}}\n  - {path: "$.b", maks: {}}\n  - {path: "$.c", mask: {keep_frist: 3}}\n')
    r = kveil("check", "-r", path)
    assert r.returncode == 1
    lines = r.stderr.splitlines()
    assert lines[0].startswith(f"{path}:5:17: error: ")
    assert lines[1].startswith(f"{path}:6:19: error: ") and "did you mean 'mask'?" in lines[1]
    assert lines[2].startswith(f"{path}:7:26: error: ") and "did you mean 'keep_first'?" in lines[2]
    answer = json.loads(kveil("check", "--json", "-r", path).stdout)
    assert answer["errors"] == 3 and [p["line"] for p in answer["problems"]] == [5, 6, 7]


def test_check_holds_rules_against_the_configured_keys(tmp_path):
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "orders.yaml").write_text(ORDERS.read_text())
    config = tmp_path / "kveil.yaml"
    text = """\
kafka: {bootstrap_servers: "localhost:9092", group_id: g}
rules: rules/
keys:
  registry: file:keys.json
  keks: {local: {provider: file, path: kek}}
  data:
    pii: {algorithm: aes-256-gcm, kek: local}
    PEPPER: {algorithm: hmac-sha-256, kek: local}
    dead-letters: {algorithm: aes-256-gcm, kek: local}
"""
    config.write_text(text.replace("PEPPER", "peper"))
    r = kveil("check", "-c", config)
    assert r.returncode == 1 and "did you mean 'peper'?" in r.stderr and "orders.yaml:23:" in r.stderr
    config.write_text(text.replace("PEPPER", "pepper"))
    r = kveil("check", "-c", config)
    assert r.returncode == 0, r.stderr


def test_check_knows_how_long_a_hash_is(tmp_path):
    config = tmp_path / "kveil.yaml"
    config.write_text("""\
kafka: {bootstrap_servers: "localhost:9092", group_id: g}
rules: r.yaml
keys:
  registry: file:keys.json
  keks: {local: {provider: file, path: kek}}
  data:
    short: {algorithm: hmac-sha-256}
    sm: {algorithm: hmac-sm3}
    long: {algorithm: hmac-sha-512}
    dead-letters: {algorithm: aes-256-gcm}
""")

    def check(key, truncate):
        (tmp_path / "r.yaml").write_text(
            "name: t\ntopics: [in.t]\noutput: out.t\nformat: json\nfields:\n"
            f'  - {{path: "$.a", hash: {{key: "{key}", truncate: {truncate}}}}}\n')
        return kveil("check", "-c", config)
    for key, most, algorithm in (("short", 32, "hmac-sha-256"), ("short@2", 32, "hmac-sha-256"),
                                 ("sm", 32, "hmac-sm3"), ("long", 64, "hmac-sha-512")):
        r = check(key, most)
        assert r.returncode == 0, r.stderr
        r = check(key, most + 1)
        assert r.returncode == 1, key
        if most < 64:
            assert f"truncate is at most {most} for {algorithm}" in r.stderr and "r.yaml:6:" in r.stderr, r.stderr


CHECKED = """\
kafka: {bootstrap_servers: "localhost:9092", group_id: g}
rules: r.yaml
keys:
  registry: file:keys.json
  keks: {local: KEK}
  data:
    pii: {algorithm: aes-256-gcm}
    dead-letters: {algorithm: aes-256-gcm}
"""
KEK = "{provider: file, path: kek}"
TOKEN = 'token: "${env:HOME}"'


@pytest.mark.parametrize("kek, wrong", [
    (KEK, None),
    ('{provider: file, path: ""}', "5:40: error: 'path' is empty"),
    ('{provider: transit, url: "https://b:1", key: k, TOKEN}', None),
    ('{provider: transit, url: "http://127.0.0.1:1", key: k, TOKEN}', None),
    ('{provider: transit, url: "http://[::1]:1", key: k, TOKEN}', None),
    ('{provider: transit, url: "http://localhost", key: k, TOKEN}', None),
    ('{provider: transit, url: "http://b:1", key: k, TOKEN}', "5:17: warning: KEK 'local' sends data keys and its token"),
    ('{provider: transit, url: "http://localhost.b:1", key: k, TOKEN}', "5:17: warning: KEK 'local' sends data keys"),
    ('{provider: transit, url: "b:8200", key: k, TOKEN}', "5:17: error: KEK 'local': 'b:8200' is not an address of a server"),
    ('{provider: transit, url: "ftp://b:8200", key: k, TOKEN}', "5:17: error: KEK 'local': 'ftp://b:8200' is not an address"),
    ('{provider: transit, url: "https://b:1", key: "", TOKEN}', "error: 'key' is empty"),
    ('{provider: transit, url: "https://b:1", key: k}', "5:17: error: KEK 'local' needs one way to log in"),
    ('{provider: transit, url: "https://b:1", key: k, TOKEN, token_file: t}', "5:17: error: KEK 'local' needs one way"),
    ('{provider: transit, url: "https://b:1", key: k, role_id: "${env:HOME}"}', "5:17: error: KEK 'local': role_id needs"),
])
def test_check_knows_what_a_custodian_needs(tmp_path, kek, wrong):
    (tmp_path / "r.yaml").write_text('name: n\ntopics: [t]\nfields:\n  - {path: "$.a", encrypt: {key: pii}}\n')
    (tmp_path / "kveil.yaml").write_text(CHECKED.replace("KEK", kek).replace("TOKEN", TOKEN))
    r = kveil("check", "-c", "kveil.yaml", cwd=tmp_path)
    assert (wrong or "") in r.stderr and (wrong or not r.stderr)
    assert r.returncode == ("error: " in (wrong or "")), r.stderr


@pytest.mark.parametrize("old, new, wrong", [
    ("{local: KEK}", "{}", "kveil.yaml:5:9: error: 'keks' is empty"),
    ("dead-letters", "other", "kveil.yaml: error: the key of dead letters: there is no key 'dead-letters'"),
    ("rules:", "dead_letter: {key: dead-letters@1}\nrules:", "kveil.yaml:2:20: error: the key of dead letters is one name"),
    ("rules:", 'dead_letter: {key: "t-{}"}\nrules:', "kveil.yaml:2:20: error: the key of dead letters is one name"),
    ("file:keys.json", "kafka:t", "r.yaml: error: the topic t is the key registry's"),
    ("file:keys.json", "kafka:t.secure", None),
    ("file:keys.json", "kafka:out", "r.yaml: error: the topic out is the key registry's"),
    ("rules:", "dead_letter: {key: pii}\nrules:", "r.yaml:5:5: error: the key pii seals dead letters"),
])
def test_check_finds_keys_that_do_not_go_together(tmp_path, old, new, wrong):
    (tmp_path / "r.yaml").write_text('name: n\ntopics: [t]\noutput: out\nfields:\n  - {path: "$.a", encrypt: {key: pii@1}}\n')
    (tmp_path / "kveil.yaml").write_text(CHECKED.replace(old, new).replace("KEK", KEK))
    for command in ("check", "run") if wrong else ("check",):
        r = kveil(command, "-c", "kveil.yaml", cwd=tmp_path)
        assert r.returncode == bool(wrong) + (command == "run") and (wrong or "") in r.stderr, r.stderr


# --- test ---

def test_examples(rules):
    path = rules('  - {path: "$.a", mask: {}}\n  - {path: "$.b", encrypt: {key: pii}}\n  - {path: "$.c", hash: {key: k}}\n')
    examples = path.with_name("r.examples.yaml")
    examples.write_text("""\
- {name: right, in: {a: x}, out: {a: "*"}}
- {name: wrong, in: {a: xy}, out: {a: "*"}}
- {name: opens, in: {b: x}, out: {b: ~sealed(pii) x}}
- {name: opens to another, in: {b: x}, out: {b: ~sealed(pii) y}}
- {name: another key, in: {b: x}, out: {b: ~sealed(pij) x}}
- {name: bytes, in: '{"a": "x"}', out: '{"a":"*"}'}
- {name: an error, in: '{"a"', error: invalid_json}
- {name: another error, in: '{"a"', error: empty_value}
- {name: no error, in: {a: x}, error: invalid_json}
- {name: a tilde, in: {x: ~~x}, out: {x: ~~x}}
- {name: a key, key: k, in: {x: 1}, out: {x: 1}}
- {name: another key, key: k, in: {x: 1}, out: {x: 1}, out_key: l}
- {name: numbers are what they are spelled, in: {x: 1.0}, out: {x: 1.00}}
""")
    r = kveil("test", "-r", path)
    assert r.returncode == 1
    passed = [re.match(r"(ok  |FAIL) .*?: (.*)", line).group(1) == "ok  " for line in r.stdout.splitlines()
              if line[:4] in ("ok  ", "FAIL")]
    assert passed == [True, False, True, False, False, False, True, False, False, True, True, False, False]
    assert 'at $[\'a\']: expected "*", got "**"' in r.stdout
    assert f"{path}:7: no example touches this rule: test/$.c" in r.stdout
    answer = json.loads(kveil("test", "--json", "-r", path).stdout)
    assert answer["passed"] == 5 and answer["failed"] == 8 and answer["untouched"] == 1
    assert [e["passed"] for e in answer["examples"]] == passed
    assert answer["untouched_rules"][0]["rule"] == "test/$.c"


TOKENS = '  - {path: "$.%s", %s: {key: t, alphabet: digits, keep_last: 4}}\n'


def test_examples_of_tokens(rules):
    path = rules(TOKENS % ("card", "tokenize") + TOKENS % ("plate", "encrypt") + '  - {path: "$.id", tokenize: {key: ids}}\n')
    examples = path.with_name("r.examples.yaml")
    examples.write_text("""\
- {name: both, in: {card: "6222020000000005", plate: "1234567890"},
   out: {card: ~token(t) 6222020000000005, plate: ~token(t) 1234567890}}
- {name: without an alphabet, in: {id: x}, out: {id: ~token(ids) x}}
- {name: of another without one, in: {id: x}, out: {id: ~token(ids) y}}
- {name: of another, in: {card: "6222020000000005"}, out: {card: ~token(t) 6222020000000006}}
- {name: of another place, in: {x: "1", card: "6222020000000005"}, out: {x: ~token(t) 1, card: ~any}}
- {name: bytes, in: '{ "card":"6222020000000005"}', out: '{ "card":"~token(t) 6222020000000005"}'}
""")
    r = kveil("test", "-r", path)
    assert [line[:4] for line in r.stdout.splitlines() if line[:4] in ("ok  ", "FAIL")] == ["ok  ", "ok  ", "FAIL", "FAIL", "FAIL", "ok  "], r.stdout
    inverse = path.with_name("back.yaml")
    inverse.write_text(kveil("invert", "-r", path).stdout)
    inverse.with_name("back.examples.yaml").write_text("""\
- {name: back, in: {card: ~token(t) 6222020000000005}, out: {card: "6222020000000005"}}
- {name: encrypted, in: {plate: ~token(t) 1234567890}, out: {plate: "1234567890"}}
- {name: nothing there takes it back, in: {x: ~token(t) 1234567890}, out: {}}
""")
    r = kveil("test", "-r", inverse)
    assert [line[:4] for line in r.stdout.splitlines() if line[:4] in ("ok  ", "FAIL")] == ["ok  ", "ok  ", "FAIL"], r.stdout
    assert "no rule with an alphabet uses the key t here" in r.stdout


FAILING = """\
- name: sealed and hashed
  in: {a: x, b: "é", c: secret, d: "1234567890", e: y, f: {g: z}, h: "~~t"}
  out: {a: x, b: "é", c: secret, d: "1234567890", e: y, f: {g: z}, h: "~~T"}
- {name: one too many and one too few, in: {a: x, b: y}, out: {a: ~sealed(pii) x, z: 1}}
- {name: a list, in: {l: [{b: x}]}, out: {l: [{b: x}, {b: y}]}}
- {name: bytes, in: '{"b": "x"}', out: '{"b":"~sealed(pii) x"}'}
- {name: a key, key: k, in: {}, out: {}}
- {name: a header, headers: {t: v}, in: {}, out: {}}
- {name: no rule, in: {x: 1}, out: {x: 2}}
- {name: fails, in: {b: 1}, out: {b: 1}}
"""
FAILED = """\
     at $['b']: expected "é", got "~sealed(pii) é"
     at $['c']: expected "secret", got "~hash(k) secret"
     at $['d']: expected "1234567890", got "~token(t) 1234567890"
     at $['e']: expected "y", got "~token(ids) y"
     at $['f']: expected {"g":"z"}, got "~sealed(pii) {\\"g\\":\\"z\\"}"
     at $['h']: expected "~~T", got "~~t"
     at $['a']: expected "~sealed(pii) x", got "x"
     at $['z']: expected 1, got nothing
     at $['b']: expected nothing, got "~sealed(pii) y"
     at $['l']: expected [{"b":"x"},{"b":"y"}], got [{"b":"x"}]
     expected {"b":"~sealed(pii) x"}
          got {"b": "~sealed(pii) x"}
     key:$: expected k, got ~hash(k) k
     header:t: expected v, got ~sealed(pii) v
     at $['x']: expected 2, got 1
     unsupported_kind: `encrypt` does not take a value of kind number (rule test/$.b) (`type: json` seals any value)
"""


def test_what_came_out_is_told_in_forms(rules):
    """Nobody can read a ciphertext, or copy it into an example."""
    path = rules('  - {path: "$.b", encrypt: {key: pii}}\n  - {path: "$.c", hash: {key: k}}\n' + TOKENS % ("d", "tokenize") +
                 '  - {path: "$.e", tokenize: {key: ids}}\n  - {path: "$.f", encrypt: {key: pii, type: json}}\n'
                 '  - {path: "key:$", hash: {key: k}}\n  - {path: "header:t", encrypt: {key: pii}}\n', "format: {value: json, key: text}\n")
    path.with_name("r.examples.yaml").write_text(FAILING)
    r = kveil("test", "-r", path)
    assert "".join(line + "\n" for line in r.stdout.splitlines() if line.startswith("     ") and "no example" not in line) == FAILED, r.stdout


def test_forms_of_texts_with_associated_data_of_their_own(rules):
    """A header, a key and a value that are one text each."""
    path = rules("".join(f'  - {{path: "{where}", encrypt: {{key: pii, associated_data: mine}}}}\n' for where in ("header:t", "key:$", "$")),
                 "format: {value: text, key: text}\n")
    examples = path.with_name("r.examples.yaml")
    examples.write_text('- {name: alike, headers: {t: h}, key: k, in: v, out: ~sealed(pii) v, out_key: ~sealed(pii) k, '
                        'out_headers: {t: ~sealed(pii) h}}\n')
    r = kveil("test", "-r", path)
    assert r.returncode == 0, r.stdout + r.stderr
    examples.write_text("- {name: a value, in: v, out: v}\n- {name: a key, key: k, in: v, out: ~any, out_key: k}\n"
                        "- {name: a header, headers: {t: h}, in: v, out: ~any, out_headers: {t: h}}\n")
    r = kveil("test", "-r", path)
    for line in ("$: expected v, got ~sealed(pii) v", "key:$: expected k, got ~sealed(pii) k", "header:t: expected h, got ~sealed(pii) h"):
        assert f"     {line}\n" in r.stdout, r.stdout


@pytest.mark.parametrize("key", ["~any", "~hash(k) x", '{"id": "~any"}', {"id": "~any"}])
def test_forms_of_a_key_that_is_a_document(rules, key):
    is_whole = isinstance(key, str) and key[0] == "~"
    path = rules(f'  - {{path: "key:{"$" if is_whole else "$.id"}", hash: {{key: k}}}}\n', "format: {value: json, key: json}\n")
    path.with_name("r.examples.yaml").write_text(json.dumps([
        {"name": "k", "key": '"x"' if is_whole else '{"id": "x"}', "in": {"x": 1}, "out": {"x": 1}, "out_key": key}]))
    r = kveil("test", "-r", path)
    assert r.returncode == 0, r.stdout + r.stderr


@pytest.mark.parametrize("text", ["~seald(pii) x", "~", "~sealed(pii)", "~anything"])
def test_a_mistyped_form_is_an_error(rules, text):
    path = rules('  - {path: "$.c", mask: {}}\n')
    path.with_name("r.examples.yaml").write_text(f"""\
- {{name: a mapping, in: {{a: "~{text}"}}, out: {{a: "{text}"}}}}
- {{name: a text, in: '{{"a": "x"}}', out: '{{"a": "{text}"}}'}}
""")
    r = kveil("test", "-r", path)
    assert r.returncode == 1 and r.stdout.count("at $['a']: a text that begins with ~ is ~sealed(KEY) TEXT") == 2, r.stdout


def test_examples_strict_and_none(rules):
    path = rules('  - {path: "$.a", mask: {}}\n  - {path: "$.b", mask: {}}\n')
    assert kveil("test", "-r", path).returncode == 1
    path.with_name("r.examples.yaml").write_text('- {name: a, in: {a: x}, out: {a: "*"}}\n')
    assert kveil("test", "-r", path).returncode == 0
    assert kveil("test", "-r", path, "--strict").returncode == 1


def test_examples_that_are_no_examples(rules):
    path = rules('  - {path: "$.a", mask: {}}\n')
    path.with_name("r.examples.yaml").write_text(
        '- {name: a, in: {a: x}}\n- {nam: a, in: {}, out: {}}\n- {name: c, in: {}, error: no_such}\n- x\n')
    r = kveil("test", "-r", path)
    assert r.returncode == 2
    for line in (1, 2, 3, 4):
        assert f"r.examples.yaml:{line}:" in r.stderr


# --- real keys, and the way back ---

CONFIG = """\
kafka: {bootstrap_servers: "localhost:9092", group_id: g}
rules: rules/
keys:
  registry: file:keys.json
  keks: {local: {provider: file, path: kek}}
  data:
    pii: {algorithm: aes-256-gcm, kek: local}
    pii-cn: {algorithm: aes-256-gcm, kek: local}
    pepper: {algorithm: hmac-sha-256, kek: local}
    dead-letters: {algorithm: aes-256-gcm, kek: local}
"""


@pytest.fixture
def configured(tmp_path):
    (tmp_path / "kveil.yaml").write_text(CONFIG)
    (tmp_path / "kek").write_bytes(os.urandom(32))
    (tmp_path / "kek").chmod(0o600)
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "orders.yaml").write_text(ORDERS.read_text())
    return tmp_path


def test_what_one_process_seals_another_one_opens(configured):
    r = kveil("apply", "-c", "kveil.yaml", "-r", "rules/orders.yaml", stdin="{}\n", cwd=configured)
    assert r.returncode == 2 and "keys init" in r.stderr
    r = kveil("keys", "init", "-c", "kveil.yaml", cwd=configured)
    assert r.returncode == 0, r.stderr
    record = '{"customer":{"id_card":"110101199003074514","name":"李"},"payment":{"details":{"fees":[1.0, 2]}},"n": 1.50}\n'
    sealed = kveil("apply", "-c", "kveil.yaml", "-r", "rules/orders.yaml", stdin=record, cwd=configured)
    assert sealed.returncode == 0 and sealed.stderr == ""
    assert "1101" not in sealed.stdout and "fees" not in sealed.stdout
    inverse = kveil("invert", "-r", "rules/orders.yaml", cwd=configured)
    assert inverse.returncode == 0, inverse.stderr
    (configured / "open.yaml").write_text(inverse.stdout)
    assert kveil("check", "-r", "open.yaml", cwd=configured).returncode == 0
    opened = kveil("apply", "-c", "kveil.yaml", "-r", "open.yaml", stdin=sealed.stdout, cwd=configured)
    assert opened.returncode == 0, opened.stderr
    assert opened.stdout == record
    # Moved to another field it does not open; neither does it with other keys.
    moved = sealed.stdout.replace("id_card", "name").replace('"name":"李"', '"id_card":"李"')
    assert kveil("apply", "-c", "kveil.yaml", "-r", "open.yaml", stdin=moved, cwd=configured).returncode == 1
    r = apply(configured / "open.yaml", sealed.stdout)
    assert r.returncode == 1 and "unknown_key" in r.stderr and r.stdout == ""


def keys(cwd, *args):
    return kveil("keys", *args, cwd=cwd)


@pytest.mark.parametrize("args, words", [
    # An option of another action is not an option of this one.
    (["list", "--now"], ["--now", "keys list"]), (["init", "--clear"], ["--clear", "keys init"]),
    (["rewrap", "--clear"], ["--clear", "keys rewrap"]), (["retire", "pii", "--now"], ["--now", "keys retire"]),
    (["rotate", "pii", "-o", "x"], ["--output", "keys rotate"]), (["backup", "b", "--at", "x"], ["--at", "keys backup"]),
    # Days that are none, and a time by which nothing would have rotated.
    (["rotate", "pii", "--at", "2099-02-31T00:00:00Z"], ["2099-02-31T00:00:00Z"]),
    (["rotate", "pii", "--at", "2099-06-01T24:00:00Z"], ["2099-06-01T24:00:00Z"]),
    (["rotate", "hourly", "--at", "2099-01-01T00:00:00Z"], ["rotate_every"]),
    (["rotate", "pepper", "--at", "2099-01-01T00:00:00Z", "--yes"], ["2099-01-01", "more than a year"]),
    (["rotate", "pii@1"], ["'pii@1'", "rotate pii"]),
    (["import", "keyset.json", "pii@1"], ["pii@1"]),
    (["export", "--tink", "pii", "--clear", "-o", "-"], ["stdout"]),
    (["export", "--tink", "pii", "--once"], ["--follow"]),
])
def test_keys_refuses_what_it_would_not_do(configured, args, words):
    config = configured / "kveil.yaml"
    config.write_text(config.read_text() + "    hourly: {algorithm: aes-256-gcm, kek: local, rotate_every: 1h}\n")
    (configured / "keyset.json").write_text("{}")
    (configured / "keyset.json").chmod(0o600)
    assert keys(configured, "init").returncode == 0
    before = keys(configured, "list").stdout
    r = keys(configured, *args)
    assert r.returncode == 2 and r.stdout == "" and "internal" not in r.stderr, r.stderr
    assert [w for w in words if w not in r.stderr] == [], r.stderr
    assert keys(configured, "list").stdout == before and not (configured / "x").exists()


def test_files_that_may_not_grow_are_an_error_like_a_full_disk(configured):
    assert keys(configured, "init").returncode == 0
    before = (configured / "keys.json").read_bytes()
    for args in (["keys", "rotate", "pii"], ["keys", "backup", "b.json"], ["apply", "-c", "kveil.yaml", "-r", "rules/orders.yaml"]):
        r = subprocess.run(["bash", "-c", 'ulimit -f 1; exec "$0" "$@"', KVEIL, *args], cwd=configured, input="{}\n",
                           capture_output=True, text=True, timeout=60)
        assert r.returncode in (1, 2) and "io_error" in r.stderr and r.stdout == "", (args, r)
    assert (configured / "keys.json").read_bytes() == before
    assert sorted(x.name for x in configured.iterdir() if x.name.endswith("tmp")) == []


def test_a_hash_key_that_comes_in_hashes_and_that_is_said(configured, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "kveil.yaml").write_text(CONFIG)
    for home in configured, other:
        (home / "kek").write_bytes(os.urandom(32))
        (home / "kek").chmod(0o600)
        assert keys(home, "init").returncode == 0
    for name in "pii", "pepper":
        assert keys(other, "export", "--tink", name, "--clear", "-o", f"{name}.json").returncode == 0
    r = keys(configured, "import", other / "pepper.json", "pepper")
    assert r.stdout == "pepper: 1 version added; the keyset's primary hashes from now on\n" and "joins" in r.stderr
    r = keys(configured, "import", other / "pii.json", "pii")
    assert r.stdout == "pii: 1 version added that opens and never seals\n" and "key_imported key=pii count=1" in r.stderr


def test_the_end_of_a_pattern_is_the_end_of_its_names(configured):
    config = configured / "kveil.yaml"
    config.write_text(config.read_text() + '    "t-{}": {algorithm: aes-256-gcm, kek: local}\n')
    (configured / "r.yaml").write_text('name: n\ntopics: [t]\nfields:\n  - {path: "$.a", encrypt: {key: "t-{$.b}"}}\n')
    assert keys(configured, "init").returncode == 0

    def run(name):
        return kveil("apply", "-c", "kveil.yaml", "-r", "r.yaml", stdin=f'{{"a":"x","b":"{name}"}}\n', cwd=configured)

    assert run("one").returncode == 0 and " active " in keys(configured, "list", "t-one").stdout
    assert "rotate t-{}" in keys(configured, "destroy", "t-{}", "--yes", "--now").stderr
    assert " destroyed " in keys(configured, "list", "t-one").stdout
    r = run("one")
    assert r.returncode == 1 and "key_destroyed" in r.stderr
    r = run("two")
    assert r.returncode == 1 and "no_active_key" in r.stderr and "keys rotate" in r.stderr
    assert keys(configured, "rotate", "t-{}", "--now").returncode == 0 and run("two").returncode == 0
    assert keys(configured, "rewrap").returncode == 0


def test_what_another_key_sealed_says_which(configured):
    assert keys(configured, "init").returncode == 0
    for name, action in (("seal", "encrypt: {key: pii}"), ("open", "decrypt: {key: pii-cn}"),
                         ("move", "reencrypt: {from: pii, to: pii-cn}"), ("old", "decrypt: {key: pii@1}")):
        text = f'name: n\ntopics: [t]\nfields:\n  - {{path: "$.a", {action}}}\n'
        (configured / f"{name}.yaml").write_text(text)

    def run(rules, line, *args):
        return kveil("apply", "-c", "kveil.yaml", "-r", rules, *args, stdin=line, cwd=configured)

    sealed = run("seal.yaml", '{"a":"x"}\n').stdout
    r = run("open.yaml", sealed)
    assert r.returncode == 1 and "unknown_key" in r.stderr and "it is version 1 of 'pii'" in r.stderr
    assert "  reencrypt pii to pii-cn  rule n/$.a  applied" in run("move.yaml", sealed, "--explain").stdout
    assert keys(configured, "rotate", "pii", "--now").returncode == 0
    r = run("old.yaml", run("seal.yaml", '{"a":"x"}\n').stdout)
    assert r.returncode == 1 and "under the name 'pii@1'" in r.stderr and "it is version 2 of 'pii'" in r.stderr


def test_the_end_of_a_version_says_what_seals_now(configured):
    assert keys(configured, "init").returncode == 0
    for action, n in (("retire", 2), ("destroy", 3)):
        r = keys(configured, action, "pii", *["--yes", "--now"] * (action == "destroy"))
        assert r.returncode == 0 and f"version {n} of 'pii' is active" in r.stderr
    assert "nothing to do" in keys(configured, "retire", "pii@2").stdout
    # Nobody makes a hash key but by a decision, for equal values stop being equal.
    r = keys(configured, "retire", "pepper", "--yes")
    assert r.returncode == 0 and "wait" in r.stderr and "kveil keys rotate pepper" in r.stderr
    r = kveil("apply", "-c", "kveil.yaml", "-r", "rules/orders.yaml", stdin="{}\n", cwd=configured)
    assert r.returncode == 1 and "no_active_key" in r.stderr and "kveil keys rotate pepper" in r.stderr
    assert keys(configured, "rotate", "pepper", "--now", "--yes").returncode == 0
    r = keys(configured, "destroy", "pepper@1", "--yes", "--now")
    assert "version 2 of 'pepper' is active" in r.stderr and "rotate" not in r.stderr


def test_invert(tmp_path, rules):
    # The inverse that is shipped has examples: what is printed passes them too.
    r = kveil("invert", "-r", "rules/payments.yaml", "--output", "finance")
    assert r.returncode == 0
    (tmp_path / "inverse.yaml").write_text(r.stdout)
    (tmp_path / "inverse.examples.yaml").write_text((ROOT / "rules/inverse/payments.examples.yaml").read_text())
    r = kveil("test", "--strict", "-r", tmp_path / "inverse.yaml")
    assert r.returncode == 0, r.stdout + r.stderr
    r = kveil("invert", "-r", "rules/payments.yaml")
    assert r.returncode == 2 and "analytics finance" in r.stderr
    r = kveil("invert", "-r", rules('  - {path: "$.a", mask: {}}\n'))
    assert r.returncode == 1 and r.stdout == ""
    # A copy goes, a condition on what is sealed now cannot be told, a regex goes on being one.
    path = rules("""\
  - {path: "$.a", encrypt: {key: k}}
  - {path: "$.a", encrypt: {key: l}, to: "$.a2"}
  - {path: "$.b", when: "$.a == 'x'", encrypt: {key: k}}
  - {path: "$.c", when: "$.d == '$.a @'", encrypt: {key: k, encoding: hex, type: json, associated_data: "c{$.d}"}}
  - {path: "$.e", when: "@ != ''", encrypt: {key: k}}
  - {path: "$..f", encrypt: {key: "t-{$.d}"}}
""").read_text().replace("topics: [t]", "topics: ['^t[.]x|u']")
    (tmp_path / "c.yaml").write_text(path)
    r = kveil("invert", "-r", tmp_path / "c.yaml")
    assert r.returncode == 0, r.stderr
    text = r.stdout
    assert 'topics: ["^(?:t[.]x|u)[.]secure"]' in text
    assert '- path: "$.a2"\n    remove: true' in text
    assert '#- path: "$.b"' in text and '#- path: "$.e"' in text
    assert 'when: "$.d == \'$.a @\'"\n    decrypt: {key: "k", associated_data: "c{$.d}", encoding: hex, type: json}' in text
    assert '- path: "$..f"\n    decrypt: {key: "t-{$.d}"}' in text


def test_the_other_ways_to_ask():
    assert kveil("--version").stdout == kveil("version").stdout != ""
    told = json.loads(kveil("version", "--json").stdout)
    text = kveil("version").stdout
    running = tuple(int(x) for x in told["libraries"]["librdkafka"].split(".")[:3])
    scram = next(t for t in told["librdkafka"] if t["what"].startswith("SCRAM"))
    assert scram["has"] == (running >= (2, 6, 1))
    for t in told["librdkafka"]:
        line = next(x for x in text.splitlines() if t["what"] in x)
        assert line.endswith("yes" if t["has"] else f"no: {t['otherwise']}")
    assert kveil("help", "run").stdout == kveil("run", "--help").stdout != ""
    r = subprocess.run([ROOT / "dev", "test", "--help"], capture_output=True, text=True, timeout=30)
    assert r.returncode == 0 and "debian13" in r.stdout


def test_a_slip_of_the_pen_gets_the_right_word():
    for args, word in ((("aply",), "did you mean 'apply'?"), (("apply", "--demo-kesy"), "did you mean '--demo-keys'?")):
        r = kveil(*args)
        assert r.returncode == 2 and word in r.stderr and not r.stdout
    r = kveil("frobnicate")
    assert r.returncode == 2 and "did you mean" not in r.stderr and "replay" in r.stderr


@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_closed_standard_descriptors_stay_unused(tmp_path, closed):
    """Or the next file would be the one that a command's output goes into."""
    (tmp_path / "kek").write_bytes(bytes(range(32)))
    (tmp_path / "kek").chmod(0o600)
    (tmp_path / "kveil.yaml").write_text("keys:\n  registry: file:keys.json\n"
                                         "  keks: {local: {provider: file, path: kek}}\n"
                                         "  data: {pii: {algorithm: aes-256-gcm, kek: local}}\n")
    run = ["sh", "-c", f'"$0" keys init -c kveil.yaml {closed}', str(KVEIL)]
    r = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True)
    assert r.returncode == (0 if closed == "2>&-" else 1), r
    registry = (tmp_path / "keys.json").read_text()
    json.loads(registry)
    assert "made" not in registry


# --- run, as far as it goes without a broker ---

@pytest.mark.parametrize("what", ["no keys", "no side port", "bad configuration"])
def test_with_a_json_log_nothing_else_stands_on_stderr(tmp_path, what):
    """The last line too, which says why it ended."""
    (tmp_path / "kek").write_bytes(os.urandom(32))
    (tmp_path / "kek").chmod(0o600)
    (tmp_path / "rules.yaml").write_text(ORDERS.read_text())
    listen = "" if what != "no side port" else "192.0.2.1:1"
    (tmp_path / "kveil.yaml").write_text(f"""\
kafka: {{bootstrap_servers: "127.0.0.1:1", group_id: g}}
rules: [rules.yaml]
keys:
  registry: file:keys.json
  keks: {{local: {{provider: file, path: kek}}}}
  data:
    pii: {{algorithm: aes-256-gcm, kek: {"local" if what != "bad configuration" else "other"}}}
    pepper: {{algorithm: hmac-sha-256, kek: local}}
    dead-letters: {{algorithm: aes-256-gcm, kek: local}}
http: {{listen: "{listen}"}}
log: {{format: json}}
""")
    r = kveil("run", "-c", "kveil.yaml", cwd=tmp_path, env={**os.environ, "KVEIL_ALLOW_UNLOCKED_KEYS": "1"})
    lines = [json.loads(line) for line in r.stderr.splitlines()]
    assert r.returncode == 2 and lines[-1]["level"] == "error", r.stderr
    assert "registry_missing" in lines[-1]["message"] or what != "no keys", r.stderr


def test_what_was_sealed_in_avro_is_opened(configured):
    """With the schema that the derived one comes from an enum is one again; without it, a text."""
    head = "name: t\ntopics: [in]\nformat: avro\n"
    files = {"seal.yaml": head + "fields: [{path: $.a, encrypt: {key: pii}}]\n", "sample": '{"a":"HIGH"}\n',
             "writer.avsc": json.dumps({"type": "record", "name": "V", "fields": [
                 {"name": "a", "type": {"type": "enum", "name": "E", "symbols": ["LOW", "HIGH"]}}]})}
    for name, text in files.items():
        (configured / name).write_text(text)

    def run(*args, code=0):
        r = kveil(*args, cwd=configured)
        assert r.returncode == code, r
        return r.stdout or r.stderr
    run("keys", "init", "-c", "kveil.yaml")
    (configured / "derived.avsc").write_text(run("schema", "derive", "-r", "seal.yaml", "writer.avsc"))
    (configured / "open.yaml").write_text(run("invert", "-r", "seal.yaml"))
    (configured / "sealed").write_text(run("apply", "-c", "kveil.yaml", "-r", "seal.yaml", "--schema", "writer.avsc", "sample"))
    assert "HIGH" not in (configured / "sealed").read_text()
    back = ("apply", "-c", "kveil.yaml", "-r", "open.yaml", "--schema", "derived.avsc")
    assert run(*back, "sealed") == run(*back, "--original", "writer.avsc", "sealed") == files["sample"]
    run("apply", "-c", "kveil.yaml", "-r", "open.yaml", "--original", "writer.avsc", "sealed", code=2)


def test_bench_takes_keys_of_json_and_none(tmp_path):
    """A key between { and }, and a record without one: an envelope's rules hold for the key, which must be JSON."""
    events = tmp_path / "events"
    events.write_text('{"id_card":"110101199003077571"}\t{"after":{"phone":"13812345678"},"op":"c"}\n'
                      '{"after":{"phone":"13812345678"},"op":"c"}\n')
    r = kveil("bench", "--json", "--rounds", "1", "-r", "rules/cdc/debezium.yaml", "-f", events)
    assert r.returncode == 0, r.stderr
    # Values alone; the key is not part of them.
    assert json.loads(r.stdout)["records"] == 2 and json.loads(r.stdout)["bytes_per_record"] == 42
