#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""All tests: lint, unit and corpus tests under ASan and UBSan, the shipped rules, and kveil as a process on a real Apache Kafka.
That mostly waits, so the others go on beside it, and what only compiles (analyze, debian13) at the lowest priority. Closes with `N passed, N failed`.

    ./dev test [STAGE…] [-k EXPRESSION] [-n JOBS]    # stages: lint, analyze, unit, fuzz, rules, debian13, integration
    ./dev test --fast                                # lint, rules and the quick unit and corpus tests, no broker

-k and -n are pytest's and act on the integration tests: those that match; how many at once (most of their time they wait).
"""
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import time
import xml.etree.ElementTree as ET

ROOT = pathlib.Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache"
ASAN = ROOT / "build-asan"
RELEASE = ROOT / "build"
STAGES = ["lint", "analyze", "unit", "fuzz", "rules", "debian13", "integration"]

FAST = {"lint", "unit", "fuzz", "rules"}
IDLE = ["nice", "-n", "19"]
CPUS = os.cpu_count() or 2
# At once. Most tests wait: the integration tests for four fifths of their time, with a broker for each job (broker.py has ports for nine).
UNIT_JOBS, JOBS = 2 * CPUS, min(4 * CPUS, 9)
AGAIN_MAX = 8
LAST_LINES = 25
passed, failed = [], []
why = {}


def count(name, ok, output=""):
    if ok:
        passed.append(name)
    else:
        failed.append(name)
        why[name] = output.strip().splitlines()[-LAST_LINES:]
        print(f"FAILED {name}\n{output}", flush=True)


def run(*cmd, **kw):
    return subprocess.run([str(c) for c in cmd], cwd=ROOT, text=True, capture_output=True, **kw)


def build(folder, *options, nice=()):
    if not (folder / "build.ninja").exists():
        r = run("meson", "setup", folder, "-Dwerror=true", *options)
        if r.returncode:
            sys.exit(r.stdout + r.stderr + "\n0 passed, 1 failed")
    r = run(*nice, "ninja", "-C", folder)
    if r.returncode:
        errors = [line for line in r.stdout.splitlines() if not line.startswith("[")]
        sys.exit("\n".join(errors[-80:]) + f"\nthe build in {folder.name} failed\n0 passed, 1 failed")


def lint():
    r = run(sys.executable, "tests/lint/lint.py")
    count("lint", r.returncode == 0, r.stdout + r.stderr)


def analyze():
    """The second compiler and cppcheck: neither has a word to say. tests/cppcheck.txt is what it may not say. And tests run the lines that
    they should."""
    r = run(*IDLE, "cppcheck", "--quiet", "-j", str(CPUS), "--std=c11", "--enable=warning,portability", "--inline-suppr",
            "--suppressions-list=tests/cppcheck.txt", "--error-exitcode=1", "--template={file}:{line}: {id}: {message}",
            "-D_GNU_SOURCE", "-DKVEIL_WITH_AVRO", "-DKVEIL_WITH_TRANSIT", "-DKVEIL_WITH_PKCS11", '-DKVEIL_VERSION="0"',
            "-I", "src", "-I", "include", "src")
    count("cppcheck", r.returncode == 0, r.stdout + r.stderr)
    r = run(*IDLE, sys.executable, "tests/coverage.py", "--build")
    count("clang", r.returncode == 0, r.stdout + r.stderr)
    if r.returncode == 0:
        r = run(*IDLE, sys.executable, "tests/coverage.py")
        count("coverage", r.returncode == 0, r.stdout + r.stderr)


def meson_tests(jobs, *which, nice=()):
    """name: (did it pass, its last words)"""
    log = ASAN / "meson-logs" / "testlog.json"
    log.unlink(missing_ok=True)
    run(*nice, "meson", "test", "-C", ASAN, "--no-rebuild", "-t", "3", "--num-processes", str(jobs), *which,
        env={**os.environ, "KVEIL_VECTORS": str(CACHE / "vectors")})
    results = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    return {t["name"]: (t["result"] == "OK", (t.get("stdout", "") + t.get("stderr", ""))[-6000:]) for t in results}


def meson_suite(suite, fast=False):
    """Those that failed beside all the rest, if they are few, have a second try alone, as the integration tests do."""
    results = meson_tests(UNIT_JOBS, "--suite", suite, *(["--no-suite", "slow"] if fast else []), nice=["nice"])
    if not results:
        count(f"{suite}: no test ran", False)
    bad = [name for name, (ok, _) in results.items() if not ok]
    again = bad if len(bad) <= AGAIN_MAX and not fast else []
    for name, (ok, words) in results.items():
        if name not in again:
            count(name, ok, words)
    return again


def units_once_more(names):
    results = meson_tests(1, *(name.split(" / ")[-1] for name in names))
    for name in names:
        ok, words = results.get(name, (False, "did not run"))
        if ok:
            print(f"passed when run again, alone: {name}", flush=True)
        count(name, ok, words)


def rules():
    kveil = ASAN / "src" / "cli" / "kveil"
    files = [f for f in sorted((ROOT / "rules").glob("*.yaml")) if not f.name.endswith(".examples.yaml")]
    for command in (["check", "-r", *files], ["test", "-r", ROOT / "rules"]):
        r = run(kveil, *command)
        count(f"kveil {command[0]} on rules/", r.returncode == 0, r.stdout + r.stderr)


def debian13():
    r = run(ROOT / "tests" / "debian13.py")
    if r.returncode:
        # As for the integration tests: what fails by its limits of time has a second try, and is shown.
        print((r.stdout + r.stderr)[-6000:], flush=True)
        r = run(ROOT / "tests" / "debian13.py")
        print(f"Debian 13, run again: {'failed' if r.returncode else 'passed'}", flush=True)
    count("Debian 13: builds, unit tests, demo", r.returncode == 0, (r.stdout + r.stderr)[-6000:])
    if r.returncode == 0:
        with_newer_librdkafka()


def with_newer_librdkafka():
    """What Debian 12's librdkafka cannot do is tested with the program that Debian 13 has built, and its libraries."""
    root = CACHE / "chroots" / "trixie-tests"  # of tests/debian13.py
    libraries = next((root / "usr" / "lib").glob("*-linux-gnu"))
    loader = next(libraries.glob("ld-linux-*"))
    kveil = CACHE / "chroots" / "kveil-of-debian-13"
    kveil.write_text(f"""#!/bin/sh
exec {loader} --library-path {libraries} {root}/src/build-asan/src/cli/kveil "$@"
""")
    kveil.chmod(0o755)
    # Started like this, the loader's own memory looks like a leak.
    env = environment(kveil, leaks=False)
    case = ("tests/integration/test_recreated.py", "-k", "an_offset_committed")
    cases = pytest(env, "debian13", *case)
    if not all(cases.values()):
        cases = pytest(env, "debian13", *case)
    if not cases:
        count("Debian 13: no test of topics' ids ran", False)
    for name, ok in cases.items():
        count(f"{name} (Debian 13)", ok)


def environment(kveil, leaks=True):
    """Of the integration tests of one program."""
    return {**os.environ, "KVEIL_BIN": str(kveil), "KVEIL_BUILD": str(ASAN), "KVEIL_RELEASE_BUILD": str(RELEASE),
            "PYTHONDONTWRITEBYTECODE": "1", "ASAN_OPTIONS": f"detect_leaks={leaks:d}:exitcode=66",
            "UBSAN_OPTIONS": "halt_on_error=1:exitcode=67"}


def pytest(env, report, *args):
    """The cases of one run of pytest by id: True for passed."""
    report = CACHE / f"pytest-{report}.xml"
    report.unlink(missing_ok=True)
    r = subprocess.run([sys.executable, "-m", "pytest", "-q", "--timeout=300", "-p", "no:cacheprovider",
                        f"--junitxml={report}", *args], cwd=ROOT, env=env)
    if not report.exists():
        count(f"pytest (exit {r.returncode})", False)
        return {}
    cases = {}
    for case in ET.parse(report).iter("testcase"):
        name = f"tests/integration/{case.get('classname').split('.')[-1]}.py::{case.get('name')}"
        if case.find("skipped") is not None:
            count(f"{name}: skipped", False, "a skipped test proves nothing")
        else:
            # One that ended its worker is there twice.
            cases[name] = cases.get(name, True) and case.find("failure") is None and case.find("error") is None
    return cases


def integration(extra):
    """Counts the cases, but for those that failed, if they are few: these are returned."""
    env = environment(ASAN / "src" / "cli" / "kveil")
    jobs = [] if "-n" in extra else ["-n", str(JOBS)]
    cases = pytest(env, "all", *jobs, "tests/integration", *extra)
    if not cases:
        count("pytest: no test ran", False)
    bad = [name for name, ok in cases.items() if not ok]
    again = bad if len(bad) <= AGAIN_MAX else []
    for name, ok in cases.items():
        if name not in again:
            count(name, ok)
    return again


def once_more(cases):
    """Six at once on two cores: what fails by its limits of time has a second try, alone, and is named."""
    again = pytest(environment(ASAN / "src" / "cli" / "kveil"), "again", *cases)
    for name in cases:
        if again.get(name):
            print(f"passed when run again, alone: {name}", flush=True)
        count(name, again.get(name, False))


def timed(stage, run_stage, *args):
    start = time.time()
    ret = run_stage(*args)
    print(f"{stage}: {time.time() - start:.0f} s; by now {len(passed)} passed, {len(failed)} failed", flush=True)
    return ret


# Beside the integration tests, one after the other: the cheapest failure first; and, beside these, what only compiles.
def quick(fast):
    return {"lint": (lint,), "unit": (meson_suite, "unit", fast), "fuzz": (meson_suite, "fuzz", fast), "rules": (rules,)}


ASIDE = {"analyze": analyze, "debian13": debian13}


def main():
    args = sys.argv[1:]
    if {"-h", "--help"} & set(args):
        print(__doc__.strip())
        return 0
    fast = "--fast" in args
    args = [a for a in args if a != "--fast"]
    stages = [a for a in args if a in STAGES] or ([s for s in STAGES if s in FAST] if fast else STAGES)
    extra = [a for a in args if a not in STAGES]
    start = time.time()
    print("building with sanitizers", flush=True)
    timed("build", build, ASAN, "-Db_sanitize=address,undefined", "-Db_lundef=false", "-Dfailpoints=true")
    again = []
    with concurrent.futures.ThreadPoolExecutor(1) as beside, concurrent.futures.ThreadPoolExecutor(1) as aside:
        rest = [beside.submit(timed, stage, *how) for stage, how in quick(fast).items() if stage in stages]
        rest += [aside.submit(timed, stage, run_stage) for stage, run_stage in ASIDE.items() if stage in stages]
        if "integration" in stages:
            timed("release build", build, RELEASE, "-Dtests=disabled")
            again = timed("integration", integration, extra)
        units = [name for stage in rest for name in stage.result() or ()]
    if units:
        timed("unit, again", units_once_more, units)
    if again:
        timed("integration, again", once_more, again)
    for name in failed:
        print(f"failed: {name}", *why[name], sep="\n  ")
    print(f"all in {time.time() - start:.0f} s")
    print(f"{len(passed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
