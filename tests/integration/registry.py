# SPDX-License-Identifier: Apache-2.0
"""Schema registries for the tests: Apicurio, one in memory that is quick and can be stopped, and a stub that answers what a
real one would not.

    python3 tests/integration/registry.py     # Apicurio until Ctrl-C; prints the address of its Confluent API
"""
import http.server
import json
import os
import pathlib
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import uuid

from broker import await_server, free_port

ROOT = pathlib.Path(__file__).resolve().parents[2]
APICURIO = pathlib.Path(os.environ.get("KVEIL_APICURIO", ROOT / ".cache" / "apicurio-3.0.9"))
CONVERTER = pathlib.Path(os.environ.get("KVEIL_APICURIO_CONVERTER", ROOT / ".cache" / "connect-converters" / "apicurio-2.6.13.Final"))


class Apicurio:
    """With its storage in memory. url: of its Confluent API."""

    def __init__(self):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/apis/ccompat/v7"
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="kveil-apicurio-"))
        self.process = None

    def start(self, timeout=240):
        self.process = subprocess.Popen(
            ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dquarkus.http.host=127.0.0.1",
             f"-Dquarkus.http.port={self.port}", "-Dapicurio.storage.kind=sql", "-Dapicurio.storage.sql.kind=h2", "-jar",
             str(next(APICURIO.glob("*-runner.jar")))], cwd=self.dir, stdout=open(self.dir / "log", "wb"),
            stderr=subprocess.STDOUT)
        await_server("Apicurio", self.process, self.is_up, self.dir / "log", timeout)
        return self

    def serializers(self):
        """Settings for its own serializers, in the framing that they share with Confluent's."""
        of = {"registry.url": f"http://127.0.0.1:{self.port}/apis/registry/v2", "registry.auto-register": "true",
              "registry.as-confluent": "true", "registry.use-id": "contentId", "registry.headers.enabled": "false"}
        return [f"apicurio.{key}={value}" for key, value in of.items()]

    def is_up(self):
        try:
            self.call("GET", "/subjects")
            return True
        except OSError:
            return False

    def call(self, method, path, body=None):
        request = urllib.request.Request(self.url + path, method=method, data=None if body is None else json.dumps(body).encode(),
                                         headers={"Content-Type": "application/vnd.schemaregistry.v1+json"})
        with urllib.request.urlopen(request, timeout=60) as r:
            return json.loads(r.read())

    def register(self, subject, schema, references=()):
        return self.call("POST", f"/subjects/{subject}/versions",
                         {"schema": json.dumps(schema), "references": list(references)})["id"]

    def close(self):
        if self.process:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


def error(status, code, message="no"):
    return status, {"error_code": code, "message": message}


NO_SCHEMA = error(404, 40403, "Schema not found")


class Asked:
    def __init__(self, method, path, headers, body):
        self.method, self.path, self.headers = method, path, headers
        self.json = json.loads(body) if body else None


class Server:
    """What is asked over the network, and answers of answer(asked): a status, and an object, bytes, the headers of a redirect,
    or a function that answers by itself. start() and stop() may be called again and again."""

    def __init__(self, certificate=None, key=None, clients=None):
        self.port = free_port()
        self.url = f"http{'s' if certificate else ''}://127.0.0.1:{self.port}"
        self.asked = []
        self.server = self.tls = None
        if certificate:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(certificate, key)
        if clients:
            self.tls.verify_mode = ssl.CERT_REQUIRED
            self.tls.load_verify_locations(clients)

    def start(self):
        registry = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def reply(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.server is not registry.server:  # a connection that outlived stop()
                    self.close_connection = True
                    return
                asked = Asked(self.command, self.path, self.headers, body)
                registry.asked.append(asked)
                status, said = registry.answer(asked)
                if callable(said):
                    said(self)
                    return
                headers = said if status in (301, 302, 307, 308) else {"Content-Type": "application/vnd.schemaregistry.v1+json"}
                text = b"" if headers is said else said if isinstance(said, bytes) else json.dumps(said).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = reply

            def handle(self):
                try:
                    super().handle()
                except OSError:  # the client went away
                    pass

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.server.handle_error = lambda *_: None
        if self.tls:
            self.server.socket = self.tls.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self):
        if self.server:
            self.server.shutdown()
            self.server.server_close()
        self.server = None


class Stub(Server):
    """on() says what is answered: an object, (status, object or bytes or headers), or a function of what was asked that
    gives one of these. Everything else is unknown, in a registry's words."""

    def __init__(self, *tls, **more):
        super().__init__(*tls, **more)
        self.answers = {}
        self.start()

    def answer(self, asked):
        given = self.answers.get((asked.method, asked.path), NO_SCHEMA)
        if callable(given):
            given = given(asked)
        return given if isinstance(given, tuple) else (200, given)

    def on(self, method, path, answer):
        self.answers[method, path] = answer
        return self

    def schema(self, id, schema, **more):
        return self.on("GET", f"/schemas/ids/{id}", {"schema": schema if isinstance(schema, str) else json.dumps(schema), **more})

    def version(self, subject, version, schema, **more):
        return self.on("GET", f"/subjects/{subject}/versions/{version}?deleted=true", {
            "subject": subject, "version": version, "id": 1000 + version, "schema": json.dumps(schema), **more})

    def paths(self):
        return [a.path for a in self.asked]


class Registry(Server):
    """As Confluent's, as far as kveil asks: in memory, and out of order on demand. register() is a producer's way in."""

    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()
        self.schemas, self.ids = {}, {}   # id -> {schema, schemaType, …}; text -> id
        self.subjects = {}                # subject -> [id], in the order of versions
        self.next = 1
        self.refuse = None                # a message: what is posted is incompatible
        self.refused = {}                 # subject -> the same, or what gives it of a schema
        self.answers = threading.Event()  # cleared: it takes connections, and says nothing
        self.answers.set()

    def register(self, subject, schema, kind="AVRO", **more):
        text = schema if isinstance(schema, str) else json.dumps(schema)
        with self.lock:
            return self._register(subject, text, kind, more)

    def _register(self, subject, text, kind="AVRO", more=None):
        known = self.ids.get((kind, text))
        if known is None:
            known, self.next = self.next, self.next + 1
            self.ids[kind, text] = known
            self.schemas[known] = {"schema": text, "guid": str(uuid.uuid5(uuid.NAMESPACE_OID, kind + text)),
                                   **({} if kind == "AVRO" else {"schemaType": kind}), **(more or {})}
        versions = self.subjects.setdefault(subject, [])
        if known not in versions:
            versions.append(known)
        return known

    def latest(self, subject):
        with self.lock:
            versions = self.subjects.get(subject)
            return (versions[-1], self.schemas[versions[-1]]["schema"]) if versions else None

    def count(self, pattern):
        """Of "GET /schemas/ids/1", without a query."""
        return sum(bool(re.search(pattern, f"{a.method} {a.path.partition('?')[0]}")) for a in list(self.asked))

    def answer(self, asked):
        self.answers.wait()
        parts = asked.path.partition("?")[0].strip("/").split("/")
        with self.lock:
            if asked.method == "GET" and parts[:2] == ["schemas", "ids"]:
                found = self.schemas.get(int(parts[2]))
                return (200, found) if found else NO_SCHEMA
            if asked.method == "GET" and parts[:2] == ["schemas", "guids"]:
                found = next((s for s in self.schemas.values() if s["guid"] == parts[2]), None)
                return (200, found) if found else NO_SCHEMA
            if parts[0] == "compatibility":
                why = self.refuse or self.refused.get(parts[2])
                why = why(asked.json["schema"]) if callable(why) else why
                return 200, {"is_compatible": not why, "messages": [why] if why else []}
            if asked.method == "GET" and parts[0] == "subjects" and parts[2:3] == ["versions"] and len(parts) == 4:
                versions = self.subjects.get(parts[1])
                if not versions:
                    return error(404, 40401, f"Subject '{parts[1]}' not found.")
                number = len(versions) if parts[3] == "latest" else int(parts[3])
                if number > len(versions):
                    return error(404, 40402, f"Version {number} not found.")
                known = versions[number - 1]
                return 200, {"subject": parts[1], "id": known, "version": number, **self.schemas[known]}
            if parts[0] == "subjects" and asked.method == "POST":
                return self.post(parts[1], "versions" in parts, asked.json)
        return error(404, 404, "HTTP 404 Not Found")

    def post(self, subject, registers, body):
        text, kind = body["schema"], body.get("schemaType", "AVRO")
        if registers and (self.refuse or subject in self.refused):
            return error(409, 409, self.refuse or self.refused[subject])
        known = self._register(subject, text, kind) if registers else self.ids.get((kind, text))
        if known is None or known not in self.subjects.get(subject, []):
            return NO_SCHEMA
        version = self.subjects[subject].index(known) + 1
        return 200, {"subject": subject, "id": known, "version": version, **self.schemas[known]}


def slowly(times, pause):
    """A body that comes a byte at a time."""
    def say(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(times))
        handler.end_headers()
        for _ in range(times):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(pause)
    return say


if __name__ == "__main__":
    registry = Apicurio().start()
    try:
        print(registry.url, flush=True)
        registry.process.wait()
    except KeyboardInterrupt:
        pass
    finally:
        registry.close()
        sys.exit(0)
