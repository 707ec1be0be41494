#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The rules of the house that a compiler does not hold: format, layers, one owner a library, care with secrets.
Each check is a function that yields complaints; `self_test` shows every check a bad example that it must catch."""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

# A layer may include itself and what stands in its row. Lower layers never look up.
LAYERS = {
    "base": set(),
    "crypto": {"base"},
    "bench": {"base", "crypto"},
    "custody": {"base", "crypto"},
    "registry": {"base", "crypto", "custody"},
    "keys": {"base", "crypto", "custody", "registry"},
    "keyadmin": {"base", "crypto", "custody", "registry", "keys"},
    "path": {"base"},
    "format": {"base", "path"},
    "schemas": {"base", "format"},
    "transform": {"base", "crypto", "path"},
    "rules": {"base", "path", "format", "transform"},
    "engine": {"base", "path", "format", "transform", "rules"},
    "config": {"base", "custody", "keys", "schemas"},
    "observe": {"base"},
    "kafka": {"base", "config"},
    "keytopic": {"base", "crypto", "registry", "config", "kafka"},
    "http": {"base", "observe"},
    "worker": {"base", "crypto", "custody", "keys", "keyadmin", "path", "format", "transform", "rules", "engine", "http", "schemas", "config", "observe", "kafka", "keytopic"},
    "library": {"base", "keys", "rules", "engine", "config", "kafka", "keytopic"},
    "cli": {"base", "crypto", "bench", "custody", "registry", "keys", "keyadmin", "path", "format", "transform", "rules", "engine", "config", "observe", "kafka", "keytopic",
            "worker", "http", "schemas"},
}
# kveil/*.h by the layer that implements it.
PUBLIC = {"kveil/base.h": "base", "kveil/keys.h": "keys", "kveil/engine.h": "engine", "kveil/schemas.h": "engine",
          "kveil/library.h": "library"}
# What stands below or beside an implementer and knows no more of it than the public header.
PUBLIC_USERS = {"kveil/keys.h": {"registry", "transform", "rules", "engine"}, "kveil/engine.h": {"kafka"}, "kveil/schemas.h": {"schemas"}}

# Header: where it may stand (regular expressions on the path below src/).
OWNERS = {
    r"yaml\.h": r"base/yaml\.c",
    r"gcrypt\.h": r"crypto/gcrypt\.c",
    r"openssl/.*": r"(crypto|bench|custody)/.*",
    r"librdkafka/.*": r"(kafka|keytopic|worker)/.*",
    r"microhttpd\.h": r"http/http\.c",
    r"curl/.*": r"base/http_request\.c",
    r"pcre2\.h": r"(path|rules|transform)/\w*\.c",
    r"utf8proc\.h": r"(transform|base|path)/\w*\.c",
    r"avro\.h": r"(format/avro_\w+|bench/avro_engine)\.c",
    r"p11-kit/.*": r"custody/\w*\.c",
}
ONE_FILE = {r"curl/.*", r"p11-kit/.*", r"yaml\.h", r"gcrypt\.h", r"microhttpd\.h"}

# Parts of struct kveil_worker: the files of src/worker that write them. All others read.
PART_WRITERS = {
    "slots": "slots", "assignment": "assignment loop", "rules": "routes", "intake": "intake loop", "fetcher": "loop", "waiting": "park retry hold",
    "hand": "record handover set_aside delivery producer assignment exactly_once loop", "outlets": "outlet delivery loop",
    "producing": "producer outlet at_least_once exactly_once loop", "commits": "committed at_least_once exactly_once hold",
    "txn": "exactly_once leaderless record", "tallies": "tally", "outage": "outages park loop", "quarantine": "quarantine offsets", "cells": "loop outages set_aside",
}
PART_WRITE = re.compile(r"(?:(?:\+\+|--)w->(\w+)[.\w\[\]]*|\bw->(\w+)\.[.\w\[\]]*\s*(?:\+\+|--|[-+|&]?=(?!=)))")

INCLUDE = re.compile(r'^\s*#\s*include\s+["<]([^">]+)[">]', re.M)
SECRET_NAMES = r"(?:\w*(?:secret|plain|kek|dek|key_bytes|key_material|passphrase|pin)\w*)"


def sources():
    out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    return [f for f in out.stdout.splitlines() if (ROOT / f).is_file()]


def check_layers(path, text):
    m = re.match(r"src/(\w+)/", path)
    if not m:
        return
    layer = m.group(1)
    for header in INCLUDE.findall(text):
        other = PUBLIC.get(header)
        if other is None and re.match(r"\w+/", header) and header.split("/")[0] in LAYERS:
            other = header.split("/")[0]
        if other is None or other == layer or other in LAYERS[layer]:
            continue
        if layer in PUBLIC_USERS.get(header, ()):
            continue
        yield f"{path}: {layer} may not include {header}: the arrow points up"


def check_owners(path, text):
    m = re.match(r"src/(.*)", path)
    if not m:
        return
    for header in INCLUDE.findall(text):
        for pattern, place in OWNERS.items():
            if re.fullmatch(pattern, header) and not re.fullmatch(place, m.group(1)):
                yield f"{path}: {header} belongs in src/{place}"


def check_one_file(files):
    for pattern in ONE_FILE:
        users = [f for f, text in files if f.startswith("src/")
                 and any(re.fullmatch(pattern, h) for h in INCLUDE.findall(text))]
        if len(users) > 1:
            yield f"{pattern} has {len(users)} owners: {', '.join(users)}"


def check_secrets(path, text):
    if not re.match(r"src/.*\.[ch]$", path):
        return
    for n, line in enumerate(text.splitlines(), 1):
        if re.match(r"src/(crypto|custody|registry|keys|keyadmin)/", path) and re.search(r"\bmemcmp\(", line) and "public" not in line:
            yield f"{path}:{n}: memcmp near secrets: kveil_secret_eq, or say /* public */ on the line"
        if re.search(r"(?<![\w.])free\(\s*[\w.>-]*?" + SECRET_NAMES + r"\s*\)", line):
            yield f"{path}:{n}: free of a secret: kveil_secret_free wipes"
        if re.search(r"\bSHA(1|224|256|384|512)_(Init|Update|Final)\b", line) and not path.startswith("src/crypto/"):
            yield f"{path}:{n}: low-level SHA calls belong in one file of src/crypto"


def check_no_memory(path, text):
    if path.startswith("src/") and path not in ("src/base/error.c", "src/base/report.c"):
        for n, line in enumerate(text.splitlines(), 1):
            if re.search(r'NO_MEMORY,\s*"(no|out of) memory|, "(no|out of) memory[^"]*"\)', line) and "secret.c" not in path:
                yield f"{path}:{n}: kveil_no_memory says so"


def check_endings(path, text):
    if path.startswith("src/") and path != "src/kafka/kafka_end.c":
        for n, line in enumerate(text.splitlines(), 1):
            if re.search(r"\brd_kafka_(destroy|destroy_flags|consumer_close)\(", line):
                yield f"{path}:{n}: librdkafka waits there without an end: kveil_kafka_destroy, kveil_kafka_close_consumer"


def check_words(path, text):
    if path == "tests/lint/lint.py":
        return
    for n, line in enumerate(text.splitlines(), 1):
        if re.match(r"(src|include|rules|fuzz|bench)/", path) and re.search(r"\b(TODO|FIXME|XXX)\b", line):
            yield f"{path}:{n}: finish it or delete it"
        if re.search(r"(?<![\w.])/(work|farm|root)/", line):
            yield f"{path}:{n}: a path of one machine"


def check_parts(path, text):
    if m := re.match(r"src/worker/(\w+)\.c$", path):
        for w in PART_WRITE.finditer(text):
            part = w[1] or w[2]
            if m[1] not in PART_WRITERS.get(part, m[1]).split():
                yield f"{path}: writes the worker's {part}, which {PART_WRITERS[part].replace(' ', '.c, ')}.c write"


def check_spdx(path, text):
    if re.search(r"\.(c|h|py)$", path) and "SPDX-License-Identifier: Apache-2.0" not in text[:300]:
        yield f"{path}: no SPDX line"


def check_header_guard(path, text):
    if re.match(r"(src|include)/.*\.h$", path) and not re.search(r"#ifndef (KVEIL_\w+)\n#define \1\n", text):
        yield f"{path}: no include guard"


def clang_format(paths, *options):
    # The pinned one, beside this Python: another version formats otherwise.
    c_files = [f for f in paths if f.endswith((".c", ".h"))]
    return subprocess.run([pathlib.Path(sys.executable).parent / "clang-format", *options, *c_files], cwd=ROOT, capture_output=True, text=True)


def check_format(paths):
    r = clang_format(paths, "--dry-run", "-Werror")
    if r.returncode:
        bad = sorted({line.split(":")[0] for line in r.stderr.splitlines() if ": error:" in line})
        for f in bad or [r.stderr[:400]]:
            yield f"{f}: not formatted: ./dev fmt"


def check_scripts(paths):
    for f in paths:
        if f == "dev" or f.endswith(".sh") or f == ".ci/run":
            r = subprocess.run(["bash", "-n", f], cwd=ROOT, capture_output=True, text=True)
            if r.returncode:
                yield f"{f}: {r.stderr.strip()}"


def check_width(path, text):
    """clang-format leaves comments as they are: their tables stand."""
    if re.search(r"\.[ch]$", path):
        for n, line in enumerate(text.splitlines(), 1):
            if re.match(r"\s*(/\*|\*)|.*\*/$", line) and len(line.expandtabs(8)) > 120:
                yield f"{path}:{n}: a comment of more than 120 columns"


def check_offers(path, text):
    """An option that is only refused is not offered: editors take the tables' word for it."""
    if path.startswith("src/"):
        for n, line in enumerate(text.splitlines(), 1):
            if re.search(r'\.help = "[^"]*\b(not in this version|not yet)\b', line):
                yield f"{path}:{n}: an option that does nothing: take it out of the table"


def check_first_line(path, text):
    if re.match(r"src/.*\.c$", path) and not re.match(r"/\* SPDX[^\n]*\n/\*", text):
        yield f"{path}: its second line says what the file is for"


def anchors(text):
    """What GitHub makes of the headings, code blocks left out."""
    heads = re.findall(r"^#+ +(.*)", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", h)).strip().lower().replace(" ", "-") for h in heads}


def check_links(path, text):
    """Links to files of the tree, and to headings of pages: there they are."""
    if not path.endswith(".md"):
        return
    for target, anchor in re.findall(r"\]\(([^)\s#]*)(?:#([^)]*))?\)", re.sub(r"```.*?```", "", text, flags=re.S)):
        if re.match(r"\w+:", target) or not (target or anchor):
            continue
        file = (ROOT / path).parent / target if target else ROOT / path
        if not file.exists():
            yield f"{path}: a dead link to {target}"
        elif anchor and file.suffix == ".md" and anchor not in anchors(file.read_text() if target else text):
            yield f"{path}: no heading #{anchor} in {target or path}"


STATE = re.compile(r"(^|/)(kek|keys\.json.*|\.keys\.json.*|core(\.\d+)?|nohup\.out|.*\.(log|orig|rej|swp|pid|pyc|o|a|so|gcda|gcno|tar\.gz|deb))$")


def check_state(path, text):
    if STATE.search(path):
        yield f"{path}: state of a run, and no source"


def glossary_words(text):
    """The last column of docs/glossary.md."""
    rows = [line.strip().strip("|").split("|") for line in text.splitlines() if line.startswith("| ")]
    return [w.strip() for row in rows[1:] for w in row[-1].split(",") if w.strip()]


GLOSSARY = glossary_words((ROOT / "docs" / "glossary.md").read_text())
STRING = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
NEITHER = re.compile(r"\b(" + "|".join(map(re.escape, GLOSSARY)) + r")\b", re.I)


def check_glossary(path, text):
    if path == "docs/glossary.md" or not re.match(r"(docs/.*|README|CONTRIBUTING|SECURITY)\.?\w*|src/.*\.[ch]$", path):
        return
    for n, line in enumerate(text.splitlines(), 1):
        shown = [line] if path.endswith(".md") else [] if line.startswith("#include") else STRING.findall(line)
        for words in shown:
            for word in NEITHER.findall(words):
                yield f"{path}:{n}: '{word}': docs/glossary.md has another word for it"


STILTED = re.compile(r"(?<!here )\b(?:is|are) no (?!longer\b|more\b|such\b|way\b|reason\b|need\b|sign\b|trace\b|basis\b)\w+")


def check_plain(path, text):
    """'is not an object', rather than 'is no object'."""
    if path == "tests/lint/lint.py" or not re.match(r"(docs|include|src|tests|fuzz|deploy|bench|examples)/|dev$|README|CONTRIBUTING|SECURITY", path):
        return
    for n, line in enumerate(text.splitlines(), 1):
        line = line.lstrip(" \t/*#")
        for words in STILTED.findall(line):
            if not line.startswith(words):  # "there" may end the line before
                yield f"{path}:{n}: '{words}': say 'not a'"


def check_names(paths):
    """A tab of an editor shows no folder."""
    seen = {}
    for f in paths:
        if re.match(r"src/.*\.c$", f):
            name = f.rsplit("/", 1)[1]
            if name in seen:
                yield f"{f}: {seen[name]} has the same name"
            seen[name] = f


def check_events(files):
    """Each event that an officer may wait for is waited for by a test."""
    tests = "\n".join(text for f, text in files if re.match(r"tests/(unit|integration)/", f))
    for f, text in files:
        for name in re.findall(r'X\([A-Z_]+, "([a-z_]+)"', text) if f == "src/base/event.h" else ():
            if not re.search(rf"\b{name}\b", tests):
                yield f"{f}: no test has the event {name}"


PER_FILE = [check_layers, check_owners, check_secrets, check_no_memory, check_endings, check_words, check_spdx, check_header_guard,
            check_parts, check_width, check_offers, check_first_line, check_links, check_state, check_glossary, check_plain]
BAD_EXAMPLES = [
    (check_endings, "src/worker/x.c", "\trd_kafka_consumer_close(c);\n"),
    (check_layers, "src/base/x.c", '#include "engine/engine.h"\n'),
    (check_layers, "src/engine/x.c", '#include "keys/keystore.h"\n'),
    (check_layers, "src/rules/x.c", '#include "kveil/engine.h"\n'),
    (check_owners, "src/cli/x.c", "#include <librdkafka/rdkafka.h>\n"),
    (check_owners, "src/worker/x.c", "#include <openssl/evp.h>\n"),
    (check_secrets, "src/keys/x.c", "if (memcmp(a, b, 32) == 0)\n"),
    (check_secrets, "src/keys/x.c", "free(kek);\n"),
    (check_secrets, "src/keys/x.c", "free(c->plaintext);\n"),
    (check_no_memory, "src/keys/x.c", 'return kveil_fail(err, KVEIL_E_NO_MEMORY, "no memory for %s", x);\n'),
    (check_words, "src/keys/x.c", "/* TO" + "DO: later */\n"),
    (check_words, "docs/x.md", "cd /wo" + "rk/main\n"),
    (check_parts, "src/worker/park.c", "\tw->producing.broken = true;\n"),
    (check_parts, "src/worker/park.c", "\t++w->rules.version;\n"),
    (check_spdx, "src/x.c", "int x;\n"),
    (check_header_guard, "src/base/x.h", "int x;\n"),
    (check_offers, "src/transform/x.c", '    {"vault", .help = "not in this version"},\n'),
    (check_width, "src/base/x.h", "\tint x; /* " + 100 * "x" + " */\n"),
    (check_first_line, "src/base/x.c", "/* SPDX-License-Identifier: Apache-2.0 */\n#include <stdio.h>\n"),
    (check_links, "docs/x.md", "see [it](nowhere.md#there)\n"),
    (check_links, "docs/x.md", "see [it](keys.md#nowhere-at-all)\n"),
    (check_links, "docs/x.md", "# It\nsee [it](#its)\n"),
    (check_state, "tests/keys.json", "{}\n"),
    (check_glossary, "docs/x.md", "goes to the DL" + "Q\n"),
    (check_glossary, "src/base/x.c", 'f("the master' + ' key");\n'),
    (check_plain, "src/base/x.c", "/* What is" + " no object passes. */\n"),
]


def self_test():
    for check, path, text in BAD_EXAMPLES:
        if not list(check(path, text)):
            yield f"lint itself: {check.__name__} does not catch {text.strip()!r} in {path}"
    if not list(check_events([("src/base/event.h", 'X(A, "a_thing", WARN, "It is.")'), ("tests/unit/x.c", "another_thing")])):
        yield "lint itself: check_events does not catch a_thing"
    if not list(check_names(["src/a/x.c", "src/b/x.c"])):
        yield "lint itself: check_names does not catch two x.c"


def main():
    paths = sources()
    if "--fmt" in sys.argv[1:]:
        return clang_format(paths, "-i").returncode
    files = []
    for f in paths:
        try:
            files.append((f, (ROOT / f).read_text()))
        except UnicodeDecodeError:
            pass
    complaints = list(self_test())
    for f, text in files:
        for check in PER_FILE:
            complaints += check(f, text)
    complaints += check_one_file(files)
    complaints += check_events(files)
    complaints += check_names(paths)
    complaints += check_format(paths)
    complaints += check_scripts(paths)
    for c in complaints:
        print(c)
    print(f"lint: {len(paths)} files, {len(complaints)} complaints")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
