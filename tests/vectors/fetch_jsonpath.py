#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fills FOLDER/jsonpath with RFC 9535 cases that others answered; tests/unit/test_path_cases.c runs them.

usage: fetch_jsonpath.py [FOLDER]      default: .cache/vectors at the top of the source tree

  generated.json  random documents, paths and near-misses, answered by the PyPI package jsonpath-rfc9535
                  (tests/requirements.txt), which has its own parser, evaluator and regular expressions
  cts.json        the JSONPath compliance test suite, as the npm package jsonpath-rfc9535 carries it; only where
                  there is an npm

Does nothing when they are there already.
"""

import hashlib
import importlib.metadata
import json
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile

import jsonpath_rfc9535

SEED = 9535
CASES = 6000
SUITE = "jsonpath-rfc9535@1.3.0"
SUITE_MEMBER = "package/src/__tests__/jsonpath-compliance-test-suite/cts.json"
SUITE_SHA256 = "a92e423ed064a7ed6af46f7df82125ce53dc4876fa3fb2bab0228aba1aa3af7c"
VERSION = f"1 {SEED} {CASES} {importlib.metadata.version('jsonpath-rfc9535')} {SUITE}"

NAMES = ["a", "b", "c", "名", "it's", "", "x y", "A", "😀"]
TEXTS = ["a", "b", "ab", "1", "", "é", "\n", "a b", "\\", "😀", "aab", "B"]
NUMBERS = [0, 1, 2, -1, 1.5, 100, 2.25, -0.5]


class Maker:
    """One source of random choices, so that a seed gives the same cases everywhere."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def one(self, *choices):
        return choices[self.random.randrange(len(choices))]

    def scalar(self):
        return self.one(None, True, False, self.one(*NUMBERS), self.one(*NUMBERS), self.one(*TEXTS), self.one(*TEXTS))

    def document(self, depth: int = 4):
        kind = self.random.randrange(5) if depth else 4
        if kind < 2:
            return {self.one(*NAMES): self.document(depth - 1) for _ in range(self.random.randrange(5))}
        if kind < 4:
            return [self.document(depth - 1) for _ in range(self.random.randrange(5))]
        return self.scalar()

    def quoted(self, text: str) -> str:
        quote = self.one("'", '"')
        out = ""
        for c in text:
            if c in (quote, "\\"):
                out += "\\" + c
            elif c == "\n":
                out += "\\n"
            elif ord(c) > 127 and self.random.random() < 0.5:
                units = c.encode("utf-16-be")
                out += "".join(f"\\u{units[i:i + 2].hex()}" for i in range(0, len(units), 2))
            else:
                out += c
        return quote + out + quote

    def blank(self) -> str:
        return self.one("", "", "", " ", "\n", "\t")

    def index(self) -> str:
        return str(self.random.randrange(-4, 5))

    def selector(self, depth: int) -> str:
        kind = self.random.randrange(10 if depth else 7)
        if kind < 3:
            return self.quoted(self.one(*NAMES))
        if kind == 3:
            return self.index()
        if kind == 4:
            return "*"
        if kind < 7:
            step = self.one("", ":", ":" + self.one("1", "2", "-1", "-2", "0", "3"))
            return self.one("", self.index()) + self.blank() + ":" + self.blank() + self.one("", self.index()) + step
        return "?" + self.blank() + self.condition(depth - 1)

    def segment(self, depth: int) -> str:
        dots = self.one("", "", "", "..")
        if self.random.random() < 0.4:
            return (dots or ".") + self.one("*", "a", "b", "c", "名", "A")
        count = self.one(1, 1, 1, 2, 3)
        inner = (self.blank() + "," + self.blank()).join(self.selector(depth) for _ in range(count))
        return dots + "[" + self.blank() + inner + self.blank() + "]"

    def query(self, root: str, depth: int) -> str:
        return root + "".join(self.blank() + self.segment(depth) for _ in range(self.random.randrange(4)))

    def singular(self) -> str:
        steps = [self.one(f".{self.one('a', 'b', 'c')}", f"[{self.index()}]", f"[{self.quoted(self.one(*NAMES))}]")
                 for _ in range(self.random.randrange(3))]
        return self.one("@", "@", "$") + "".join(steps)

    def literal(self) -> str:
        return self.one("true", "false", "null", str(self.one(*NUMBERS)), "1e0", "-0", "15e-1",
                        self.quoted(self.one(*TEXTS)), self.quoted(self.one(*TEXTS)))

    def comparable(self, depth: int) -> str:
        kind = self.random.randrange(8)
        if kind < 3:
            return self.literal()
        if kind < 6:
            return self.singular()
        if kind == 6:
            return f"length({self.one(self.singular(), self.literal())})"
        return f"{self.one('count', 'value')}({self.query(self.one('@', '$'), max(depth - 1, 0))})"

    def pattern(self, depth: int = 2) -> str:
        kind = self.random.randrange(10 if depth else 7)
        if kind < 3:
            return self.one("a", "b", "1", "é", "😀", " ", "B")
        if kind == 3:
            return "."
        if kind == 4:
            return self.one("[ab]", "[^a]", "[a-c1]", "[\\p{L}1]", "[-a]", "[a-]")
        if kind == 5:
            return self.one("\\p{Lu}", "\\P{L}", "\\p{N}", "\\.", "\\n", "\\\\", "\\p{So}")
        if kind == 6:
            return self.one("a", "b", ".", "[ab]", "\\p{L}", "(ab|a)") + self.one("*", "+", "?", "{2}", "{1,2}", "{0,}")
        if kind == 7:
            return "(" + self.pattern(depth - 1) + "|" + self.pattern(depth - 1) + ")" + self.one("", "*", "?", "{2}")
        return self.pattern(depth - 1) + self.pattern(depth - 1)

    def condition(self, depth: int) -> str:
        kind = self.random.randrange(9 if depth > 0 else 6)
        if kind < 3:
            op = self.one("==", "!=", "<", "<=", ">", ">=")
            return self.comparable(depth) + self.blank() + op + self.blank() + self.comparable(depth)
        if kind == 3:
            # Not a bare @: the oracle takes a null for nothing.
            return self.one("", "!") + self.query(self.one("@", "$"), max(depth, 0)) + self.segment(0)
        if kind < 6:
            text = self.one(self.singular(), self.quoted(self.one(*TEXTS)))
            pattern = self.one(self.quoted(self.pattern()), self.quoted(self.pattern()), self.singular())
            return self.one("", "!") + self.one("match", "search") + f"({text},{self.blank()}{pattern})"
        if kind == 6:
            return self.one("", "!") + "(" + self.blank() + self.condition(depth - 1) + self.blank() + ")"
        return self.condition(depth - 1) + self.blank() + self.one("&&", "||") + self.blank() + self.condition(depth - 1)

    def near_miss(self, path: str) -> str:
        at = self.random.randrange(len(path))
        char = self.one(*"$@.[]()'\"?*:,!=<>&|-019ae \\u{}~^+#")
        return self.one(path[:at] + path[at + 1:], path[:at] + char + path[at:], path[:at] + char + path[at + 1:])


def generate(into: pathlib.Path) -> None:
    maker = Maker(SEED)
    tests = []
    while len(tests) < CASES:
        document = maker.document()
        selector = maker.query("$", 2)
        missed = maker.random.random() < 0.4
        if missed:
            selector = maker.near_miss(selector)
        case = {"name": f"generated {len(tests)}", "selector": selector}
        try:
            query = jsonpath_rfc9535.compile(selector)
        except jsonpath_rfc9535.JSONPathError:
            # The oracle ends a dotted name between an ASCII letter and another.
            if re.search("[A-Za-z0-9_]名", selector):
                continue
            case["invalid_selector"] = True
        else:
            # It accepts a few near-misses (!!@.a, 1 < 2 < 3, patterns that are none): only its refusals count.
            if missed:
                continue
            case["document"] = document
            try:
                case["result_paths"] = [node.path() for node in query.find(document)]
            except (TypeError, AttributeError):
                continue  # a bug over there is no answer
        tests.append(case)
    (into / "generated.json").write_text(json.dumps({"tests": tests}, indent=1) + "\n")


def fetch_suite(into: pathlib.Path, tmp: pathlib.Path) -> None:
    npm = shutil.which("npm")
    if not npm:
        print("no npm: without the JSONPath compliance test suite", flush=True)
        return
    subprocess.run([npm, "pack", "--silent", SUITE], cwd=tmp, check=True, stdout=subprocess.DEVNULL)
    (package,) = tmp.glob("*.tgz")
    with tarfile.open(package) as archive:
        suite = archive.extractfile(SUITE_MEMBER).read()
    if hashlib.sha256(suite).hexdigest() != SUITE_SHA256:
        sys.exit(f"fetch_jsonpath.py: {SUITE}: not the expected file")
    (into / "cts.json").write_bytes(suite)


def main() -> None:
    root = pathlib.Path(__file__).resolve().parents[2]
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else root / ".cache" / "vectors"
    stamp = folder / "jsonpath.version"
    if stamp.exists() and stamp.read_text() == VERSION + "\n":
        return
    print("preparing test vectors: jsonpath", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as tmp:
        fresh, work = pathlib.Path(tmp, "into"), pathlib.Path(tmp, "work")
        fresh.mkdir()
        work.mkdir()
        generate(fresh)
        fetch_suite(fresh, work)
        shutil.rmtree(folder / "jsonpath", ignore_errors=True)
        fresh.rename(folder / "jsonpath")
    stamp.write_text(VERSION + "\n")


if __name__ == "__main__":
    main()
