#!/bin/sh
# What `make demo` runs: ingest the shipped PEPs, then ask them three questions.
set -eu
cd "$(dirname "$0")/.."

ask() {
    printf '\n$ rag query --collection peps "%s"\n\n' "$1"
    rag query --collection peps "$1"
}

printf '$ rag ingest examples/peps --collection peps\n\n'
rag ingest examples/peps --collection peps
ask 'Why should limits on line length be 79 characters?'
ask 'What is the walrus operator?'
ask 'How do I bake sourdough bread?'
