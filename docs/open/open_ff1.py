#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
r"""Takes one token back that kveil made under an aes-256-ff1 key, by a rule with an `alphabet` (pip install cryptography).

    kveil keys export -c kveil.yaml --tink cards --clear > keyset.json
    python3 open_ff1.py keyset.json "orders:\$['card_number']" 6222020000000000 --alphabet digits --keep-first 6 --keep-last 4

Alphabet and what is kept are the rule's. A token does not tell which version made it: --key-id says which (`kveil keys list`), the
one in use unless told otherwise. Nor does it tell a wrong key or place: another text comes out. FF1 is NIST SP 800-38G r1.
"""
import argparse
import base64
import json
import string
import sys

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

ALPHABETS = {"digits": string.digits, "upper": string.ascii_uppercase, "lower": string.ascii_lowercase,
             "alphanumeric": string.digits + string.ascii_uppercase + string.ascii_lowercase,
             "hex": string.digits + "abcdef"}


def raw_key(keyset, key_id):
    """The key's protobuf message is its field 3 and nothing else: 0x1a, the length 32, the key."""
    for entry in keyset["key"]:
        value = base64.b64decode(entry["keyData"]["value"])
        if entry["keyId"] == (key_id or keyset["primaryKeyId"]):
            if entry["keyData"]["typeUrl"] != "kveil/aes-256-ff1" or value[:2] != b"\x1a\x20" or len(value) != 34:
                sys.exit("the keyset is not of an aes-256-ff1 key")
            return value[2:]
    sys.exit("the keyset has no such key")


def number(digits, radix):
    n = 0
    for d in digits:
        n = n * radix + d
    return n


def numerals(n, radix, count):
    digits = []
    for _ in range(count):
        n, d = divmod(n, radix)
        digits.append(d)
    return digits[::-1]


def ff1_decrypt(key, radix, tweak, x):
    """Algorithm 8 of the standard."""
    block = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    n, t = len(x), len(tweak)
    u = n // 2
    v = n - u
    a, b = x[:u], x[u:]
    length = ((radix**v - 1).bit_length() + 7) // 8
    d = 4 * ((length + 3) // 4) + 4
    p = bytes([1, 2, 1]) + radix.to_bytes(3, "big") + bytes([10, u % 256]) + n.to_bytes(4, "big") + t.to_bytes(4, "big")

    def xor(one, other):
        return bytes(i ^ j for i, j in zip(one, other))

    for i in range(9, -1, -1):
        q = tweak + bytes((-t - length - 1) % 16) + bytes([i]) + number(a, radix).to_bytes(length, "big")
        r = bytes(16)
        for at in range(0, len(p + q), 16):
            r = block.update(xor(r, (p + q)[at:at + 16]))
        s = r
        for j in range(1, (d + 15) // 16):
            s += block.update(xor(r, j.to_bytes(16, "big")))
        m = u if i % 2 == 0 else v
        c = (number(b, radix) - int.from_bytes(s[:d], "big")) % radix**m
        a, b = numerals(c, radix, m), a
    return a + b


def take_back(key, associated_data, token, alphabet, keep_first=0, keep_last=0, keep_chars=""):
    letters = [c for c in token if c not in keep_chars]
    end = len(letters) - keep_last
    first, middle, last = "".join(letters[:keep_first]), letters[keep_first:end], "".join(letters[end:])
    ad, kept = associated_data.encode(), first.encode()
    tweak = len(ad).to_bytes(4, "big") + ad + len(kept).to_bytes(4, "big") + kept + last.encode()
    clear = ff1_decrypt(key, len(alphabet), tweak, [alphabet.index(c) for c in middle])
    back = iter(first + "".join(alphabet[d] for d in clear) + last)
    return "".join(c if c in keep_chars else next(back) for c in token)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("keyset")
    parser.add_argument("associated_data")
    parser.add_argument("token")
    parser.add_argument("--alphabet", default="digits")
    parser.add_argument("--keep-first", type=int, default=0)
    parser.add_argument("--keep-last", type=int, default=0)
    parser.add_argument("--keep-chars", default="")
    parser.add_argument("--key-id", type=int)
    args = parser.parse_args()
    with open(args.keyset, encoding="utf-8") as f:
        key = raw_key(json.load(f), args.key_id)
    print(take_back(key, args.associated_data, args.token, ALPHABETS.get(args.alphabet, args.alphabet), args.keep_first,
                    args.keep_last, args.keep_chars))


if __name__ == "__main__":
    main()
