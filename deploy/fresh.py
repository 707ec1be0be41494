# SPDX-License-Identifier: Apache-2.0
"""`./dev package fresh`: from a Debian with nothing but git to a protected record of one's own, as README.md says it, counted."""
import time

from tools import CACHE, SUITES, chroot, copy_source, count, inside

MINUTES_MAX = 5
# A record that no example of ours has.
TYPED = r"""
cd /home/kveil
./dev build 2>&1
mkdir own && cd own
echo '{"ticket": 1, "member": {"mobile": "13912345678", "email": "wang.fang@example.com"}}' > tickets.json
../build/src/cli/kveil init --yes --sample tickets.json --topic tickets
../build/src/cli/kveil apply -c kveil.yaml -r rules/tickets.yaml tickets.json
"""


def stage():
    for suite, number in SUITES.items():
        name = f"{suite}-bare"
        (CACHE / "chroots" / f"{name}.packages").unlink(missing_ok=True)  # so that it is made afresh
        root = chroot(name, suite, ["git", "ca-certificates"])
        if not root:
            continue
        copy_source(root / "home" / "kveil")
        start = time.time()
        r = inside(root, TYPED)
        took = time.time() - start
        out = r.stdout.splitlines()[-1:] or [""]
        ok = r.returncode == 0 and '"ticket": 1' in out[0] and "13912345678" not in out[0] and "wang.fang" not in out[0]
        count(f"Debian {number}: a record of one's own is protected", ok, r.stdout + r.stderr)
        count(f"Debian {number}: in under {MINUTES_MAX} minutes", took < MINUTES_MAX * 60, f"{took:.0f} s")
        print(f"Debian {number}: a protected record after {took:.0f} s: {out[0]}", flush=True)
