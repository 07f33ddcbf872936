"""Configurations that the planner refuses, each with a message that names what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rag.errors import InputError
from rag.operations.capacity.reading import read_model
from tests.model_configs import configs, published


def refused(name: str = "Meta-Llama-3.1-8B", **changed: Any) -> str:
    with pytest.raises(InputError) as caught:
        published(name, **changed)
    return str(caught.value)


def test_an_unknown_architecture_is_named_with_those_that_are_known() -> None:
    message = refused(model_type="transmogrifier")
    assert "the architecture 'transmogrifier' is unknown" in message
    assert "deepseek_v3" in message
    assert "the architecture None is unknown" in refused(model_type=None)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"num_hidden_layers": None}, "no field 'num_hidden_layers'"),
        ({"vocab_size": None}, "no field 'vocab_size'"),
        ({"hidden_size": 0}, "hidden_size = 0 is no whole number"),
        ({"hidden_size": -4096}, "hidden_size = -4096"),
        ({"hidden_size": 4096.5}, "hidden_size = 4096.5"),
        ({"hidden_size": "4096"}, "hidden_size = '4096'"),
        ({"hidden_size": True}, "hidden_size = True"),
        ({"hidden_size": 10**12}, "hidden_size = 1000000000000"),
        ({"num_hidden_layers": 10**6}, "num_hidden_layers = 1000000"),
        ({"num_key_value_heads": 7}, "32 attention heads cannot share 7"),
        ({"num_attention_heads": 33, "num_key_value_heads": 33}, "no multiple of 33 heads"),
        ({"torch_dtype": "float8"}, "the type 'float8'"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings = 'yes'"),
        ({"quantization_config": {"quant_method": "magic"}}, "quantization 'magic' is unknown"),
        ({"quantization_config": {"quant_method": "awq", "bits": 3}}, "quantization 'awq'"),
        ({"sliding_window": 4096, "layer_types": ["full_attention"]}, "lists 1 layers"),
        ({"sliding_window": 64, "layer_types": ["odd"] * 32}, "of the kind 'odd'"),
        ({"text_config": "llama"}, "text_config is no object"),
    ],
)
def test_fields_that_cannot_be(changed: dict[str, Any], says: str) -> None:
    assert says in refused(**changed)


def test_mixtures_and_hybrids_that_cannot_be() -> None:
    assert "cannot choose 9 of 8 experts" in refused("Mixtral-8x7B-v0.1", num_experts_per_tok=9)
    assert "no field 'kv_lora_rank'" in refused("DeepSeek-V3", kv_lora_rank=None)
    pattern = {"hybrid_override_pattern": "M*X"}
    assert "of the kind 'X'" in refused("Nemotron-H-56B-Base-8K", **pattern)
    pattern = {"hybrid_override_pattern": ""}
    assert "no field 'hybrid_override_pattern'" in refused("Nemotron-H-56B-Base-8K", **pattern)


def test_formats_of_checkpoints() -> None:
    def quantization(**config: Any) -> str:
        return published("Meta-Llama-3.1-8B", quantization_config=config).quantization

    assert quantization(quant_method="awq", bits=4) == "int4"
    assert quantization(quant_method="gptq", bits=8) == "int8"
    assert quantization(quant_method="modelopt", quant_algo="NVFP4") == "nvfp4"
    groups = {"group_0": {"weights": {"num_bits": 8, "type": "float"}}}
    assert quantization(quant_method="compressed-tensors", config_groups=groups) == "fp8"
    assert published("DeepSeek-V3").quantization == "fp8"


def test_files_that_are_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There is no .*config\.json"):
        read_model(tmp_path)
    file = tmp_path / "config.json"
    for text, says in [("{", "cannot be read as JSON"), ("[]", "no JSON object"), ("\xff", "JSON")]:
        file.write_bytes(text.encode("latin-1"))
        with pytest.raises(InputError, match=says):
            read_model(tmp_path)
    file.write_bytes(b" " * (5 << 20))
    with pytest.raises(InputError, match="larger than 4 MiB"):
        read_model(file)
    file.write_text(json.dumps(configs()["Meta-Llama-3.1-8B"]))
    assert read_model(file) == read_model(tmp_path)
    assert read_model(file).name == tmp_path.name
