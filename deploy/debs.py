# SPDX-License-Identifier: Apache-2.0
"""Debian packages: built and linted in a chroot of each Debian, installed in a fresh one, and used there."""
import shutil

from tools import BUILD_PACKAGES, CACHE, SUITES, chroot, copy_source, count, inside, remove_chroot, source_date, typed, version

# Beside what kveil is built from: what packages are made with.
MAKERS = ["build-essential", "debhelper", "dpkg-dev", "fakeroot", "lintian", "libzstd-dev", "liblz4-dev", "libsasl2-dev"]


def build_root(suite):
    return chroot(f"{suite}-build", suite, BUILD_PACKAGES + MAKERS)


def build(suite, root=None, other=""):
    """The folder with the packages of one Debian, or None; in a chroot that is there already for another architecture."""
    root = root or build_root(suite)
    if not root:
        return None
    shutil.rmtree(root / "build", ignore_errors=True)
    source = root / "build" / f"kveil-{version()}"
    copy_source(source)
    changelog = source / "debian" / "changelog"
    first, rest = changelog.read_text().split("\n", 1)
    # One version a Debian: 0.1.0~deb12 gives way to 0.1.0~deb13 in an upgrade of the system.
    first = first.replace(f"({version()})", f"({version()}~deb{SUITES[suite]})").replace("unstable", suite)
    changelog.write_text(f"{first}\n{rest}")
    # Another architecture's build dependencies are those of the chroot: python3 and meson are this machine's.
    cross = f"-d -b -a{other}" if other else ""
    options = {"DEB_BUILD_OPTIONS": "crossbuildcanrunhostbinaries"} if other else {}
    r = inside(root, f"cd /build/{source.name} && dpkg-buildpackage -us -uc -j2 {cross}", SOURCE_DATE_EPOCH=source_date(), **options)
    if not count(f"Debian {SUITES[suite]}{other and ', ' + other}: the packages build", r.returncode == 0, (r.stdout + r.stderr)[-4000:]):
        return None
    shutil.rmtree(source)
    return root / "build"


def lint(suite):
    r = inside(build_root(suite), "cd /build && lintian --allow-root --fail-on error,warning --info *.changes")
    count(f"Debian {SUITES[suite]}: lintian is silent", r.returncode == 0 and not r.stdout.strip(), r.stdout + r.stderr)


USE = """
ls /usr/share/bash-completion/completions/kveil.bash /usr/share/zsh/vendor-completions/_kveil /usr/share/fish/vendor_completions.d/kveil.fish
test -e /usr/lib/systemd/system/kveil@.service || test -e /lib/systemd/system/kveil@.service
ls /usr/lib/sysusers.d/kveil.conf /usr/lib/tmpfiles.d/kveil.conf
gzip -cd /usr/share/man/man1/kveil-run.1.gz | grep -q 'SH OPTIONS'
for c in $(kveil --help | awk '/^  [a-z]/ {print $1}'); do test -e /usr/share/man/man1/kveil-$c.1.gz; done
getent passwd kveil
test -d /etc/kveil
kveil version
kveil demo --once
cd /opt && tar -xf kveil-*-linux-*.tar.gz && kveil-*-linux-*/bin/kveil demo --once
"""
EMBED = """
cp /usr/share/doc/libkveil-dev/examples/embed.c /tmp && cc -Wall -Werror /tmp/embed.c $(pkg-config --cflags --libs kveil) -o /tmp/embed
mkdir /tmp/k && cd /tmp/k && cp -r /usr/share/doc/kveil/examples/* . && find . -name '*.gz' -exec gzip -d {} +
kveil keys kek local -c kveil.yaml && kveil keys init -c kveil.yaml
/tmp/embed kveil.yaml etl.orders <orders.json >out && test -s out && test "$(wc -l <out)" = "$(wc -l <orders.json)"
! grep -q 110101199003077571 out
"""


def install(suite, packages, serve=None):
    """In a Debian that never saw a compiler, where serve(root, name) runs the service; then, with one, the library."""
    root = CACHE / "chroots" / f"{suite}-fresh"
    remove_chroot(root)
    root.with_suffix(".packages").unlink(missing_ok=True)
    root = chroot(f"{suite}-fresh", suite, ["ca-certificates"])
    if not root:
        return
    # Gone with the next run: what is installed here changes it.
    root.with_suffix(".packages").unlink()
    for deb in packages.glob(f"*~deb{SUITES[suite]}_*.deb"):
        shutil.copy(deb, root / "opt")
    # The tarball needs no package of kveil's, only the libraries that one brings.
    shutil.copy(next(packages.glob("kveil-*-linux-*.tar.gz")), root / "opt")
    quiet = "apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0"
    name = f"Debian {SUITES[suite]}"
    # The page's line as it stands asks before it installs.
    line = typed("apt install ./kveil_*").replace("deb13", f"deb{SUITES[suite]}")
    (root / "etc" / "apt" / "apt.conf.d" / "yes").write_text('APT::Get::Assume-Yes "true";\n')
    r = inside(root, f"apt-get update -qq; {quiet} systemd >/dev/null 2>&1; cd /opt; {line} {USE}")
    count(f"{name}: kveil installs in a fresh one, and its demo and the tarball's hold", r.returncode == 0, (r.stdout + r.stderr)[-4000:])
    if serve:
        serve(root, name)
    r = inside(root, f"{quiet} gcc libc6-dev pkgconf /opt/libkveil*.deb >/dev/null; {EMBED}")
    count(f"{name}: a program is built on libkveil-dev", r.returncode == 0, (r.stdout + r.stderr)[-4000:])
    r = inside(root, "apt-get purge -y -qq kveil libkveil0 libkveil-dev >/dev/null; dpkg -l kveil 2>/dev/null | grep ^ii && exit 1; ! ls /usr/lib/sysusers.d/kveil.conf")
    count(f"{name}: and goes again", r.returncode == 0, (r.stdout + r.stderr)[-2000:])
    remove_chroot(root)
