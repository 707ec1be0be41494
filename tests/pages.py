#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The pages of docs/ that come out of tables are what the program prints, and so is the chart's schema of kveil.yaml. With --write they
are made afresh."""
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "deploy"))
sys.dont_write_bytecode = True
import values_schema  # noqa: E402

PAGES = ["actions", "commands", "configuration", "errors", "events", "metrics", "rules"]


def printed(kveil, docs):
    """Each file, and what should be in it."""
    for name in PAGES:
        now = subprocess.run([kveil, "schema", "--markdown", name], capture_output=True, check=True).stdout
        yield pathlib.Path(docs) / f"{name}.md", now
    yield values_schema.SCHEMA, values_schema.text(kveil).encode()


def main():
    write = "--write" in sys.argv
    kveil, docs = [a for a in sys.argv[1:] if a != "--write"]
    stale = []
    for path, now in printed(kveil, docs):
        if write:
            path.write_bytes(now)
        elif not path.exists() or path.read_bytes() != now:
            stale.append(path.name)
    if stale:
        print(f"not what the tables say: {', '.join(stale)}\nrun: python3 tests/pages.py --write {kveil} {docs}")
    return bool(stale)


if __name__ == "__main__":
    sys.exit(main())
