#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Debian 13, in a chroot: the tree builds there without a warning, the unit tests pass, and the demo holds.
#
#   tests/debian13.sh      # needs root, or sudo without a password; `rm -rf .cache/debian13` makes the chroot afresh
#
# The chroot comes from the mirror that this machine's apt uses, and is kept in .cache/debian13.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
CACHE=$PWD/.cache/debian13
ROOT=$CACHE/root

die() { printf 'debian13: %s\n' "$*" >&2; exit 1; }

if [ "$(id -u)" != 0 ]; then
  sudo -n true 2>/dev/null || die "needs root for a chroot, or sudo without a password"
  exec sudo -n --preserve-env=PATH "$0"
fi
command -v mmdebstrap >/dev/null || die "needs Debian's package mmdebstrap"

# shellcheck disable=SC2046
PACKAGES=$(echo $(cat docker/packages) libcmocka-dev iproute2 groff-base man-db mandoc | tr ' ' ,)

make_chroot() {
  [ "$(cat "$CACHE/packages" 2>/dev/null)" = "$PACKAGES" ] && return 0
  local here mirror
  here=$(. /etc/os-release && echo "$VERSION_CODENAME")
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Component: main' "Codename: $here" | head -1)
  [ -n "$mirror" ] || die "apt names no mirror of this machine's Debian ($here)"
  rm -rf "$CACHE"
  mkdir -p "$CACHE"
  mmdebstrap --quiet --mode=root --variant=apt --include="$PACKAGES" trixie "$ROOT" "$mirror" 2>"$CACHE/log" ||
    { tail -20 "$CACHE/log" >&2; rm -rf "$ROOT"; die "mmdebstrap cannot make Debian 13"; }
  printf '%s' "$PACKAGES" >"$CACHE/packages"
}

# Everything that git knows, and the test vectors.
copy_tree() {
  rm -rf "$ROOT/src"
  mkdir -p "$ROOT/src/.cache"
  git -c safe.directory="$PWD" ls-files -z | xargs -0 sh -c 'for f; do [ -e "$f" ] && printf "%s\0" "$f"; done' - |
    tar -c --null -T - | tar -x -C "$ROOT/src"
  cp -rL .cache/vectors "$ROOT/src/.cache/"
}

# The mounts are in a namespace of their own and go with it.
inside() {
  unshare --mount --propagation private bash -c '
    mount -t proc proc "$0/proc" && mount -t tmpfs tmpfs "$0/tmp" && mount --rbind /dev "$0/dev" &&
    exec chroot "$0" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 bash -euc "cd /src; $1"' "$ROOT" "$1"
}

make_chroot
copy_tree
inside '
  gcc --version | head -1
  meson setup build-asan -Dwerror=true -Db_sanitize=address,undefined -Db_lundef=false -Dfailpoints=true >/tmp/log ||
    { cat /tmp/log; exit 1; }
  ninja -C build-asan >/tmp/log || { grep -vE "^\[[0-9]+/" /tmp/log | tail -60; exit 1; }
  meson test -C build-asan --no-rebuild --suite unit --no-suite slow --num-processes 2 -q \
    --timeout-multiplier 3 --print-errorlogs
  build-asan/src/cli/kveil demo --once'
