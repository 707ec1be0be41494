#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""./dev package: what of docker/ and deploy/ takes minutes to prove. Closes with `N passed, N failed`.

    chart    helm lint, the chart over a matrix of values, every manifest against four versions of Kubernetes, checkov
    compose  the compose files, by the specification's own loader
    release  what ./dev release makes, made twice: the same bytes; its tarball, its lists of contents, its packages for Debian 12
             and 13: lintian, installed in fresh ones, the demo run, the service under systemd on a broker, a program linked
    cluster  what docs/install.md and docs/operations.md type for Kubernetes, against its own API server (compiled the first
             time: ten minutes)
    image    a base by mmdebstrap, the image by buildah, run as uid 65532 on a read-only root; a rolling restart on a broker;
             compose.yaml's services, each started as it stands, and its dashboard's queries; the lines of docs/install.md for
             containers, typed with podman
    fresh    from a Debian with git alone to a protected record of one's own, on 12 and 13, counted: under five minutes each
    arm64    packages cross-compiled and installed, unit tests, the image: under qemu (only when named: it takes an hour)
"""
import pathlib
import sys
import tempfile
import time

import arm64
import chart
import cluster
import fresh
import image
import release
from tools import ROOT, become_root, count, program, results, run

COMPOSE = "github.com/compose-spec/compose-go/v2/cmd@v2.9.0"


def compose():
    """The compose files as the specification's own loader reads them."""
    for name in ("compose.yaml", "compose.demo.yaml"):
        path = ROOT / "docker" / name
        r = run(program(COMPOSE), path)
        count(f"{name} loads", r.returncode == 0, r.stderr)
        with tempfile.TemporaryDirectory() as folder:
            bad = pathlib.Path(folder) / name
            bad.write_text(path.read_text().replace("cap_drop:", "cap_dorp:"))
            count(f"{name} with a typing error does not", run(program(COMPOSE), bad).returncode != 0)


def main():
    stages = {"chart": chart.stage, "compose": compose, "cluster": cluster.stage, "release": release.stage,
              "image": image.stage, "fresh": fresh.stage, "arm64": arm64.stage}
    become_root()
    for name in [s for s in stages if s in sys.argv] or [s for s in stages if s != "arm64"]:
        start = time.time()
        stages[name]()
        print(f"{name}: {time.time() - start:.0f} s", flush=True)
    return results.close()


if __name__ == "__main__":
    sys.exit(main())
