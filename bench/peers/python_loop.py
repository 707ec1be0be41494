# SPDX-License-Identifier: Apache-2.0
"""python_loop.py BOOTSTRAP INPUT OUTPUT GROUP: the same job with confluent-kafka, orjson and cryptography, on one thread."""
import base64
import hashlib
import hmac
import os
import sys

import orjson
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from loop import run

aes, pepper = AESGCM(os.urandom(32)), os.urandom(32)


def encrypt(text):
    iv = os.urandom(12)
    return base64.b64encode(iv + aes.encrypt(iv, text.encode(), None)).decode()


def protect(value):
    order = orjson.loads(value)
    customer = order["customer"]
    phone = customer["phone"]
    customer["id_card"] = encrypt(customer["id_card"])
    customer["phone"] = phone[:3] + "*" * (len(phone) - 7) + phone[-4:]
    customer["email"] = hmac.digest(pepper, customer["email"].encode(), hashlib.sha256).hex()
    order["card_number"] = encrypt(order["card_number"])
    return orjson.dumps(order)


run(*sys.argv[1:], protect)
