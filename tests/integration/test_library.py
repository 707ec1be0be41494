# SPDX-License-Identifier: Apache-2.0
"""libkveil as it is installed: headers that stand alone, the symbols that were chosen, examples/embed.c against it."""
import json
import os
import pathlib
import re
import subprocess

import pytest

from conftest import KVEIL, ROOT

BUILD = pathlib.Path(os.environ.get("KVEIL_RELEASE_BUILD", ROOT / "build"))
HEADERS = sorted((ROOT / "include" / "kveil").glob("*.h"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--quiet"], env={**os.environ, "DESTDIR": str(root)},
                   check=True, capture_output=True)
    return root


@pytest.fixture(scope="module")
def flags(installed):
    """What pkg-config says, for a compiler that looks below the folder."""
    folder = next(installed.rglob("kveil.pc")).parent

    def ask(*options):
        env = {**os.environ, "PKG_CONFIG_PATH": str(folder), "PKG_CONFIG_SYSROOT_DIR": str(installed)}
        out = subprocess.run(["pkg-config", *options, "kveil"], env=env, check=True, capture_output=True, text=True).stdout
        # Other libraries stand where they stand.
        return re.sub(rf"-I{installed}(?=/usr/include)", "-I", out).split()
    return ask


@pytest.mark.parametrize("header", HEADERS, ids=lambda p: p.name)
def test_each_header_stands_alone(header, installed, tmp_path):
    inc = next(installed.rglob("kveil/base.h")).parents[1]
    source = tmp_path / "one.c"
    source.write_text(f"#include <kveil/{header.name}>\n#include <kveil/{header.name}>\nint main(void) {{ return 0; }}\n")
    subprocess.run(["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-Wpedantic", f"-I{inc}", "-c", source, "-o", tmp_path / "one.o"], check=True)


@pytest.mark.parametrize("header", HEADERS, ids=lambda p: p.name)
def test_each_function_has_its_contract(header):
    """A comment of its own, right above."""
    lines = header.read_text().splitlines()
    bare = [line for above, line in zip(lines, lines[1:]) if line.startswith("KVEIL_API") and not above.endswith("*/")]
    assert not bare


def test_what_is_visible_is_what_the_headers_mark(installed):
    marked = set()
    for header in HEADERS:
        marked |= set(re.findall(r"^KVEIL_API [^;(]*?\b(kveil_\w+)\(", header.read_text(), re.M))
    out = subprocess.run(["nm", "-D", "--defined-only", next(installed.rglob("libkveil.so"))], check=True, capture_output=True, text=True)
    assert {line.split()[2] for line in out.stdout.splitlines() if not line.split()[2].startswith("_")} == marked


@pytest.fixture
def config(tmp_path):
    (tmp_path / "kveil.yaml").write_text((ROOT / "kveil.yaml").read_text())
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "orders.yaml").write_text((ROOT / "rules" / "orders.yaml").read_text())
    for action in (["kek", "local"], ["init"]):
        subprocess.run([KVEIL, "keys", *action, "-c", tmp_path / "kveil.yaml"], check=True, capture_output=True)
    return tmp_path / "kveil.yaml"


@pytest.fixture(params=["shared", "static"])
def embed(request, installed, flags, tmp_path):
    source = ROOT / "examples" / "embed.c"
    assert len(source.read_text().splitlines()) < 80
    if request.param == "static":
        others = [word for word in flags("--print-requires-private") if word[0].isalpha()]
        out = subprocess.run(["pkg-config", "--libs", *others], check=True, capture_output=True, text=True).stdout
        libs = [next(installed.rglob("libkveil.a")), *out.split()]
    else:
        libs = flags("--libs")
    subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", *flags("--cflags"), source, *libs, "-o", tmp_path / "embed"], check=True)
    needed = subprocess.run(["readelf", "-d", tmp_path / "embed"], check=True, capture_output=True, text=True).stdout
    assert ("libkveil.so.0" in needed) == (request.param == "shared")
    env = {**os.environ, "LD_LIBRARY_PATH": str(next(installed.rglob("libkveil.so")).parent)}

    def run(*args, text):
        return subprocess.run([tmp_path / "embed", *args], input=text, env=env, capture_output=True, text=True, timeout=60)
    return run


def test_a_program_of_ones_own(embed, config):
    lines = (ROOT / "examples" / "orders.json").read_text()
    r = embed(config, "etl.orders", text=lines)
    assert r.returncode == 0, r.stderr
    records = [json.loads(line) for line in lines.splitlines()]
    out = [json.loads(line) for line in r.stdout.splitlines()]
    assert len(out) == len(records)
    # It is sealed under the registry's own keys: the command opens it.
    inverse = config.parent / "inverse.yaml"
    inverse.write_text(subprocess.run([KVEIL, "invert", "-r", config.parent / "rules" / "orders.yaml"], check=True, capture_output=True, text=True).stdout)
    opened = subprocess.run([KVEIL, "apply", "-c", config, "-r", inverse], input=r.stdout, check=True, capture_output=True, text=True).stdout
    for before, after, again in zip(records, out, map(json.loads, opened.splitlines())):
        assert after["customer"]["id_card"] not in r.stderr and before["customer"]["id_card"] not in r.stdout
        assert again["customer"]["id_card"] == before["customer"]["id_card"]


def test_what_cannot_be_protected_is_not_passed_on(embed, config):
    r = embed(config, "etl.orders", text='{"customer": {"id_card": {"clear": "110101199003077571"}}}\n{"customer"\n')
    assert (r.returncode, r.stdout) == (1, "") and "unsupported_kind" in r.stderr and "invalid_json" in r.stderr
    assert "110101199003077571" not in r.stderr
    r = embed(config, "etl.others", text='{"customer": {"id_card": "110101199003077571"}}\n')
    assert (r.returncode, r.stdout) == (1, "")


def test_problems_are_all_told(embed, config):
    (config.parent / "rules" / "orders.yaml").write_text("name: orders\ntopics: [etl.orders]\nformat: jsn\nfields: [{path: '$.a', mask: {keep: 1}}]\n")
    r = embed(config, "etl.orders", text="{}\n")
    assert (r.returncode, r.stdout) == (1, "")
    assert "orders.yaml:3:" in r.stderr and "orders.yaml:4:" in r.stderr and "embed: rules" in r.stderr
    config.write_text("kafka: {}\n")
    r = embed(config, "etl.orders", text="{}\n")
    assert r.returncode == 1 and "embed: config" in r.stderr


def test_keys_in_a_topic_are_the_groups(embed, make_kveil, kafka):
    """With a registry in Kafka a program seals under the keys of the workers beside it."""
    k = make_kveil()
    k.config(kafka.bootstrap, extra="create_topics: true", registry=f"kafka:{k.name}.keys")
    k.rules('  - {path: "$.a", encrypt: {key: pii}}')
    k.init()
    r = embed(k.dir / "kveil.yaml", k.topic, text='{"a": "clear"}\n')
    assert r.returncode == 0 and "clear" not in r.stdout, r.stderr
    inverse = k.dir / "inverse.yaml"
    inverse.write_text(k.run("invert", "-r", f"rules/{k.name}.yaml", check=0).stdout)
    assert json.loads(k.run("apply", "-c", "kveil.yaml", "-r", str(inverse), input=r.stdout, check=0).stdout) == {"a": "clear"}
