# SPDX-License-Identifier: Apache-2.0
"""The JSON Schemas that editors get agree with what kveil takes, and the completions are scripts."""
import json
import re
import shutil
import subprocess

import jsonschema
import pytest
import yaml

from conftest import KVEIL, ROOT

CONFIG = """
kafka: {bootstrap_servers: "localhost:9092", group_id: kveil, properties: {security.protocol: SSL, ssl.ca.location: ca.pem}}
commit_interval: 500ms
workers: 2
rules: [orders.yaml]
limits: {record_bytes: 1MiB, memory: 256MiB}
keys:
  registry: file:keys.json
  keks:
    local: {provider: file, path: kek}
    hsm: {provider: pkcs11, module: /usr/lib/p11.so, token: t, label: kek, pin: "${file:pin}"}
  data:
    pii: {algorithm: aes-256-gcm, kek: local, rotate_every: 24h}
    pepper: {algorithm: hmac-sha-256, kek: local}
    dead-letters: {algorithm: aes-256-gcm, kek: local}
http: {listen: ""}
log: {level: debug, format: json}
"""


def schema(name):
    out = subprocess.run([KVEIL, "schema", name], capture_output=True, check=True, text=True).stdout
    document = json.loads(out)
    jsonschema.Draft202012Validator.check_schema(document)
    return jsonschema.Draft202012Validator(document)


@pytest.fixture(scope="module")
def rules():
    return schema("rules")


@pytest.fixture(scope="module")
def config():
    return schema("config")


def shipped_rules():
    return [p for p in sorted((ROOT / "rules").rglob("*.yaml")) if not p.name.endswith(".examples.yaml")]


@pytest.mark.parametrize("path", shipped_rules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_shipped_rules(rules, path):
    rules.validate(yaml.safe_load(path.read_text()))


def test_every_example_of_an_action(rules):
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "actions.md").read_text(), re.S)
    assert len(blocks) >= 8
    for block in blocks:
        rules.validate({"name": "n", "topics": ["t"], "fields": yaml.safe_load(block)})


@pytest.mark.parametrize("mistake", [
    {"fields": []},                                                                      # no topics
    {"topics": ["t"], "feilds": []},
    {"topics": ["t"], "fields": [{"path": "$.a"}]},                                      # no action
    {"topics": ["t"], "fields": [{"path": "$.a", "remove": True, "nullify": True}]},     # two
    {"topics": ["t"], "fields": [{"path": "$.a", "remove": False}]},
    {"topics": ["t"], "fields": [{"path": "$.a", "mask": {"keep_frist": 3}}]},
    {"topics": ["t"], "fields": [{"path": "$.a", "mask": {"keep_first": "3"}}]},
    {"topics": ["t"], "fields": [{"path": "$.a", "encrypt": {}}]},
    {"topics": ["t"], "fields": [{"path": "$.a", "encrypt": {"key": "k", "encoding": "base46"}}]},
    {"topics": ["t"], "on_error": "pass"},
], ids=str)
def test_rule_mistakes(rules, mistake):
    with pytest.raises(jsonschema.ValidationError):
        rules.validate(mistake)


def test_config(config, tmp_path):
    """What the schema takes, kveil takes too, but for what only kveil knows (here: that rules exist)."""
    config.validate(yaml.safe_load(CONFIG))
    (tmp_path / "kveil.yaml").write_text(CONFIG)
    shutil.copy(ROOT / "rules" / "orders.yaml", tmp_path / "orders.yaml")
    run = subprocess.run([KVEIL, "check", "-c", tmp_path / "kveil.yaml"], capture_output=True, text=True)
    assert "unknown option" not in run.stderr, run.stderr


@pytest.mark.parametrize("change", [
    {"worker": 2},
    {"workers": 0},
    {"commit_interval": "1y"},
    {"commit_interval": 5},
    {"delivery": "at-most-once"},
    {"log": {"level": "trace"}},
    {"limits": {"record_bytes": "8MB"}},
    {"keys": {"registry": "file:x", "keks": {"a": {"provider": "file"}}}},
    {"keys": {"registry": "file:x", "keks": {"a": {"provider": "fiel", "path": "x"}}}},
    {"keys": {"registry": "file:x", "keks": {}, "data": {"k": {"kek": "a"}}}},
], ids=str)
def test_config_mistakes(config, change):
    with pytest.raises(jsonschema.ValidationError):
        config.validate({**yaml.safe_load(CONFIG), **change})


def built(name):
    """A completion as meson installs it."""
    path = KVEIL.parent / name
    assert path.exists()
    return path


def test_bash_completes():
    script = """
source "$0"
COMP_WORDS=(kveil comp) COMP_CWORD=1; _kveil; echo "${COMPREPLY[@]}"
COMP_WORDS=(kveil completion z) COMP_CWORD=2; _kveil; echo "${COMPREPLY[@]}"
COMP_WORDS=(kveil schema --mark) COMP_CWORD=2; _kveil; echo "${COMPREPLY[@]}"
COMP_WORDS=(kveil keys k) COMP_CWORD=2; _kveil; echo "${COMPREPLY[@]}"
"""
    out = subprocess.run(["bash", "-c", script, built("kveil.bash")], capture_output=True, text=True).stdout
    assert out.split("\n")[:4] == ["completion", "zsh", "--markdown", "kek"]


def test_fish_completes():
    script = "source $argv[1]; for line in 'kveil comp' 'kveil completion z' 'kveil schema --mark' 'kveil keys k'; complete -C $line; end"
    out = subprocess.run(["fish", "--no-config", "-c", script, built("kveil.fish")], capture_output=True, text=True)
    words = [line.split("\t")[0] for line in out.stdout.splitlines()]
    assert words == ["completion", "zsh", "--markdown", "kek"], out.stderr


def test_zsh_completes(tmp_path):
    """zsh completes on a terminal only: its zpty gives it one."""
    script = f"""
zmodload zsh/zpty
zpty z zsh -f -i
answer() {{ zpty -w -n z "$1"; local all= part=; while zpty -r z part "*$2*"; do all+=$part; break; done; [[ $all == *$2* ]] || exit 1; }}
zpty -w z 'PS1=; fpath=({built("_kveil").parent} $fpath); autoload -Uz compinit; compinit -u -d {tmp_path}/dump; echo re''ady'
answer '' ready
answer $'kveil comp\t' 'kveil completion'
answer $'z\t' 'zsh'
answer $'\x15kveil schema --mark\t' '--markdown'
answer $'\x15kveil keys ke\t' 'kek'
"""
    r = subprocess.run(["zsh", "-f", "-c", script], capture_output=True, text=True, timeout=60)
    assert r.returncode == 0, r.stdout + r.stderr


def test_version_as_json():
    answer = json.loads(subprocess.run([KVEIL, "version", "--json"], capture_output=True, check=True).stdout)
    assert answer["version"] and answer["libraries"]["librdkafka"] and answer["libraries"]["libcurl"]
    (row,) = (a for a in answer["algorithms"] if a["name"] == "aes-256-gcm")
    assert row["standard"] == "NIST SP 800-38D" and row["library"] and row["available"]
