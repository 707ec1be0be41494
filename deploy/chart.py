# SPDX-License-Identifier: Apache-2.0
"""The chart: over a matrix of values, each manifest against Kubernetes' own schemas and the operators', and what no schema says."""
import copy
import functools
import itertools
import json
import pathlib
import re
import sys
import tempfile

import jsonschema
import kubernetes_validate
import yaml

from tools import BIN, ROOT, count, module_folder, program, run

CHART = ROOT / "deploy" / "helm" / "kveil"
EXAMPLE = CHART / "example-values.yaml"
BASE = ROOT / "deploy" / "kustomize" / "base" / "kveil.yaml"
OVERLAY = ROOT / "deploy" / "kustomize" / "overlays" / "example"
HELM = "helm.sh/helm/v3/cmd/helm@v3.19.2"
KUSTOMIZE = "sigs.k8s.io/kustomize/kustomize/v5@v5.7.1"
KUBERNETES = ["1.29", "1.31", "1.33", "1.34"]
OPERATORS = {"monitoring.coreos.com": ("github.com/prometheus-operator/prometheus-operator@v0.85.0", "example/prometheus-operator-crd"),
             "keda.sh": ("github.com/kedacore/keda/v2@v2.17.2", "config/crd/bases")}

# What checkov asks for and the chart leaves open, and why.
EXCEPTIONS = {
    "CKV_K8S_11": "a CPU limit throttles the consumer in the middle of its work; requests are set, cpu.limit is there",
    "CKV_K8S_43": "the digest is the user's to pin: image.digest",
    "CKV_K8S_15": "IfNotPresent with a digest or a version that does not move",
    "CKV_K8S_8": "the test pod and the job have an end", "CKV_K8S_9": "the test pod and the job have an end",
}

# Values of each axis; the matrix is each of them alone and all pairs of two axes.
AXES = {
    "kind": [["--set", f"workload.kind={k}"] for k in ("StatefulSet", "NativeSidecar", "Sidecar")],
    "scaling": [["--set", "autoscaling.enabled=true"], ["--set", "keda.enabled=true,keda.authenticationRef=kafka,keda.topics={etl.orders}"]],
    "watching": [["--set", "serviceMonitor.enabled=true"], ["--set", "podMonitor.enabled=true"],
                 ["--set", "prometheusRule.enabled=true,prometheusRule.docs=https://example.org/docs/,dashboard.enabled=true"]],
    "bare": [["--set", "networkPolicy.enabled=false,podDisruptionBudget.enabled=false,serviceAccount.create=false,keysInit.enabled=false"],
             ["--set", "keysInit.ttlSecondsAfterFinished=60"]],
    "replay": [["--set", "replay.enabled=true"]],
    "image": [["--set", "image.digest=sha256:" + "0" * 64, "--set-json", 'image.pullSecrets=[{"name":"r"}]']],
    "more": [["--set-json", 'extraEnv=[{"name":"A","value":"b"}]', "--set-json", 'nodeSelector={"a":"b"}', "--set-json", 'podLabels={"a":"b"}',
              "--set-json", 'podAnnotations={"a":"b"}', "--set-json", 'tolerations=[{"key":"a","operator":"Exists"}]',
              "--set-json", 'networkPolicy.scrapeFrom=[{"namespaceSelector":{}}]', "--set-json", 'networkPolicy.kafka.to=[{"podSelector":{}}]',
              "--set-json", 'extraVolumes=[{"name":"x","emptyDir":{}}]', "--set-json", 'extraVolumeMounts=[{"name":"x","mountPath":"/x"}]',
              "--set", "priorityClassName=high,allowUnlockedKeys=true,preStopSleepSeconds=5,cpu.limit=1,secrets={kveil,more}"],
             ["--set-json", 'extraManifests=[{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"extra"},"data":{"a":"b"}}]']],
}
REFUSED = [
    ("memory=10", "1.31"), ("replicas=3", "1.31"), ("workload.kind=DaemonSet", "1.31"), ("autoscaling.enabled=true,keda.enabled=true", "1.31"),
    ("preStopSleepSeconds=5", "1.29"), ("preStopSleepSeconds=15", "1.31"), ("workload.kind=NativeSidecar", "1.28"),
    ("terminationGracePeriodSeconds=10", "1.31"), ("prometheusRule.docs=docs", "1.31"), ("config.instance=a", "1.31"),
    ("config.limits.memory=1GiB", "1.31"), ("config.kafka.bootstrap_server=kafka:9092", "1.31"), ("config.http.listen=127.0.0.1:9819", "1.31"),
    ("keda.enabled=true", "1.31"),
]
# Of somebody who took nothing from the example.
OWN = {"config": {"kafka": {"bootstrap_servers": "kafka:9092", "group_id": "plat"}, "keys": {
    "registry": "kafka:keys", "keks": {"bao": {"provider": "transit", "url": "https://bao:8200", "key": "k", "token_file": "/etc/kveil/secrets/token"}},
    "data": {"card": {"algorithm": "aes-256-gcm", "kek": "bao"}, "dead-letters": {"algorithm": "aes-256-gcm", "kek": "bao"}}}},
    "rules": {"plat.yaml": 'name: plat\ntopics: [plat]\nformat: json\nfields: [{path: "$.card", encrypt: {key: card}}]\n'}}


def helm(*values, name="r", namespace="etl", version="1.31", hooks=True, example=True):
    return run(program(HELM), "template", name, CHART, "--namespace", namespace, "--kube-version", version, *([] if hooks else ["--no-hooks"]),
               *(["--values", EXAMPLE] if example else []), *values)


def documents(text):
    return [d for d in yaml.safe_load_all(text) if d]


def matrix():
    yield []
    yield from itertools.chain(*AXES.values())
    for one, other in itertools.combinations(AXES.values(), 2):
        for x, y in itertools.product(one, other):
            yield x + y


def patched(docs):
    """A sidecar's patch on a workload of somebody's own: the pod that comes of it."""
    patch = next((yaml.safe_load(d["data"]["patch.yaml"]) for d in docs if "patch.yaml" in d.get("data", {})), None)
    if not patch:
        return []
    pod = patch["spec"]["template"]
    pod["metadata"]["labels"] = {"app": "etl"}
    pod["spec"]["containers"] = [{"name": "etl", "image": "etl"}] + pod["spec"].get("containers", [])
    return [{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "etl"},
             "spec": {"selector": {"matchLabels": {"app": "etl"}}, "template": pod}}]


def strict(schema):
    """A custom resource's schema as JSON Schema: no member that it does not name, and a number or a text where it says so."""
    if isinstance(schema, list):
        return [strict(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    made = {k: strict(v) for k, v in schema.items()}
    if schema.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
        made.pop("anyOf", None)
        made["type"] = ["integer", "string"]
    elif schema.get("type") == "object" and "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    return made


@functools.cache
def operators_schema(group, kind, version):
    module, folder = OPERATORS[group]
    path = module_folder(module) / folder / f"{group}_{kind.lower()}s.yaml"
    served = {v["name"]: v["schema"]["openAPIV3Schema"] for v in yaml.safe_load(path.read_text())["spec"]["versions"]}
    schema = strict(copy.deepcopy(served[version]))
    schema["properties"]["metadata"] = {"type": "object"}
    return schema


@functools.cache
def complaint(version, manifest):
    """What Kubernetes would say, "" for nothing. Most manifests of the matrix are the same ones."""
    try:
        kubernetes_validate.validate(json.loads(manifest), version, strict=True)
    except kubernetes_validate.ValidationError as e:
        return f"{list(e.path)}: {e.message}"
    return ""


def validate(docs, name):
    """Against Kubernetes' own schemas, and the operators' for theirs."""
    theirs = [d for d in docs if d["apiVersion"].split("/")[0] in OPERATORS]
    for version, d in itertools.product(KUBERNETES, [d for d in docs if d not in theirs] + patched(docs)):
        wrong = complaint(version, json.dumps(d))
        count(f"{name}: {d['kind']} {d['metadata']['name']} on Kubernetes {version}", not wrong, wrong)
    for d in theirs:
        group, version = d["apiVersion"].split("/")
        wrong = list(jsonschema.Draft7Validator(operators_schema(group, d["kind"], version)).iter_errors(d))
        count(f"{name}: {d['kind']} as its operator takes it", not wrong, "\n".join(e.message for e in wrong))


def restricted(docs, name):
    """The restricted pod security standard, by hand: what admission would ask. Of somebody's own pod kveil's container alone."""
    for d in docs + patched(docs):
        pod = (d if d["kind"] == "Pod" else d.get("spec", {}).get("template", {})).get("spec", {})
        for c in pod.get("containers", []) + pod.get("initContainers", []):
            s = {**pod.get("securityContext", {}), **c.get("securityContext", {})}
            ok = (s.get("runAsNonRoot") and s.get("seccompProfile") == {"type": "RuntimeDefault"} and
                  s.get("allowPrivilegeEscalation") is False and s.get("capabilities") == {"drop": ["ALL"]} and
                  s.get("readOnlyRootFilesystem") and pod.get("automountServiceAccountToken") is False)
            if c["name"] != "etl":
                count(f"{name}: {d['kind']} {d['metadata']['name']} is restricted", ok, json.dumps(s))


def over_the_matrix():
    for values in matrix():
        name = "chart " + " ".join(v for v in values if not v.startswith("--"))
        r = helm(*values)
        count(name, r.returncode == 0, r.stderr)
        if r.returncode == 0:
            validate(documents(r.stdout), name)
            restricted(documents(r.stdout), name)
    for wrong, version in REFUSED:
        r = helm("--set", wrong, version=version)
        count(f"{wrong} is refused on {version}", r.returncode != 0)


def one(docs, kind, part=""):
    return next(d for d in docs if d["kind"] == kind and part in d["metadata"]["name"])


def what_is_missing():
    for values, said in (([], "config: "), (["--set-json", f"config={json.dumps(OWN['config'])}"], "rules: ")):
        r = helm(*values, example=False)
        count(f"what is missing is said: {said}", r.returncode and said in r.stderr and "example-values.yaml" in r.stderr, r.stdout + r.stderr)


def nothing_of_the_sample():
    r = helm(*itertools.chain.from_iterable(("--set-json", f"{k}={json.dumps(v)}") for k, v in OWN.items()), example=False)
    docs = documents(r.stdout) if r.returncode == 0 else []
    config = yaml.safe_load(one(docs, "ConfigMap", "config")["data"]["kveil.yaml"]) if docs else {}
    count("nothing of a sample comes into the user's keys and rules", config.get("keys") == OWN["config"]["keys"] and
          list(one(docs, "ConfigMap", "rules")["data"]) == ["plat.yaml"], r.stderr + str(config))


def keys_are_made():
    docs = documents(helm().stdout)
    hooks = [d["metadata"]["name"] for d in docs if "helm.sh/hook" in d["metadata"].get("annotations", {})]
    count("nothing but the test waits for ready pods before it runs", hooks == ["r-ready"], str(hooks))

    def job(*values, **kw):
        return one(documents(helm(*values, **kw).stdout), "Job")["metadata"]["name"]

    names = [job("--set", v) for v in ("memory=512", "workload.replicas=3", "image.tag=x", "config.keys.data.new.kek=local,config.keys.data.new.algorithm=aes-256-gcm",
                                               "secrets={a,b}")]
    count("another image or configuration is another job, for one cannot be changed", names[0] == names[1] == job() and len(set(names)) == 4,
          str(names))
    # RFC 1123, as the job's pods have it in a label.
    long = [job(name="r" * 52 + end) for end in "ab"]
    count("a job's name is no longer than a label", len(set(long)) == 2 and all(len(n) <= 63 for n in long), str(long))


def helm_test_comes_in():
    docs = documents(helm("--set-json", 'networkPolicy.scrapeFrom=[{"namespaceSelector":{}}]').stdout)
    labels = one(docs, "Pod", "ready")["metadata"]["labels"]
    peers = [p for rule in one(docs, "NetworkPolicy")["spec"]["ingress"] for p in rule["from"]]
    count("helm test may ask where only others were named", {"namespaceSelector": {}} in peers and {"podSelector": {"matchLabels": labels}} in peers,
          str(peers))


def what_values_mean():
    for scaler, key in (("autoscaling", "maxReplicas"), ("keda", "maxReplicaCount")):
        for given, most in (("inputPartitions=4,config.workers=2", 2), ("inputPartitions=1", 1), ("inputPartitions=100", 6)):
            r = helm("--set", f"{scaler}.enabled=true,keda.topics={{etl.orders}},{given}")
            specs = [d["spec"] for d in documents(r.stdout) if key in d.get("spec", {})]
            ok = len(specs) == 1 and specs[0][key] == most >= specs[0][key.replace("max", "min")]
            count(f"{scaler} is capped by {given}", ok, r.stderr + str(specs))

    def pod(*values, kind="Deployment"):
        return one(documents(helm(*values).stdout), kind)["spec"]["template"]

    # Numbers of a file are floats to a template.
    large = ("keda.lagThreshold", "keysInit.ttlSecondsAfterFinished", "memory", "terminationGracePeriodSeconds")
    r = helm("--set", "keda.enabled=true,keda.topics={etl.orders}", *itertools.chain.from_iterable(("--set-json", f"{name}=2000000") for name in large))
    count("large numbers are written out", r.stdout.count("2000000") >= len(large) and not re.search(r"\de\+\d", r.stdout), r.stderr + r.stdout)

    container = pod("--set", "memory=512")["spec"]["containers"][0]
    count("one value bounds the container and kveil", container["resources"]["limits"]["memory"] == "512Mi" and
          {"name": "KVEIL_LIMITS_MEMORY", "value": "384MiB"} in container["env"], str(container))
    sums = [pod(*v)["metadata"]["annotations"]["checksum/config"]
            for v in ([], ["--set", "config.workers=2"], ["--set", r"rules.more\.yaml=name: more"])]
    count("a new configuration restarts the pods, new rules do not", sums[0] == sums[2] != sums[1], str(sums))
    count("an image by digest", pod("--set", "image.digest=sha256:" + "0" * 64)["spec"]["containers"][0]["image"] == "kveil@sha256:" + "0" * 64)

    stateful = documents(helm("--set", "workload.kind=StatefulSet").stdout)
    spec = one(stateful, "StatefulSet")["spec"]
    own = spec["template"]["spec"]
    count("a StatefulSet's pods have host names that last", spec["serviceName"] == one(stateful, "Service")["metadata"]["name"] and
          not own.keys() & {"hostNetwork", "hostname", "setHostnameAsFQDN"}, str(own))
    r = helm("--set-json", 'config.instance="${env:POD}"')
    count("an instance of each pod's own is the user's to name", r.returncode == 0 and "instance: ${env:POD}" in r.stdout, r.stderr)

    for kind, place in (("NativeSidecar", "initContainers"), ("Sidecar", "containers")):
        docs = documents(helm("--set", f"workload.kind={kind},preStopSleepSeconds=5").stdout)
        spec = patched(docs)[0]["spec"]["template"]["spec"]
        beside = next(c for c in spec[place] if c["name"] == "kveil")
        count(f"{kind}: beside the others, probed, sleeps before it drains",
              (beside.get("restartPolicy") == "Always") == (kind == "NativeSidecar") and "startupProbe" in beside and
              beside["lifecycle"]["preStop"]["sleep"]["seconds"] == 5 and spec["terminationGracePeriodSeconds"] >= 25, str(beside))
        count(f"{kind}: a job makes its keys", one(docs, "Job", "keys-init"))

    policy = one(documents(helm().stdout), "NetworkPolicy")["spec"]
    count("nothing comes in but to the side port", [p["port"] for rule in policy["ingress"] for p in rule["ports"]] == ["side"], str(policy))
    count("nothing leaves but to the ports that values name", {p["port"] for rule in policy["egress"] for p in rule["ports"]}
          == {53, 9092, 9093, 8200, 8081, 8443}, str(policy))
    addresses = {"config.kafka": {"bootstrap_servers": "b-1:9098, b-2:9096", "group_id": "g",
                                  "properties": {"sasl.oauthbearer.token.endpoint.url": "https://id.example/token"}},
                 "config.keys.keks.bao": {"provider": "transit", "url": "https://bao.example/v", "key": "k", "token_file": "/t"},
                 "config.schema_registry": {"url": ["http://registry/apis/ccompat/v7", "https://registry:9443"]}}
    policy = one(documents(helm(*itertools.chain.from_iterable(("--set-json", f"{k}={json.dumps(v)}") for k, v in addresses.items())).stdout), "NetworkPolicy")
    ports = [[p["port"] for p in rule["ports"]] for rule in policy["spec"]["egress"][1:]]
    count("and to the ports of the addresses in config", ports == [[9092, 9093, 9098, 9096, 443], [8200, 443], [8081, 8443, 80, 9443]], str(ports))
    rules = one(documents(helm("--set", "prometheusRule.enabled=true,prometheusRule.docs=https://example.org/docs/").stdout), "PrometheusRule")
    links = [r["annotations"].get("runbook_url", "") for g in rules["spec"]["groups"] for r in g["rules"]]
    for more, replicas in (("workload.replicas=4", 4), ("autoscaling.enabled=true,autoscaling.minReplicas=3", 3),
                           ("keda.enabled=true,keda.topics={a},keda.minReplicas=5,inputPartitions=3", 3)):
        made = helm("--set", f"prometheusRule.enabled=true,{more}").stdout
        count(f"with {more}, an alert misses the {replicas}th replica", f'up{{job="kveil"}} == 1) < {replicas}\n' in made and 'up{job="kveil"} offset 1h' not in made, made)
    count("each alert links to its runbook", links and all(re.fullmatch(r"https://example.org/docs/operations\.md#kveil\w+", u) for u in links), str(links))


def kustomize():
    r = helm("--set", "keysInit.ttlSecondsAfterFinished=60", name="kveil", namespace="kveil", hooks=False)
    if "--write" in sys.argv:
        BASE.write_text(r.stdout)
    count("the base of kustomize is the chart's output (--write)", r.returncode == 0 and BASE.exists() and BASE.read_text() == r.stdout, r.stderr)
    r = run(program(KUSTOMIZE), "build", OVERLAY)
    count("kustomize builds the overlay", r.returncode == 0 and "replicas: 3" in r.stdout, r.stderr)
    validate(documents(r.stdout), "the overlay")


def checkov(folder):
    def failed(framework, path):
        r = run(BIN / "checkov", "--quiet", "--compact", "-o", "json", "--framework", framework, "-f", path)
        found = json.loads(r.stdout)
        return {c["check_id"]: f"{c['check_name']}: {c['resource']}" for c in found.get("results", {}).get("failed_checks", [])}

    path = folder / "all.yaml"
    path.write_text(helm("--set", "workload.kind=StatefulSet").stdout + "---\n" + helm().stdout)
    wrong = failed("kubernetes", path)
    count("checkov on the manifests", not wrong.keys() - EXCEPTIONS.keys(), str(wrong))
    count("no exception that checkov does not ask for", not EXCEPTIONS.keys() - wrong.keys(), str(EXCEPTIONS.keys() - wrong.keys()))
    wrong = failed("dockerfile", ROOT / "docker" / "Dockerfile")
    count("checkov on the image", not wrong, str(wrong))


def stage():
    r = run(program(HELM), "lint", "--strict", "--values", EXAMPLE, CHART)
    count("helm lint", r.returncode == 0, r.stdout + r.stderr)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        over_the_matrix()
        what_values_mean()
        what_is_missing()
        nothing_of_the_sample()
        keys_are_made()
        helm_test_comes_in()
        kustomize()
        checkov(folder)
