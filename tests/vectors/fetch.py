#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fetches the published test vectors that are too large to commit.

usage: fetch.py [FOLDER]      default: .cache/vectors at the top of the source tree

  nist/        NIST CAVP, from the PyPI package cryptography-vectors
  wycheproof/  Project Wycheproof, from its Go module

Both come by the ordinary clients (pip, go), pinned by version and hash. Does nothing when they are there already.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

NIST = "cryptography-vectors==50.0.2"
NIST_HASH = "sha256:51641f03a3eb4edbe9fb68e3a3574d25f86aa502d06391fffa886330d02778a0"
NIST_FOLDERS = ("ciphers/AES/GCM", "ciphers/AES/GCM-SIV", "ciphers/AES/SIV", "ciphers/SM4", "keywrap", "HMAC", "KDF")
WYCHEPROOF = "github.com/c2sp/wycheproof@v0.0.0-20260902155932-3fa63dd0344a"
WYCHEPROOF_HASH = "h1:pNbL2nztRsWfW/ispAwsvcDFxs9Id38uIsR2/Up5G2c="
WYCHEPROOF_NAMES = ("aes_gcm", "aes_siv", "aes_kwp", "aes_ff1", "hmac_", "hkdf_sha256", "sm4_", "aes_cbc")


def fetch_nist(into: pathlib.Path, tmp: pathlib.Path) -> None:
    requirements = tmp / "requirements.txt"
    requirements.write_text(f"{NIST} --hash={NIST_HASH}\n")
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
         "--require-hashes", "-r", str(requirements), "-d", str(tmp)], check=True)
    (wheel,) = tmp.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            inner = name.removeprefix("cryptography_vectors/")
            if not name.endswith("/") and inner.rsplit("/", 1)[0].startswith(NIST_FOLDERS):
                target = into / inner
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(name))


def fetch_wycheproof(into: pathlib.Path, tmp: pathlib.Path) -> None:
    (tmp / "go.mod").write_text("module vectors\n")
    done = subprocess.run(["go", "mod", "download", "-json", WYCHEPROOF], cwd=tmp, capture_output=True, text=True,
                          env={**os.environ, "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local"})
    # A Go older than the module asks for reports an error, but has downloaded and summed the archive by then.
    module = json.loads(done.stdout or "{}")
    if module.get("Sum") != WYCHEPROOF_HASH or not module.get("Zip"):
        sys.exit(f"fetch.py: {WYCHEPROOF}: {module.get('Error') or module.get('Sum') or done.stderr}")
    into.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(module["Zip"]) as archive:
        for name in archive.namelist():
            folder, file = name.rsplit("/", 2)[-2:]
            if folder == "testvectors_v1" and file.startswith(WYCHEPROOF_NAMES):
                (into / file).write_bytes(archive.read(name))


def main() -> None:
    root = pathlib.Path(__file__).resolve().parents[2]
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else root / ".cache" / "vectors"
    for name, version, fetch in (("nist", NIST_HASH, fetch_nist), ("wycheproof", WYCHEPROOF_HASH, fetch_wycheproof)):
        stamp = folder / f"{name}.version"
        if stamp.exists() and stamp.read_text() == version + "\n":
            continue
        print(f"fetching test vectors: {name}", flush=True)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as tmp:
            # Renamed whole, so that an interrupted run leaves nothing that looks complete.
            fresh = pathlib.Path(tmp) / "into"
            work = pathlib.Path(tmp) / "work"
            work.mkdir()
            fetch(fresh, work)
            shutil.rmtree(folder / name, ignore_errors=True)
            fresh.rename(folder / name)
        stamp.write_text(version + "\n")


if __name__ == "__main__":
    main()
