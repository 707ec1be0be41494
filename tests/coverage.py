#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""coverage.py BUILD: which lines of src/ the unit and corpus tests of a build with coverage ran, folder by folder.

A folder below its floor fails. The floors are what there was when they were set, rounded down. What only runs in a process (cli, keytopic,
much of worker and custody) is tested by the integration tests, which are not counted here.
"""
import collections
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
FLOORS = {"base": 91, "config": 73, "crypto": 83, "custody": 35, "engine": 93, "format": 91, "http": 90, "kafka": 63, "keyadmin": 67, "keys": 82,
          "observe": 96, "path": 95, "registry": 88, "rules": 92, "schemas": 63, "transform": 94, "worker": 51}


def lines_of(build):
    """file: {line: was it run}"""
    found = collections.defaultdict(dict)
    notes = sorted(str(p) for p in build.glob("src/**/*.gcda"))
    for i in range(0, len(notes), 50):
        r = subprocess.run(["gcov", "--json-format", "--stdout", *notes[i:i + 50]], cwd=build, capture_output=True, text=True, check=True)
        for text in r.stdout.splitlines():
            for f in json.loads(text)["files"]:
                path = pathlib.Path(build, f["file"]).resolve()
                if path.is_relative_to(ROOT / "src"):
                    lines = found[str(path.relative_to(ROOT))]
                    for line in f["lines"]:
                        n = line["line_number"]
                        lines[n] = lines.get(n, False) or line["count"] > 0
    return found


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    ran, all_lines = collections.Counter(), collections.Counter()
    for path, lines in lines_of(build).items():
        folder = path.split("/")[1]
        ran[folder] += sum(lines.values())
        all_lines[folder] += len(lines)
    low = [f for f in FLOORS if not all_lines[f] or 100 * ran[f] < FLOORS[f] * all_lines[f]]
    for f in sorted(all_lines):
        print(f"{f:10} {ran[f]:6} of {all_lines[f]:6} lines  {100 * ran[f] / all_lines[f]:5.1f}%"
              + (f"  floor {FLOORS[f]}%" if f in FLOORS else "") + ("  BELOW" if f in low else ""))
    return 1 if low else 0


if __name__ == "__main__":
    sys.exit(main())
