#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Builds with clang, without a warning, and shows which lines of src/ the unit and corpus tests run, folder by folder.

    tests/coverage.py [--build]    # --build: no more than that

A folder below its floor fails. The floors are what there was when they were set, rounded down; a point less where threads decide. What only
runs in a process (cli, keytopic, much of worker and custody) is tested by the integration tests, which are not counted here.
"""
import collections
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
BUILD = ROOT / "build-llvm"
PROFILES = BUILD / "profiles"
OPTIONS = ["--buildtype=debug", "-Dwerror=true", "-Dfailpoints=true", "-Dc_args=-fprofile-instr-generate -fcoverage-mapping",
           "-Dc_link_args=-fprofile-instr-generate"]
FLOORS = {"base": 90, "config": 75, "crypto": 82, "custody": 34, "engine": 94, "format": 92, "http": 90, "kafka": 65, "keyadmin": 67, "keys": 82,
          "observe": 96, "path": 95, "registry": 87, "rules": 92, "schemas": 60, "transform": 88, "worker": 47}


def run(*cmd, **env):
    """Ends all with its last lines, should it fail."""
    r = subprocess.run([str(c) for c in cmd], cwd=ROOT, capture_output=True, text=True, env={**os.environ, **env})
    if r.returncode:
        lines = [line for line in (r.stdout + r.stderr).splitlines() if not re.match(r"\[\d+/\d+\]", line)]
        sys.exit("\n".join(lines[-60:]))
    return r.stdout


def build():
    quiet = {"LLVM_PROFILE_FILE": os.devnull}  # of what setting up and building run
    if not (BUILD / "build.ninja").exists():
        run("meson", "setup", BUILD, *OPTIONS, CC="clang", **quiet)
    run("ninja", "-C", BUILD, **quiet)


def run_tests():
    """Most of them wait. One that fails here, perhaps by its limits of time, is not a failure: that is told under the sanitizers."""
    shutil.rmtree(PROFILES, ignore_errors=True)
    env = {"KVEIL_VECTORS": str(ROOT / ".cache" / "vectors"), "LLVM_PROFILE_FILE": f"{PROFILES}/%m.profraw"}
    r = subprocess.run(["meson", "test", "-C", BUILD, "--no-rebuild", "--suite", "unit", "--suite", "fuzz", "--no-suite", "hot",
                        "--num-processes", str(2 * (os.cpu_count() or 2)), "--timeout-multiplier", "4"], env={**os.environ, **env}, stdout=subprocess.DEVNULL)
    if r.returncode:
        print(f"some tests failed: {BUILD}/meson-logs/testlog.txt")


def summaries():
    """file: what llvm-cov says of it after the tests"""
    merged = PROFILES / "all.profdata"
    run("llvm-profdata", "merge", "-sparse", *sorted(PROFILES.glob("*.profraw")), "-o", merged)
    tests = sorted(p for p in (BUILD / "tests").glob("test_*") if p.is_file() and os.access(p, os.X_OK))
    objects = [arg for t in tests for arg in ("-object", t)]
    text = run("llvm-cov", "export", "-summary-only", f"-instr-profile={merged}", BUILD / "src" / "cli" / "kveil", *objects)
    return {f["filename"]: f["summary"] for f in json.loads(text)["data"][0]["files"]}


def main():
    build()
    if "--build" in sys.argv:
        return 0
    run_tests()
    ran, all_lines = collections.Counter(), collections.Counter()
    for name, summary in summaries().items():
        path = pathlib.Path(name).resolve()
        if path.is_relative_to(ROOT / "src"):
            folder = path.relative_to(ROOT / "src").parts[0]
            ran[folder] += summary["lines"]["covered"]
            all_lines[folder] += summary["lines"]["count"]
    low = [f for f in FLOORS if not all_lines[f] or 100 * ran[f] < FLOORS[f] * all_lines[f]]
    for f in sorted(all_lines):
        print(f"{f:10} {ran[f]:6} of {all_lines[f]:6} lines  {100 * ran[f] / all_lines[f]:5.1f}%"
              + (f"  floor {FLOORS[f]}%" if f in FLOORS else "") + ("  BELOW" if f in low else ""))
    return 1 if low else 0


if __name__ == "__main__":
    sys.exit(main())
