#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
r"""Opens a backup of kveil's keys without kveil (pip install cryptography), for escrow: prints every key, in clear.

    kveil keys backup keys.backup -c kveil.yaml
    python3 escrow.py keys.backup local=kek                 # KEK "local" of provider `file`; asks for its passphrase, if it has one
    python3 escrow.py keys.backup guard=unwrap.sh           # any other: a program of yours, wrapped bytes in, payload out

A line a version: NAME VERSION ID ALGORITHM STATE KEY, the last in hex. docs/opening.md has the layout; exit code 1 if a key
of these KEKs does not open. STATE is that of the record: `live` versions may be disabled. Versions under other KEKs are named on stderr. A key that a record named is found by its ID, which
is bytes 1 to 4 of what it sealed: its name is p- and 32 hex digits here, whatever the record said.
"""
import base64
import binascii
import getpass
import hashlib
import json
import os
import subprocess
import sys

from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.ciphers.algorithms import SM4
from cryptography.hazmat.primitives.hashes import SM3
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap_with_padding
from cryptography.hazmat.primitives.padding import PKCS7

# From 1 on.
ALGORITHMS = ["aes-256-gcm", "aes-128-gcm", "sm4-gcm", "sm4-cbc-hmac-sm3", "aes-256-siv", "aes-256-gcm-siv", "aes-256-ff1",
              "hmac-sha-256", "hmac-sha-512", "hmac-sm3"]


def passphrase_kek(text, path):
    """kveil-kek scrypt LOG2-N R P SALT WRAPPED: AES-KWP of the key under scrypt of the passphrase, all in one line."""
    log2_n, r, p = (int(n) for n in text.split()[2:5])
    salt, wrapped = (base64.b64decode(t) for t in text.split()[5:7])
    said = getpass.getpass(f"passphrase of {path}: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    key = hashlib.scrypt(said.encode(), salt=salt, n=1 << log2_n, r=r, p=p, dklen=32, maxmem=1 << 30)
    try:
        return aes_key_unwrap_with_padding(key, wrapped)
    except InvalidUnwrap:
        sys.exit(f"this passphrase does not open {path}")


def file_kek(raw, path):
    """Raw bytes, one line of hex or base64, or under a passphrase."""
    text = raw.strip()
    if text.startswith(b"kveil-kek scrypt "):
        return passphrase_kek(text, path)
    for decode in (binascii.unhexlify, base64.b64decode, lambda t: base64.urlsafe_b64decode(t + b"=")):
        try:
            key = decode(text)
        except ValueError:
            continue
        if len(key) == 32:
            return key
    if len(raw) != 32:
        sys.exit("the key-encryption key is not 32 bytes, raw or as a line of base64 or hex")
    return raw


def opener(path):
    if os.access(path, os.X_OK):
        return lambda wrapped: subprocess.run([os.path.abspath(path)], input=wrapped, capture_output=True, check=True).stdout
    with open(path, "rb") as f:
        key = file_kek(f.read(), path)
    return lambda wrapped: aes_key_unwrap_with_padding(key, wrapped)


def open_by_any(record, openers, registry_id):
    """By the first of these KEKs that opens it; what the last one said where none does."""
    wrapped, given = wrappings(record), [k for k in wrappings(record) if k in openers]
    for i, kek in enumerate(given):
        try:
            return read_payload(openers[kek](wrapped[kek]), registry_id, record)
        except Exception:  # noqa: BLE001: the other one may open it
            if i + 1 == len(given):
                raise


def wrappings(record):
    """What each KEK made of the payload: of "A+B" the length of A's (4) | A's | B's."""
    wrapped, (first, *second) = base64.b64decode(record["wrapped"]), record["kek"].split("+")
    if not second:
        return {first: wrapped}
    end = 4 + int.from_bytes(wrapped[:4], "big")
    return {first: wrapped[4:end], second[0]: wrapped[end:]}


def read_payload(payload, registry_id, record):
    """KVK1 | registry id (16) | algorithm (2) | id (4) | version (4) | created, active, expires (8 each) | name | key."""
    number = lambda at, n: int.from_bytes(payload[at:at + n], "big")  # noqa: E731
    if payload[:4] != b"KVK1" or payload[4:20] != registry_id:
        raise ValueError("not a key of this registry")
    end = 55 + payload[54]
    if payload[55:end].decode() != record["name"] or number(26, 4) != record["version"]:
        raise ValueError("the wrapped key is another one's")
    if f"{number(22, 4):08x}" != record["id"]:
        raise ValueError("the wrapped key is another one's")
    key = payload[end + 2:]
    if len(key) != number(end, 2):
        raise ValueError("cut off")
    return key


def head(registry_id, record):
    """The payload up to the key, of a key that a record named: the associated data of its wrapping."""
    name = record["name"].encode()
    return b"".join([b"KVK1", registry_id, (ALGORITHMS.index(record["algorithm"]) + 1).to_bytes(2, "big"), bytes.fromhex(record["id"]),
                     *(record[m].to_bytes(n, "big") for m, n in (("version", 4), ("created", 8), ("active", 8), ("expires", 8))),
                     bytes([len(name)]), name])


def open_sm4(key, sealed, ad):
    """sm4-cbc-hmac-sm3: IV (16) | ciphertext | MAC (32)."""
    text, mac = sealed[:-32], HMAC(key[16:], SM3())
    mac.update(ad + text + (8 * len(ad)).to_bytes(8, "big") + (8 * len(text)).to_bytes(8, "big"))
    mac.verify(sealed[-32:])
    cbc, padding = Cipher(SM4(key[:16]), modes.CBC(text[:16])).decryptor(), PKCS7(128).unpadder()
    return padding.update(cbc.update(text[16:]) + cbc.finalize()) + padding.finalize()


def open_named(wrapped, ad, patterns):
    """01 | id of the pattern's version (4) | what its cipher made of the key."""
    algorithm, key = patterns[wrapped[1:5]]
    return AESSIV(key).decrypt(wrapped[5:], [ad]) if algorithm == "aes-256-siv" else open_sm4(key, wrapped[5:], ad)


def main(backup, *keks):
    with open(backup, encoding="utf-8") as f:
        document = json.load(f)
    openers = {name: opener(path) for name, path in (k.split("=", 1) for k in keks)}
    registry_id = bytes.fromhex(document["id"])
    patterns = {}  # the keys of patterns such as "p-{}", by id: they wrap the keys that records named
    failed = False
    for r in sorted(document["keys"], key=lambda r: "{" in r["kek"]):
        if not r["wrapped"]:  # destroyed: its bytes are gone
            continue
        what, wrapped = f"{r['name']} {r['version']}", base64.b64decode(r["wrapped"])
        given = [k for k in wrappings(r) if k in openers]
        if wrapped[1:5] not in patterns if "{" in r["kek"] else not given:
            print(f"{what}: under {r['kek']}, which was not {'opened' if '{' in r['kek'] else 'given'}", file=sys.stderr)
            continue
        try:
            if "{" in r["kek"]:
                key = open_named(wrapped, head(registry_id, r), patterns)
            else:
                key = open_by_any(r, openers, registry_id)
        except Exception as e:  # noqa: BLE001: one that does not open keeps no other from it
            print(f"{what}: {type(e).__name__}: {e}", file=sys.stderr)
            failed = True
            continue
        if "{" in r["name"]:
            patterns[bytes.fromhex(r["id"])] = r["algorithm"], key
        print(what, int(r["id"], 16), r["algorithm"], r["state"], key.hex())
    return failed


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
