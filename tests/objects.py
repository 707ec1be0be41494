#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""objects.py ARCHIVE…: what the compiled files need of each other and of the system.

- The engine and all below it do no I/O, take no lock and read no clock. Nor does what seals and opens
  values with a key (HOT): of the project it calls a few functions, none of which reaches the keystore.
- No circle of files: where one file needs another, that one does not lead back. CIRCLES are those that are left, each with
  its reason; a new one, or a file more in one of them, fails, and so does one that is gone but still listed.
"""
import collections
import re
import subprocess
import sys

HOT = "keys_keyring_values"
HOT_CALLS = {"kveil_crypto_random", "kveil_error_hint", "kveil_fail", "kveil_secret_wipe", "kveil_status_text"}
PURE = re.compile(rf"(engine|transform|format|path|rules)_|{HOT}$")
# Rule files are read by rules/, a file at a time and before any record.
MAY_READ_FILES = re.compile(r"rules_(load|set)\.")
IMPURE = re.compile(r"^(__)?(f?open(at)?(64)?|f(read|write|gets|puts|flush|close|printf)|read|p?write|pread|writev|close|mmap|ioctl|socket|connect|accept|bind|listen|"
                    r"recv\w*|send\w*|e?poll\w*|select|getaddrinfo|getenv|secure_getenv|system|fork|exec\w*|popen|v?printf|puts|putchar|"
                    r"pthread_(mutex|rwlock|cond|spin|create|join)\w*|sem_\w+|mtx_\w+|clock_\w+|time|gettimeofday|nanosleep|u?sleep|"
                    r"rd_kafka_\w+|curl_\w+|MHD_\w+)(_chk|_2)?$")
# Each set: files that need each other, and why that is left.
CIRCLES = {
    frozenset(["path_parse", "path_expr_parse"]): "a path holds filters, a filter holds paths: one grammar in two files",
    frozenset(["path_select", "path_expr_eval"]): "the same, evaluated",
    frozenset(["engine_decide", "engine_inside"]): "a document holds texts, a text may hold a document",
}


def symbols(archive):
    """member: (defined, undefined)"""
    out = subprocess.run(["nm", "-A", archive], capture_output=True, text=True, check=True).stdout
    found = collections.defaultdict(lambda: (set(), set()))
    # Objects are called FOLDER_FILE, but in an archive that is one folder's.
    one = re.search(r"kveil-(bench|cli)\.a", str(archive))
    folder = one[1] + "_" if one else ""
    for line in out.splitlines():
        where, _, rest = line.rpartition(".o:")
        name = folder + re.split(r"[/:\[]", where)[-1].removesuffix(".c")
        words = rest.split()
        if len(words) == 3 and words[1] in "TDBRV":
            found[name][0].add(words[2])
        elif len(words) == 2 and words[0] == "U":
            found[name][1].add(words[1].split("@")[0])
    return found


def impure(files):
    for name, (_, needs) in sorted(files.items()):
        if PURE.match(name):
            bad = sorted(s for s in needs if IMPURE.match(s))
            if bad and not MAY_READ_FILES.match(name + "."):
                yield f"{name}.c: {', '.join(bad)}: the engine and what is below it do no I/O, take no lock, read no clock"


def hot(files):
    """Must be there, and open values."""
    defined, needs = files.get(HOT, (set(), set()))
    if "kveil_key_open" not in defined:
        yield f"{HOT}.c does not define kveil_key_open"
    others = sorted(s for s in needs if s.startswith("kveil") and s not in HOT_CALLS)
    if others:
        yield f"{HOT}.c: {', '.join(others)}: what is done to each value asks no keystore, which would take its lock"


def circles(files):
    """Sets of files that all lead to each other (Tarjan's strongly connected components)."""
    home = {s: name for name, (defined, _) in files.items() for s in defined if s.startswith("kveil")}
    leads = {name: {home[s] for s in needs if s in home} - {name} for name, (_, needs) in files.items()}
    index, low, stack, found = {}, {}, [], []

    def visit(v):
        index[v] = low[v] = len(index)
        stack.append(v)
        for w in leads[v]:
            if w not in index:
                visit(w)
            if w in stack:
                low[v] = min(low[v], low[w])
        if low[v] == index[v]:
            circle = set()
            while v not in circle:
                circle.add(stack.pop())
            if len(circle) > 1:
                found.append(frozenset(circle))
    sys.setrecursionlimit(10000)
    for v in sorted(leads):
        if v not in index:
            visit(v)
    return found, leads


def round_trips(files):
    found, leads = circles(files)
    for circle in found:
        if not any(circle <= known for known in CIRCLES):
            ways = "\n".join(f"    {a} → {', '.join(sorted(leads[a] & circle))}" for a in sorted(circle))
            yield f"a circle of {len(circle)} files:\n{ways}"
    for known in CIRCLES:
        if not any(circle <= known for circle in found):
            yield f"no circle of {', '.join(sorted(known))} any more: take it out of the list"


def self_test():
    bad = {"engine_x": ({"kveil_x"}, {"kveil_y", "pthread_mutex_lock"}), "engine_y": ({"kveil_y"}, {"kveil_x"})}
    if len(list(impure(bad))) != 1 or not any("circle of 2" in c for c in round_trips(bad)):
        yield "objects.py itself catches nothing"
    slow = {HOT: ({"kveil_key_open"}, {"kveil_keystore_seek", "pthread_mutex_lock"})}
    if len(list(hot(slow))) != 1 or len(list(impure(slow))) != 1 or not list(hot({})):
        yield "objects.py catches no lock in the hot path"


def main():
    files = {}
    for archive in sys.argv[1:]:
        files.update(symbols(archive))
    complaints = [*self_test(), *impure(files), *hot(files), *round_trips(files)]
    if len(files) < 150 or not {"engine_engine", "worker_loop", "bench_bench_bare", "cli_main"} <= set(files):
        complaints.append(f"only {len(files)} files")
    print(*complaints, sep="\n")
    print(f"{len(files)} files, {len(complaints)} complaints")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
