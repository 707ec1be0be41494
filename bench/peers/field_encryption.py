# SPDX-License-Identifier: Apache-2.0
"""field_encryption.py BOOTSTRAP INPUT OUTPUT GROUP: Confluent's client-side field encryption, in its Python client. It knows
encryption alone, so it encrypts the two fields that are encrypted and leaves phone and email as they are."""
import json
import os
import sys

import orjson
from confluent_kafka.schema_registry import Metadata, MetadataProperties, Rule, RuleKind, RuleMode, RuleParams, RuleSet, Schema
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.schema_registry.rules.encryption.encrypt_executor import FieldEncryptionExecutor
from confluent_kafka.schema_registry.rules.encryption.localkms.local_driver import LocalKmsDriver
from confluent_kafka.serialization import MessageField, SerializationContext

from loop import run

SECRET = {"type": "string", "confluent:tags": ["PII"]}
SCHEMA = {"title": "order", "type": "object", "properties": {
    "customer": {"type": "object", "properties": {"id_card": SECRET}}, "card_number": SECRET}}

LocalKmsDriver.register()
FieldEncryptionExecutor.register()
os.environ.setdefault("LOCAL_SECRET", "mysecret")
output = sys.argv[3]
client = SchemaRegistryClient.new_client({"url": "mock://"})
rule = Rule("encrypt", "", RuleKind.TRANSFORM, RuleMode.WRITEREAD, "ENCRYPT", ["PII"],
            RuleParams({"encrypt.kek.name": "kek", "encrypt.kms.type": "local-kms", "encrypt.kms.key.id": "mykey"}), None, None,
            "ERROR,NONE", False)
client.register_schema(f"{output}-value", Schema(json.dumps(SCHEMA), "JSON", [], None, RuleSet(None, [rule])))
serialize = JSONSerializer(json.dumps(SCHEMA), client, conf={"auto.register.schemas": False, "use.latest.version": True,
                                                            "validate": False},
                           rule_conf={"secret": "mysecret"})
context = SerializationContext(output, MessageField.VALUE)


def protect(value):
    return serialize(orjson.loads(value), context)


if __name__ == "__main__":
    if sys.argv[1] == "try":
        print(protect(sys.stdin.buffer.read()))
    else:
        run(*sys.argv[1:], protect)
