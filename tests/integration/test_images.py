# SPDX-License-Identifier: Apache-2.0
"""Conditions on `old` of Canal and Maxwell, which has only what changed: random conditions on random events, against an
evaluator of their own. KVEIL_IMAGES: how many conditions a kind."""
import json
import os
import random
import subprocess

import pytest

KVEIL = os.environ["KVEIL_BIN"]
NO, DOUBT, YES = 0, 1, 2
WHOLE, FILLED, ALONE = 0, 1, 2  # rows: with all columns; old and data together; old without its data
COLUMNS = {"country": ["CN", "US", "", None, 5], "vip": [True, False, None], "n": [0, 7, 12.5, "7"],
           "addr": [{"city": "CN"}, {"city": 1}, {}, "CN", None], "tags": [[], [1], ["CN", 2], None]}
LITERALS = ["CN", "US", "", None, 5, 7, 0, True, False]
ABSENT = object()


# --- conditions: each is its text and what it says of a row ---

def compare(a, op, b):
    def kind(v):
        return "bool" if isinstance(v, bool) else "number" if isinstance(v, (int, float)) else type(v).__name__
    if a is ABSENT or b is ABSENT or kind(a) != kind(b):
        return DOUBT
    if op in ("==", "!="):
        return YES if (a == b) == (op == "==") else NO
    if kind(a) in ("number", "str"):
        return YES if {"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[op] else NO
    return YES if op in ("<=", ">=") and a == b else DOUBT


def inside(row, *names):
    for name in names:
        row = row.get(name, ABSENT) if isinstance(row, dict) else ABSENT
    return row


def is_lacking(row, is_, column):
    return is_ == ALONE or (is_ == FILLED and column not in row)


def some_test(r):
    """row: what is known of it; is_: one of the three."""
    c = r.choice(list(COLUMNS))
    what = r.randrange(6)
    if what == 0:
        return f"$.{c}", lambda row, is_: YES if c in row else DOUBT if is_ else NO
    if what == 1:
        return "$.addr.city", lambda row, is_: (YES if inside(row, "addr", "city") is not ABSENT
                                                else DOUBT if is_lacking(row, is_, "addr") else NO)
    if what == 2:
        def count(row, is_):
            if is_lacking(row, is_, "tags"):
                return DOUBT
            tags = row.get("tags")
            return YES if isinstance(tags, list) and len(tags) > 1 else NO
        return "count($.tags[*]) > 1", count
    names = ("addr", "city") if what == 3 else (c,)
    op, literal = r.choice(["==", "!=", "<", "<=", ">", ">="]), r.choice(LITERALS)
    text = json.dumps(literal).replace('"', "'")
    return f"$.{'.'.join(names)} {op} {text}", lambda row, is_: compare(inside(row, *names), op, literal)


def some_condition(r, depth=0):
    what = r.randrange(6)
    if depth > 2 or what < 3:
        return some_test(r)
    text, test = some_condition(r, depth + 1)
    if what == 3:
        return f"!({text})", lambda row, is_: 2 - test(row, is_)
    other_text, other = some_condition(r, depth + 1)
    if what == 4:
        return f"({text}) && ({other_text})", lambda row, is_: min(test(row, is_), other(row, is_))
    return f"({text}) || ({other_text})", lambda row, is_: max(test(row, is_), other(row, is_))


# --- events: each is its text and, for each of its phones, the row that is known and what it is ---

class Maker:
    def __init__(self, r):
        self.r, self.phones = r, 0

    def row(self, columns):
        self.phones += 1
        return {"phone": f"C{self.phones}C", **{c: self.r.choice(COLUMNS[c]) for c in columns}}

    def pair(self):
        """A row, what it was where that changed, and what is known of that."""
        columns = [c for c in COLUMNS if self.r.random() < .8]
        data = self.row(columns)
        old = self.row([c for c in columns if self.r.random() < .4])
        return data, old, {**data, **old}

    def event(self, kind):
        pairs = [self.pair() for _ in range(self.r.randrange(1, 4) if kind == "canal" else 1)]
        rows, olds = [p[0] for p in pairs], [p[1] for p in pairs]
        known = [(p[0], WHOLE) for p in pairs] + [(p[2], FILLED) for p in pairs]
        what = self.r.randrange(8)
        if what == 0 or (what == 1 and kind == "canal"):  # nothing says what the rows are, or which is whose
            rows = None if what == 0 else rows + [self.row(["country"])]
            known = [(p[1], ALONE) for p in pairs] + ([] if what == 0 else [(p[0], WHOLE) for p in pairs])
        event = {"database": "shop", "table": "t", "type": "UPDATE", "isDdl": False, "data": rows, "old": olds}
        if kind == "maxwell":
            event |= {"type": "update", "ts": 1, "data": rows and rows[0], "old": olds[0]}
            del event["isDdl"]
        return event, [(row["phone"], row, is_) for row, is_ in known]


@pytest.mark.parametrize("kind", ["canal", "maxwell"])
def test_conditions_know_what_did_not_change(kind, tmp_path):
    r = random.Random(kind)
    seen = {YES: 0, DOUBT: 0, NO: 0}
    for number in range(int(os.environ.get("KVEIL_IMAGES", 40))):
        text, test = some_condition(r)
        rules = tmp_path / f"{number}.yaml"
        rules.write_text(f"name: t\ntopics: [in]\noutput: out\nenvelope: {kind}\nfields:\n"
                         f"  - {{path: $.phone, when: {json.dumps(text)}, nullify: true}}\n")
        maker = Maker(r)
        made = [maker.event(kind) for _ in range(250)]
        lines = "".join(json.dumps(event) + "\n" for event, _ in made)
        done = subprocess.run([KVEIL, "apply", "-r", rules], input=lines, text=True, capture_output=True)
        assert done.returncode == 0, (text, done.stderr)
        for (event, phones), out in zip(made, done.stdout.splitlines(), strict=True):
            for phone, row, is_ in phones:
                tri = test(row, is_)
                seen[tri] += 1
                assert (phone in out) == (tri == NO), (text, row, is_, event, out)
    print(kind, seen)
    assert min(seen.values()) > 200
