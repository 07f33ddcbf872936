#!/usr/bin/env bash
# 2026-11-29: ir_measures 0.4.3 with pytrec-eval-terrier 0.5.11, Python 3.11.
#
# Expected: a list of measures gives the same numbers as each measure by itself, in every process.
# Seen: nDCG@10 asked for beside an nDCG@10 with other gains comes out as 0.7463 or as 0.6289, by the
# seed of Python's string hashes, and the other one as 0.6289 or 0.0. Measures are grouped in the
# order of a set; nDCG without gains joins the first group, also where that group has gains.
# Matters: a table with linear and exponential nDCG changes from run to run, and no seed that an
# experiment sets mends it. Ask for one measure a call.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    ir-measures==0.4.3 pytrec-eval-terrier==0.5.11 2>/dev/null
cat > "$folder/measure.py" <<'PY'
import ir_measures

names = ["nDCG@10", "nDCG(gains={2:3,3:7})@10"]
qrels = {"q": {"a": 2, "b": 1, "c": 0, "d": 3}}
run = {"q": {"b": 4.0, "a": 3.0, "x": 2.0, "d": 1.0}}


def calc(names):
    measures = [ir_measures.parse_measure(name) for name in names]
    found = ir_measures.calc_aggregate(measures, qrels, run)
    return [round(found[measure], 4) for measure in measures]


print("together", *calc(names), "apart", *(calc([name])[0] for name in names))
PY
for seed in 0 1 2 3 4 5 6 7; do
    PYTHONHASHSEED=$seed "$folder/venv/bin/python" "$folder/measure.py"
done | sort | uniq -c | tee "$folder/seen"
# Output:
#   2 together 0.6289 0.0 apart 0.7463 0.6289
#   6 together 0.7463 0.6289 apart 0.7463 0.6289
grep -q "together 0.6289 0.0 apart 0.7463 0.6289" "$folder/seen" || { echo "It has changed."; exit 1; }
grep -q "together 0.7463 0.6289 apart 0.7463 0.6289" "$folder/seen" || { echo "It has changed."; exit 1; }
