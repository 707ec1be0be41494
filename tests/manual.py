#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""manual.py KVEIL FOLDER: each command has a manual page in the folder of built ones, no page is without a command, each option
of --help is on its page, and neither groff, man nor mandoc has anything to say against it."""
import os
import pathlib
import re
import subprocess
import sys

ENV = {**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "100"}


def out(*cmd, **kw):
    r = subprocess.run([str(c) for c in cmd], capture_output=True, text=True, env=ENV, **kw)
    return r.stdout, r.stderr + ("" if r.returncode == 0 else f"exit {r.returncode}")


def complaints(page, kveil, command):
    for tool in (["groff", "-man", "-ww", "-Tutf8", "-z", page], ["man", "--warnings", "-l", page]):
        said = out(*tool)[1]
        if said:
            yield f"{tool[0]}: {said}"
    # No date: a page is as old as its package.
    said = "\n".join(line for line in out("mandoc", "-T", "lint", "-W", "warning", page)[0].splitlines() if "missing date" not in line)
    if said:
        yield f"mandoc: {said}"
    if not command:
        return
    shown = out("man", "-l", page)[0]
    for option in set(re.findall(r"^ +(?:-\w, )? *(--[a-z-]+)", out(kveil, command, "--help")[0], re.M)):
        if not re.search(rf"(?<![\w-]){option}(?![\w-])", shown):
            yield f"{option} is missing"


def main():
    kveil, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    commands = re.findall(r"^  ([a-z][a-z-]*) +\S", out(kveil, "--help")[0], re.M)
    wanted = {"kveil.1": None, **{f"kveil-{c}.1": c for c in commands}}
    there = {p.name for p in folder.glob("kveil*.1")}
    wrong = [f"{name}: no such page: add it to src/cli/meson.build" for name in wanted.keys() - there]
    wrong += [f"{name}: no such command" for name in there - wanted.keys()]
    for name in sorted(there & wanted.keys()):
        wrong += [f"{name}: {c}" for c in complaints(folder / name, kveil, wanted[name])]
    print("\n".join(wrong) or f"{len(there)} pages")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
