# SPDX-License-Identifier: Apache-2.0
"""What ./dev package, ./dev release and the test stage debian13 share: counting, running, and Debian chroots (root only)."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache"
BIN = pathlib.Path(sys.executable).parent
SUITES = {"bookworm": "12", "trixie": "13"}
CONTAINER_USER = 65532
GO_MINOR_MIN = 24  # what Helm asks for
BUILD_PACKAGES = (ROOT / "docker" / "packages").read_text().split()


class Results:
    def __init__(self):
        self.passed, self.failed = 0, []

    def count(self, name, ok, output=""):
        if ok:
            self.passed += 1
        else:
            self.failed.append(name)
            print(f"FAILED {name}\n{output}", flush=True)
        return ok

    def close(self):
        for name in self.failed:
            print("failed:", name)
        print(f"{self.passed} passed, {len(self.failed)} failed")
        return bool(self.failed)


results = Results()
count = results.count


def run(*cmd, **kw):
    """What took too long failed, as with timeout(1)."""
    cmd = [str(c) for c in cmd]
    try:
        return subprocess.run(cmd, text=True, capture_output=True, cwd=kw.pop("cwd", ROOT), **kw)
    except subprocess.TimeoutExpired as e:
        return subprocess.CompletedProcess(cmd, 124, "", f"not done in {e.timeout:.0f} s")


def go():
    """The machine's, or where that is too old (Debian 12) the one that the proxy has as a module."""
    have = re.match(r"go1\.(\d+)", run("go", "env", "GOVERSION").stdout)
    if have and int(have.group(1)) >= GO_MINOR_MIN:
        return "go"
    folder = module_folder(f"golang.org/toolchain@v0.0.1-go1.{GO_MINOR_MIN}.9.linux-amd64")
    for file in [*(folder / "bin").iterdir(), *(folder / "pkg" / "tool").rglob("*")]:
        file.chmod(0o755)
    return folder / "bin" / "go"


def program(module):
    """A program out of the Go module proxy, in a folder of its own."""
    folder = CACHE / "bin" / re.sub(r"\W", "-", module)
    if not folder.exists():
        run(go(), "install", module, env={**os.environ, "GOBIN": str(folder)}, cwd="/").check_returncode()
    return next(folder.iterdir())


def module_folder(module):
    """Where the files of a Go module are, out of the proxy."""
    return pathlib.Path(json.loads(run("go", "mod", "download", "-json", module, cwd="/").stdout)["Dir"])


def version():
    return next(line.split("'")[1] for line in (ROOT / "meson.build").read_text().splitlines() if "version:" in line)


def git(*args):
    """In a tree that may be another user's: root looks at it for him."""
    return run("git", "-c", f"safe.directory={ROOT}", *args)


def typed(words):
    """The block of docs/install.md or docs/operations.md that has these words: what users are told to type."""
    pages = "".join((ROOT / "docs" / name).read_text() for name in ("install.md", "operations.md"))
    blocks = re.findall(r"^```sh\n(.*?)^```", pages, re.M | re.S)
    return next(block for block in blocks if words in block)


def source_date():
    """Of the commit: what is made of it has no other time in it."""
    return os.environ.get("SOURCE_DATE_EPOCH") or git("log", "-1", "--format=%ct").stdout.strip()


def become_root():
    """Chroots and mounts are root's: this script once more by sudo, where it asks for no password."""
    if os.geteuid() == 0:
        return
    if run("sudo", "-n", "true").returncode:
        sys.exit(f"{pathlib.Path(sys.argv[0]).name}: needs root for a chroot, or sudo without a password")
    os.execvp("sudo", ["sudo", "-n", "--preserve-env=PATH", sys.executable, *sys.argv])


def architecture():
    return run("dpkg", "--print-architecture").stdout.strip()


def mirror():
    """The one that this machine's apt uses."""
    here = next(line.split("=")[1] for line in pathlib.Path("/etc/os-release").read_text().splitlines()
                if line.startswith("VERSION_CODENAME="))
    r = run("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Component: main", f"Codename: {here}")
    return r.stdout.split()[0]


def remove_chroot(root):
    """Whatever made it may have been killed with this machine's /dev mounted inside: what is in there is not ours to delete."""
    mounts = [line.split()[4] for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()]
    below = [m for m in mounts if pathlib.Path(root) in pathlib.Path(m).parents]
    if below:
        sys.exit(f"{root} is still mounted: umount {' '.join(reversed(below))}")
    shutil.rmtree(root, ignore_errors=True)


def chroot(name, suite, packages, architectures=None):
    """A Debian of its own in .cache/chroots/NAME, kept until its list of packages changes; of this machine's architecture unless told
    otherwise. None, counted as failed, where it cannot be made."""
    root, note = CACHE / "chroots" / name, CACHE / "chroots" / f"{name}.packages"
    architectures = architectures or architecture()
    wanted = f"{suite} {architectures} {' '.join(packages)}"
    if note.exists() and note.read_text() == wanted:
        return root
    note.unlink(missing_ok=True)
    remove_chroot(root)
    root.parent.mkdir(parents=True, exist_ok=True)
    # A chroot that a power cut spoils is made again: no file is synced on its own.
    r = run("mmdebstrap", "--quiet", "--mode=root", "--variant=apt", f"--architectures={architectures}", "--skip=cleanup/apt/lists", "--dpkgopt=force-unsafe-io",
            f"--include={','.join(packages)}", suite, root, mirror())
    if not count(f"a chroot of Debian {SUITES[suite]} ({name})", r.returncode == 0, r.stderr[-2000:]):
        return None
    note.write_text(wanted)
    return root


def inside(root, script, timeout=1800, **env):
    """A shell script in a chroot, its mounts in a namespace of their own. The network is this machine's."""
    mounts = ('mount -t proc proc "$0/proc" && mount -t tmpfs tmpfs "$0/tmp" && mount --rbind /dev "$0/dev" && '
              'exec chroot "$0" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive '
              '"${@:2}" bash -euc "$1"')
    return run("unshare", "--mount", "--propagation", "private", "bash", "-c", mounts, root, script,
               *[f"{k}={v}" for k, v in env.items()], timeout=timeout)


def copy_source(folder):
    """What git knows of the tree, as it stands."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    listed = git("ls-files", "-z").stdout.split("\0")
    there = [f for f in listed if f and os.path.lexists(ROOT / f)]
    tar = subprocess.run(["tar", "-c", "--null", "-T", "-"], cwd=ROOT, input="\0".join(there).encode(), capture_output=True, check=True)
    subprocess.run(["tar", "-x", "-C", folder, f"--mtime=@{source_date()}"], input=tar.stdout, check=True)


def container(root, binds, command):
    """The command that runs another as a container runtime would: binds (source, place, "ro" or "rw") on a root that is
    read-only, a /proc and a /tmp, a user that is not root. It execs all the way: what is started is the command itself."""
    lines = [f"mount --bind {root} {root}"]
    for source, place, how in binds:
        lines += [f"mkdir -p {root}{place}", f"mount --bind {source} {root}{place}", f"mount -o remount,bind,{how} {root}{place}"]
    lines += [f"mkdir -p {root}/proc", f"mount -t proc proc {root}/proc", f"mount -o remount,ro,bind {root}",
              f"mount -t tmpfs none {root}/tmp", f"cd {root}"]
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c",
            f'{" && ".join(lines)} && exec chroot --userspec={CONTAINER_USER}:{CONTAINER_USER} . "$@"', "sh", *command]
