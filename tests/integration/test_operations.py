# SPDX-License-Identifier: Apache-2.0
"""docs/install.md, operations.md and back-up-keys.md, typed: what is about keys here, with a KEK that is lost; what needs root, systemd,
a container or a cluster by the stages of `./dev package`, which take their lines from the pages (deploy/tools.py: typed)."""
import os
import re
import signal
import subprocess

import pytest

from conftest import KVEIL, ROOT, wait_for
from test_pages import blocks

PAGES = ("docs/install.md", "docs/operations.md", "docs/back-up-keys.md")
SAFE = "    safe: {provider: rsa-oaep, certificate: safe.pem}\n"


def all_blocks():
    return [block for page in PAGES for block in blocks(page)]


def ours(block):
    return all(line.startswith("kveil ") for line in block.splitlines())


def test_each_block_is_typed_by_something():
    """By its words: typed("…") in deploy/ is the block that has them."""
    markers = [m for p in (ROOT / "deploy").glob("*.py") for m in re.findall(r'typed\("([^"]+)"', p.read_text())]
    assert markers
    for block in all_blocks():
        assert ours(block) != any(m in block for m in markers), block
    for marker in markers:
        assert sum(marker in block for block in all_blocks()) == 1, marker


@pytest.fixture
def home(tmp_path):
    """A host with kveil.yaml, keys, and a KEK of which it has the certificate only: safe.key lies elsewhere."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:3072", "-nodes", "-keyout", "safe.key", "-out", "safe.pem", "-days", "90",
                    "-subj", "/CN=safe"], cwd=tmp_path, check=True, capture_output=True)
    text = (ROOT / "kveil.yaml").read_text()
    assert text.count("  keks:\n") == 1
    (tmp_path / "kveil.yaml").write_text(text.replace("  keks:\n", "  keks:\n" + SAFE))
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "orders.yaml").write_text((ROOT / "rules" / "orders.yaml").read_text())
    for line in ("kveil keys kek local -c kveil.yaml", "kveil keys init -c kveil.yaml"):
        assert types(tmp_path, line).returncode == 0
    return tmp_path


def types(home, line, **kw):
    return subprocess.run(["bash", "-c", line], cwd=home, env={**os.environ, "PATH": f"{KVEIL.parent}:{os.environ['PATH']}"},
                          capture_output=True, text=True, timeout=120, **kw)


def type_block(home, words):
    """The block that has them, line by line: what each said."""
    block = next(b for b in all_blocks() if ours(b) and words in b)
    said = []
    for line in block.splitlines():
        r = types(home, line)
        assert r.returncode == 0, (line, r.stdout, r.stderr)
        said.append(r.stdout + r.stderr)
    return said


def sealed_in(home):
    r = types(home, "kveil apply -c kveil.yaml -r rules/orders.yaml", input='{"customer":{"id_card":"110101199003077571"}}\n')
    assert r.returncode == 0 and "1101" not in r.stdout, r.stderr
    return r.stdout


def opened_in(home, record):
    assert types(home, "kveil invert -r rules/orders.yaml > back.yaml").returncode == 0
    return types(home, "kveil apply -c kveil.yaml -r back.yaml", input=record)


def test_before_a_start(home):
    type_block(home, "kveil check")
    (home / "kek").rename(home / "elsewhere")
    assert types(home, "kveil check -c kveil.yaml --keys").returncode != 0


def test_a_backup_brings_the_keys_back(home):
    sealed = sealed_in(home)
    said = type_block(home, "keys restore -c kveil.yaml keys.backup")
    assert "110101199003077571" in opened_in(home, sealed).stdout, said
    # What it is for: everything but the KEK and the backup is gone.
    for path in home.glob("*keys.json*"):
        path.unlink()
    assert opened_in(home, sealed).returncode != 0
    r = types(home, "kveil keys restore -c kveil.yaml keys.backup")
    assert r.returncode == 0, r.stderr
    assert "110101199003077571" in opened_in(home, sealed).stdout


def test_a_backup_follows_the_keys(home):
    block, = (b for b in all_blocks() if "--follow" in b)
    p = subprocess.Popen(["bash", "-c", f"exec {block}"], cwd=home, env={**os.environ, "PATH": f"{KVEIL.parent}:{os.environ['PATH']}"},
                         stderr=subprocess.PIPE, text=True)
    try:
        backup = home / "keys.backup"
        wait_for("a backup, or the end", lambda: backup.exists() or p.poll() is not None)
        first = backup.read_text()
        assert types(home, "kveil keys rotate pii -c kveil.yaml --now").returncode == 0
        wait_for("the new version in it", lambda: backup.read_text() != first, timeout=120)
    finally:
        p.send_signal(signal.SIGTERM)
    assert p.wait(60) == 0, p.stderr.read()


def test_a_lost_kek(home):
    type_block(home, "--under safe")
    sealed = sealed_in(home)
    (home / "kek").unlink()
    assert opened_in(home, sealed).returncode != 0
    config = home / "kveil.yaml"
    text = config.read_text()
    assert text.count("file:keys.json") == 1 and SAFE in text
    config.write_text(text.replace("file:keys.json", "file:new.json").replace(SAFE, SAFE.replace("}", ", private_key: safe.key}")))
    type_block(home, "keys rewrap")
    assert "110101199003077571" in opened_in(home, sealed).stdout
    # And the safe is closed again: the new KEK alone opens.
    config.write_text(text.replace("file:keys.json", "file:new.json"))
    assert "110101199003077571" in opened_in(home, sealed).stdout
