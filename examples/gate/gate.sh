#!/bin/sh
# Runs the shipped questions and holds the run against the one that is kept here; `gate.sh keep` keeps
# the new one instead. RAG is the command.
set -eu
here=$(dirname "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$(dirname "$RAG")/python" "$here/corpus.py" "$folder/peps"
here=$(cd "$here" && pwd)
cd "$folder"
unset RAG_CONFIG
RAG_DATA_DIR=data "$RAG" eval run peps --out run
if [ "${1:-}" = keep ]; then
    rm -rf "$here/baseline" && mkdir "$here/baseline"
    cp run/run.json run/outcomes.jsonl run/summary.json "$here/baseline"
else
    "$RAG" eval gate run --baseline "$here/baseline" --rules "$here/rules.toml"
fi
