# SPDX-License-Identifier: Apache-2.0
"""The short form of some rows of tests/chaos; `./dev chaos` has all of them, and the full size."""
import base64
import pathlib
import sys
import time
import types

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "chaos"))
import chaos  # noqa: E402
import checker  # noqa: E402
import world  # noqa: E402


@pytest.mark.long(50)
@pytest.mark.parametrize("name", ["C1", "C9", "C10"])
def test_short(broker, name):
    row = chaos.ALL[name]()
    out = chaos.run(row, row.variants[0], short=True, brokers=broker)
    print(out.line())
    assert not out.problems


@pytest.mark.parametrize("before", range(4))
def test_a_canary_is_found_however_it_is_spelled(before):
    canary = b"kanarie0123456789abcdef"
    text = b"?" * before + canary + b"~" * 7
    for spelled in (text, text.hex().encode(), text.hex().upper().encode(), base64.b64encode(text), base64.urlsafe_b64encode(text)):
        assert any(n in spelled for n in world.spellings(canary))
    assert not any(n in b"kanarie0123456789abcdeF" for n in world.spellings(canary))


def test_files_come_and_go_while_they_are_searched(monkeypatch, tmp_path):
    """As a broker's checkpoints do: some before they are looked at, some between that and the reading."""
    for name in ("late.tmp", "segment", "plain"):
        (tmp_path / name).write_bytes(b"" if name == "plain" else b"..needle..")
    read = pathlib.Path.read_bytes

    def goes(path):
        if path.suffix:
            path.unlink()
        return read(path)

    monkeypatch.setattr(pathlib.Path, "read_bytes", goes)
    monkeypatch.setattr(checker.os, "walk", lambda *_: [(tmp_path, [], ["early.tmp", *(p.name for p in sorted(tmp_path.iterdir()))])])
    assert [p.name for p in checker.holding(tmp_path, [b"needle"])] == ["segment"]
    assert not list(checker.holding(tmp_path, [b"needle"], since=time.time() + 60))


class Message:
    def __init__(self, i, key=None, partition=None):
        self.i, self.k = i, f"k{i % world.KEYS}".encode() if key is None else key
        self.p = i % world.KEYS % 4 if partition is None else partition

    def headers(self):
        return [("trace", b"%d" % self.i)]

    def key(self):
        return self.k

    def partition(self):
        return self.p


@pytest.mark.parametrize("change,seen", [
    (lambda ms: ms, "0 lost, 0 twice"),
    (lambda ms: ms[:5] + ms[6:], "1 lost, 0 twice"),
    (lambda ms: ms + ms[-1:], "0 lost, 1 twice"),
    (lambda ms: ms[world.KEYS:] + ms[:world.KEYS], f"0 lost, 0 twice, {world.KEYS} out of order"),
    (lambda ms: ms[world.KEYS:world.KEYS + 4] + ms, "0 lost, 4 twice, 4 out of order"),
    (lambda ms: ms + ms[:4], "0 lost, 4 twice, 4 out of order"),
    (lambda ms: ms[:3] + [Message(3, key=b"other")] + ms[4:], "0 lost, 0 twice, 1 altered"),
    (lambda ms: ms[:3] + [Message(3, partition=0)] + ms[4:], "0 lost, 0 twice, 1 altered"),
    (lambda ms: ms + [Message(200)], "0 lost, 0 twice, 1 altered"),
])
def test_the_checker_can_fail(monkeypatch, change, seen):
    messages = change([Message(i) for i in range(2 * world.KEYS)])
    monkeypatch.setattr(checker, "read_committed", lambda *_: iter(messages))
    w = types.SimpleNamespace(kafka=None, partitions=4)
    assert str(checker.check_topic(w, "t", 2 * world.KEYS, view=lambda *_: True)) == seen
    assert checker.check_topic(w, "t", 2 * world.KEYS, view=lambda *_: False).altered >= 2 * world.KEYS - 1


def test_the_order_of_what_passed_a_refused_batch(monkeypatch):
    """It may come before it, if it comes again behind it."""
    messages = [Message(i) for i in range(2 * world.KEYS) if i != 3]
    w = types.SimpleNamespace(kafka=None, partitions=4)
    for change, seen in ((messages[world.KEYS:world.KEYS + 4] + messages, "0 lost, 4 twice"),
                         (messages + messages[:3], "0 lost, 3 twice, 3 out of order")):
        monkeypatch.setattr(checker, "read_committed", lambda *_, change=change: iter(change))
        assert str(checker.check_topic(w, "t", 2 * world.KEYS, missing={3}, view=lambda *_: True)) == seen
