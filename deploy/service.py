# SPDX-License-Identifier: Apache-2.0
"""The service as docs/install.md and docs/operations.md have it, typed: systemd is the first process of a Debian with the package, Kafka is real."""
import pathlib
import re
import subprocess
import time

import yaml

from rolling import CONFIG, Kafka
from tools import ROOT, architecture, count, run, typed

RECORDS = 100
STARTED_WITHIN_S = 60
# The folder becomes the root for good: what systemd does with mounts fails in a chroot. Shared, as a container manager leaves
# them: credentials come from a namespace of their own.
INIT = """
mount --bind "$0" "$0" && cd "$0" && mount -t proc proc proc && mount --rbind /dev dev && mount -t sysfs sysfs sys &&
mount -t cgroup2 cgroup2 sys/fs/cgroup && mount -t tmpfs tmpfs run && mount -t tmpfs tmpfs tmp && pivot_root . . && umount -l . &&
mount --make-rshared / &&
exec env -i container=kveil-tests PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 /lib/systemd/systemd --system --unit=basic.target
"""


def cgroups():
    """Where this machine has version 2 of them."""
    return pathlib.Path(next(line.split()[1] for line in pathlib.Path("/proc/mounts").read_text().splitlines() if line.split()[2] == "cgroup2"))


class Machine:
    """with Machine(root) as machine: systemd runs in namespaces of its own, in a cgroup of its own; the network is the host's."""

    def __init__(self, root):
        self.root = root
        self.cgroup = cgroups() / "kveil-tests"

    def __enter__(self):
        self.cgroup.mkdir(exist_ok=True)
        enter = 'echo $$ >"$1/cgroup.procs" && exec unshare --mount --propagation private --pid --cgroup --ipc --uts --fork --kill-child bash -c "$2" "$0"'
        self.process = subprocess.Popen(["bash", "-c", enter, str(self.root), str(self.cgroup), INIT],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.time() + STARTED_WITHIN_S
        while time.time() < end and self.type("systemctl is-system-running").stdout.strip() not in ("running", "degraded"):
            time.sleep(0.2)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.remove_cgroup()

    def remove_cgroup(self):
        """Once the last process is gone."""
        (self.cgroup / "cgroup.kill").write_text("1")
        end = time.time() + STARTED_WITHIN_S
        while "populated 1" in (self.cgroup / "cgroup.events").read_text() and time.time() < end:
            time.sleep(0.1)
        for folder in sorted((f for f in self.cgroup.rglob("*") if f.is_dir()), reverse=True):
            folder.rmdir()
        self.cgroup.rmdir()

    def first(self):
        children = run("pgrep", "-P", self.process.pid).stdout.split()
        return children[0] if children else None

    def type(self, script, timeout=60):
        """In bash, in the machine."""
        first = self.first()
        if not first:
            return subprocess.CompletedProcess([], 1, "", "systemd does not run")
        return run("nsenter", "-t", first, "--mount", "--pid", "--cgroup", "--ipc", "--uts", "env",
                   "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8", "bash", "-euc", script, timeout=timeout)


def prepare(root, bootstrap, port):
    folder = root / "etc" / "kveil" / "orders"
    (folder / "rules").mkdir(parents=True)
    (folder / "rules" / "orders.yaml").write_text((ROOT / "rules" / "orders.yaml").read_text())
    config = {**CONFIG, "kafka": {"bootstrap_servers": bootstrap, "group_id": "kveil-orders"},
              "http": {"listen": f"127.0.0.1:{port}", "socket": "/run/kveil/orders/side.sock"}}
    config["keys"] = {**CONFIG["keys"], "keks": {"local": {"provider": "file", "path": "${env:CREDENTIALS_DIRECTORY}/kek"}}}
    (folder / "kveil.yaml").write_text(yaml.safe_dump(config))


def change_packages(machine, name, kafka):
    """A newer package, and back to the old one, while the service runs."""
    # The same files under a higher version.
    r = machine.type("""cd /opt && old=$(basename kveil_*.deb _$(dpkg --print-architecture).deb) && old=${old#kveil_} && new=1000.$old
        dpkg-deb -R kveil_*.deb /tmp/new && sed -i "s/^Version: .*/Version: $new/" /tmp/new/DEBIAN/control
        dpkg-deb --build --root-owner-group /tmp/new kveil_${new}_$(dpkg --print-architecture).deb >/dev/null && echo $old $new""")
    if not count(f"{name}: a newer package", r.returncode == 0, r.stderr):
        return
    old, new = r.stdout.split()
    lines = typed("apt install --allow-downgrades").replace("amd64", architecture()).replace("NEW", new).replace("OLD", old).splitlines()
    for line, version in zip(lines, (new, old), strict=True):
        sent = kafka.sent
        r = machine.type(f"cd /opt && {line}\ndpkg-query -W -f '${{Version}}' kveil", timeout=300)
        count(f"{name}: {version} by the page's line", r.returncode == 0 and r.stdout.endswith(version), r.stdout + r.stderr)
        r = machine.type("until systemctl status kveil@orders | grep 'Status: \"ready\"'; do sleep 0.2; done")
        count(f"{name}: and the service is ready again", r.returncode == 0, r.stdout + r.stderr)
        for i in range(sent, sent + RECORDS):
            kafka.send(i)
        ids, clear = kafka.arrived(kafka.sent)
        count(f"{name}: and protects", len(ids) == kafka.sent and not clear, f"{len(ids)} of {kafka.sent} {clear}")


def serve(root, name):
    """Counts what the service does; root is a Debian with the package, name is for people."""
    with Kafka() as kafka:
        prepare(root, kafka.bootstrap, kafka.free_port())
        with Machine(root) as machine:
            r = machine.type(typed("systemctl enable"))
            if not count(f"{name}: the service starts and reloads", r.returncode == 0 and "active (running)" in r.stdout,
                         r.stdout + r.stderr + machine.type("journalctl --no-pager -n 50").stdout):
                return
            r = machine.type("until systemctl status kveil@orders | grep 'Status: \"ready\"'; do sleep 0.2; done")
            count(f"{name}: and says that it is ready", r.returncode == 0, r.stdout + r.stderr)
            r = machine.type("cd /etc/kveil/orders; CREDENTIALS_DIRECTORY=. runuser -u kveil -- kveil status --once -c kveil.yaml")
            count(f"{name}: kveil status asks it on its socket", r.returncode == 0 and "ready" in r.stdout, r.stdout + r.stderr)
            for i in range(RECORDS):
                kafka.send(i)
            ids, clear = kafka.arrived(RECORDS)
            count(f"{name}: the service protects", len(ids) == RECORDS and not clear, f"{len(ids)} {clear}")
            r = machine.type("grep -E '^(Uid|CapEff|NoNewPrivs|Seccomp):' /proc/$(systemctl show -P MainPID kveil@orders)/status")
            said = dict(line.split(":\t") for line in r.stdout.splitlines())
            count(f"{name}: without root, capabilities or all of the kernel's calls", said and said["Uid"].split()[0] != "0" and
                  int(said["CapEff"], 16) == 0 and said["NoNewPrivs"] == "1" and said["Seccomp"] == "2", r.stdout + r.stderr)
            r = machine.type("systemd-analyze security --threshold=15 --no-pager kveil@orders | tail -1")
            print(name, r.stdout.strip(), flush=True)
            change_packages(machine, name, kafka)
            r = machine.type("systemctl stop kveil@orders && systemctl show -P Result kveil@orders")
            count(f"{name}: the service ends well", r.stdout.strip() == "success", r.stdout + r.stderr)
