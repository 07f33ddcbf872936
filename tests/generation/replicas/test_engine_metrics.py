from __future__ import annotations

import pytest

from generation.replicas.engine_metrics import EngineState, read_engine_metrics

OF_VLLM = """\
# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="tiny"} 3.0
vllm:num_requests_waiting{engine="1",model_name="tiny"} 1.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="tiny",reason="capacity"} 7.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="tiny"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="tiny"} 0.5
# TYPE vllm:num_preemptions_total counter
vllm:num_preemptions_total{engine="0",model_name="tiny"} 2.0
vllm:num_preemptions_total{engine="1",model_name="tiny"} 3.0
vllm:num_preemptions_created{engine="0",model_name="tiny"} 1.79e+09
# TYPE vllm:prefix_cache_queries_total counter
vllm:prefix_cache_queries_total{engine="0",model_name="a \\"b\\" c"} 80.0
vllm:prefix_cache_queries_created{engine="0",model_name="tiny"} 1.79e+09
vllm:prefix_cache_hits_total{engine="0",model_name="tiny"} 60.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.001",model_name="tiny"} 0.0
"""


def test_the_metrics_of_vllm_are_summed_over_its_engines() -> None:
    assert read_engine_metrics(OF_VLLM) == EngineState(
        waiting=4, kv_cache_usage=0.5, preemptions=5, prefix_hits=60, prefix_queries=80
    )


def test_another_server_has_none() -> None:
    assert read_engine_metrics("") is None
    assert read_engine_metrics("<html>vllm:num_requests_waiting</html>") is None
    assert read_engine_metrics("llamacpp:requests_processing 1\n") is None


def test_a_part_of_them_is_enough() -> None:
    state = read_engine_metrics("vllm:num_requests_waiting 2\n")
    assert state == EngineState(waiting=2)


@pytest.mark.parametrize("line", ["{ many", " NaN", " +Inf"])
def test_a_line_that_has_no_number_is_an_error(line: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_engine_metrics(f"vllm:num_requests_waiting{line}\n")
