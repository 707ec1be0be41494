# SPDX-License-Identifier: Apache-2.0
"""SM4-CBC with HMAC-SM3 against gmssl. The unit tests hold kveil to sm4_cbc_hmac_sm3.txt, so what gmssl makes, kveil makes
and opens; what is altered, both refuse."""
import pathlib
import re
import sys

import pytest

VECTORS = pathlib.Path(__file__).resolve().parents[1] / "vectors"
sys.path.insert(0, str(VECTORS))
import make_sm4_cbc_hmac_sm3 as gm  # noqa: E402

COMMITTED = (VECTORS / "sm4_cbc_hmac_sm3.txt").read_text()
CASES = [{name: bytes.fromhex(value) for name, value in re.findall(r"^(\w+) = ?([0-9a-f]*)$", case, re.M) if name != "COUNT"}
         for case in COMMITTED.split("\n\n")[1:]]


def test_the_committed_vectors_are_what_gmssl_makes():
    assert gm.text() == COMMITTED
    assert len(CASES) == 12


@pytest.mark.parametrize("case", CASES)
def test_gmssl_opens_what_kveil_seals(case):
    assert gm.open_(case["KEY"], case["IV"], case["AAD"], case["CT"]) == case["PT"]
    with pytest.raises(ValueError):
        gm.open_(case["KEY"], case["IV"], case["AAD"] + b"x", case["CT"])
