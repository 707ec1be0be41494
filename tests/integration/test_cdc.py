# SPDX-License-Identifier: Apache-2.0
"""Change events through a worker and a real broker: one rule holds in rows, keys and headers."""
import base64
import json

RULES = """\
  - {path: "$.id_card", tokenize: {key: ids}}
  - {path: "$.phone", mask: {keep_last: 4}}
"""
DATA = "    ids: {algorithm: aes-256-siv, kek: local}\n"


def test_one_rule_holds_in_an_events_rows_key_and_headers(make_kveil, kafka):
    import tink
    from tink import daead, secret_key_access
    daead.register()
    k = make_kveil()
    k.config(kafka.bootstrap, data=DATA)
    k.rules(RULES, top="envelope: debezium")
    k.init().start()
    card, old = "110101199003077571", "110101199003074514"
    key = json.dumps({"id_card": card}).encode()
    row = {"id_card": card, "phone": "13812345678", "n": 1}
    kafka.produce(k.topic, [
        {"key": key, "value": json.dumps({"before": {**row, "id_card": old}, "after": row, "op": "u",
                                          "source": {"query": f"UPDATE t SET id_card = '{card}'"}}),
         "headers": [("__debezium.oldkey", json.dumps({"id_card": old}).encode()), ("other", b"1")]},
        {"key": key, "value": json.dumps(row)},
        {"key": key, "value": None},
        {"key": key, "value": json.dumps({"schema": {"type": "struct"}, "payload": {"after": row}})},
        {"key": b'{"phone":"13812345678"}', "value": None},
        {"key": b'{ "n" : 1 }', "value": None},
    ])
    event, flat, tombstone, other = kafka.consume(k.secure, 4, settle=0.5)
    dead = kafka.consume(k.dead, 2)
    token = json.loads(event.key())["id_card"]
    value = json.loads(event.value())
    assert value["after"] == {"id_card": token, "phone": "*******5678", "n": 1} == json.loads(flat.value())
    assert flat.key() == tombstone.key() == event.key() and tombstone.value() is None
    assert value["source"]["query"] is None and other.key() == b'{ "n" : 1 }'
    headers = dict(event.headers())
    assert json.loads(headers["__debezium.oldkey"])["id_card"] == value["before"]["id_card"] and headers["other"] == b"1"
    assert [dict(m.headers())["kveil.error.code"] for m in dead] == [b"unsupported_envelope", b"key_column"]
    for m in (event, flat, tombstone, other, *dead):
        assert all(v.encode() not in (m.value() or b"") + (m.key() or b"") for v in (card, old, "13812345678"))
    # In the key as in the row, the row's path is what binds it.
    text = k.run("keys", "export", "-c", "kveil.yaml", "--tink", "ids", "--clear", check=0).stdout
    primitive = tink.json_proto_keyset_format.parse(text, secret_key_access.TOKEN).primitive(daead.DeterministicAead)
    assert primitive.decrypt_deterministically(base64.b64decode(token), f"{k.name}:$['id_card']".encode()).decode() == card
    assert k.stop() == 0
