#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The chart's values.schema.json with kveil's own schema of kveil.yaml in it.

    python3 deploy/values_schema.py build/src/cli/kveil > new && mv new deploy/helm/kveil/values.schema.json
"""
import json
import pathlib
import subprocess
import sys

SCHEMA = pathlib.Path(__file__).resolve().parent / "helm" / "kveil" / "values.schema.json"


def schema(kveil):
    of_config = json.loads(subprocess.run([kveil, "schema", "config"], capture_output=True, check=True).stdout)
    # What is missing altogether the templates say, with the way to an example.
    for key in ("$schema", "title", "required"):
        del of_config[key]
    whole = json.loads(SCHEMA.read_text())
    whole["properties"]["config"] = {"description": "kveil.yaml, as `kveil schema config` prints it", **of_config}
    return whole


if __name__ == "__main__":
    print(json.dumps(schema(sys.argv[1]), indent=1, ensure_ascii=False))
