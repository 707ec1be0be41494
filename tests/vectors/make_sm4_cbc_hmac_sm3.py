#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints sm4_cbc_hmac_sm3.txt: what the PyPI package gmssl, a pure Python implementation that shares no code with ours,
makes of the layout that src/crypto/sm4_cbc_hmac_sm3.c describes. tests/integration/test_gmssl.py holds the committed
file to it."""

import struct

from gmssl import sm3, sm4

BLOCK = 64


def sm3_hash(data: bytes) -> bytes:
    return bytes.fromhex(sm3.sm3_hash(list(data)))


def hmac_sm3(key: bytes, data: bytes) -> bytes:
    """RFC 2104."""
    key = (sm3_hash(key) if len(key) > BLOCK else key).ljust(BLOCK, b"\0")
    inner = sm3_hash(bytes(b ^ 0x36 for b in key) + data)
    return sm3_hash(bytes(b ^ 0x5C for b in key) + inner)


def seal(key: bytes, iv: bytes, ad: bytes, plain: bytes) -> bytes:
    cipher = sm4.CryptSM4()  # pads as PKCS #7
    cipher.set_key(key[:16], sm4.SM4_ENCRYPT)
    text = bytes(cipher.crypt_cbc(iv, plain))
    lengths = struct.pack(">QQ", 8 * len(ad), 8 * (len(iv) + len(text)))
    return text + hmac_sm3(key[16:], ad + iv + text + lengths)


def open_(key: bytes, iv: bytes, ad: bytes, sealed: bytes) -> bytes:
    text, mac = sealed[:-32], sealed[-32:]
    lengths = struct.pack(">QQ", 8 * len(ad), 8 * (len(iv) + len(text)))
    if hmac_sm3(key[16:], ad + iv + text + lengths) != mac:
        raise ValueError("the MAC does not fit")
    cipher = sm4.CryptSM4()
    cipher.set_key(key[:16], sm4.SM4_DECRYPT)
    return bytes(cipher.crypt_cbc(iv, text))


def some_bytes(label: str, n: int) -> bytes:
    """Arbitrary and the same each time."""
    out = b""
    while len(out) < n:
        out += sm3_hash(f"{label} {len(out)}".encode())
    return out[:n]


def text() -> str:
    lines = [
        "# SM4-CBC with HMAC-SM3, encrypt-then-MAC, as src/crypto/sm4_cbc_hmac_sm3.c lays it out.",
        "# Made by tests/vectors/make_sm4_cbc_hmac_sm3.py with the PyPI package gmssl.",
    ]
    for i, n in enumerate((0, 1, 15, 16, 17, 18, 31, 32, 33, 64, 100, 200)):
        key, iv = some_bytes(f"key {i}", 48), some_bytes(f"iv {i}", 16)
        ad = b"orders:$['customer']['id_card']" if i % 2 else some_bytes(f"ad {i}", i * 3)
        plain = some_bytes(f"plain {i}", n)
        sealed = seal(key, iv, ad, plain)
        lines += ["", f"COUNT = {i}", f"KEY = {key.hex()}", f"IV = {iv.hex()}", f"AAD = {ad.hex()}",
                  f"PT = {plain.hex()}", f"CT = {sealed.hex()}"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(text(), end="")
