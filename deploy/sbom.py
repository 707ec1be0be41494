#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""sbom.py PROGRAM VERSION [ARCHIVE…]: a CycloneDX document of what a program is made of, on the Debian where it was built:
what the loader takes and the archives that were linked into it, by the packages that they come from (dpkg). The program is
read, not run: it may be for another processor.

sbom.py --libraries PROGRAM: the paths of what the loader takes, the loader among them, one a line."""
import json
import os
import pathlib
import re
import subprocess
import sys
import uuid
from datetime import datetime, timezone
from urllib.parse import quote


def output(*cmd):
    return subprocess.run(cmd, check=True, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C.UTF-8"}).stdout


# The loader's name, and where Debian has the libraries of its architecture.
LOADERS = {"ld-linux-x86-64.so.2": "x86_64-linux-gnu", "ld-linux-aarch64.so.1": "aarch64-linux-gnu"}


def shared(program):
    """What ldd would say, for every architecture: each library once, and the loader as the program's header names it."""
    loader = re.search(r"program interpreter: (\S+)\]", output("readelf", "--program-headers", program)).group(1)
    folders = [f"{top}/{LOADERS[os.path.basename(loader)]}" for top in ("/lib", "/usr/lib")]
    found, unread = {os.path.basename(loader): loader}, [program]
    while unread:
        for name in re.findall(r"\(NEEDED\).*\[(.+)\]", output("readelf", "--dynamic", unread.pop())):
            if name not in found:
                found[name] = next((p for p in (f"{folder}/{name}" for folder in folders) if os.path.exists(p)), None)
                if not found[name]:
                    sys.exit(f"sbom.py: {program} needs {name}, which is not in {' or '.join(folders)}")
                unread.append(found[name])
    return sorted(found.values())


def by_package(paths):
    """{package: paths}. Merged /usr: dpkg may know a file under its old name."""
    names = {name: path for path in paths for name in (path, path.removeprefix("/usr"))}
    found = subprocess.run(["dpkg", "-S", *names], capture_output=True, text=True).stdout
    packages = {}
    for line in found.splitlines():
        who, name = line.split(": ", 1)
        if name in names:
            packages.setdefault(who.split(",")[0], set()).add(names[name])
    missing = set(paths) - {path for have in packages.values() for path in have}
    if missing:
        sys.exit(f"sbom.py: no package has {', '.join(sorted(missing))}")
    return packages


FORMAT = "${binary:Package}\t${Package}\t${Version}\t${Architecture}\t${source:Package}\t${Homepage}\n"


def component(row, files, release):
    _, name, version, arch, source, home = row.split("\t")
    purl = f"pkg:deb/debian/{name}@{quote(version, safe='')}?arch={arch}&distro=debian-{release}"
    return {
        "type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl,
        **({"externalReferences": [{"type": "website", "url": home}]} if home.startswith("http") else {}),
        "properties": [{"name": "kveil:source-package", "value": source}] +
                      [{"name": "kveil:linked", "value": f"{'static' if f.endswith('.a') else 'dynamic'} {f}"} for f in sorted(files)],
    }


def main():
    if sys.argv[1] == "--libraries":
        print("\n".join(shared(sys.argv[2])))
        return
    program, version, archives = sys.argv[1], sys.argv[2], sys.argv[3:]
    release = re.search(r'VERSION_ID="?(\d+)', pathlib.Path("/etc/os-release").read_text()).group(1)
    packages = by_package({*map(os.path.realpath, [*shared(program), *archives])})
    rows = sorted(set(output("dpkg-query", "-W", "-f", FORMAT, *packages).splitlines()))
    components = [component(row, packages[row.split("\t")[0]], release) for row in rows]
    me = f"pkg:generic/kveil@{version}"
    made = datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), timezone.utc)
    json.dump({
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json", "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        # The same contents, the same number.
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([me, components]))}",
        "metadata": {
            "timestamp": made.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {"type": "application", "bom-ref": me, "name": "kveil", "version": version, "purl": me,
                          "licenses": [{"license": {"id": "Apache-2.0"}}]},
        },
        "components": components,
        "dependencies": [{"ref": me, "dependsOn": [c["bom-ref"] for c in components]}],
    }, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
