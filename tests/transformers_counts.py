"""`python -m tests.transformers_counts`: parameters of models, as transformers makes them.

Standard input has, as JSON, the fields that each kind of configuration changes. The models are made
without memory. In a process of its own, for some of them load a compiler.
"""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any


def main() -> None:
    warnings.simplefilter("ignore")
    import torch
    import transformers

    maker: Any = transformers.AutoModelForCausalLM
    found: dict[str, dict[str, Any]] = {}
    for kind, changed in json.load(sys.stdin).items():
        config: Any = transformers.CONFIG_MAPPING[kind](**changed)
        with torch.device("meta"):
            model = maker.from_config(config)
        count = sum(each.numel() for each in model.parameters())
        found[kind] = {"parameters": count, "config": config.to_dict() | changed}
    json.dump(found, sys.stdout, default=str)


if __name__ == "__main__":
    main()
