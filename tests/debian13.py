#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Debian 13, in a chroot: the tree builds there without a warning, the unit tests pass, and the demo holds.

    tests/debian13.py      # needs root, or sudo without a password

The chroot comes from the mirror that this machine's apt uses, and is kept in .cache/chroots."""
import pathlib
import shutil
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "deploy"))
from tools import BUILD_PACKAGES, CACHE, become_root, chroot, copy_source, count, inside, results  # noqa: E402

PACKAGES = BUILD_PACKAGES + ["libcmocka-dev", "iproute2", "groff-base", "man-db", "mandoc"]
TRY = r"""
cd /src
gcc --version | head -1
meson setup build-asan -Dwerror=true -Db_sanitize=address,undefined -Db_lundef=false -Dfailpoints=true >/tmp/log ||
  { cat /tmp/log; exit 1; }
nice -n 19 ninja -C build-asan >/tmp/log || { grep -vE "^\[[0-9]+/" /tmp/log | tail -60; exit 1; }
meson test -C build-asan --no-rebuild --suite unit --no-suite slow --num-processes 2 -q --timeout-multiplier 3 --print-errorlogs
build-asan/src/cli/kveil demo --once
"""


def main():
    become_root()
    root = chroot("trixie-tests", "trixie", PACKAGES)
    if root:
        copy_source(root / "src")
        shutil.copytree(CACHE / "vectors", root / "src" / ".cache" / "vectors")
        r = inside(root, TRY, timeout=2 * 3600)
        count("Debian 13", r.returncode == 0, r.stdout + r.stderr)
    return results.close()


if __name__ == "__main__":
    sys.exit(main())
