#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""./dev release [FOLDER]: everything that a release has, from the tree as git knows it, into FOLDER (dist).

    kveil-VERSION.tar.gz                    the source
    kveil_VERSION~deb12_amd64.deb, …        packages for Debian 12 and 13
    kveil-VERSION-linux-amd64.tar.gz        the command for other systems: with as much in it as its security allows
    kveil-chart-VERSION.tgz                 the Helm chart
    *.cdx.json                              what each of them is made of (CycloneDX)
    SHA256SUMS

Two runs on one commit give the same bytes: every time is the commit's (or SOURCE_DATE_EPOCH), every build happens in the same
place of a chroot of its own. The chroots take the mirror's packages as they are that day; which they were, the lists say."""
import hashlib
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import debs
from tools import ROOT, SUITES, architecture, become_root, copy_source, count, git, inside, program, results, run, source_date, typed, version

# As old as a supported Debian is: what is built there runs on newer systems.
TARBALL_SUITE = "bookworm"
STATIC_BUILD = """
cd /tarball && meson setup build --buildtype=release --prefix=/usr -Dtests=disabled -Dstatic=true >/dev/null && ninja -C build >/tmp/log || { grep -v "^\\[" /tmp/log | tail -40; exit 1; }
DESTDIR=/tarball/out meson install -C build --quiet
strip out/usr/bin/kveil
python3 deploy/sbom.py out/usr/bin/kveil "$VERSION" $(ninja -C build -t commands src/cli/kveil | tail -1 | grep -o '/usr/lib[^ ]*\\.a') > kveil.cdx.json
ldd out/usr/bin/kveil > ldd
"""


def tarball(out, name, folder):
    """The folder's contents below NAME/, in a fixed order, with fixed times and owners; links as what they lead to (the chart's
    alerts and dashboard stand outside it)."""
    tar = run("tar", "-c", "--sort=name", f"--mtime=@{source_date()}", "--owner=0", "--group=0", "--numeric-owner", "--format=gnu", "--dereference",
              f"--transform=s,^\\.,{name},", "-C", folder, "-f", out.with_suffix(".tar.tmp"), ".")
    tar.check_returncode()
    data = out.with_suffix(".tar.tmp").read_bytes()
    out.with_suffix(".tar.tmp").unlink()
    out.write_bytes(subprocess.run(["gzip", "-9n"], input=data, capture_output=True, check=True).stdout)


def source(dist):
    with tempfile.TemporaryDirectory() as folder:
        copy_source(pathlib.Path(folder) / "tree")
        tarball(dist / f"kveil-{version()}.tar.gz", f"kveil-{version()}", pathlib.Path(folder) / "tree")
        tarball(dist / f"kveil-chart-{version()}.tgz", "kveil", pathlib.Path(folder) / "tree" / "deploy" / "helm" / "kveil")


def packages(dist):
    for suite in SUITES:
        folder = debs.build(suite)
        if not folder:
            return
        for deb in folder.glob("*.deb"):
            if "dbgsym" not in deb.name:
                shutil.copy(deb, dist)
        shutil.copy(ROOT / "deploy" / "sbom.py", folder)
        deb = next(folder.glob("kveil_*.deb"))
        r = inside(debs.build_root(suite), f"mkdir /tmp/x && dpkg-deb -x /build/{deb.name} /tmp/x && "
                                           f"python3 /build/sbom.py /tmp/x/usr/bin/kveil {version()}", SOURCE_DATE_EPOCH=source_date())
        if count(f"Debian {SUITES[suite]}: a list of contents", r.returncode == 0, r.stderr):
            (dist / f"{deb.stem}.cdx.json").write_text(r.stdout)


def static(dist):
    root = debs.build_root(TARBALL_SUITE)
    if not root:
        return
    work = root / "tarball"
    copy_source(work)
    r = inside(root, STATIC_BUILD, VERSION=version(), SOURCE_DATE_EPOCH=source_date())
    if not count("the tarball builds", r.returncode == 0, (r.stdout + r.stderr)[-4000:]):
        return
    # The system's are those that must follow its security updates.
    alone = {m for m in re.findall(r"^\s*(lib\w+)", (work / "ldd").read_text(), re.M)}
    for library in ("libyaml", "libpcre2", "libjansson", "libutf8proc", "libgcrypt", "libavro"):
        count(f"{library} is in the tarball's program", not any(name.startswith(library) for name in alone), (work / "ldd").read_text())
    name = f"kveil-{version()}-linux-{architecture()}"
    top = work / name
    top.mkdir()
    shutil.copytree(work / "out" / "usr" / "bin", top / "bin")
    shutil.copytree(work / "out" / "usr" / "share", top / "share")
    for f in ("LICENSE", "README.md", "CHANGELOG.md", "kveil.yaml", "rules", "deploy/systemd"):
        (shutil.copytree if (work / f).is_dir() else shutil.copy)(work / f, top / pathlib.Path(f).name)
    tarball(dist / f"{name}.tar.gz", name, top)
    shutil.copy(work / "kveil.cdx.json", dist / f"{name}.cdx.json")
    shutil.rmtree(work)


def release(dist):
    shutil.rmtree(dist, ignore_errors=True)
    dist.mkdir(parents=True)
    for part in (source, packages, static):
        part(dist)
    sums = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(dist.iterdir())}
    (dist / "SHA256SUMS").write_text("".join(f"{digest}  {name}\n" for name, digest in sums.items()))
    return sums


def look(dist):
    """What is in it, used."""
    from chart import EXAMPLE, HELM
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator
    r = run("bash", "-euc", typed("sha256sum -c"), cwd=dist)
    count("SHA256SUMS holds", r.returncode == 0 and r.stdout.count(": OK\n") == len(list(dist.iterdir())) - 1, r.stdout + r.stderr)
    lists = list(dist.glob("*.cdx.json"))
    count("a list of contents for each of the three", len(lists) == 3, str(lists))
    for path in lists:
        wrong = JsonStrictValidator(SchemaVersion.V1_5).validate_str(path.read_text())
        count(f"{path.name} is CycloneDX 1.5", wrong is None, str(wrong))
        count(f"{path.name} names librdkafka and OpenSSL", re.search(r'"librdkafka', path.read_text()) and re.search(r'"libssl3', path.read_text()))
    r = run(program(HELM), "template", "r", dist / f"kveil-chart-{version()}.tgz", "--kube-version", "1.31", "--values", EXAMPLE,
            "--set", "prometheusRule.enabled=true,dashboard.enabled=true")
    count("the chart's archive is whole", r.returncode == 0 and "KveilDown" in r.stdout and "kveil.json" in r.stdout, r.stderr)
    subprocess.run(["tar", "-x", "-C", dist, "-f", next(dist.glob("*-linux-*.tar.gz"))], check=True)
    r = run(next(dist.glob("*-linux-*/bin/kveil")), "demo", "--once", timeout=180)
    count("the tarball's program runs here", r.returncode == 0, r.stdout + r.stderr)


def stage():
    """./dev package release"""
    from service import serve
    with tempfile.TemporaryDirectory() as folder:
        dist = pathlib.Path(folder) / "one"
        first, second = release(dist), release(pathlib.Path(folder) / "two")
        count("two releases, the same bytes", first == second, "\n".join(n for n in first if first[n] != second.get(n)))
        for name in first:
            print(f"release: {(dist / name).stat().st_size / 1e6:6.2f} MB {name}", flush=True)
        look(dist)
        for suite in SUITES:
            debs.lint(suite)
            debs.install(suite, dist, serve)


def main():
    become_root()
    dist = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "dist").resolve()
    if git("status", "--porcelain").stdout:
        print("release: the tree has changes that no commit has: what is made is not a release", file=sys.stderr)
    for name, digest in release(dist).items():
        print(digest, name)
    return results.close()


if __name__ == "__main__":
    sys.exit(main())
