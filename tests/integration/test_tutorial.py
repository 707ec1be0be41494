# SPDX-License-Identifier: Apache-2.0
"""docs/tutorial.md, typed line by line into one shell."""
import os
import pathlib
import signal
import subprocess
import sys
import threading

from broker import free_port
from conftest import KVEIL
from test_pages import blocks


def test_the_tutorial(tmp_path, kafka):
    kafka.create("orders")
    try:
        run(tmp_path, kafka)
    finally:
        for f in kafka.admin.delete_topics(["orders", "orders.secure", "orders.dead"]).values():
            f.exception(30)


def run(tmp_path, kafka):
    steps = blocks("docs/tutorial.md")
    assert len(steps) == 8
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "kveil").symlink_to(KVEIL)
    path = f"{tmp_path / 'bin'}:{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
    port = free_port()
    script = ["set -eo pipefail", *(f"echo '== {n}'\n{text}" for n, text in enumerate(steps, 1))]
    script = "\n".join(script).replace("localhost:9092", kafka.bootstrap)
    # The side port that a test may have: health and status have no other place to ask by default.
    script = script.replace("kveil health", f"kveil health --url http://127.0.0.1:{port}")
    script = script.replace("kveil init --yes", f"kveil init --yes --brokers {kafka.bootstrap}")
    script = script.replace("kveil status --once", f"kveil status --once http://127.0.0.1:{port}")
    log = tmp_path / "first" / "kveil.log"
    shell = subprocess.Popen(["bash", "-c", script], cwd=tmp_path, text=True, start_new_session=True,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             env={**os.environ, "PATH": path, "KVEIL_HTTP_LISTEN": f"127.0.0.1:{port}"})
    end = threading.Timer(150, os.killpg, (shell.pid, signal.SIGKILL))
    end.start()
    out = shell.communicate()[0]
    end.cancel()
    assert shell.returncode == 0, out + (log.read_text() if log.exists() else "")
    part = dict(zip(range(1, 9), out.split("== ")[1:], strict=True))
    assert "3 rules suggested" in part[2] and "1 passed, 0 failed" in part[2] and "138****8000" in part[2]
    assert part[3].count("****") >= 4 and "110101199003077571" not in part[3] and "  ready  kveil " in part[3]
    assert part[4].split()[-2:] == ["110101199003077571", "11010119900307758X"]
    assert '"amount": 0}' in part[5]
    assert "1 dead letter waits" in part[6] and "xxxx" in part[6] and "13600136000" not in part[6]
    assert part[7].split()[-4:] == ["110101199003077571", "11010119900307758X", "110101199003077598", "110101199003077614"]
    assert "13800138000" not in log.read_text()
