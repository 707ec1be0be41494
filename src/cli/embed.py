#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""embed.py NAME IN OUT: a file as a C array, so that the binary alone suffices."""
import sys

name, source, target = sys.argv[1:]
with open(source, "rb") as f:
    data = f.read()
with open(target, "w") as f:
    f.write(f"static const unsigned char {name}[{len(data)}] = {{\n")
    for i in range(0, len(data), 16):
        f.write("\t" + " ".join(f"0x{b:02x}," for b in data[i:i + 16]) + "\n")
    f.write("};\n")
