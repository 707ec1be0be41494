# SPDX-License-Identifier: Apache-2.0
"""The image: its base made here, built twice, looked into, and run as a container runtime would run it."""
import contextlib
import json
import pathlib
import re
import tempfile

import composed
import rolling
import runtime
from tools import CACHE, CONTAINER_USER, architecture, container, copy_source, count, mirror, run

DEBIAN = "trixie"
BASE = f"docker.io/library/debian:{DEBIAN}-slim"
BYTES_MAX = 60e6
# As readelf calls them.
MACHINES = {"amd64": "X86-64", "arm64": "AArch64"}


def buildah(*cmd, **kw):
    return run("buildah", "--storage-driver", "vfs", "--root", CACHE / "images", "--runroot", CACHE / "images-run", *cmd, **kw)


def base_image():
    """Debian's slim image under its own name, made here: nothing is pulled."""
    if buildah("inspect", "--type", "image", BASE).returncode == 0:
        return True
    tar = CACHE / f"{DEBIAN}.tar"
    r = run("mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", "--dpkgopt=force-unsafe-io", "--include=ca-certificates", DEBIAN, tar, mirror())
    if r.returncode:
        return count("a base image", False, r.stderr[-2000:])
    holder = buildah("from", "scratch").stdout.strip()
    buildah("add", holder, tar, "/")
    r = buildah("commit", "--rm", holder, BASE)
    tar.unlink()
    return count("a base image", r.returncode == 0, r.stderr[-2000:])


def name(arch):
    return f"localhost/kveil:test-{arch}"


def build(arch):
    """What buildah says of two images, one like the other; None where one does not build. In OCI's format: buildah writes its host's
    name into Docker's. It has no place for a health check, which rolling.py runs. Debian 12's does not set BUILDPLATFORM itself."""
    images = []
    with tempfile.TemporaryDirectory() as source:
        copy_source(pathlib.Path(source))
        for _ in range(2):
            r = buildah("bud", "--platform", f"linux/{arch}", "--isolation", "chroot", "--no-cache", "--timestamp", "0",
                        "--build-arg", f"BUILDPLATFORM=linux/{architecture()}", "--pull-never", "-f", "docker/Dockerfile", "-t", name(arch), ".", cwd=source)
            if not count(f"the image for {arch} builds", r.returncode == 0, (r.stdout + r.stderr)[-3000:]):
                return None
            images.append(json.loads(buildah("inspect", "--type", "image", name(arch)).stdout))
    digests = [i["FromImageDigest"] for i in images]
    print(f"image: {digests[0]} for {arch}", flush=True)
    count(f"two builds for {arch}, one digest", digests[0] == digests[1], str(digests))
    return images


@contextlib.contextmanager
def mounted(arch):
    holder = buildah("from", "--pull-never", "--platform", f"linux/{arch}", name(arch)).stdout.strip()
    try:
        yield pathlib.Path(buildah("mount", holder).stdout.strip())
    finally:
        buildah("umount", holder)
        buildah("rm", holder)


def look_at_configuration(image, arch):
    count(f"the image says that it is for {arch}", image["OCIv1"]["architecture"] == arch)
    config = image["OCIv1"]["config"]
    count("the image's user has no name in the host", config["User"] == f"{CONTAINER_USER}:{CONTAINER_USER}", str(config))
    count("the image starts kveil itself", config["Entrypoint"] == ["/usr/bin/kveil"], str(config))
    count("the image has labels", {"org.opencontainers.image." + k for k in ("title", "description", "version", "licenses")}
          <= set(config["Labels"]), str(config))


def look_into(root, arch):
    header = run("readelf", "--file-header", root / "usr" / "bin" / "kveil").stdout
    count(f"the program is for {arch}", MACHINES[arch] in header, header)
    files = [p for p in root.rglob("*") if p.is_file() and not p.is_symlink()]
    size = sum(p.stat().st_size for p in files)
    print(f"image: {size / 1e6:.1f} MB in {len(files)} files", flush=True)
    count(f"under {BYTES_MAX / 1e6:.0f} MB", size < BYTES_MAX)
    count("no setuid file", not [p for p in files if p.stat().st_mode & 0o6000])
    count("no shell, no package manager", not [p for p in files if re.fullmatch(r"(ba|da|z)?sh|busybox|apt.*|dpkg.*", p.name)])
    programs = [p for p in files if p.stat().st_mode & 0o111 and ".so" not in p.name]
    count("one program", [p.name for p in programs] == ["kveil"], str(programs))
    list_of_contents = json.loads((root / "usr/share/sbom/kveil.cdx.json").read_text())
    there = {c["name"]: c["purl"] for c in list_of_contents["components"]}
    count("it lists its contents", any(n.startswith("librdkafka") for n in there) and all(f"?arch={arch}&" in p for p in there.values()), str(there))


def use(root):
    def kveil(*args):
        return run(*container(root, [], ["/usr/bin/kveil", *args]), timeout=900)

    r = kveil("version")
    count("kveil version in it", r.returncode == 0, r.stdout + r.stderr)
    r = kveil("demo", "--once")
    count("kveil demo --once in it", r.returncode == 0, (r.stdout + r.stderr)[-3000:])
    r = kveil("init", "-y", "/var/lib/kveil")
    count("its root cannot be written, not even what is its own", r.returncode != 0 and "Read-only" in r.stderr, r.stdout + r.stderr)


def look(arch, at_work):
    images = base_image() and build(arch)
    if not images:
        return
    look_at_configuration(images[0], arch)
    with mounted(arch) as root:
        look_into(root, arch)
        use(root)
        if at_work:
            rolling.rolling(root)
            composed.up(root)
    # Of the two, the first has no name any more.
    buildah("rmi", "--prune")


def stage():
    """./dev package image"""
    look(architecture(), at_work=True)
    runtime.stage()


def other(arch):
    """For another processor: its programs run slowly here, too slowly for a broker's records."""
    look(arch, at_work=False)
