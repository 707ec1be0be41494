#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Building for another processor without running its programs: the compiler is this machine's, the libraries are Debian's for
# the other one. ARCH is Debian's name, which is Docker's too; without it, or as this machine's, nothing is crossed.
#   cross.sh install [ARCH]   the first line of docker/packages for this machine, the others for ARCH
#   cross.sh file [ARCH]      meson's cross file; nothing where nothing is crossed
set -eu
here=$(dpkg --print-architecture)
arch=${2:-$here}
case $arch in
amd64) cpu=x86_64 ;;
arm64) cpu=aarch64 ;;
*) echo "cross.sh: amd64 or arm64, not $arch" >&2 && exit 2 ;;
esac

install() {
  list=$(dirname "$0")/packages
  tools=$(sed -n 1p "$list") libraries=$(sed 1d "$list")
  if [ "$arch" != "$here" ]; then
    dpkg --add-architecture "$arch"
    tools="$tools $(echo "gcc-$cpu-linux-gnu" | tr _ -)"
    libraries=$(printf "%s:$arch " libc6-dev $libraries)
  fi
  apt-get update -qq
  # shellcheck disable=SC2086
  apt-get install -y -qq --no-install-recommends $tools $libraries
}

file() {
  [ "$arch" != "$here" ] || exit 0
  cat <<END
[binaries]
c = '$cpu-linux-gnu-gcc'
ar = '$cpu-linux-gnu-ar'
strip = '$cpu-linux-gnu-strip'
pkgconfig = 'pkg-config'
[properties]
pkg_config_libdir = ['/usr/lib/$cpu-linux-gnu/pkgconfig', '/usr/share/pkgconfig']
[host_machine]
system = 'linux'
cpu_family = '$cpu'
cpu = '$cpu'
endian = 'little'
END
}

"$1"
