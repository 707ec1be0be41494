# SPDX-License-Identifier: Apache-2.0
"""docker/compose.yaml, up: the lines at its top, its services' commands as they stand, each on a root of its own with its volumes and
under its name, in one network that leads nowhere. kveil's image is the one built here. In the others' place stand Kafka's jars,
started by the class that apache/kafka starts, and Debian's Prometheus. Grafana does not run here: the queries of its dashboard are
asked of Prometheus in its place."""
import contextlib
import dataclasses
import json
import os
import pathlib
import re
import resource
import shlex
import subprocess
import sys
import tempfile
import time
import urllib.parse

import yaml

from tools import CONTAINER_USER, ROOT, copy_source, count, run

sys.path.insert(0, str(ROOT / "tests" / "integration"))
from broker import CLUSTER_ID, JARS  # noqa: E402

DOCKER = ROOT / "docker"
KAFKA_CLASSES = {"topics": "org.apache.kafka.tools.TopicCommand", "producer-perf-test": "org.apache.kafka.tools.ProducerPerformance",
                 "console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer"}
DONE_WITHIN_S, SHOWN_WITHIN_S, RECORDS = 180, 120, 50
# What has nothing to show while nothing goes wrong: counters by code or reason, and names of keys, of which orders have none.
QUIET = {"kveil_records_failed_total", "kveil_retries_total", "kveil_registry_records_ignored_total", "kveil_named_keys", "kveil_named_keys_waiting",
         "kveil_dead_letters_waiting"}  # of a command, which nothing runs here
# As Grafana does it where the data source names no interval: four scrapes of 15 s.
RATE_INTERVAL = "60s"

NETWORK = 'mount --bind "$0/hosts" /etc/hosts && ip link set lo up && touch "$0/up" && exec sleep infinity'
# $1 the folder for its layer, $2 the image's root, $3 its name, $4 how its root is mounted; then the command.
SERVICE = """
mount -t tmpfs none "$1"; cd "$1"; mkdir upper work root
mount -t overlay none -o "lowerdir=$2,upperdir=upper,workdir=work" root; cd root
hostname "$3"; how=$4; shift 4
place() {
  mkdir -p ".$(dirname "$2")"
  if [ -d "$1" ]; then mkdir -p ".$2"; else touch ".$2"; fi
  mount --bind "$1" ".$2" && mount -o "remount,bind,$3" ".$2"
}
own() { mkdir -p ".$1"; mount -t tmpfs -o mode=1777 none ".$1"; }
%s
mkdir -p proc dev; mount -t proc proc proc; mount --rbind /dev dev; mount -o "remount,$how" .
exec "$@"
"""


@dataclasses.dataclass
class Image:
    """What a service's image says where the service does not, and what stands in for it: binds (source, place), folders of its own."""
    root: pathlib.Path
    user: str
    entrypoint: list
    command: list
    folder: str = "/"
    health: list = ()
    binds: list = ()
    own: list = ()


def kveil(root):
    text = (DOCKER / "Dockerfile").read_text()

    def said(what):
        return json.loads(re.search(rf"^{what}.* ?(\[.*\])$", text, re.M).group(1))

    return Image(root, f"{CONTAINER_USER}:{CONTAINER_USER}", said("ENTRYPOINT"), said("CMD"), re.search(r"^WORKDIR (/etc\S+)", text, re.M).group(1), said("HEALTHCHECK"))


def kafka(folder):
    scripts = folder / "kafka-bin"
    scripts.mkdir()
    for name, java_class in KAFKA_CLASSES.items():
        (scripts / f"kafka-{name}.sh").write_text(f"#!/bin/sh\nexec java -Xmx256m -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp '/opt/kafka/libs/*' {java_class} \"$@\"\n")
        (scripts / f"kafka-{name}.sh").chmod(0o755)
    java = "java -Xmx768m -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp '/opt/kafka/libs/*'"
    start = (f"cd /etc/kafka/docker && touch server.properties log4j2.yaml tools-log4j2.yaml && export CLUSTER_ID={CLUSTER_ID} && "
             f"{java} kafka.docker.KafkaDockerWrapper setup --default-configs-dir /etc/kafka/docker --mounted-configs-dir /mnt/shared/config "
             f"--final-configs-dir /opt/kafka/config && exec {java} kafka.Kafka /opt/kafka/config/server.properties")
    return Image(pathlib.Path("/"), "1000:1000", [], ["sh", "-c", start], binds=[(JARS.resolve(), "/opt/kafka/libs"), (scripts, "/opt/kafka/bin")],
                 own=["/tmp", "/opt/kafka/config", "/etc/kafka/docker", "/mnt/shared/config"])


def prometheus():
    return Image(pathlib.Path("/"), "65534:65534", ["prometheus"], ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"],
                 own=["/tmp", "/prometheus"])


class Services:
    """with Services(folder, image's root) as services: compose.yaml's, in a tree that git has just brought."""

    def __init__(self, folder, root):
        self.folder = folder
        folder.chmod(0o755)
        copy_source(folder / "tree")
        self.docker = folder / "tree" / "docker"
        self.text = (self.docker / "compose.yaml").read_text()
        self.all = yaml.safe_load(self.text)["services"]
        self.images = {"kveil": kveil(root), f"apache/kafka:{JARS.name.split('-')[1]}": kafka(folder), self.all["prometheus"]["image"]: prometheus()}
        # Each has its own address: what listens on localhost alone is not found by the others.
        (folder / "hosts").write_text("127.0.0.1 localhost\n" + "".join(f"127.0.1.{i} {name}\n" for i, name in enumerate(self.all, 1)))
        self.processes, self.missing, self.runs = {}, set(), 0

    def __enter__(self):
        self.network = subprocess.Popen(["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private",
                                         "sh", "-euc", NETWORK, self.folder])
        end = time.time() + DONE_WITHIN_S
        while not (self.folder / "up").exists() and self.network.poll() is None and time.time() < end:
            time.sleep(0.05)
        self.first = run("pgrep", "-P", self.network.pid).stdout.strip()
        return self

    def __exit__(self, *_):
        """The first process of the services' own goes, and they with it."""
        self.network.kill()
        self.network.wait()
        for process in self.processes.values():
            process.wait()

    def there(self, *command):
        return ["nsenter", "-t", self.first, "--net", "--mount", "--pid", "--", *map(str, command)]

    def volume(self, text, image):
        source, place, *how = text.split(":")
        path = (self.docker / source).resolve() if source.startswith(".") else self.folder / "volumes" / source
        if not source.startswith(".") and not path.exists():
            path.mkdir(parents=True)
            # A new volume is whose the folder is that the image has there.
            owner = (image.root / place.lstrip("/")).stat()
            os.chown(path, owner.st_uid, owner.st_gid)
        return path, place, how[0] if how else "rw"

    def command(self, name, args=None):
        """The service's own, or another beside it."""
        service, image = self.all[name], self.images[self.all[name]["image"]]
        mounts = [(*b, "ro") for b in image.binds] + [self.volume(v, image) for v in service.get("volumes", [])]
        mounts.append((self.folder / "hosts", "/etc/hosts", "ro"))
        lines = [f"own {o}" for o in image.own] + [f"own {t}" for t in service.get("tmpfs", [])] + [shlex.join(["place", *map(str, m)]) for m in mounts]
        self.runs += 1
        layer = self.folder / f"layer-{self.runs}"
        layer.mkdir()
        # A machine that is itself a container may not allow more than it has.
        wanted, most = service.get("ulimits", {}).get("memlock", 0), resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
        locked = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
        # What stands in for an image comes with this machine's PATH.
        env = {"PATH": os.environ["PATH"], **service.get("environment", {})}
        args = args or [*service.get("entrypoint", image.entrypoint), *service.get("command", [] if "entrypoint" in service else image.command)]
        return self.there("unshare", "--uts", "--mount", "--propagation", "private", "sh", "-euc", SERVICE % "\n".join(lines), "sh", layer, image.root, name,
                          "ro" if service.get("read_only") else "rw", "env", "-i", *[f"{k}={v}" for k, v in env.items()],
                          *(["prlimit", f"--memlock={locked}:{locked}"] if locked else []),
                          *(["setpriv", "--no-new-privs"] if "no-new-privileges:true" in service.get("security_opt", []) else []),
                          "nsenter", "--root=.", f"--wd=.{image.folder}", *(f"--set{what}id={n}" for what, n in zip("ug", image.user.split(":"))), "--", *args)

    def log(self, name):
        path = self.folder / f"{name}.log"
        return path.read_text()[-3000:] if path.exists() else ""

    def start(self, name):
        """When what it depends on is as it says."""
        if name in self.processes or name in self.missing:
            return name in self.processes
        for other, how in self.all[name].get("depends_on", {}).items():
            if not self.start(other) or not self.comes(other, how["condition"]):
                self.missing.add(name)
                return count(f"compose: {name} waits for {other}", False, self.log(other))
        with open(self.folder / f"{name}.log", "w") as log:
            self.processes[name] = subprocess.Popen(self.command(name), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return True

    def comes(self, name, condition):
        if condition == "service_completed_successfully":
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.processes[name].wait(DONE_WITHIN_S) == 0
            return False
        assert condition == "service_healthy", condition
        end = time.time() + DONE_WITHIN_S
        while time.time() < end and self.processes[name].poll() is None:
            if self.healthy(name):
                return True
            time.sleep(0.5)
        return False

    def health(self, name):
        test = self.all[name].get("healthcheck", {}).get("test")
        assert not test or test[0] == "CMD"
        return test[1:] if test else self.images[self.all[name]["image"]].health

    def healthy(self, name):
        return run(*self.command(name, self.health(name)), timeout=60).returncode == 0

    def types(self, line):
        """docker compose …, as far as the file's top has it."""
        action, *args = shlex.split(line)
        if action == "up":
            # Grafana is not here.
            names = [n for n, s in self.all.items() if "profiles" not in s and s["image"] in self.images]
            return subprocess.CompletedProcess(line, not all([self.start(n) for n in names]), "", "")
        args = [a for a in args if not a.startswith("-")] if action == "run" else args
        name, command = args[0], args[1:]
        assert action in ("run", "exec"), line
        return run(*self.command(name, command or None), timeout=DONE_WITHIN_S)

    def ask(self, url, **query):
        """Of Prometheus's API, as from any of the services."""
        r = run(*self.there("curl", "-s", "--max-time", "10", f"{url}?{urllib.parse.urlencode(query)}"))
        return json.loads(r.stdout)["data"] if r.returncode == 0 and r.stdout.startswith('{"status":"success"') else {}


def wait(what, timeout=SHOWN_WITHIN_S):
    """What comes, or what there is at the end."""
    end = time.time() + timeout
    while not (there := what()) and time.time() < end:
        time.sleep(1)
    return there


def typed(services):
    lines = re.findall(r"^#   docker compose -f docker/compose.yaml (.*?)(?: +#.*)?$", services.text, re.M)
    for line in lines[:2]:
        r = services.types(line)
        if not count(f"compose {line}", r.returncode == 0, r.stdout + r.stderr):
            return []
    for name, process in services.processes.items():
        ended = process.poll()
        once = any(s.get("depends_on", {}).get(name, {}).get("condition") == "service_completed_successfully" for s in services.all.values())
        count(f"compose: {name} {'has ended well' if once else 'runs'}", ended == (0 if once else None), f"{ended}\n{services.log(name)}")
        if not once and services.health(name):
            count(f"compose: {name} is healthy", wait(lambda name=name: services.healthy(name)), services.log(name))
    return lines[2:]


def protected(services, line):
    """The line that shows what comes out: no value that rules/orders.yaml names."""
    sample = [json.loads(text) for text in (ROOT / "examples" / "orders.json").read_text().splitlines()]
    r = services.types(f"{line} --from-beginning --max-messages {RECORDS} --timeout-ms {DONE_WITHIN_S * 500}")
    out = [json.loads(text) for text in r.stdout.splitlines()]
    count("compose: orders come out", len(out) == RECORDS and {o["id"] for o in out} <= {o["id"] for o in sample}, r.stdout + r.stderr + services.log("kveil"))
    clear = [o["customer"][k] for o in sample for k in ("id_card", "phone", "email") if o["customer"][k] in r.stdout]
    count("compose: and none in clear", out and not clear, str(clear[:5]))


def watched(services, url):
    def targets():
        return [t for t in services.ask(f"{url}/api/v1/targets").get("activeTargets", ()) if t["health"] == "up"]

    up = wait(targets)
    count("compose: Prometheus scrapes kveil", up and [t["labels"]["job"] for t in up] == ["kveil"], str(services.ask(f"{url}/api/v1/targets")))
    rules = [r for g in services.ask(f"{url}/api/v1/rules").get("groups", ()) for r in g["rules"]]
    names = [r["alert"] for g in yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yaml").read_text())["groups"] for r in g["rules"]]
    count("compose: Prometheus has the alerts", [r["name"] for r in rules] == names, str(rules))


def dashboard(services):
    """What Grafana does with the files that it is given: the source's address, each panel's queries with its variables."""
    mounted = {place: (services.docker / source).resolve() for source, place, *_ in (v.split(":") for v in services.all["grafana"]["volumes"])}
    source, = yaml.safe_load(mounted["/etc/grafana/provisioning/datasources/kveil.yaml"].read_text())["datasources"]
    provider, = yaml.safe_load(mounted["/etc/grafana/provisioning/dashboards/kveil.yaml"].read_text())["providers"]
    boards = [p for place, p in mounted.items() if place.startswith(provider["options"]["path"])]
    count("compose: Grafana finds a source and a dashboard", source["type"] == provider["type"].replace("file", "prometheus") and len(boards) == 1, str(mounted))
    watched(services, source["url"])
    board = json.loads(boards[0].read_text())
    job = "|".join(services.ask(f"{source['url']}/api/v1/label/job/values", **{"match[]": "kveil_build_info"}) or [])
    count("compose: the dashboard's variable has the job", job == "kveil", job)
    queries = {(p["title"], t["expr"]): t["expr"].replace("$job", f"({job})").replace("$__rate_interval", RATE_INTERVAL)
               for p in board["panels"] for t in p.get("targets", [])}
    for (title, expr), query in queries.items():
        quiet = set(re.findall(r"\bkveil_\w+", expr)) <= QUIET
        shown = wait(lambda query=query: services.ask(f"{source['url']}/api/v1/query", query=query).get("result"), timeout=0 if quiet else SHOWN_WITHIN_S)
        # Nothing to show is a list too; a query that is wrong is None.
        count(f"compose: the dashboard shows {title}: {expr}", shown or quiet and shown is not None, str(shown))
    firing = services.ask(f"{source['url']}/api/v1/query", query='ALERTS{alertstate="firing"}').get("result")
    count("compose: no alert fires", firing == [], str(firing))


def up(root):
    with tempfile.TemporaryDirectory() as name, Services(pathlib.Path(name), root) as services:
        for show in typed(services):
            protected(services, show)
            dashboard(services)
