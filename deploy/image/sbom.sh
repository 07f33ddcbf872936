#!/bin/sh
# sbom.sh TOOLS PYTHON FOLDER: writes what the images hold into the folder: a bill of materials of each
# (CycloneDX), with versions and hashes, and the licences of the packages of the CPU image, which
# PYTHON has installed. Fails for a package whose licences are all others than these.
set -eu
tools=$1 python=$2 folder=$3
mkdir -p "$folder"
for device in cpu cuda; do
    "$tools/cyclonedx-py" requirements --pyproject pyproject.toml --output-reproducible --of JSON \
        --output-file "$folder/plumbline-$device.cdx.json" "deploy/image/requirements-$device.txt"
done
# Names of packages for this platform: lines without a marker of another.
names=$(sed -n -e '/sys_platform ==/d' -e 's/^\([a-z0-9][a-z0-9._-]*\)==.*/\1/p' deploy/image/requirements-cpu.txt)
# shellcheck disable=SC2086
"$tools/pip-licenses" --python "$python" --format csv --with-urls --partial-match \
    --allow-only 'MIT;BSD;Apache;Mozilla;MPL-2.0;PSF-2.0' \
    --output-file "$folder/licences-cpu.csv" --packages $names
