# SPDX-License-Identifier: Apache-2.0
"""Keysets under each custodian's KEK: what Tink's own client of that custodian opens, or a word that it cannot be had."""
import base64
import json
import subprocess

import hvac
import pytest
import tink
from custodian import Bao, certificate, pkcs11, softhsm, transit
from test_custodians import Folder
from tink import aead
from tink.integration import hcvault

aead.register()


def test_under_transit_tinks_vault_client_opens_it(tmp_path):
    b = Bao(tmp_path).start()
    try:
        f = Folder(tmp_path, transit(b), {"BAO_TOKEN": b.token()}).init()
        sealed = base64.b64decode(json.loads(f.seal("canary").stdout)["a"])
        f.kveil("keys", "rotate", "-c", "kveil.yaml", "pii", "--now")
        r = f.kveil("keys", "export", "-c", "kveil.yaml", "--tink", "pii", "-o", "set.json")
        assert r.stderr.count("\n") == 1 and "key_exported" in r.stderr and (tmp_path / "set.json").stat().st_mode & 0o777 == 0o600
        text = (tmp_path / "set.json").read_text()
        kek = hcvault.new_aead("/transit/keys/kveil", hvac.Client(url=b.url, token=b.token()))
        handle = tink.json_proto_keyset_format.parse_encrypted(text, kek, b"")
        assert handle.primitive(aead.Aead).decrypt(sealed, b"t:$['a']") == b"canary"
        assert len(json.loads(text)["keysetInfo"]["keyInfo"]) == 2
        # One that must not leave in clear leaves encrypted.
        config = (tmp_path / "kveil.yaml").read_text()
        (tmp_path / "kveil.yaml").write_text(config.replace("rotate_every: 24h}", "rotate_every: 24h, exportable: false}"))
        r = f.kveil("keys", "export", "--tink", "pii", "--clear", check=2)
        assert r.stdout == "" and "exportable: false" in r.stderr
        assert f.kveil("keys", "export", "--tink", "pii").stdout.startswith('{"encryptedKeyset"')
        (tmp_path / "kveil.yaml").write_text(config)
        # Another key of the server's does not open it, and one byte changed is not a keyset.
        b.call("POST", "transit/keys/other", {})
        other = hcvault.new_aead("/transit/keys/other", hvac.Client(url=b.url, token=b.root))
        with pytest.raises(tink.TinkError):
            tink.json_proto_keyset_format.parse_encrypted(text, other, b"")
        # Without the server it is an outage, said once, and no file.
        b.stop()
        r = f.kveil("keys", "export", "-c", "kveil.yaml", "--tink", "pii", "-o", "late.json", check=1)
        assert "kek_unavailable: " in r.stderr and not (tmp_path / "late.json").exists()
    finally:
        b.stop()


@pytest.mark.parametrize("kind", ["pkcs11", "rsa-oaep", "ecdh", "sm2"])
def test_where_nothing_seals_a_keyset_it_says_so(tmp_path, kind):
    env = None
    if kind == "pkcs11":
        env, kek = softhsm(tmp_path), pkcs11()
    elif kind == "rsa-oaep":
        certificate(tmp_path, "kek")
        (tmp_path / "kek.key").chmod(0o600)
        kek = "{provider: rsa-oaep, certificate: kek.pem, private_key: kek.key}"
    elif kind == "ecdh":
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
                        "/CN=k", "-days", "2", "-keyout", "kek.key", "-out", "kek.pem"], cwd=tmp_path, check=True,
                       capture_output=True)
        (tmp_path / "kek.key").chmod(0o600)
        kek = "{provider: ecdh, certificate: kek.pem, private_key: kek.key}"
    else:
        for args in (["genpkey", "-algorithm", "SM2", "-out", "sm2.key"], ["pkey", "-in", "sm2.key", "-pubout", "-out", "sm2.pub"]):
            subprocess.run(["openssl", *args], cwd=tmp_path, check=True, capture_output=True)
        (tmp_path / "sm2.key").chmod(0o600)
        kek = "{provider: sm2, public_key: sm2.pub, private_key: sm2.key}"
    f = Folder(tmp_path, kek, env).init()
    for more in (["-o", "set.json"], [], ["--follow", "set.json"]):
        r = f.kveil("keys", "export", "-c", "kveil.yaml", "--tink", "pii", *more, check=2)
        assert "unsupported: " in r.stderr and "--clear" in r.stderr and not r.stdout
        assert not (tmp_path / "set.json").exists() and not (tmp_path / ".set.json.tmp").exists()
    r = f.kveil("keys", "export", "-c", "kveil.yaml", "--tink", "pii", "--clear", "-o", "set.json")
    assert "in clear" in r.stderr and json.loads((tmp_path / "set.json").read_text())["key"]
