# SPDX-License-Identifier: Apache-2.0
"""A schema registry as Confluent's REST API has it, as far as kveil asks: in memory, on loopback, and out of order on demand."""
import json
import re
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from broker import free_port


class Registry:
    """register() is a producer's way in; `asked` holds every request that came over the network."""

    def __init__(self):
        self.lock = threading.Lock()
        self.port = free_port()
        self.server = None
        self.schemas, self.ids = {}, {}   # id -> {schema, schemaType, …}; text -> id
        self.subjects = {}                # subject -> [id], in the order of versions
        self.next = 1
        self.asked = []
        self.refuse = None                # a message: what is posted is incompatible
        self.answers = threading.Event()  # cleared: it takes connections, and says nothing
        self.answers.set()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        registry = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def answer(self):
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                if self.server is not registry.server:  # a connection that outlived stop()
                    self.close_connection = True
                    return
                registry.answers.wait()
                code, reply = registry.handle(self.command, self.path, body)
                data = json.dumps(reply).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = answer

        class Server(ThreadingHTTPServer):
            allow_reuse_address, daemon_threads = True, True

        self.server = Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self):
        if self.server:
            self.server.shutdown()
            self.server.server_close()
        self.server = None

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
        with self.lock:
            return sum(bool(re.search(pattern, a)) for a in self.asked)

    def handle(self, method, path, body):
        path, _, query = path.partition("?")
        parts = path.strip("/").split("/")
        with self.lock:
            self.asked.append(f"{method} {path}")
            if method == "GET" and parts[:2] == ["schemas", "ids"]:
                found = self.schemas.get(int(parts[2]))
                return (200, found) if found else (404, {"error_code": 40403, "message": "Schema not found"})
            if method == "GET" and parts[:2] == ["schemas", "guids"]:
                for found in self.schemas.values():
                    if found["guid"] == parts[2]:
                        return 200, found
                return 404, {"error_code": 40403, "message": "Schema not found"}
            if parts[0] == "compatibility":
                return 200, {"is_compatible": not self.refuse, "messages": [self.refuse] if self.refuse else []}
            if parts[0] == "subjects" and method == "POST":
                return self.post(parts[1], "versions" in parts, body)
        return 404, {"error_code": 404, "message": "HTTP 404 Not Found"}

    def post(self, subject, registers, body):
        text = body["schema"]
        if registers and self.refuse:
            return 409, {"error_code": 409, "message": self.refuse}
        known = self._register(subject, text) if registers else self.ids.get(("AVRO", text))
        if known is None or known not in self.subjects.get(subject, []):
            return 404, {"error_code": 40403, "message": "Schema not found"}
        version = self.subjects[subject].index(known) + 1
        return 200, {"subject": subject, "id": known, "version": version, **self.schemas[known]}
