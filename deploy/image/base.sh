#!/bin/sh
# base.sh: makes the image plumbline-base from Debian's packages, with podman, for a machine that reaches
# no registry of images. It has the packages of debian:bookworm-slim, and the certificates that this
# machine trusts. Needs root and mmdebstrap.
set -eu
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/ca-certificates"
find /usr/local/share/ca-certificates -name '*.crt' -exec cp {} "$scratch/ca-certificates" \;
printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n' >"$scratch/pip.conf"
# As Debian's images for Docker: apt leaves no caches behind.
cat >"$scratch/docker-clean" <<'END'
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb"; };
END
mmdebstrap --quiet --variant=minbase \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-include=/usr/share/doc/*/copyright' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook="copy-in $scratch/docker-clean /etc/apt/apt.conf.d" \
    --customize-hook="copy-in $scratch/pip.conf /etc" \
    --customize-hook="copy-in $scratch/ca-certificates /usr/local/share" \
    --customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin' \
    bookworm "$scratch/base.tar"
podman import --quiet "$scratch/base.tar" plumbline-base
