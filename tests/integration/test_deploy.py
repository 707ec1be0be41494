# SPDX-License-Identifier: Apache-2.0
"""docker/ and deploy/, as far as a machine without a cluster can hold them to their word in seconds; what takes minutes
(images, the chart's matrix) is `./dev package`."""
import json
import re
import socket
import subprocess
import sys

import jsonschema
import kubernetes_validate
import pytest
import yaml

from conftest import KVEIL, PLAIN, ROOT

DEPLOY, DOCKER, CHART = ROOT / "deploy", ROOT / "docker", ROOT / "deploy" / "helm" / "kveil"


def load(path):
    return yaml.safe_load(path.read_text())


def alerts():
    return [rule for group in load(DEPLOY / "prometheus" / "alerts.yaml")["groups"] for rule in group["rules"]]


def test_each_alert_fires_for_what_it_is_meant_for():
    tests = DEPLOY / "prometheus" / "alerts.test.yaml"
    r = subprocess.run(["promtool", "test", "rules", str(tests)], capture_output=True, text=True)
    assert r.returncode == 0, r.stdout + r.stderr
    tried = {t["alertname"] for case in load(tests)["tests"] for t in case.get("alert_rule_test", ()) if t["exp_alerts"]}
    assert tried == {rule["alert"] for rule in alerts()}


def test_each_alert_has_its_place_in_the_runbook():
    page = (ROOT / "docs" / "operations.md").read_text()
    headings = re.findall(r"^### (Kveil\w+)$", page, re.M)
    assert headings == [rule["alert"] for rule in alerts()]
    for rule in alerts():
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"


def test_dashboard_and_alerts_ask_for_metrics_that_are_there():
    there = set(re.findall(r"^\| `(kveil_\w+)` \|", (ROOT / "docs" / "metrics.md").read_text(), re.M))
    there |= {f"{name}_{end}" for name in there for end in ("bucket", "count", "sum")}
    board = DEPLOY / "grafana" / "dashboard.json"
    made = subprocess.run([sys.executable, str(DEPLOY / "grafana" / "dashboard.py")], capture_output=True, text=True)
    assert made.stdout == board.read_text(), "python3 deploy/grafana/dashboard.py > deploy/grafana/dashboard.json"
    queries = [t["expr"] for p in json.loads(made.stdout)["panels"] for t in p.get("targets", [])]
    for query in queries + [rule["expr"] for rule in alerts()]:
        names = set(re.findall(r"\bkveil_\w+", query))
        assert names <= there, query
        assert names or "up{" in query


def check(folder, config, rules):
    """kveil check on a configuration as it would stand in a container."""
    (folder / "rules").mkdir()
    for name, text in rules.items():
        (folder / "rules" / name).write_text(text)
    (folder / "kveil.yaml").write_text(yaml.safe_dump(config))
    return subprocess.run([str(KVEIL), "check", "-c", str(folder / "kveil.yaml")], capture_output=True, text=True)


def merged(values, more):
    """As Helm does it: members of objects come together, anything else takes the place of what was there."""
    both = {k: merged(values[k], v) if isinstance(v, dict) and isinstance(values.get(k), dict) else v for k, v in more.items()}
    return {**values, **both}


def test_the_charts_values_hold_no_sample_that_would_come_into_the_users():
    values = load(CHART / "values.yaml")
    assert values["rules"] == {} and not values["config"].keys() & {"kafka", "keys"} and values["keda"]["topics"] == []


def test_the_charts_schema_has_kveils_own():
    r = subprocess.run([sys.executable, str(DEPLOY / "values_schema.py"), str(KVEIL)], capture_output=True, text=True, check=True)
    schema = json.loads(r.stdout)
    assert r.stdout == (CHART / "values.schema.json").read_text(), "tests/pages.py --write makes it anew"
    jsonschema.validators.validator_for(schema).check_schema(schema)
    example = merged(load(CHART / "values.yaml"), load(CHART / "example-values.yaml"))
    jsonschema.validate(example, schema)
    for wrong in ({"kafka": {"bootstrap_server": "kafka:9092"}}, {"keys": {"keks": {"local": {"provider": "fiel"}}}}, {"worker": 2},
                  {"http": {"listen": [9819]}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(merged(example, {"config": wrong}), schema)


def test_the_charts_example_fits_its_schema_and_kveil(tmp_path):
    values, schema = load(CHART / "values.yaml"), json.loads((CHART / "values.schema.json").read_text())
    jsonschema.validate(values, schema)
    assert set(values) == set(schema["properties"]) - {"global"}
    values = merged(values, load(CHART / "example-values.yaml"))
    jsonschema.validate(values, schema)
    r = check(tmp_path, values["config"], values["rules"])
    assert r.returncode == 0, r.stdout + r.stderr
    for wrong in ({"memory": 10}, {"replicas": 3}, {"image": {**values["image"], "digest": "latest"}},
                  {"workload": {"kind": "DaemonSet"}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**values, **wrong}, schema)


@pytest.mark.parametrize("version", ["1.29", "1.31", "1.34"])
def test_the_charts_manifests_are_what_kubernetes_takes(version):
    """As kustomize's base has them; what other values make of the chart is ./dev package's."""
    made = [d for d in yaml.safe_load_all((DEPLOY / "kustomize" / "base" / "kveil.yaml").read_text()) if d]
    assert {"Deployment", "Job", "NetworkPolicy", "PodDisruptionBudget", "ConfigMap"} <= {d["kind"] for d in made}
    for manifest in made:
        kubernetes_validate.validate(manifest, version, strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**made[0], "sepc": {}}, version, strict=True)


def test_compose_files_name_what_is_there(tmp_path):
    for name in ("compose.yaml", "compose.demo.yaml"):
        compose = load(DOCKER / name)
        for service in compose["services"].values():
            assert set(service.get("depends_on", {})) <= set(compose["services"])
            for volume in service.get("volumes", []):
                source = volume.split(":")[0]
                assert (DOCKER / source).exists() if source.startswith(".") else source in compose["volumes"], volume
            if "build" in service:
                assert (DOCKER / service["build"]["context"] / service["build"]["dockerfile"]).exists()
                assert service["read_only"] and service["cap_drop"] == ["ALL"]
    r = check(tmp_path, load(DOCKER / "kveil.yaml"), {"orders.yaml": (ROOT / "rules" / "orders.yaml").read_text()})
    assert r.returncode == 0, r.stdout + r.stderr


def test_compose_services_that_serve_come_back_and_one_broker_is_enough():
    services = load(DOCKER / "compose.yaml")["services"]
    for name, service in services.items():
        assert (service.get("restart") == "unless-stopped") == ("ports" in service or name == "kafka"), name
    # A single broker cannot hold the three copies of its own topics that it would want.
    assert {k: v for k, v in services["kafka"]["environment"].items() if k.endswith(("REPLICATION_FACTOR", "MIN_ISR"))} == {
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": 1, "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": 1, "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": 1}


def test_each_compose_service_that_serves_has_a_health_check():
    image = "HEALTHCHECK" in (DOCKER / "Dockerfile").read_text()
    for name in ("compose.yaml", "compose.demo.yaml"):
        for service, what in load(DOCKER / name)["services"].items():
            if "ports" in what or service == "kafka":
                assert what.get("healthcheck", {}).get("test") or ("build" in what and image), service
            for port in what.get("ports", []):
                assert port.startswith("127.0.0.1:"), f"{service} is open to the network"


def build_depends():
    text = re.search(r"^Build-Depends:\n((?: .*\n)+)", (ROOT / "debian" / "control").read_text(), re.M).group(1)
    return {line.split()[0].rstrip(",") for line in text.splitlines()}


def test_the_packages_are_built_from_what_the_image_is():
    image = set((DOCKER / "packages").read_text().split())
    # build-essential has the compiler; certificates are for the image.
    assert image - build_depends() == {"ca-certificates", "gcc", "libc6-dev"}
    assert build_depends() - image == {"debhelper-compat", "dh-sequence-installsysusers"}
    dev = re.search(r"^Package: libkveil-dev\n(?:.*\n)*?Depends:\n((?: .*\n)+)", (ROOT / "debian" / "control").read_text(), re.M).group(1)
    assert {p for p in image if re.match(r"(lib|zlib).*-dev$", p)} - {"libc6-dev"} <= set(re.findall(r"[\w.+-]+-dev", dev))


def test_one_version_everywhere():
    version = re.search(r"version: '([^']+)'", (ROOT / "meson.build").read_text()).group(1)
    chart = load(CHART / "Chart.yaml")
    assert chart["version"] == chart["appVersion"] == version
    assert re.match(r"kveil \(([^)]+)\)", (ROOT / "debian" / "changelog").read_text()).group(1) == version
    assert f"ARG VERSION={version}\n" in (DOCKER / "Dockerfile").read_text()


def test_a_list_of_contents_names_what_the_loader_takes():
    r = subprocess.run([sys.executable, str(DEPLOY / "sbom.py"), str(PLAIN), "1.2.3"], capture_output=True, text=True, check=True)
    bom = json.loads(r.stdout)
    names = {c["name"] for c in bom["components"]}
    assert {"libc6", "librdkafka1", "libssl3", "libyaml-0-2"} <= {re.sub("t64$", "", n) for n in names}
    assert bom["dependencies"][0]["dependsOn"] == [c["purl"] for c in bom["components"]]
    assert len({c["purl"] for c in bom["components"]}) == len(names)


def test_a_list_of_contents_finds_what_ldd_finds():
    """Without running the program, which may be for another processor."""
    r = subprocess.run([sys.executable, str(DEPLOY / "sbom.py"), "--libraries", str(PLAIN)], capture_output=True, text=True, check=True)
    ldd = subprocess.run(["ldd", str(PLAIN)], capture_output=True, text=True, check=True).stdout
    assert sorted(r.stdout.split()) == sorted(re.findall(r"(/\S+) \(0x", ldd))


def test_the_image_is_crossed_for_another_processor_alone():
    def cross(*args):
        return subprocess.run([str(DOCKER / "cross.sh"), *args], capture_output=True, text=True)

    here = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True).stdout.strip()
    assert (DOCKER / "packages").read_text().splitlines()[1].startswith("librdkafka-dev ")
    for arch, cpu in (("amd64", "x86_64"), ("arm64", "aarch64")):
        assert (f"c = '{cpu}-linux-gnu-gcc'" in cross("file", arch).stdout) == (arch != here)
    assert cross("file").stdout == "" and cross("file").returncode == 0
    assert cross("file", "riscv64").returncode == 2


def test_the_unit_is_one_that_systemd_takes(tmp_path):
    unit = tmp_path / "kveil@.service"
    text = (DEPLOY / "systemd" / "kveil@.service").read_text()
    unit.write_text(text.replace("/usr/bin/kveil", str(KVEIL)).replace("Documentation=man:kveil(1)\n", ""))
    r = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True)
    assert "kveil@" not in r.stderr, r.stderr
    r = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager", str(unit)],
                       capture_output=True, text=True)
    assert r.returncode == 0, r.stdout[-300:]


def test_a_service_manager_hears_of_readiness_and_the_end(make_kveil, tmp_path):
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))
    manager.settimeout(30)
    k = make_kveil()
    k.rules('  - {path: "$.a", mask: {}}')
    k.init()
    p = k.start(env={"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000000"})
    heard = []

    def hears(text):
        while text not in heard:
            heard.append(manager.recv(4096).decode())
        return True

    for text in ("READY=1", "STATUS=ready", "WATCHDOG=1"):
        assert hears(text)
    assert k.stop(p) == 0
    assert hears("STOPPING=1\nSTATUS=draining")
    manager.close()
