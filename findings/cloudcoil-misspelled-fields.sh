#!/usr/bin/env bash
# cloudcoil.models.keda 2.16.1.0: a misspelled field of a manifest is accepted, and then it is gone.
#
# Seen 2026-11-30 with cloudcoil 0.6.0 and cloudcoil.models.keda 2.16.1.0 on Python 3.11.
#
# One would expect: models made from the schemas of custom resources refuse what the schema does not have, as
# `kubectl apply` does by default (strict field validation since Kubernetes 1.27): that is what one takes
# typed models of manifests for.
# What happens: the models are pydantic's with its default for unknown names, to ignore them. A ScaledObject
# with `minReplicaCounts: 3` is valid, and written again it has no lower bound at all. Values of the wrong
# type are refused, so the check looks as if it worked.
#
# Output seen:
#   minReplicaCount: 'three'   refused
#   minReplicaCounts: 3         accepted, written as {'scaleTargetRef': {'name': 'w'}, 'triggers': []}
#
# It matters because a test that validates a chart's objects with these models passes for every typo in the
# name of a field, and the cluster scales as if the line were not there. Compare what the model writes
# (`exclude_unset=True`, by alias) with what it read. Exits with 1 once the typo is refused or kept.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    cloudcoil==0.6.0 cloudcoil.models.keda==2.16.1.0
"$folder/venv/bin/python" - <<'PYTHON'
import sys

from cloudcoil.models.keda.v1alpha1 import ScaledObject
from pydantic import ValidationError


def written(name, value):
    """Prints and returns the spec with one field more, as the model writes it; None: refused."""
    spec = {"scaleTargetRef": {"name": "w"}, "triggers": [], name: value}
    manifest = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "spec": spec}
    try:
        read = ScaledObject.model_validate(manifest)
    except ValidationError:
        print(f"{name}: {value!r:9} refused")
        return None
    again = read.model_dump(by_alias=True, exclude_unset=True)["spec"]
    print(f"{name}: {value!r:9} accepted, written as {again}")
    return again


wrong_type = written("minReplicaCount", "three")
typo = written("minReplicaCounts", 3)
sys.exit(not (wrong_type is None and typo == {"scaleTargetRef": {"name": "w"}, "triggers": []}))
PYTHON
