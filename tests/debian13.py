#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Debian 13, in a chroot: the tree builds there without a warning, the unit tests pass, and the demo holds.

    tests/debian13.py      # needs root, or sudo without a password

The chroot comes from the mirror that this machine's apt uses, and is kept in .cache/chroots, with what was built there: another run, or
a second try, compiles only what has changed."""
import filecmp
import pathlib
import shutil
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "deploy"))
from tools import BUILD_PACKAGES, CACHE, become_root, chroot, copy_source, count, inside, results  # noqa: E402

PACKAGES = BUILD_PACKAGES + ["libcmocka-dev", "iproute2", "groff-base", "man-db", "mandoc"]
TRY = r"""
cd /src
gcc --version | head -1
[ -e build-asan/build.ninja ] || meson setup build-asan -Dwerror=true -Db_sanitize=address,undefined -Db_lundef=false -Dfailpoints=true >/tmp/log ||
  { cat /tmp/log; rm -rf build-asan; exit 1; }
nice -n 19 ninja -C build-asan >/tmp/log || { grep -vE "^\[[0-9]+/" /tmp/log | tail -60; exit 1; }
meson test -C build-asan --no-rebuild --suite unit --no-suite slow --num-processes 2 -q --timeout-multiplier 3 --print-errorlogs
build-asan/src/cli/kveil demo --once
"""


def files_of(folder):
    return {p.relative_to(folder): p for p in folder.rglob("*") if p.is_symlink() or p.is_file()}


def bring_up_to_date(folder):
    """The tree as it stands and its vectors. A file that has not changed keeps its time, and what was built stays."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        new = pathlib.Path(work) / "src"
        copy_source(new)
        shutil.copytree(CACHE / "vectors", new / ".cache" / "vectors")
        wanted, there = files_of(new), files_of(folder)
        for name, path in there.items():
            if name.parts[0] == "build-asan":
                continue
            if name not in wanted or path.is_symlink() or not filecmp.cmp(path, wanted[name], shallow=False):
                path.unlink()
        for name, path in wanted.items():
            if not (folder / name).exists():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, folder / name, follow_symlinks=False)


def main():
    become_root()
    root = chroot("trixie-tests", "trixie", PACKAGES)
    if root:
        bring_up_to_date(root / "src")
        r = inside(root, TRY, timeout=2 * 3600)
        count("Debian 13", r.returncode == 0, r.stdout + r.stderr)
    return results.close()


if __name__ == "__main__":
    sys.exit(main())
