# SPDX-License-Identifier: Apache-2.0
"""docs/move.md, typed: what was sealed before a move opens after it, by the keys of the place that it moved to."""
import json
import os
import re
import signal
import subprocess

import pytest

from broker import free_port
from conftest import KVEIL
from test_pages import blocks

PAGE = "docs/move.md"
RULES = "name: orders\ntopics: [orders]\nfields:\n  - {path: $.a, encrypt: {key: pii}}\n  - {path: $.b, hash: {key: pepper}}\n"


@pytest.fixture
def home(tmp_path, kafka):
    """type(line): as bash takes it; a worker runs until it is ready, and ends."""
    topics = ["orders", "orders.dead", "orders.secure", "kveil.keys"]
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "kveil").symlink_to(KVEIL)
    port = free_port()
    env = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "KVEIL_HTTP_LISTEN": f"127.0.0.1:{port}"}
    kafka.create(*topics[:3])

    def typed(line, code=0):
        if " run " in line:
            ready = f"kveil health --ready --url http://127.0.0.1:{port}"
            line = f"{line} & until {ready} >/dev/null 2>&1; do kill -0 $! || exit 9; sleep 0.2; done; kill $!; wait $!"
        p = subprocess.Popen(["bash", "-c", line], cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                             start_new_session=True)
        try:
            out, err = p.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            os.killpg(p.pid, signal.SIGKILL)
            raise
        assert p.returncode == code, (line, out, err)
        return out + (err if code else "")

    typed(f"kveil init --yes --brokers {kafka.bootstrap}")
    (tmp_path / "rules" / "orders.yaml").write_text(RULES)
    (tmp_path / "rules" / "orders.examples.yaml").unlink()
    typed("kveil invert -r rules/orders.yaml > open.yaml")
    yield typed
    for f in kafka.admin.delete_topics(topics).values():
        f.exception(30)


def seal(typed):
    return typed("""echo '{"a":"clear","b":"equal"}' | kveil apply -c kveil.yaml -r rules/orders.yaml""").strip()


def opened(typed, sealed):
    return json.loads(typed(f"echo '{sealed}' | kveil apply -c kveil.yaml -r open.yaml"))["a"]


def test_the_moves(home):
    to_topic, to_sm4 = blocks(PAGE)
    before = seal(home)
    for line in to_topic.splitlines():
        home(line)
    moved = seal(home)
    assert opened(home, before) == opened(home, moved) == "clear"
    assert json.loads(before)["b"] == json.loads(moved)["b"] and json.loads(before)["a"] != json.loads(moved)["a"]

    for line in to_sm4.splitlines():
        if " rotate " in line:
            assert "keys rotate pii" in home("kveil check -c kveil.yaml --keys", 1)
        out = home(line)
        if " list " in line:
            assert re.search(r"sm4-gcm .*active", out) and "aes-256-gcm" in out, out
    after = seal(home)
    assert [opened(home, sealed) for sealed in (before, moved, after)] == ["clear"] * 3
