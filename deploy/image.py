# SPDX-License-Identifier: Apache-2.0
"""The image: its base made here, built twice, looked into, and run as a container runtime would run it."""
import contextlib
import json
import pathlib
import re
import tempfile

import rolling
from tools import CACHE, CONTAINER_USER, architecture, container, copy_source, count, mirror, run

DEBIAN = "trixie"
NAME = "localhost/kveil:test"
BYTES_MAX = 60e6


def buildah(arch, *cmd, **kw):
    """In a store an architecture: one name, one image."""
    store = CACHE / f"images-{arch}"
    return run("buildah", "--storage-driver", "vfs", "--root", store, "--runroot", f"{store}-run", *cmd, **kw)


def base_image(arch):
    """Debian's slim image under its own name, made here: nothing is pulled."""
    name = f"docker.io/library/debian:{DEBIAN}-slim"
    if buildah(arch, "inspect", "--type", "image", name).returncode == 0:
        return True
    tar = CACHE / f"{DEBIAN}-{arch}.tar"
    r = run("mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", f"--architectures={arch}", "--dpkgopt=force-unsafe-io",
            "--include=ca-certificates", DEBIAN, tar, mirror())
    if r.returncode:
        return count(f"a base image for {arch}", False, r.stderr[-2000:])
    holder = buildah(arch, "from", "--platform", f"linux/{arch}", "scratch").stdout.strip()
    buildah(arch, "add", holder, tar, "/")
    buildah(arch, "config", "--arch", arch, holder)
    r = buildah(arch, "commit", "--rm", holder, name)
    tar.unlink()
    return count(f"a base image for {arch}", r.returncode == 0, r.stderr[-2000:])


def build(arch, times):
    """What buildah says of the images, None where one does not build. In OCI's format: buildah writes its host's name into
    Docker's. It has no place for a health check, which rolling.py runs."""
    images = []
    with tempfile.TemporaryDirectory() as source:
        copy_source(pathlib.Path(source))
        for _ in range(times):
            r = buildah(arch, "bud", "--platform", f"linux/{arch}", "--isolation", "chroot", "--no-cache", "--timestamp", "0",
                        "--pull-never", "-f", "docker/Dockerfile", "-t", NAME, ".", cwd=source)
            if not count(f"the image for {arch} builds", r.returncode == 0, (r.stdout + r.stderr)[-3000:]):
                return None
            images.append(json.loads(buildah(arch, "inspect", "--type", "image", NAME).stdout))
    print(f"image: {images[0]['FromImageDigest']}", flush=True)
    return images


@contextlib.contextmanager
def mounted(arch):
    name = buildah(arch, "from", "--pull-never", "--platform", f"linux/{arch}", NAME).stdout.strip()
    try:
        yield pathlib.Path(buildah(arch, "mount", name).stdout.strip())
    finally:
        buildah(arch, "umount", name)
        buildah(arch, "rm", name)


def look_at_configuration(image, arch):
    count(f"the image says that it is for {arch}", image["OCIv1"]["architecture"] == arch)
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
    arch = architecture()
    images = base_image(arch) and build(arch, 2)
    if not images:
        return
    digests = [i["FromImageDigest"] for i in images]
    count("two builds, one digest", digests[0] == digests[1], str(digests))
    look_at_configuration(images[0], arch)
    with mounted(arch) as root:
        look_into(root)
        use(root)
        rolling.rolling(root)


def other(arch):
    """For an architecture that this machine only emulates: built once, and no rolling restart."""
    images = base_image(arch) and build(arch, 1)
    if not images:
        return
    look_at_configuration(images[0], arch)
    with mounted(arch) as root:
        look_into(root)
        use(root)
