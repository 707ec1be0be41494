# SPDX-License-Identifier: Apache-2.0
"""The image: its base made here, built twice, looked into, and run as a container runtime would run it."""
import json
import pathlib
import re
import shutil
import tempfile

import rolling
from tools import CACHE, CONTAINER_USER, container, copy_source, count, mirror, run

DEBIAN = "trixie"
NAME = "localhost/kveil:test"
BYTES_MAX = 60e6


def buildah(*cmd, **kw):
    return run("buildah", "--storage-driver", "vfs", "--root", CACHE / "images", "--runroot", CACHE / "images-run", *cmd, **kw)


def base_image(suite):
    """Debian's slim image under its own name, made here: nothing is pulled."""
    name = f"docker.io/library/debian:{suite}-slim"
    if buildah("inspect", "--type", "image", name).returncode == 0:
        return True
    tar = CACHE / f"{suite}.tar"
    r = run("mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", "--dpkgopt=force-unsafe-io", "--include=ca-certificates", suite, tar, mirror())
    if r.returncode:
        return count("a base image", False, r.stderr[-2000:])
    holder = buildah("from", "scratch").stdout.strip()
    buildah("add", holder, tar, "/")
    r = buildah("commit", "--rm", holder, name)
    tar.unlink()
    return count("a base image", r.returncode == 0, r.stderr[-2000:])


def build(source):
    """In OCI's format: buildah writes its host's name into Docker's. It has no place for a health check, which rolling.py runs."""
    r = buildah("bud", "--isolation", "chroot", "--no-cache", "--timestamp", "0", "--pull-never",
                "-f", "docker/Dockerfile", "-t", NAME, ".", cwd=source)
    count("the image builds", r.returncode == 0, (r.stdout + r.stderr)[-3000:])
    return json.loads(buildah("inspect", "--type", "image", NAME).stdout) if r.returncode == 0 else None


def look_at_configuration(image):
    config = image["OCIv1"]["config"]
    count("the image's user has no name in the host", config["User"] == f"{CONTAINER_USER}:{CONTAINER_USER}", str(config))
    count("the image starts kveil itself", config["Entrypoint"] == ["/usr/bin/kveil"], str(config))
    count("the image has labels", {"org.opencontainers.image." + k for k in ("title", "description", "version", "licenses")}
          <= set(config["Labels"]), str(config))


def look_into(root):
    files = [p for p in root.rglob("*") if p.is_file() and not p.is_symlink()]
    size = sum(p.stat().st_size for p in files)
    print(f"image: {size / 1e6:.1f} MB in {len(files)} files", flush=True)
    count(f"under {BYTES_MAX / 1e6:.0f} MB", size < BYTES_MAX)
    count("no setuid file", not [p for p in files if p.stat().st_mode & 0o6000])
    count("no shell, no package manager", not [p for p in files if re.fullmatch(r"(ba|da|z)?sh|busybox|apt.*|dpkg.*", p.name)])
    programs = [p for p in files if p.stat().st_mode & 0o111 and ".so" not in p.name]
    count("one program", [p.name for p in programs] == ["kveil"], str(programs))
    list_of_contents = json.loads((root / "usr/share/sbom/kveil.cdx.json").read_text())
    count("it lists its contents", any(c["name"].startswith("librdkafka") for c in list_of_contents["components"]))


def use(root):
    def kveil(*args):
        return run(*container(root, [], ["/usr/bin/kveil", *args]), timeout=180)

    r = kveil("version")
    count("kveil version in it", r.returncode == 0, r.stdout + r.stderr)
    r = kveil("demo", "--once")
    count("kveil demo --once in it", r.returncode == 0, (r.stdout + r.stderr)[-3000:])
    r = kveil("init", "-y", "/var/lib/kveil")
    count("its root cannot be written, not even what is its own", r.returncode != 0 and "Read-only" in r.stderr, r.stdout + r.stderr)


def stage():
    if not base_image(DEBIAN):
        return
    source = pathlib.Path(tempfile.mkdtemp())
    images = []
    try:
        copy_source(source)
        images = [build(source) for _ in range(2)]
    finally:
        shutil.rmtree(source)
    if None in images:
        return
    digests = [i["FromImageDigest"] for i in images]
    print(f"image: {digests[0]}", flush=True)
    count("two builds, one digest", digests[0] == digests[1], str(digests))
    look_at_configuration(images[0])
    name = buildah("from", "--pull-never", NAME).stdout.strip()
    root = pathlib.Path(buildah("mount", name).stdout.strip())
    try:
        look_into(root)
        use(root)
        rolling.rolling(root)
    finally:
        buildah("umount", name)
        buildah("rm", name)
