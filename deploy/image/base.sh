#!/bin/sh
# base.sh: makes the image plumbline-base from Debian's packages, for a machine that reaches no registry
# of images. It holds what debian:bookworm-slim does, and the certificates that this machine trusts.
set -eu
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/etc" "$scratch/usr/local/share/ca-certificates"
find /usr/local/share/ca-certificates -name '*.crt' -exec cp {} "$scratch/usr/local/share/ca-certificates" \;
printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n' >"$scratch/etc/pip.conf"
mmdebstrap --quiet --variant=minbase \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-include=/usr/share/doc/*/copyright' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook="copy-in $scratch/etc/pip.conf /etc" \
    --customize-hook="copy-in $scratch/usr/local/share/ca-certificates /usr/local/share" \
    bookworm "$scratch/base.tar"
podman import --quiet "$scratch/base.tar" plumbline-base
