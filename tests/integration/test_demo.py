# SPDX-License-Identifier: Apache-2.0
"""`kveil demo` as a person meets it: on a terminal, with keys, and without one."""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
import urllib.error
import urllib.request

import pytest
from conftest import KVEIL, PLAIN, wait_for


def get(url):
    try:
        with urllib.request.urlopen(url, timeout=3) as r:
            return r.status, r.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode()


class Terminal:
    """kveil demo in a pseudo-terminal; what it writes, with its escapes."""

    def __init__(self, *args, rows=40, columns=120, **env):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.before = termios.tcgetattr(slave)
        self.slave, self.text = slave, ""
        self.process = subprocess.Popen([KVEIL, "demo", *args], stdin=slave, stdout=slave, stderr=slave,
                                        start_new_session=True, env={**os.environ, "TERM": "xterm", **env},
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))

    def read(self):
        while select.select([self.master], [], [], 0)[0]:
            self.text += os.read(self.master, 65536).decode(errors="replace")
        return self.text

    def press(self, key):
        self.read()
        at = len(self.text)
        os.write(self.master, key.encode())
        return at

    def see(self, pattern, since=0, timeout=90):
        return wait_for(pattern, lambda: re.search(pattern, self.read()[since:]), timeout)

    def end(self, timeout=6):
        start = time.time()
        while self.process.poll() is None and time.time() - start < 10:
            self.read()
            time.sleep(0.01)
        took = time.time() - start
        self.read()
        assert self.process.poll() is not None, "it does not end"
        assert took < timeout, f"took {took:.1f} s to end"
        return self.process.returncode

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminal():
    made = []

    def make(*args, **kw):
        made.append(Terminal(*args, **kw))
        return made[-1]

    yield make
    for t in made:
        t.close()


def test_once_checks_every_record():
    r = subprocess.run([KVEIL, "demo", "--once"], capture_output=True, text=True, timeout=120)
    assert r.returncode == 0, r.stdout + r.stderr
    assert "nothing lasts" in r.stdout
    assert "10,000 of 10,000 orders arrived protected" in r.stdout
    for field in ("$.customer.id_card", "$.card_number", "$.customer.phone", "$.customer.email"):
        assert field in r.stdout
    assert "\033" not in r.stdout
    lines = r.stdout.splitlines()
    assert not [line for line, before in zip(lines[1:], lines) if line == before], r.stdout


def test_change_events_before_and_after():
    r = subprocess.run([KVEIL, "demo", "--cdc"], capture_output=True, text=True, timeout=120)
    assert r.returncode == 0, r.stdout + r.stderr
    assert "nothing lasts" in r.stdout and "\033" not in r.stdout and "WRONG" not in r.stdout
    assert "14 change events arrived protected" in r.stdout
    head, *records = re.split(r"\n\d+  ", r.stdout)
    assert [record.split("\n")[0] for record in records] == 2 * [
        "insert", "update", "key update: delete under the old key", "key update: tombstone",
        "key update: create under the new key", "delete", "tombstone"]
    fields = [dict((m[0], m[1:]) for m in re.findall(r"^   ((?:header )?\S+) +(\S.*?)  +(\S+)$", record, re.M))
              for record in records]
    for life in fields[:7], fields[7:]:
        insert, update, old, ended, new, delete, gone = life
        assert old["key.id_card"] == insert["key.id_card"] == insert["after.id_card"] == ended["key.id_card"]
        assert new["key.id_card"] == old["header __debezium.newkey.id_card"] == delete["before.id_card"]
        assert gone["key.id_card"] == delete["key.id_card"] != old["key.id_card"]
        assert new["header __debezium.oldkey.id_card"] == old["key.id_card"]
        assert update["before.phone"] == insert["after.phone"] != update["after.phone"]
        assert re.fullmatch(r"\d{3}\*{4}\d{4}", update["after.phone"][1])
    assert "after.salary" in fields[0] and "after.salary" not in fields[7], "the condition on the country"


def test_the_keys_of_the_terminal(terminal):
    t = terminal()
    side = t.see(r"side port (http://127\.0\.0\.1:\d+)/").group(1)
    t.see(r"etl\.orders\.secure")
    t.see("ready: records flow")
    assert get(side + "/readyz")[0] == 200
    t.press("p")
    t.see(r"sent an order whose phone is an object")
    t.see(r"dead letter, sealed: unsupported_kind.* by orders/\$\.customer\.phone")
    t.press("r")
    t.see(r"outputs: key id [0-9]+; what [0-9]+ sealed still opens")
    t.press("k")
    t.see("not ready: .*custodian")
    code, why = get(side + "/readyz")
    assert code == 503 and "custodian" in why
    assert get(side + "/livez")[0] == 200
    t.press("r")
    t.see("no new version while the custodian is away")
    t.see("sending stopped, .* orders under way: the embedded broker would forget more")
    at = t.press("p")
    time.sleep(1)
    assert "invalid_json" not in t.read()[at:], "no dead letter can be sealed now"
    at = t.press("k")
    t.see("the key custodian is back", at)
    t.see("ready: records flow", at)
    t.see("sending 1,000 orders a second", at)
    t.see("dead letter, sealed: invalid_json", at)
    assert get(side + "/readyz")[0] == 200
    t.press("\x03")
    assert t.end() == 0
    last = t.text[t.text.rindex("\033[?1049l"):]
    assert "2 dead letters" in last and "WRONG" not in last
    assert termios.tcgetattr(t.slave) == t.before, "the terminal is not as it was"


@pytest.mark.parametrize("how", ["q", signal.SIGTERM, signal.SIGHUP])
def test_it_ends_whenever_asked(terminal, how):
    t = terminal("--workers", "2")
    t.see("kveil demo")
    if how == "q":
        t.see(r"etl\.orders\.secure")
        t.press("k")
        t.see("not ready")
        t.press("q")
    else:
        t.process.send_signal(how)
    assert t.end() == 0
    assert termios.tcgetattr(t.slave) == t.before, "the terminal is not as it was"


def test_no_color(terminal):
    t = terminal(NO_COLOR="1")
    t.see(r"etl\.orders\.secure")
    t.press("q")
    t.end()
    assert not re.search(r"\033\[(3[0-7]|9[0-7])m", t.text)


def test_lines_where_there_is_no_terminal():
    p = subprocess.Popen([KVEIL, "demo", "--rate", "200"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True)
    seen = []
    for line in p.stdout:
        seen.append(line)
        if re.match(r"\d+s sent=\d+ protected=[1-9]\d* .* ready$", line):
            break
    p.send_signal(signal.SIGINT)
    rest = p.communicate(timeout=10)[0]
    assert p.returncode == 0
    assert "nothing lasts" in seen[0] and "\033" not in "".join(seen)
    assert "arrived protected" in rest


def test_it_holds_its_rate_and_says_ready_when_it_is():
    p = subprocess.Popen([PLAIN, "demo"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                         text=True)
    before, flowing = [], []
    for line in p.stdout:
        if re.match(r"\d+s .* ready$", line):
            flowing.append({k: float(v) for k, v in re.findall(r"(\w+)=(\d+)\b", line)})
        else:
            before.append(line)
        if len(flowing) == 10:
            break
    p.send_signal(signal.SIGINT)
    p.communicate(timeout=10)
    ready = [line for line in before if line.endswith("ready: records flow\n")]
    assert len(ready) == 1 and before[-1] == ready[0], before
    # A thousand a second go in; a lag that grows for eight seconds would be twice that.
    assert max(second["lag"] for second in flowing[2:]) < 2000 and flowing[-1]["rate"] > 700, flowing


def test_usage():
    for bad in (["--workers", "0"], ["--workers", "x"], ["--rate", "-1"], ["more"], ["--what"], ["--cdc", "--rate", "5"]):
        r = subprocess.run([KVEIL, "demo", *bad], capture_output=True, text=True, timeout=30)
        assert r.returncode == 2 and "kveil demo" in r.stderr
    r = subprocess.run([KVEIL, "health", "--url", "nonsense"], capture_output=True, text=True, timeout=30)
    assert r.returncode == 2
    r = subprocess.run([KVEIL, "health", "--url", "http://127.0.0.1:9"], capture_output=True, text=True, timeout=30)
    assert r.returncode == 1 and "127.0.0.1:9" in r.stderr
