#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The pages of docs/ that come out of tables are what the program prints. With --write they are made afresh."""
import pathlib
import subprocess
import sys

PAGES = ["actions", "commands", "configuration", "errors", "events", "metrics", "rules"]


def main():
    write = "--write" in sys.argv
    kveil, docs = [a for a in sys.argv[1:] if a != "--write"]
    stale = []
    for name in PAGES:
        page = pathlib.Path(docs) / f"{name}.md"
        now = subprocess.run([kveil, "schema", "--markdown", name], capture_output=True, check=True).stdout
        if write:
            page.write_bytes(now)
        elif not page.exists() or page.read_bytes() != now:
            stale.append(name)
    if stale:
        print(f"not what the tables say: {', '.join(stale)}\nrun: python3 tests/pages.py --write {kveil} {docs}")
    return bool(stale)


if __name__ == "__main__":
    sys.exit(main())
