# SPDX-License-Identifier: Apache-2.0
"""docs/secure-kafka.md, typed against a broker with TLS, passwords and an authorizer that grants nothing by itself."""
import os
import pathlib
import re
import secrets
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import (AclBinding, AclBindingFilter, AclOperation, AclPermissionType, AdminClient,
                                   AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourcePatternType, ResourceType)

from broker import JARS, Broker, free_port
from conftest import KVEIL, ROOT, wait_for
from test_pages import blocks

pytestmark = pytest.mark.long(25)

PAGE = "docs/secure-kafka.md"
ADMIN = {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN"}


def certificate(folder):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "ca.pem", "-days", "2",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"], cwd=folder, check=True,
                   capture_output=True)
    (folder / "store.pem").write_text((folder / "key.pem").read_text() + (folder / "ca.pem").read_text())


@pytest.fixture(scope="module")
def secure(tmp_path_factory):
    """A folder with ca.pem and admin.properties, and a broker that knows the user kveil."""
    folder = tmp_path_factory.mktemp("secure")
    certificate(folder)
    port, controller = free_port(), free_port()
    password = secrets.token_hex(12)
    (folder / "password").write_text(password)
    (folder / "password").chmod(0o600)
    plain = 'org.apache.kafka.common.security.plain.PlainLoginModule required username="admin" password="admin" user_admin="admin" ' \
        f'user_kveil="{password}" user_other="{password}";'
    broker = Broker(port=port, extra={
        "listeners": f"SASL_SSL://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"SASL_SSL://127.0.0.1:{port}",
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "listener.security.protocol.map": "SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "SASL_SSL",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl_ssl.plain.sasl.jaas.config": plain,
        "ssl.keystore.type": "PEM", "ssl.keystore.location": str(folder / "store.pem"),
        "ssl.truststore.type": "PEM", "ssl.truststore.location": str(folder / "ca.pem"),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:admin;User:ANONYMOUS",
    }).start()
    (folder / "admin.properties").write_text(
        "".join(f"{k}={v}\n" for k, v in ADMIN.items()) + "ssl.truststore.type=PEM\nssl.truststore.location=ca.pem\n"
        'sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required username="admin" password="admin";\n')
    yield folder, broker
    broker.close()


class Admin:
    def __init__(self, broker, folder):
        self.properties = {"bootstrap.servers": broker.bootstrap, **ADMIN, "sasl.username": "admin", "sasl.password": "admin",
                           "ssl.ca.location": str(folder / "ca.pem")}
        self.admin = AdminClient(self.properties)

    def produce(self, topic, *values):
        p = Producer(self.properties)
        for v in values:
            p.produce(topic, v)
        assert p.flush(30) == 0

    def consume(self, topic, n):
        """Its first n records' values."""
        c = Consumer({**self.properties, "group.id": f"{n}-of-{topic}", "auto.offset.reset": "earliest"})
        c.subscribe([topic])
        got = []

        def all_there():
            m = c.poll(0.5)
            if m and not m.error():
                got.append(m.value())
            return len(got) >= n
        try:
            wait_for(f"{n} records in {topic}", all_there, timeout=60)
            return got
        finally:
            c.close()


@pytest.fixture(scope="module")
def admin(secure):
    return Admin(secure[1], secure[0])


def takes_more(admin, topic, limit):
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic,
                              incremental_configs=[ConfigEntry("max.message.bytes", str(limit),
                                                               incremental_operation=AlterConfigOpType.SET)])
    for f in admin.admin.incremental_alter_configs([resource]).values():
        f.result(30)


def rights_on_a_wait(admin, port):
    """Without the right to write there, its records wait and it says why; with it they go on."""
    right = AclBinding(ResourceType.TOPIC, "orders.secure", ResourcePatternType.LITERAL, "User:kveil", "*", AclOperation.WRITE,
                       AclPermissionType.ALLOW)
    taken = AclBindingFilter(ResourceType.TOPIC, "orders.secure", ResourcePatternType.LITERAL, None, None, AclOperation.WRITE,
                             AclPermissionType.ANY)
    for f in admin.admin.delete_acls([taken]).values():
        assert len(f.result(30)) == 1
    admin.produce("orders", b'{"phone": "13800138001"}')

    def reasons():
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5).close()
        except urllib.error.HTTPError as e:
            return e.read().decode()
        return ""
    wait_for("it says what it may not", lambda: "orders.secure" in reasons(), timeout=60)
    for f in admin.admin.create_acls([right]).values():
        f.result(30)
    wait_for("the record that waited", lambda: not reasons(), timeout=60)
    assert len(admin.consume("orders.secure", 3)) == 3


def tools(folder):
    (folder / "bin").mkdir()
    for name, main in (("kafka-acls.sh", "AclCommand"), ("kafka-topics.sh", "TopicCommand")):
        tool = folder / "bin" / name
        tool.write_text("#!/bin/sh\n"
                        f"exec java -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp '{JARS}/*' org.apache.kafka.tools.{main} \"$@\"\n")
        tool.chmod(0o755)
    (folder / "bin" / "kveil").symlink_to(KVEIL)


def other_users(page, folder, admin, typed):
    """Each row of the table of commands, by a user who may do that and nothing else."""
    rows = re.findall(r"^\| `(kveil [^|]*)` \| ([^|]*) \|$", page, re.M)
    assert len(rows) == 3
    config = (folder / "kveil.yaml").read_text()
    (folder / "other.yaml").write_text(config.replace("sasl.username: kveil", "sasl.username: other"))
    for command, rights in rows:
        acls = [AclBinding(ResourceType[kind.upper()], name, ResourcePatternType.LITERAL, "User:other", "*",
                           AclOperation[re.sub(r"(?<=.)(?=[A-Z])", "_", operation).upper()], AclPermissionType.ALLOW)
                for operations, kind, name in re.findall(r"([A-Z][\w, ]*) on (topic|group) `([^`]*)`", rights)
                for operation in operations.split(", ")]
        for f in admin.create_acls(acls).values():
            f.result(30)
        typed(f"{command} -c other.yaml")
        taken = AclBindingFilter(ResourceType.ANY, None, ResourcePatternType.ANY, "User:other", None, AclOperation.ANY,
                                 AclPermissionType.ANY)
        for f in admin.delete_acls([taken]).values():
            assert len(f.result(30)) == len(acls), rights


def test_the_page_of_a_secure_kafka(secure, admin, tmp_path):
    folder, broker = secure
    tools(folder)
    port = free_port()
    text = (ROOT / PAGE).read_text()
    config = re.search(r"^```yaml\n(.*?)^```", text, re.M | re.S)[1]
    (folder / "kveil.yaml").write_text(config.replace("localhost:9093", broker.bootstrap))
    (folder / "rules").mkdir()
    (folder / "rules" / "orders.yaml").write_text(
        'name: orders\ntopics: [orders]\noutput: orders.secure\nfields: [{path: "$.phone", encrypt: {key: pii}}]\n')
    admin.admin.create_topics([NewTopic("orders", 2, 1)])["orders"].result(30)
    env = {**os.environ, "KVEIL_HTTP_LISTEN": f"127.0.0.1:{port}",
           "PATH": f"{folder / 'bin'}:{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"}

    def typed(line):
        r = subprocess.run(["bash", "-c", line.replace("localhost:9093", broker.bootstrap)], cwd=folder, env=env, capture_output=True,
                           text=True, timeout=120)
        if r.returncode:
            pytest.fail(f"{line}\n{r.stdout}{r.stderr}")

    topics, rights, run = [b.splitlines() for b in blocks(PAGE)]
    for line in [*topics, *rights, *run[:3]]:
        typed(line)
    takes_more(admin, "orders.secure", 3_000_000)
    worker = subprocess.Popen(["bash", "-c", f"exec {run[3]}"], cwd=folder, env=env, stderr=open(folder / "log", "wb"))
    try:
        admin.produce("orders", b'{"phone": "13800138000"}', b"{oops", b'{"phone": "%s"}' % (b"1" * 900_000))
        got = [*admin.consume("orders.secure", 2), *admin.consume("orders.dead", 1)]
        assert all(b"13800138000" not in value for value in got)
        assert max(map(len, got)) > 1_200_000  # the topic's limit was asked for
        other_users(text, folder, admin.admin, typed)
        rights_on_a_wait(admin, port)
        assert worker.poll() is None
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(30)
    log = (folder / "log").read_text()
    assert worker.returncode == 0 and "orders.secure" in log, log
