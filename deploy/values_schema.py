#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The chart's values.schema.json with kveil's own schema of kveil.yaml in it.

    python3 deploy/values_schema.py build/src/cli/kveil    # prints it; tests/pages.py --write puts it in its place
"""
import json
import pathlib
import subprocess
import sys

SCHEMA = pathlib.Path(__file__).resolve().parent / "helm" / "kveil" / "values.schema.json"


def text(kveil):
    of_config = json.loads(subprocess.run([kveil, "schema", "config"], capture_output=True, check=True).stdout)
    # What is missing altogether the templates say, with the way to an example.
    for key in ("$schema", "title", "required"):
        del of_config[key]
    whole = json.loads(SCHEMA.read_text())
    whole["properties"]["config"] = {"description": "kveil.yaml, as `kveil schema config` prints it", **of_config}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(text(sys.argv[1]), end="")
