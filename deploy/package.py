#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""./dev package: what of docker/ and deploy/ takes minutes to prove. Closes with `N passed, N failed`.

    chart    helm lint, the chart over a matrix of values, every manifest against four versions of Kubernetes, checkov
    compose  the compose files, by the specification's own loader
    debs     packages for Debian 12 and 13: built, lintian, installed in fresh chroots, the demo run, a program linked
    image    a base by mmdebstrap, the image by buildah, run as uid 65532 on a read-only root
"""
import itertools
import json
import os
import pathlib
import re
import shutil
import sys
import tempfile

import yaml

import debs
from tools import BIN, CACHE, ROOT, container, count, results, run

CHART = ROOT / "deploy" / "helm" / "kveil"
HELM = "helm.sh/helm/v3/cmd/helm@v3.19.2"
COMPOSE = "github.com/compose-spec/compose-go/v2/cmd@v2.9.0"
KUSTOMIZE = "sigs.k8s.io/kustomize/kustomize/v5@v5.7.1"
KUBERNETES = ["1.29", "1.31", "1.33", "1.34"]

# What checkov asks for and the chart leaves open, and why.
EXCEPTIONS = {
    "CKV_K8S_11": "a CPU limit throttles the consumer in the middle of its work; requests are set, cpu.limit is there",
    "CKV_K8S_43": "the digest is the user's to pin: image.digest",
    "CKV_K8S_35": "secrets are mounted as files",
    "CKV_K8S_21": "the release's namespace",
    "CKV_K8S_15": "IfNotPresent with a digest or a version that does not move",
    "CKV_K8S_8": "the test pod and the job have an end", "CKV_K8S_9": "the test pod and the job have an end",
}

# Values of each axis; the matrix is each axis alone and all pairs of them.
AXES = {
    "kind": [["--set", f"workload.kind={k}"] for k in ("StatefulSet", "NativeSidecar", "Sidecar")],
    "scaling": [["--set", "autoscaling.enabled=true"], ["--set", "keda.enabled=true"]],
    "watching": [["--set", "serviceMonitor.enabled=true,podMonitor.enabled=true,prometheusRule.enabled=true,dashboard.enabled=true"]],
    "bare": [["--set", "networkPolicy.enabled=false,podDisruptionBudget.enabled=false,serviceAccount.create=false,keysInit.enabled=false"]],
    "image": [["--set", "image.digest=sha256:" + "0" * 64]],
    "more": [["--set-json", 'extraEnv=[{"name":"A","value":"b"}]', "--set-json", 'nodeSelector={"a":"b"}', "--set",
              "priorityClassName=high,allowUnlockedKeys=true,preStopSleepSeconds=5"]],
}


def tool(module):
    """A program out of the Go module proxy, in a folder of its own."""
    folder = CACHE / "bin" / re.sub(r"\W", "-", module)
    if not folder.exists():
        run("go", "install", module, env={**os.environ, "GOBIN": str(folder)}).check_returncode()
    return next(folder.iterdir())


def compose():
    """The compose files as the specification's own loader reads them."""
    for name in ("compose.yaml", "compose.demo.yaml"):
        path = ROOT / "docker" / name
        r = run(tool(COMPOSE), path)
        count(f"{name} loads", r.returncode == 0, r.stderr)
        with tempfile.TemporaryDirectory() as folder:
            bad = pathlib.Path(folder) / name
            bad.write_text(path.read_text().replace("cap_drop:", "cap_dorp:"))
            count(f"{name} with a typing error does not", run(tool(COMPOSE), bad).returncode != 0)


def matrix():
    choices = [(axis, values) for axis, list_of in AXES.items() for values in list_of]
    yield []
    for _, values in choices:
        yield values
    for (a, x), (b, y) in itertools.combinations(choices, 2):
        if a != b:
            yield x + y


def patched(documents):
    """A sidecar's patch on a workload of somebody's own: the pod that comes of it."""
    patch = next((yaml.safe_load(d["data"]["patch.yaml"]) for d in documents if "patch.yaml" in d.get("data", {})), None)
    if not patch:
        return []
    pod = patch["spec"]["template"]
    pod["metadata"]["labels"] = {"app": "etl"}
    pod["spec"]["containers"] = [{"name": "etl", "image": "etl"}] + pod["spec"].get("containers", [])
    return [{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "etl"},
             "spec": {"selector": {"matchLabels": {"app": "etl"}}, "template": pod}}]


def validate(documents, folder, name):
    """Against Kubernetes' own schemas; the operators' kinds have none there."""
    core = [d for d in documents + patched(documents) if not re.search("monitoring.coreos|keda", d["apiVersion"])]
    path = folder / "all.yaml"
    path.write_text(yaml.safe_dump_all(core))
    for version in KUBERNETES:
        r = run(BIN / "kubernetes-validate", "--strict", "-k", version, path)
        count(f"{name} on Kubernetes {version}", r.returncode == 0, r.stdout + r.stderr)


def restricted(documents, name):
    """The restricted pod security standard, by hand: what admission would ask."""
    for d in documents:
        pod = d if d["kind"] == "Pod" else d.get("spec", {}).get("template", {})
        for c in pod.get("spec", {}).get("containers", []) if pod else []:
            s = {**pod["spec"].get("securityContext", {}), **c.get("securityContext", {})}
            ok = (s.get("runAsNonRoot") and s.get("seccompProfile") == {"type": "RuntimeDefault"} and
                  s.get("allowPrivilegeEscalation") is False and s.get("capabilities") == {"drop": ["ALL"]} and
                  s.get("readOnlyRootFilesystem") and pod["spec"].get("automountServiceAccountToken") is False)
            count(f"{name}: {d['kind']} {d['metadata']['name']} is restricted", ok, json.dumps(s))


def chart():
    program = tool(HELM)
    r = run(program, "lint", "--strict", CHART)
    count("helm lint", r.returncode == 0, r.stdout + r.stderr)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for values in matrix():
            name = "chart " + " ".join(v for v in values if not v.startswith("--"))
            r = run(program, "template", "r", CHART, "--namespace", "etl", "--kube-version", "1.31", *values)
            if "autoscaling.enabled" in name and "keda.enabled" in name:
                count(f"{name} is refused", r.returncode != 0)
                continue
            count(name, r.returncode == 0, r.stderr)
            if r.returncode:
                continue
            documents = [d for d in yaml.safe_load_all(r.stdout) if d]
            validate(documents, folder, name)
            restricted(documents, name)
        for scaler, key in (("autoscaling", "maxReplicas"), ("keda", "maxReplicaCount")):
            for given, most in (("inputPartitions=4,config.workers=2", 2), ("inputPartitions=1", 1), ("inputPartitions=100", 6)):
                r = run(program, "template", "r", CHART, "--kube-version", "1.31", "--set", f"{scaler}.enabled=true,{given}")
                specs = [d["spec"] for d in yaml.safe_load_all(r.stdout) if d and key in d.get("spec", {})]
                ok = len(specs) == 1 and specs[0][key] == most >= specs[0][key.replace("max", "min")]
                count(f"{scaler} is capped by {given}", ok, r.stderr + str(specs))
        for wrong in (["--set", "memory=10"], ["--set", "replicas=3"], ["--set", "workload.kind=DaemonSet"]):
            r = run(program, "template", "r", CHART, *wrong)
            count(f"the schema refuses {wrong[1]}", r.returncode != 0)
        r = run(program, "template", "kveil", CHART, "--namespace", "kveil", "--no-hooks", "--kube-version", "1.31")
        rendered = r.stdout
        count("the chart's defaults", r.returncode == 0 and "kind: Deployment" in rendered, r.stderr)
        base = ROOT / "deploy" / "kustomize" / "base" / "kveil.yaml"
        if "--write" in sys.argv:
            base.write_text(rendered)
        count("the base of kustomize is the chart's output (--write)", base.exists() and base.read_text() == rendered)
        r = run(tool(KUSTOMIZE), "build", ROOT / "deploy" / "kustomize" / "overlays" / "example")
        count("kustomize builds the overlay", r.returncode == 0 and "replicas: 3" in r.stdout, r.stderr)
        validate([d for d in yaml.safe_load_all(r.stdout) if d], folder, "the overlay")
        (folder / "all.yaml").write_text(rendered)
        if (BIN / "checkov").exists():
            r = run(BIN / "checkov", "--quiet", "--compact", "--framework", "kubernetes", "-f", folder / "all.yaml",
                    "--skip-check", ",".join(EXCEPTIONS))
            count("checkov on the manifests", r.returncode == 0, r.stdout[-3000:])
            r = run(BIN / "checkov", "--quiet", "--compact", "--framework", "dockerfile", "-f", ROOT / "docker" / "Dockerfile")
            count("checkov on the image", r.returncode == 0, r.stdout[-3000:])


def buildah(*cmd, **kw):
    return run("buildah", "--storage-driver", "vfs", "--root", CACHE / "images", "--runroot", CACHE / "images-run", *cmd, **kw)


def base_image(suite):
    """Debian's slim image under its own name, made here."""
    name = f"localhost/debian:{suite}-slim"
    if buildah("inspect", "--type", "image", name).returncode == 0:
        return True
    tar = CACHE / f"{suite}.tar"
    r = run("mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", "--include=ca-certificates", suite, tar)
    if r.returncode:
        count("a base image", False, r.stderr[-2000:])
        return False
    container = buildah("from", "scratch").stdout.strip()
    buildah("add", container, tar, "/")
    r = buildah("commit", "--rm", container, name)
    tar.unlink()
    return r.returncode == 0


def image():
    if not base_image("trixie"):
        return
    source = pathlib.Path(tempfile.mkdtemp())
    run("git", "clone", "-q", ROOT, source)
    digests = []
    for _ in range(2):
        r = buildah("bud", "--isolation", "chroot", "--no-cache", "--timestamp", "0", "--pull-never", "-f", "docker/Dockerfile",
                    "-t", "localhost/kveil:test", ".", cwd=source)
        count("the image builds", r.returncode == 0, (r.stdout + r.stderr)[-3000:])
        if r.returncode:
            return
        digests.append(json.loads(buildah("inspect", "--type", "image", "localhost/kveil:test").stdout)["FromImageDigest"])
    count("two builds, one digest", digests[0] == digests[1], str(digests))
    name = buildah("from", "--pull-never", "localhost/kveil:test").stdout.strip()
    root = pathlib.Path(buildah("mount", name).stdout.strip())
    files = [p for p in root.rglob("*") if p.is_file() and not p.is_symlink()]
    size = sum(p.stat().st_size for p in files)
    print(f"image: {size / 2**20:.1f} MiB in {len(files)} files")
    count("under 60 MB", size < 60e6)
    count("no setuid file", not [p for p in files if p.stat().st_mode & 0o6000])
    count("no shell, no package manager", not [p for p in files if re.fullmatch(r"(ba|da|z)?sh|busybox|apt.*|dpkg.*", p.name)])
    r = run(*container(root, ["/usr/bin/kveil", "version"]))
    count("kveil version in it", r.returncode == 0, r.stdout + r.stderr)
    r = run(*container(root, ["/usr/bin/kveil", "demo", "--once"]), timeout=180)
    count("kveil demo --once in it", r.returncode == 0, (r.stdout + r.stderr)[-3000:])
    buildah("umount", name)
    buildah("rm", name)
    shutil.rmtree(source)


def main():
    stages = {"chart": chart, "compose": compose, "debs": debs.stage, "image": image}
    for name in [s for s in stages if s in sys.argv] or stages:
        stages[name]()
    return results.close()


if __name__ == "__main__":
    sys.exit(main())
