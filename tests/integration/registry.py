# SPDX-License-Identifier: Apache-2.0
"""Schema registries for the tests: Apicurio, and a stub that answers what a real one would not.

    python3 tests/integration/registry.py     # Apicurio until Ctrl-C; prints the address of its Confluent API
"""
import http.server
import json
import os
import pathlib
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

from broker import free_port

ROOT = pathlib.Path(__file__).resolve().parents[2]
APICURIO = pathlib.Path(os.environ.get("KVEIL_APICURIO", ROOT / ".cache" / "apicurio-3.0.9"))


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
        end = time.time() + timeout
        while True:
            try:
                self.call("GET", "/subjects")
                return self
            except OSError:
                log = (self.dir / "log").read_text()[-2000:]
                assert self.process.poll() is None, log
                assert time.time() < end, f"no Apicurio after {timeout} s\n{log}"
                time.sleep(0.5)

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


class Asked:
    def __init__(self, method, path, headers, body):
        self.method, self.path, self.headers = method, path, headers
        self.json = json.loads(body) if body else None


def error(status, code, message="no"):
    return status, {"error_code": code, "message": message}


class Stub:
    """on() says what is answered: an object, (status, object or bytes or headers), or a function of what was asked that
    gives one of these. Everything else is unknown, in a registry's words."""

    def __init__(self, certificate=None, key=None, clients=None):
        self.answers, self.asked = {}, []
        stub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                asked = Asked(self.command, self.path, self.headers, body)
                stub.asked.append(asked)
                given = stub.answers.get((self.command, self.path), error(404, 40403, "Schema not found"))
                if callable(given):
                    given = given(asked)
                status, said = given if isinstance(given, tuple) else (200, given)
                if callable(said):
                    return said(self)
                headers = said if status in (301, 302, 307, 308) else {}
                text = b"" if headers else said if isinstance(said, bytes) else json.dumps(said).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = answer

            def handle(self):
                try:
                    super().handle()
                except OSError:  # the client went away
                    pass

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
            if clients:
                context.verify_mode = ssl.CERT_REQUIRED
                context.load_verify_locations(clients)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"http{'s' if certificate else ''}://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

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

    def close(self):
        self.server.shutdown()
        self.server.server_close()


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
