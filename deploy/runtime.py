# SPDX-License-Identifier: Apache-2.0
"""The image under a container runtime, with its seccomp filter, capabilities and health check: docs/install.md's lines and
compose.demo.yaml's service, by podman in docker's place."""
import os
import pathlib
import shutil
import tempfile
import time

import yaml

from rolling import CONFIG, Kafka
from tools import CACHE, ROOT, copy_source, count, run, typed

RECORDS = 100
# What a machine that is itself a container lets pass. Docker's network would need the host's firewall.
CONTAINERS_CONF = """
[containers]
cgroups = "disabled"
netns = "host"
log_driver = "k8s-file"
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
"""
# crun knows one kind of cgroups or the other, not both at once.
DOCKER = f"""#!/bin/sh
exec unshare --mount --propagation private sh -c 'umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup
exec podman --storage-driver vfs --root {CACHE}/images --runroot {CACHE}/images-run "$@"' podman "$@"
"""


class Docker:
    """A shell that has `docker`, in a folder with the tree."""

    def __init__(self, folder):
        self.folder = folder
        # podman's notes hold the tree's own place, and it refuses those of a tree that was moved.
        shutil.rmtree(CACHE / "images" / "libpod", ignore_errors=True)
        copy_source(folder / "tree")
        (folder / "bin").mkdir()
        (folder / "bin" / "docker").write_text(DOCKER)
        (folder / "bin" / "docker").chmod(0o755)
        (folder / "containers.conf").write_text(CONTAINERS_CONF)
        # Docker's own format of images: OCI's has no health check.
        self.env = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "CONTAINERS_CONF": str(folder / "containers.conf"),
                    "BUILDAH_FORMAT": "docker", "BUILDAH_ISOLATION": "chroot", "BUILDAH_LAYERS": "false"}

    def type(self, script, timeout=1800):
        return run("bash", "-euc", script, cwd=self.folder / "tree", env=self.env, timeout=timeout)


def demo(docker):
    """As compose.demo.yaml has it."""
    service = yaml.safe_load((ROOT / "docker" / "compose.demo.yaml").read_text())["services"]["kveil"]
    flags = ["--read-only"] * service["read_only"] + [f"--tmpfs={t}" for t in service["tmpfs"]] + [f"--cap-drop={c}" for c in service["cap_drop"]]
    flags += [f"--security-opt={o.replace(':true', '')}" for o in service["security_opt"]]
    r = docker.type(f"docker run --rm {' '.join(flags)} kveil {' '.join(service['command'])} --once")
    count("compose.demo.yaml's service runs with this image alone", r.returncode == 0 and "no clear value" in r.stdout, r.stdout + r.stderr)


def watch(docker, kafka):
    """What runs once `docker run --detach` is typed."""
    for i in range(RECORDS):
        kafka.send(i)
    ids, clear = kafka.arrived(RECORDS)
    count("docker run: the container protects", len(ids) == RECORDS and not clear, f"{len(ids)} {clear} {docker.type('docker logs kveil').stderr[-2000:]}")
    r = docker.type("docker healthcheck run kveil")
    count("docker run: its health check says that it lives", r.returncode == 0, r.stdout + r.stderr)
    r = docker.type("docker exec kveil /bin/sh -c true")
    count("docker exec: there is no shell", r.returncode != 0 and "not found" in r.stderr, r.stdout + r.stderr)


def page(docker):
    with Kafka() as kafka:
        config = {**CONFIG, "kafka": {"bootstrap_servers": kafka.bootstrap, "group_id": "kveil-orders"}}
        tree = docker.folder / "tree"
        (tree / "kveil.yaml").write_text(yaml.safe_dump(config))
        block = typed("docker build")
        start, stop = block.split("docker stop")
        r = docker.type(start)
        if not count("docker build, kveil keys, docker run: the page's lines", r.returncode == 0 and "pii" in r.stdout, (r.stdout + r.stderr)[-4000:]):
            return
        watch(docker, kafka)
        demo(docker)
        began = time.time()
        r = docker.type(f"docker stop{stop}")
        code = docker.type("docker inspect --format '{{.State.ExitCode}}' kveil").stdout.strip()
        count("docker stop: it drains and ends with 0", r.returncode == 0 and code == "0", f"{code} after {time.time() - began:.1f} s {r.stderr}")


def stage():
    if run("sh", "-c", "command -v podman").returncode:
        count("podman is there", False)
        return
    with tempfile.TemporaryDirectory() as name:
        docker = Docker(pathlib.Path(name))
        try:
            page(docker)
        finally:
            docker.type("docker rm --force --ignore kveil")
