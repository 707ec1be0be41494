#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
r"""Opens one field that kveil sealed under an sm4-gcm key (pip install cryptography).

    kveil keys export -c kveil.yaml --tink pii-cn --clear > keyset.json
    python3 open_sm4.py keyset.json "customers:\$['id_card']" AXl0Zb4AAAAB...

The bytes are laid out as Tink's AES-GCM: 0x01 | key id (4) | nonce (12) | ciphertext | tag (16); RFC 8998.
"""
import base64
import json
import sys

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes


def raw_key(entry):
    """The key's protobuf message is its field 3 and nothing else: 0x1a, the length 16, the key."""
    value = base64.b64decode(entry["keyData"]["value"])
    if entry["keyData"]["typeUrl"] != "kveil/sm4-gcm" or value[:2] != b"\x1a\x10" or len(value) != 18:
        sys.exit("the keyset is not of an sm4-gcm key")
    return value[2:]


def main(keyset_file, associated_data, field):
    with open(keyset_file, encoding="utf-8") as f:
        keys = {k["keyId"]: raw_key(k) for k in json.load(f)["key"]}
    sealed = base64.b64decode(field, validate=True)
    if sealed[0] != 1:
        sys.exit("not a field that kveil sealed")
    key = keys.get(int.from_bytes(sealed[1:5], "big"))
    if key is None:
        sys.exit("the keyset has no such key")
    nonce, body, tag = sealed[5:17], sealed[17:-16], sealed[-16:]
    opener = Cipher(algorithms.SM4(key), modes.GCM(nonce, tag)).decryptor()
    opener.authenticate_additional_data(associated_data.encode())
    sys.stdout.buffer.write(opener.update(body) + opener.finalize() + b"\n")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
