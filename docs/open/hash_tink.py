#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Computes again what kveil's `hash` made of a value, under each version of the key (pip install tink).

    kveil keys export -c kveil.yaml --tink pepper --clear > keyset.json
    python3 hash_tink.py keyset.json someone@example.com                    # hmac-sha-256
    python3 hash_tink.py keyset.json someone@example.com hmac-sha-512

The first line is the version that hashes now. With `truncate: N`, kveil writes the first N bytes.
"""
import sys

import tink
from tink import prf, secret_key_access

BYTES = {"hmac-sha-256": 32, "hmac-sha-512": 64}


def main(keyset_file, value, algorithm="hmac-sha-256"):
    prf.register()
    with open(keyset_file, encoding="utf-8") as f:
        hashes = tink.json_proto_keyset_format.parse(f.read(), secret_key_access.TOKEN).primitive(prf.PrfSet)
    primary = hashes.primary_id()
    for key_id, one in sorted(hashes.all().items(), key=lambda item: item[0] != primary):
        print(one.compute(value.encode(), BYTES[algorithm]).hex(), key_id)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(*sys.argv[1:])
