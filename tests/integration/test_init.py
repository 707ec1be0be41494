# SPDX-License-Identifier: Apache-2.0
"""`kveil init`: what it writes holds together, and holds nothing of the sample."""
import json
import os
import pty
import subprocess

import pytest
import yaml
from conftest import KVEIL

SAMPLE = [
    {"id": 7, "customer": {"id_card": "11010119900307758X", "phone": "13877130001", "full name": "Canary Lane"},
     "cards": [{"card_number": "4111111111111111", "cvv": 771}], "e-mail": "canary@lane.example", "mobile_no": 13900139771,
     "地址": "canary road 771", "it's": "odd", "memo": None, "ok": True, "amount": 12.5},
    {"id": 8, "extra": {"contact": "+14155577100"}, "list": ["canary", 771]},
]
CANARIES = ["Canary", "canary", "771", "4111", "11010119900307758", "1387713", "415557"]


def init(*args, cwd, stdin=subprocess.DEVNULL):
    return subprocess.run([str(KVEIL), "init", *args], cwd=cwd, stdin=stdin, capture_output=True, text=True, timeout=60)


def kveil(*args, cwd):
    r = subprocess.run([str(KVEIL), *args], cwd=cwd, capture_output=True, text=True, timeout=60)
    assert r.returncode == 0, r.stdout + r.stderr
    return r.stdout


@pytest.mark.parametrize("form", ["lines", "one"])
def test_from_a_sample(tmp_path, form):
    (tmp_path / "sample.json").write_text("\n".join(json.dumps(r, ensure_ascii=form == "one") for r in SAMPLE) + "\n"
                                          if form == "lines" else json.dumps(SAMPLE[0], indent=2))
    r = init("--sample", "sample.json", "--topic", "etl.orders", "--brokers", "kafka-1:9092,kafka-2:9092", "here", cwd=tmp_path)
    assert r.returncode == 0, r.stdout + r.stderr
    rules = yaml.safe_load((tmp_path / "here/rules/etl.orders.yaml").read_text())
    found = {f["path"]: next(k for k in f if k != "path") for f in rules["fields"]}
    wanted = {"$.customer.id_card": "encrypt", "$.customer.phone": "mask", "$.customer['full name']": "mask",
              "$.cards[*].card_number": "encrypt", "$.cards[*].cvv": "remove", "$['e-mail']": "hash",
              "$.mobile_no": "encrypt", "$.地址": "encrypt"}
    assert found == wanted | ({"$.extra.contact": "mask"} if form == "lines" else {})
    for name in ("etl.orders.yaml", "etl.orders.examples.yaml"):
        text = (tmp_path / "here/rules" / name).read_text()
        assert not [c for c in CANARIES if c in text], text
    # The lines that it prints to go on with.
    kveil("test", "-r", "here/rules/", cwd=tmp_path)
    kveil("check", "-c", "here/kveil.yaml", cwd=tmp_path)
    out = kveil("apply", "--demo-keys", "-r", "here/rules/etl.orders.yaml", "sample.json", cwd=tmp_path)
    assert "Canary" not in out and "4111" not in out and "13877130001" not in out and '"amount": 12.5' in out
    for line in ("kveil test -r here/rules/", "kveil apply --demo-keys --diff -r here/rules/etl.orders.yaml sample.json",
                 "kveil run -c here/kveil.yaml"):
        assert line in r.stdout
    assert (tmp_path / "here/kek").stat().st_mode & 0o777 == 0o600

    # Nothing that is there is changed.
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    for args in [["here"], ["--topic", "etl.orders", "here"], ["--topic", "other", "here"]]:
        r = init(*args, cwd=tmp_path)
        assert r.returncode == 2 and "is there already: nothing was written" in r.stderr
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_what_cannot_be_meant(tmp_path):
    (tmp_path / "bad.json").write_text('{"a": 1}\n[2]\n')
    for args, code, why in [
        (["--topic", "a/b"], 2, "no name of a topic"),
        (["--topic", '..'], 2, "no name of a topic"),
        (["--brokers", 'x" }'], 2, "is not HOST:PORT"),
        (["--sample", "none.json"], 2, "none.json"),
        (["--sample", "bad.json"], 1, "bad.json:2: no JSON object"),
        (["a", "b"], 2, "is too much"),
    ]:
        r = init(*args, cwd=tmp_path)
        assert r.returncode == code and why in r.stderr, (args, r)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.json"]


def test_it_asks_on_a_terminal(tmp_path):
    main, side = pty.openpty()
    try:
        os.write(main, b"kafka:9092\n\n\n")
        r = init("asked", cwd=tmp_path, stdin=side)
    finally:
        os.close(main)
        os.close(side)
    assert r.returncode == 0 and r.stderr.count(": ") >= 3 and "[localhost:9092]" in r.stderr, r
    config = yaml.safe_load((tmp_path / "asked/kveil.yaml").read_text())
    assert config["kafka"] == {"bootstrap_servers": "kafka:9092", "group_id": "kveil-orders"}
    assert yaml.safe_load((tmp_path / "asked/rules/orders.yaml").read_text())["topics"] == ["orders"]
    kveil("test", "-r", "asked/rules/", cwd=tmp_path)
