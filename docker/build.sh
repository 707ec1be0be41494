#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# build.sh OUT [ARCH]: kveil for ARCH (cross.sh), and what it needs to run, as a root file system.
set -eu
out=$1 arch=${2:-} build=/build
docker/cross.sh file $arch >/tmp/cross.ini
options="--buildtype=release --prefix=/usr -Dtests=disabled"
if [ -s /tmp/cross.ini ]; then
  options="$options --cross-file /tmp/cross.ini"
  STRIP=$(sed -n "s/^strip = '\(.*\)'/\1/p" /tmp/cross.ini)
  export STRIP
fi
# shellcheck disable=SC2086
meson setup $build $options
ninja -C $build src/cli/kveil
docker/rootfs.sh $build/src/cli/kveil "$out" "$(sed -n "s/^ *version: '\(.*\)',.*/\1/p" meson.build | head -1)"
