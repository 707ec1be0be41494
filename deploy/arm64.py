# SPDX-License-Identifier: Apache-2.0
"""arm64 on a machine that is none: packages cross-compiled in a chroot with libraries of both architectures, installed there and
used; unit tests; the image, built and run as `docker build --platform linux/arm64` would. arm64's programs run by
qemu-user-static."""
import pathlib
import shutil

import debs
import image
from tools import BUILD_PACKAGES, CACHE, SUITES, chroot, copy_source, count, inside, run

ARCHITECTURE = "arm64"
FORMATS = pathlib.Path("/proc/sys/fs/binfmt_misc")
EMULATOR = FORMATS / "qemu-aarch64"
# What runs here; everything else of what kveil is built from is linked into programs of the other architecture.
TOOLS = set(BUILD_PACKAGES[:BUILD_PACKAGES.index("librdkafka-dev")])
MAKERS = {"build-essential", "debhelper", "dpkg-dev", "fakeroot", "lintian"}
# Not those that measure time or fill memory: an emulator is slow.
# Without `secret` and `algorithms`, which fail under qemu 7.2: they look for copies of key bytes in the process's memory, where
# the emulator keeps the guest's registers. Run them on a machine of its own kind before calling that held on arm64.
TESTS = "actions automaton avro config connect crypto engine envelope ff1 import json keys keys_file options path path_eval plan text tink yaml"
UNIT = f"""
cd /src && docker/cross.sh file arm64 >cross.ini && printf "%s\\n" "[binaries]" "exe_wrapper = 'env'" >wrapper.ini
meson setup build --cross-file cross.ini --cross-file wrapper.ini -Dtests=enabled >/tmp/log || {{ cat /tmp/log; exit 1; }}
ninja -C build >/tmp/log || {{ grep -v "^\\[" /tmp/log | tail -60; exit 1; }}
KVEIL_VECTORS=/src/.cache/vectors meson test -C build --no-rebuild --num-processes 2 --timeout-multiplier 40 -q --print-errorlogs {TESTS}
"""
USE = """
apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0 /build/kveil_*_arm64.deb /build/libkveil0_*_arm64.deb >/dev/null
test "$(od -An -tx1 -j18 -N2 /usr/bin/kveil)" = " b7 00"
for c in $(kveil --help | awk '/^  [a-z]/ {print $1}'); do test -e /usr/share/man/man1/kveil-$c.1.gz; done
kveil version
kveil demo --once
apt-get purge -y -qq kveil libkveil0 >/dev/null
"""


def cross_root(suite):
    theirs = [p for p in BUILD_PACKAGES + debs.MAKERS if p not in TOOLS | MAKERS] + ["libc6-dev", "pkgconf", "libcmocka-dev"]
    tools = sorted((TOOLS | MAKERS) - {"pkgconf", "lintian"}) + ["gcc-aarch64-linux-gnu", "g++-aarch64-linux-gnu"]
    return chroot(f"{suite}-{ARCHITECTURE}", suite, tools + [f"{p}:{ARCHITECTURE}" for p in theirs], f"amd64,{ARCHITECTURE}")


def packages(suite):
    root = cross_root(suite)
    if not root or not debs.build(suite, root, ARCHITECTURE):
        return
    r = inside(root, USE)
    count(f"Debian {SUITES[suite]}, arm64: kveil installs, has its pages, and the demo holds", r.returncode == 0, (r.stdout + r.stderr)[-4000:])


def unit_tests(suite):
    root = cross_root(suite)
    if not root:
        return
    copy_source(root / "src")
    shutil.copytree(CACHE / "vectors", root / "src" / ".cache" / "vectors")
    r = inside(root, UNIT, timeout=7200)
    count(f"Debian {SUITES[suite]}, arm64: unit tests", r.returncode == 0, (r.stdout + r.stderr)[-4000:])
    shutil.rmtree(root / "src")


def emulated():
    """Does the kernel run arm64's programs, in chroots too (flag F)? As the package qemu-user-static sets it up where systemd runs."""
    if not (FORMATS / "register").exists():
        run("mount", "-t", "binfmt_misc", "binfmt_misc", FORMATS)
    line = pathlib.Path("/usr/lib/binfmt.d/qemu-aarch64.conf")
    if not EMULATOR.exists() and line.exists():
        (FORMATS / "register").write_text(line.read_text().strip())
    return EMULATOR.exists() and "F" in EMULATOR.read_text().split("flags:")[1].split()[0]


def stage():
    """./dev package arm64"""
    if not count("the kernel runs arm64's programs (qemu-user-static)", emulated()):
        return
    image.other(ARCHITECTURE)
    for suite in SUITES:
        packages(suite)
    unit_tests("trixie")
