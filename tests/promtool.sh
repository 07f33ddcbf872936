#!/bin/sh
# promtool.sh FOLDER: unpacks Debian's promtool and Prometheus there. Needs apt-get and no root: lists of packages go
# into a folder of their own, and nothing is installed.
set -eu
command -v apt-get >/dev/null
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$1" "$scratch/lists/partial" "$scratch/archives/partial"
apt() {
    apt-get -qq -o Dir::State::lists="$scratch/lists" -o Dir::Cache="$scratch" \
        -o APT::Sandbox::User=root -o Acquire::Retries=1 -o Acquire::http::Timeout=20 "$@"
}
(cd "$scratch" && apt update && apt download prometheus && dpkg-deb -x prometheus_*.deb .)
mv "$scratch/usr/bin/promtool" "$scratch/usr/bin/prometheus" "$1/"
