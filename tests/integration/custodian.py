# SPDX-License-Identifier: Apache-2.0
"""Real custodians for the tests: an OpenBao server, a SoftHSM2 token, and a door that counts who comes to the first."""
import http.client
import http.server
import json
import os
import pathlib
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.request

from broker import answers, free_port
from conftest import wait_for

SOFTHSM = next((p for p in ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
                            "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so") if os.path.exists(p)), None)



def softhsm(folder):
    """A token "kveil" with an AES-256 key "kek", and its PIN in folder/pin; gives what the environment needs."""
    (folder / "tokens").mkdir()
    conf = folder / "softhsm2.conf"
    conf.write_text(f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n")
    env = {"SOFTHSM2_CONF": str(conf)}

    def run(*cmd):
        subprocess.run(cmd, check=True, env={**os.environ, **env}, capture_output=True)

    run("softhsm2-util", "--init-token", "--free", "--label", "kveil", "--pin", "4711", "--so-pin", "0815")
    run("pkcs11-tool", "--module", SOFTHSM, "--token-label", "kveil", "--login", "--pin", "4711", "--keygen",
        "--key-type", "AES:32", "--label", "kek", "--sensitive")
    (folder / "pin").write_text("4711\n")
    (folder / "pin").chmod(0o600)
    return env


class Hsm:
    """That token behind a line that can be cut: hsm.c."""

    def __init__(self, folder):
        self.module, self.word = folder / "hsm.so", folder / "line"
        flags = subprocess.run(["pkg-config", "--cflags", "p11-kit-1"], check=True, capture_output=True, text=True).stdout
        source = pathlib.Path(__file__).with_name("hsm.c")
        subprocess.run(["gcc", "-shared", "-fPIC", *flags.split(), "-o", str(self.module), str(source)], check=True)
        self.line("up")
        self.env = {**softhsm(folder), "HSM_MODULE": SOFTHSM, "HSM_LINE": str(self.word)}

    def line(self, word):
        new = self.word.with_suffix(".new")
        new.write_text(word)
        new.rename(self.word)

    def logins(self):
        counted = self.word.with_suffix(".logins")
        return counted.stat().st_size if counted.exists() else 0


def pkcs11(mechanism="aes-gcm", label="kek", token="kveil", pin="${file:pin}", module=SOFTHSM):
    return f'{{provider: pkcs11, module: {module}, token: {token}, label: {label}, pin: "{pin}", mechanism: {mechanism}}}'


def certificate(folder, name):
    """A self-signed one for 127.0.0.1: NAME.pem and NAME.key. Gives the name."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out",
                    f"{name}.pem", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"],
                   cwd=folder, check=True, capture_output=True)
    return name


class Bao:
    """tls: the name of a certificate() in the folder."""

    def __init__(self, folder, tls=None):
        self.port, self.folder, self.tls, self.process = free_port(), folder, tls, None
        self.cluster_port = free_port()
        self.binary = pathlib.Path(sys.executable).parent / "bao"
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}"

    def start(self):
        """With storage in files, so that it can stop and come back with what it had."""
        data = self.folder / "bao"
        fresh = not data.exists()
        data.mkdir(exist_ok=True)
        listener = f'listener "tcp" {{ address = "127.0.0.1:{self.port}"\n '
        listener += f'tls_cert_file = "{self.folder}/{self.tls}.pem"\n tls_key_file = "{self.folder}/{self.tls}.key" }}' \
            if self.tls else "tls_disable = true }"
        (self.folder / "bao.hcl").write_text(
            f'storage "raft" {{ path = "{data}"\n node_id = "one"\n performance_multiplier = 1 }}\n{listener}\napi_addr = "{self.url}"\n'
            f'cluster_addr = "http://127.0.0.1:{self.cluster_port}"\n')
        self.process = subprocess.Popen([str(self.binary), "server", f"-config={self.folder}/bao.hcl"],
                                        stdout=open(self.folder / "bao.log", "ab"), stderr=subprocess.STDOUT)
        wait_for("bao listens", lambda: answers(self.port))
        if fresh:
            r = self.call("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1}, token=None)
            self.root, self.unseal_key = r["root_token"], r["keys_base64"][0]
        self.unseal()
        if fresh:
            self.call("POST", "sys/mounts/transit", {"type": "transit"})
            self.call("POST", "transit/keys/kveil", {})
        return self

    def unseal(self):
        wait_for("unsealed", lambda: not self.call("PUT", "sys/unseal", {"key": self.unseal_key}, token=None)["sealed"])
        wait_for("active", self.active)

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        if self.process:
            self.process.send_signal(signal.SIGCONT)

    def active(self):
        try:
            return not self.call("GET", "sys/health", token=None)["standby"]
        except OSError:
            return False

    def call(self, method, path, body=None, token=""):
        request = urllib.request.Request(f"{self.url}/v1/{path}", method=method,
                                         data=None if body is None else json.dumps(body).encode())
        if token is not None:
            request.add_header("X-Vault-Token", token or self.root)
        context = ssl.create_default_context(cafile=str(self.folder / f"{self.tls}.pem")) if self.tls else None
        with urllib.request.urlopen(request, timeout=10, context=context) as r:
            text = r.read()
            return json.loads(text) if text else {}

    def token(self, **kw):
        self.call("PUT", "sys/policies/acl/kveil", {"policy": """
            path "transit/encrypt/kveil" { capabilities = ["update"] }
            path "transit/decrypt/kveil" { capabilities = ["update"] }
            path "transit/rewrap/kveil" { capabilities = ["update"] }"""})
        return self.call("POST", "auth/token/create", {"policies": ["kveil"], **kw})["auth"]["client_token"]

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None


def transit(b, how='token: "${env:BAO_TOKEN}"', extra=""):
    return f'{{provider: transit, url: "{b.url}", key: kveil, {how}{extra}}}'


class Door:
    """Stands before a server, passes requests on one by one, and remembers when each came and what it asked for.
    instead: a path to ask for in the place of another; garbage: what it answers itself, with status 200."""

    def __init__(self, backend_port):
        door = self
        self.seen, self.lock, self.shut, self.instead, self.garbage = [], threading.Lock(), False, {}, None

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def pass_on(self):
                with door.lock:
                    door.seen.append((time.time(), self.path))
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if door.shut:
                    self.close_connection = True
                    return
                try:
                    status, text = (200, door.garbage) if door.garbage else self.ask(body)
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(text)))
                    self.end_headers()
                    self.wfile.write(text)
                except OSError:
                    self.close_connection = True

            def ask(self, body):
                c = http.client.HTTPConnection("127.0.0.1", backend_port, timeout=60)
                c.request(self.command, door.instead.get(self.path, self.path), body, dict(self.headers))
                r = c.getresponse()
                text = r.read()
                c.close()
                return r.status, text

            do_GET = do_POST = do_PUT = pass_on

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def since(self, when):
        with self.lock:
            return [path for t, path in self.seen if t >= when]

    def close(self):
        self.server.shutdown()
        self.server.server_close()
