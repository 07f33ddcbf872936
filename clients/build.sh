#!/bin/sh
# build.sh PYTHON FOLDER: checks the TypeScript and builds the page into FOLDER. The types of requests
# and responses are made from the OpenAPI document of this code.
set -eu
python=$(realpath -s "$1")
mkdir -p "$2"
out=$(cd "$2" && pwd)
cd "$(dirname "$0")"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$python" openapi.py >"$scratch/openapi.json"
npx --no-install openapi-typescript "$scratch/openapi.json" -o typescript/src/schema.d.ts >/dev/null
npm run --silent check --workspaces
cd page
npx --no-install vite build --logLevel warn --outDir "$out"
