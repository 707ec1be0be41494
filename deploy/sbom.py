#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""sbom.py PROGRAM VERSION [ARCHIVE…]: a CycloneDX document of what a program is made of, on the Debian where it was built:
what the loader takes (ldd) and the archives that were linked into it, by the packages that they come from (dpkg)."""
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
    return subprocess.run(cmd, check=True, capture_output=True, text=True).stdout


def shared(program):
    return [os.path.realpath(p) for p in re.findall(r"(/\S+) \(0x", output("ldd", program))]


def by_package(paths):
    """{package: paths}. Merged /usr: dpkg may know a file under its old name."""
    names = {name: path for path in paths for name in (path, path.removeprefix("/usr"))}
    found = subprocess.run(["dpkg", "-S", *names], capture_output=True, text=True).stdout
    packages = {}
    for line in found.splitlines():
        who, name = line.split(": ", 1)
        if name in names:
            packages.setdefault(who.split(",")[0].split(":")[0], set()).add(names[name])
    missing = set(paths) - {path for have in packages.values() for path in have}
    if missing:
        sys.exit(f"sbom.py: no package has {', '.join(sorted(missing))}")
    return packages


FORMAT = "${Package}\t${Version}\t${Architecture}\t${source:Package}\t${Homepage}\n"


def component(row, files, release):
    name, version, arch, source, home = row.split("\t")
    purl = f"pkg:deb/debian/{name}@{quote(version, safe='')}?arch={arch}&distro=debian-{release}"
    return {
        "type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl,
        **({"externalReferences": [{"type": "website", "url": home}]} if home.startswith("http") else {}),
        "properties": [{"name": "kveil:source-package", "value": source}] +
                      [{"name": "kveil:linked", "value": f"{'static' if f.endswith('.a') else 'dynamic'} {f}"} for f in sorted(files)],
    }


def main():
    program, version, archives = sys.argv[1], sys.argv[2], sys.argv[3:]
    release = re.search(r'VERSION_ID="?(\d+)', pathlib.Path("/etc/os-release").read_text()).group(1)
    packages = by_package({*shared(program), *map(os.path.realpath, archives)})
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
