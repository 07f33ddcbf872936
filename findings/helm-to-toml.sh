#!/usr/bin/env bash
# Helm 4.2.3: `toToml` writes every whole number of values.yaml as a float.
#
# Seen 2026-11-30 with helm-python-sdk 0.2.2, which carries Helm 4.2.3's engine, on Python 3.11.
#
# One would expect: `port: 8000` in values.yaml is `port = 8000` in TOML, whose integers and floats
# are different types.
# What happens: the values pass through JSON on their way to the template, where all numbers are one
# type, and `toToml` writes `port = 8000.0`. `toYaml` of the same value writes 8000, and so does the
# value in a template of its own.
#
# Output seen:
#   toml   port = 8000.0
#   yaml   port: 8000
#   plain  8000
#
# It matters because a strict reader of the settings refuses a float for a port or a count, and does
# so in the cluster alone: the chart renders, lints and installs. Write the settings as JSON or YAML.
# Exits with 1 if this is no longer so.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check helm-python-sdk==0.2.2
mkdir -p "$folder/chart/templates"
cat > "$folder/chart/Chart.yaml" <<'YAML'
apiVersion: v2
name: chart
version: 0.1.0
YAML
cat > "$folder/chart/values.yaml" <<'YAML'
settings:
  port: 8000
YAML
cat > "$folder/chart/templates/settings.yaml" <<'YAML'
apiVersion: v1
kind: ConfigMap
metadata:
  name: settings
data:
  toml: {{ .Values.settings | toToml | trim | quote }}
  yaml: {{ .Values.settings | toYaml | quote }}
  plain: {{ .Values.settings.port | quote }}
YAML
"$folder/venv/bin/python" - "$folder/chart" <<'PYTHON'
import re
import sys

from helm_python import Chart

SEEN = {"toml": "port = 8000.0", "yaml": "port: 8000", "plain": "8000"}

rendered = str(Chart.load(sys.argv[1]).render({}, name="release", namespace="default"))
for name, expected in SEEN.items():
    found = re.search(rf'{name}: \\?"([^"\\]*)\\?"', rendered)
    value = found[1] if found else "nothing"
    print(f"{name:7}{value}")
    if value != expected:
        sys.exit(f"It was {expected!r} with Helm 4.2.3.")
PYTHON
