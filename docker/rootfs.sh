#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# rootfs.sh PROGRAM OUT VERSION: what the program needs to run, and nothing else, as a root file system. Equal inputs give equal
# bytes: times are SOURCE_DATE_EPOCH, and nothing depends on the order of a folder. The program itself is not run.
set -eu
program=$1 out=$2 version=$3
sbom=$(dirname "$0")/../deploy/sbom.py

mkdir -p "$out/usr/bin" "$out/etc/ssl/certs" "$out/etc/kveil/rules" "$out/tmp" "$out/var/lib/kveil"
cp "$program" "$out/usr/bin/kveil"
"${STRIP:-strip}" "$out/usr/bin/kveil"

# The loader stands under its own name, which the program's header holds; libraries where it looks for them.
python3 "$sbom" --libraries "$program" >/tmp/libraries
while read -r library; do
  mkdir -p "$out$(dirname "$library")"
  cp -L "$library" "$out$library"
done </tmp/libraries

# What it is made of, for scanners.
mkdir -p "$out/usr/share/sbom"
python3 "$sbom" "$program" "$version" >"$out/usr/share/sbom/kveil.cdx.json"

cp /etc/ssl/certs/ca-certificates.crt "$out/etc/ssl/certs/"
[ ! -e /etc/ssl/openssl.cnf ] || cp /etc/ssl/openssl.cnf "$out/etc/ssl/"
mkdir -p "$out/usr/lib/ssl"
ln -s /etc/ssl/certs "$out/usr/lib/ssl/certs"
ln -s /etc/ssl/openssl.cnf "$out/usr/lib/ssl/openssl.cnf"
ln -s /etc/ssl/certs/ca-certificates.crt "$out/usr/lib/ssl/cert.pem"
printf 'root:x:0:0:root:/:/sbin/nologin\nkveil:x:65532:65532:kveil:/var/lib/kveil:/sbin/nologin\n' >"$out/etc/passwd"
printf 'root:x:0:\nkveil:x:65532:\n' >"$out/etc/group"
printf 'hosts: files dns\n' >"$out/etc/nsswitch.conf"
chmod 1777 "$out/tmp"
chown -R 65532:65532 "$out/var/lib/kveil"
find "$out" -perm /6000 -type f -exec chmod a-s {} +
find "$out" -exec touch -h -d "@${SOURCE_DATE_EPOCH:-0}" {} +
