# SPDX-License-Identifier: Apache-2.0
"""What docs/install.md and docs/operations.md type for a cluster, against Kubernetes' own API server, which admits pods of the
restricted standard alone. No node is there to run them: this file plays it, and says of each job and of Helm's test that they ended well."""
import base64
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

import yaml

from chart import EXAMPLE, HELM
from tools import CACHE, ROOT, copy_source, count, go, program, run, typed

sys.path.insert(0, str(ROOT / "tests" / "integration"))
from broker import free_port  # noqa: E402

KUBERNETES, ETCD = "1.33.5", "3.5.21"
# Kubernetes' own go.mod names these by folders of its tree.
STAGING = """api apiextensions-apiserver apimachinery apiserver cli-runtime client-go cloud-provider cluster-bootstrap code-generator
component-base component-helpers controller-manager cri-api cri-client csi-translation-lib dynamic-resource-allocation endpointslice
externaljwt kms kube-aggregator kube-controller-manager kube-proxy kube-scheduler kubectl kubelet metrics mount-utils
pod-security-admission sample-apiserver""".split()
STARTED_WITHIN_S = 120
END = "2026-01-01T00:00:00Z"
VALUES = {**yaml.safe_load(EXAMPLE.read_text()), "inputPartitions": 8, "workload": {"replicas": 3}}
OWN = """{apiVersion: apps/v1, kind: Deployment, metadata: {name: etl}, spec: {selector: {matchLabels: {app: etl}}, template: {metadata: {labels:
  {app: etl}}, spec: {securityContext: {runAsNonRoot: true, runAsUser: 1, seccompProfile: {type: RuntimeDefault}}, containers: [{name: etl, image: etl,
  securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}}]}}}}"""


def server():
    """The program of deploy/cluster/main.go, built once (ten minutes on two cores)."""
    folder = CACHE / "bin" / f"kubernetes-{KUBERNETES}"
    if not (folder / "kube").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "main.go").write_text((ROOT / "deploy" / "cluster" / "main.go").read_text())
        modules = "\n".join(f"replace k8s.io/{m} => k8s.io/{m} v0{KUBERNETES[1:]}" for m in STAGING)
        (folder / "go.mod").write_text(f"module kube\ngo 1.24.0\nrequire k8s.io/kubernetes v{KUBERNETES}\n"
                                       f"require go.etcd.io/etcd/server/v3 v{ETCD}\n{modules}\n")
        run(go(), "mod", "tidy", cwd=folder).check_returncode()
        # The version is the linker's to say, as in Kubernetes' own build.
        said = {"gitVersion": f"v{KUBERNETES}", "gitMajor": "1", "gitMinor": KUBERNETES.split(".")[1]}
        flags = "-s -w " + " ".join(f"-X k8s.io/component-base/version.{k}={v}" for k, v in said.items())
        run(go(), "build", "-trimpath", "-ldflags", flags, "-o", "kube", ".", cwd=folder, env={**os.environ, "CGO_ENABLED": "0"}).check_returncode()
    return folder / "kube"


class Cluster:
    """with Cluster(folder) as cluster: a shell that has kubectl and helm, in a copy of the tree."""

    def __init__(self, folder):
        self.folder, self.processes = folder, []
        self.tree = folder / "tree"
        copy_source(self.tree)
        (folder / "bin").mkdir()
        (folder / "bin" / "helm").symlink_to(program(HELM))
        (folder / "bin" / "kubectl").write_text(f'#!/bin/sh\nexec {server()} kubectl "$@"\n')
        (folder / "bin" / "kubectl").chmod(0o755)
        self.env = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "KUBECONFIG": str(folder / "config"), "HOME": str(folder)}
        self.over = threading.Event()

    def start(self, *args):
        with open(self.folder / f"{args[0]}.log", "w") as log:
            self.processes.append(subprocess.Popen([server(), *args], cwd=self.folder, stdout=log, stderr=log))

    def __enter__(self):
        etcd, peer, port = (free_port() for _ in range(3))
        self.start("etcd", "--data-dir", "etcd", "--listen-client-urls", f"http://127.0.0.1:{etcd}", "--advertise-client-urls",
                   f"http://127.0.0.1:{etcd}", "--listen-peer-urls", f"http://127.0.0.1:{peer}", "--unsafe-no-fsync")
        run("openssl", "genrsa", "-out", "accounts.key", "2048", cwd=self.folder).check_returncode()
        (self.folder / "tokens").write_text("token,me,1,system:masters\n")
        # Accounts come from a controller, which is not here.
        self.start("apiserver", "--etcd-servers", f"http://127.0.0.1:{etcd}", "--bind-address", "127.0.0.1", "--secure-port", str(port),
                   "--cert-dir", "certificates", "--token-auth-file", "tokens", "--disable-admission-plugins", "ServiceAccount",
                   "--service-cluster-ip-range", "10.0.0.0/24", "--service-account-issuer", "https://localhost",
                   "--service-account-key-file", "accounts.key", "--service-account-signing-key-file", "accounts.key")
        (self.folder / "config").write_text(yaml.safe_dump({
            "apiVersion": "v1", "kind": "Config", "current-context": "here", "users": [{"name": "me", "user": {"token": "token"}}],
            "clusters": [{"name": "here", "cluster": {"server": f"https://127.0.0.1:{port}", "insecure-skip-tls-verify": True}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}]}))
        end = time.time() + STARTED_WITHIN_S
        while time.time() < end and self.type("kubectl get namespace default").returncode:
            time.sleep(0.5)
        self.node = threading.Thread(target=self.play)
        self.node.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.node.join()
        for process in reversed(self.processes):
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()

    def type(self, script, timeout=300, **kw):
        return run("bash", "-euc", script, cwd=self.tree, env=self.env, timeout=timeout, **kw)

    def get(self, *what):
        return json.loads(self.type(f"kubectl get -o json {' '.join(what)}").stdout)

    def patch(self, kind, name, space, status):
        self.type(f"kubectl patch {kind} {name} -n {space} --subresource=status --type=merge -p '{json.dumps({'status': status})}'")

    def play(self):
        """A node on which every job and every test ends well, and a deployment is ready once its release's job made the keys."""
        done = {"startTime": END, "completionTime": END, "succeeded": 1, "conditions": [
            {"type": t, "status": "True", "lastTransitionTime": END, "lastProbeTime": END} for t in ("SuccessCriteriaMet", "Complete")]}
        while not self.over.wait(0.5):
            keys = set()
            for d in self.get("jobs,pods,deployments", "--all-namespaces").get("items", []):
                name, space, status = d["metadata"]["name"], d["metadata"]["namespace"], d.get("status", {})
                release = (space, d["metadata"].get("labels", {}).get("app.kubernetes.io/instance"))
                if status.get("succeeded"):
                    keys.add(release)
                elif d["kind"] == "Deployment":
                    if release in keys and status.get("observedGeneration") != d["metadata"]["generation"]:
                        self.get_ready(d)
                elif status.get("phase") != "Succeeded":
                    self.patch(d["kind"], name, space, done if d["kind"] == "Job" else {"phase": "Succeeded"})

    def get_ready(self, deployment):
        """As a controller would: by a replica set, which Helm looks at when it waits."""
        of, spec = deployment["metadata"], deployment["spec"]
        name, replicas = f"{of['name']}-{of['uid'][:8]}-{of['generation']}", spec["replicas"]
        self.type("kubectl create -f -", input=json.dumps({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {"name": name, "namespace": of["namespace"], "labels": spec["template"]["metadata"]["labels"], "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "Deployment", "name": of["name"], "uid": of["uid"], "controller": True}]},
            "spec": {"replicas": replicas, "selector": spec["selector"], "template": spec["template"]}}))
        self.patch("replicaset", name, of["namespace"], {"observedGeneration": 1, "replicas": replicas, "readyReplicas": replicas})
        self.patch("deployment", of["name"], of["namespace"], {"observedGeneration": of["generation"]})


def counted(cluster, name, script, said=""):
    r = cluster.type(script)
    return count(f"a cluster: {name}", r.returncode == 0 and said in r.stdout, f"{script}\n{r.stdout}{r.stderr}"[-4000:])


def admitted(cluster, name, kind, what="kveil", space="default"):
    """The pod of a workload, as a controller would make it."""
    template = cluster.get(kind, what, "-n", space)["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {**template["metadata"], "name": "try"}, "spec": template["spec"]}
    r = cluster.type(f"kubectl create -n {space} --dry-run=server -f -", input=json.dumps(pod))
    count(f"a cluster: {name}'s pod is admitted as restricted", r.returncode == 0, r.stderr)
    pod["spec"]["containers"][0]["securityContext"] = {}
    r = cluster.type(f"kubectl create -n {space} --dry-run=server -f -", input=json.dumps(pod))
    count(f"a cluster: {name}'s pod without its security context is not", "violates PodSecurity" in r.stderr, r.stderr)


def with_helm(cluster):
    if not counted(cluster, "install", typed("kubectl create secret"), "Phase:          Succeeded"):
        return
    secret = base64.b64decode(cluster.get("secret", "kveil")["data"]["kek"])
    count("a cluster: the secret has the key", len(secret) == 32)
    admitted(cluster, "the deployment", "deployment")
    counted(cluster, "scale", typed("workload.replicas=4"))
    count("a cluster: there are four replicas", cluster.get("deployment", "kveil")["spec"]["replicas"] == 4)
    counted(cluster, "upgrade and roll back", typed("helm rollback"))
    # Back from the upgrade (3) to what was before it (2, the one that scaled).
    history = json.loads(cluster.type("helm history kveil -o json").stdout)
    count("a cluster: the release is the one from before the upgrade", history[-1]["description"] == "Rollback to 2" and
          history[-1]["status"] == "deployed" and cluster.get("deployment", "kveil")["spec"]["replicas"] == 4, str(history))
    counted(cluster, "a job that replays dead letters", "helm upgrade kveil deploy/helm/kveil --values my-values.yaml --set replay.enabled=true && " +
            typed("cronjob/kveil-replay"), "job.batch/replay-1 created")
    counted(cluster, "away", "helm uninstall kveil && ! kubectl get deployment kveil 2>/dev/null")


def that_waits(cluster):
    """Pods are ready only when their keys are made: nothing that makes them may wait for the pods."""
    counted(cluster, "an install and an upgrade with a new key wait for ready pods",
            "helm install waits deploy/helm/kveil --values my-values.yaml --wait --atomic --timeout 120s && "
            "helm upgrade waits deploy/helm/kveil --values my-values.yaml --wait --atomic --timeout 120s "
            "--set config.keys.data.new.kek=local,config.keys.data.new.algorithm=aes-256-gcm && helm uninstall waits")


def stateful(cluster):
    counted(cluster, "exactly-once in a Deployment: the notes", "helm install x deploy/helm/kveil --values my-values.yaml --set config.delivery=exactly-once --dry-run=server",
            "workload.kind=StatefulSet")
    if counted(cluster, "a StatefulSet", "helm install stateful deploy/helm/kveil --values my-values.yaml --set workload.kind=StatefulSet"):
        admitted(cluster, "the StatefulSet", "statefulset", "stateful")


def beside(cluster, kind, place):
    """The lines that the chart's notes say."""
    name = kind.lower()
    (cluster.tree / "own.yaml").write_text(OWN)
    r = cluster.type(f"helm install {name} deploy/helm/kveil --values my-values.yaml --set workload.kind={kind} && kubectl apply -f own.yaml")
    lines = [line.strip() for line in r.stdout.splitlines() if line.startswith("  kubectl")]
    if not count(f"a cluster: {kind}: the notes say what to type", r.returncode == 0 and len(lines) == 2, r.stdout + r.stderr):
        return
    if not counted(cluster, f"{kind}: the notes' lines", "\n".join(lines).replace("YOURS", "etl")):
        return
    pod = cluster.get("deployment", "etl")["spec"]["template"]["spec"]
    count(f"a cluster: {kind}: kveil is beside the other container", any(c["name"] == "kveil" for c in pod.get(place, [])) and
          any(c["name"] == "etl" for c in pod["containers"]), json.dumps(pod))
    admitted(cluster, kind, "deployment", "etl")
    cluster.type("kubectl delete deployment etl")


def without_helm(cluster):
    cluster.type("kubectl create namespace etl && kubectl label namespace etl pod-security.kubernetes.io/enforce=restricted")
    if not counted(cluster, "kustomize's overlay", typed("kubectl apply -k")):
        return
    count("a cluster: the overlay has three replicas", cluster.get("deployment", "kveil", "-n", "etl")["spec"]["replicas"] == 3)
    admitted(cluster, "the overlay", "deployment", "kveil", "etl")


def stage():
    with tempfile.TemporaryDirectory() as name, Cluster(pathlib.Path(name)) as cluster:
        (cluster.tree / "my-values.yaml").write_text(yaml.safe_dump(VALUES))
        counted(cluster, "its pods must be restricted", "kubectl label namespace default pod-security.kubernetes.io/enforce=restricted")
        with_helm(cluster)
        that_waits(cluster)
        stateful(cluster)
        beside(cluster, "NativeSidecar", "initContainers")
        beside(cluster, "Sidecar", "containers")
        without_helm(cluster)
