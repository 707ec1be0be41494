#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
r"""Opens one field that kveil sealed, with Google Tink (pip install tink).

    kveil keys export -c kveil.yaml --tink pii --clear > keyset.json
    python3 open_tink.py keyset.json "orders:\$['customer']['id_card']" AXl0Zb4AAAAB...

The associated data is NAME:PATH: the rule file's name and the place of the field.
"""
import base64
import sys

import tink
from tink import aead, daead, secret_key_access


def main(keyset_file, associated_data, field):
    aead.register()
    daead.register()
    with open(keyset_file, encoding="utf-8") as f:
        handle = tink.json_proto_keyset_format.parse(f.read(), secret_key_access.TOKEN)
    sealed, ad = base64.b64decode(field, validate=True), associated_data.encode()
    if "AesSivKey" in str(handle.keyset_info()):
        clear = handle.primitive(daead.DeterministicAead).decrypt_deterministically(sealed, ad)
    else:
        clear = handle.primitive(aead.Aead).decrypt(sealed, ad)
    sys.stdout.buffer.write(clear + b"\n")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
