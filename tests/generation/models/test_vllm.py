"""A real engine on the CPU, started once; the tests run in order, and the last ones kill it."""

from __future__ import annotations

import asyncio
import gc
import json
import multiprocessing
import os
import shutil
import signal
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from importlib.util import find_spec
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rag.build.generation import open_chat_model
from rag.errors import BusyError, ConfigError, InputError, UpstreamError
from rag.protocols import ChatModel
from rag.settings.generation import VllmSettings
from rag.types import Message, Piece, Sampling
from tests.chat_models import CHAT, check_chat_model
from tests.forked_vllm import fork_engines
from tests.servers import PATIENCE
from tests.tiny_llama import CONTEXT, make_adapter, make_tiny_llama

if TYPE_CHECKING:
    from generation.models.vllm import VllmModel

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed: docs/vllm.md"),
    # vLLM and torch warn when they are imported.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),
    pytest.mark.filterwarnings("ignore::FutureWarning:vllm"),
    # An engine is three processes that load torch: minutes on a busy machine.
    pytest.mark.timeout(900),
]

ENGINE: dict[str, Any] = {
    "dtype": "float32",
    "enforce_eager": True,
    "kv_cache_memory_bytes": 64 << 20,
    "max_num_queued_reqs": 24,
}
SCHEMA: dict[str, object] = {
    "type": "object",
    "properties": {"page": {"type": "integer", "maximum": 99}, "found": {"type": "boolean"}},
    "required": ["page", "found"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_llama(tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture(scope="module", autouse=True)
def _forked() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        fork_engines(patch)
        yield


@pytest.fixture(scope="module")
async def model(tiny: Path, one_loop: None) -> AsyncIterator[VllmModel]:
    from generation.models.vllm import VllmModel

    async with open_chat_model(settings_of(tiny)) as opened:
        assert isinstance(opened, VllmModel)
        yield opened


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Records the last message of each prompt that is tokenized."""
    from generation.models.vllm_engine import render

    told: list[str] = []

    async def noting(engine: Any, messages: Sequence[Message]) -> dict[str, Any]:
        told.append(messages[-1].content)
        return await render(engine, messages)

    monkeypatch.setattr("generation.models.vllm.render", noting)
    return told


def settings_of(
    model: str | Path,
    /,
    lora: Path | None = None,
    adapters: dict[str, str] | None = None,
    **engine: Any,
) -> VllmSettings:
    return VllmSettings(
        kind="vllm", model=str(model), lora=lora, adapters=adapters or {}, engine=ENGINE | engine
    )


def engines() -> list[BaseProcess]:
    """Returns the processes of engines."""
    return [p for p in multiprocessing.active_children() if p.name.startswith("EngineCore")]


async def write(model: ChatModel, **sampling: Any) -> tuple[str, Piece]:
    """Returns the whole text and the last piece."""
    options = {"max_tokens": 32} | sampling
    pieces = [piece async for piece in model.stream(CHAT, sampling=Sampling(**options))]
    assert all(piece.finish_reason is None for piece in pieces[:-1])
    return "".join(piece.text for piece in pieces), pieces[-1]


async def write_directly(model: VllmModel, prompt: str, *, max_tokens: int) -> str:
    """Returns the text that the engine generates for a prompt, called without the model."""
    from vllm import SamplingParams

    engine = model._supervisor.engine
    assert engine is not None
    tokens = engine.get_tokenizer().encode(prompt, add_special_tokens=False)
    params = SamplingParams(max_tokens=max_tokens, temperature=0)
    async for output in engine.generate({"prompt_token_ids": tokens}, params, uuid.uuid4().hex):
        last = output
    text: str = last.outputs[0].text
    return text


def unfinished(model: VllmModel) -> int:
    assert model._supervisor.engine is not None
    count: int = model._supervisor.engine.get_num_unfinished_requests()
    return count


async def under_way(model: VllmModel, count: int) -> None:
    while unfinished(model) < count:  # noqa: ASYNC110 - the engine has no event for it
        await asyncio.sleep(0.001)


async def running(model: VllmModel) -> float:
    """Returns the number of running and waiting requests that the engine last reported."""
    from prometheus_client import REGISTRY

    await asyncio.sleep(0)
    names = ("vllm:num_requests_running", "vllm:num_requests_waiting")
    samples = [s for metric in REGISTRY.collect() for s in metric.samples if s.name in names]
    assert samples
    return sum(sample.value for sample in samples)


async def test_it_keeps_the_contract_of_chat_models(model: VllmModel) -> None:
    await check_chat_model(model)


async def test_text_comes_in_pieces_and_is_what_the_engine_itself_writes(model: VllmModel) -> None:
    pieces = [p async for p in model.stream(CHAT, sampling=Sampling(max_tokens=32))]
    prompt = (
        "<|system|>You answer from the passages.<|end|><|user|>What is the question?<|end|>"
        "<|assistant|>"
    )
    assert len(pieces) > 8
    assert all(piece.text for piece in pieces[:-1])
    text = "".join(piece.text for piece in pieces)
    assert text == await write_directly(model, prompt, max_tokens=32)


async def test_the_last_piece_says_why_it_ended_and_what_was_used(model: VllmModel) -> None:
    _, last = await write(model, max_tokens=7)
    assert last.finish_reason == "length"
    assert last.usage is not None
    assert last.usage.output_tokens == 7
    assert last.usage.input_tokens == await model.count_tokens(CHAT)
    assert model.context_tokens == CONTEXT
    assert model.name == "tiny-llama"


async def test_each_piece_tells_the_tokens_so_far(model: VllmModel) -> None:
    pieces = [p async for p in model.stream(CHAT, sampling=Sampling(max_tokens=16))]
    counts = [piece.usage.output_tokens for piece in pieces if piece.usage]
    assert len(counts) == len(pieces)
    assert counts == sorted(counts)
    assert (counts[0] >= 1, counts[-1]) == (True, 16)


async def test_a_prompt_that_was_counted_is_not_rendered_again(
    model: VllmModel, rendered: list[str]
) -> None:
    text, _ = await write(model)  # consumes the counts of earlier tests
    rendered.clear()
    assert await model.count_tokens(CHAT) == await model.count_tokens(CHAT)
    assert (await write(model))[0] == text
    assert len(rendered) == 1
    assert (await write(model))[0] == text
    assert len(rendered) == 2


async def test_no_more_counted_prompts_are_kept_than_have_room(
    model: VllmModel, rendered: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def count(content: str) -> int:
        return await model.count_tokens([Message(role="user", content=content)])

    long = "word " * CONTEXT  # can never be written on
    monkeypatch.setattr(
        "generation.models.vllm.COUNTED", 2 * max([await count(each) for each in "abc"])
    )
    rendered.clear()
    for content in ("d", "e", "f", "f", "e", "d", long, long):  # the oldest makes room
        await count(content)
    assert rendered == ["d", "e", "f", "d", long, long]


async def test_a_stop_word_ends_the_text_before_it(model: VllmModel) -> None:
    whole, _ = await write(model)
    word = whole[len(whole) // 2 :][:3]
    text, last = await write(model, stop=(word,))
    assert last.finish_reason == "stop"
    assert text == whole[: whole.index(word)]


async def test_a_seed_makes_chance_repeat_itself(model: VllmModel) -> None:
    first, _ = await write(model, temperature=1.0, seed=1)
    again, _ = await write(model, temperature=1.0, seed=1)
    other, _ = await write(model, temperature=1.0, seed=2)
    assert first == again != other


async def test_an_answer_fits_its_schema(model: VllmModel) -> None:
    for seed in range(3):
        text, last = await write(model, schema=SCHEMA, max_tokens=300, temperature=0.8, seed=seed)
        assert last.finish_reason == "stop"
        answer = json.loads(text)
        assert answer.keys() == {"page", "found"}
        assert isinstance(answer["page"], int)
        assert isinstance(answer["found"], bool)


async def test_a_schema_that_is_none_is_the_callers_mistake(model: VllmModel) -> None:
    with pytest.raises(InputError, match="Invalid type"):
        await write(model, schema={"type": "nonsense"})


@pytest.mark.parametrize(
    "schema", [{"$ref": "#"}, {"type": "object", "patternProperties": {"((": {"type": "string"}}}]
)
async def test_a_schema_that_only_the_engine_finds_wrong_is_so_too(
    model: VllmModel, schema: dict[str, object]
) -> None:
    with pytest.raises(InputError, match="cannot follow the schema"):
        await write(model, schema=schema)


async def test_an_empty_schema_is_any_json(model: VllmModel) -> None:
    text, last = await write(model, schema={}, max_tokens=100)
    assert last.finish_reason == "length" or json.loads(text) is not Ellipsis
    assert text.lstrip()[:1] in '{["-0123456789tfn'


async def test_a_prompt_longer_than_the_context_is_refused(model: VllmModel) -> None:
    long = [Message(role="user", content="passage " * CONTEXT)]
    assert await model.count_tokens(long) > CONTEXT
    with pytest.raises(InputError, match=f"takes {CONTEXT} with the answer"):
        await anext(aiter(model.stream(long, sampling=Sampling(max_tokens=1))))
    assert unfinished(model) == 0


async def test_an_answer_ends_where_the_context_does(model: VllmModel) -> None:
    _, last = await write(model, max_tokens=10 * CONTEXT)
    assert last.finish_reason == "length"
    assert last.usage is not None
    assert last.usage.input_tokens + last.usage.output_tokens == CONTEXT


async def test_who_stops_reading_frees_the_engine(model: VllmModel) -> None:
    stream = model.stream(CHAT, sampling=Sampling(max_tokens=400))
    await anext(stream)
    assert unfinished(model) == 1
    await stream.aclose()
    assert unfinished(model) == 0
    reader = asyncio.create_task(write(model, max_tokens=400))
    await under_way(model, 1)
    reader.cancel()
    await asyncio.wait([reader])
    assert reader.cancelled()
    assert unfinished(model) == 0
    await write(model, max_tokens=2)  # what the engine says next, it says of itself
    assert await running(model) == 0


async def test_many_write_at_once_and_each_gets_its_own(model: VllmModel) -> None:
    alone = [await write(model, temperature=1.0, seed=seed) for seed in range(16)]
    together = await asyncio.gather(
        *(write(model, temperature=1.0, seed=seed) for seed in range(16))
    )
    assert len({text for text, _ in alone}) > 8
    assert [text for text, _ in together] == [text for text, _ in alone]


async def test_past_the_bound_requests_are_refused_at_once(model: VllmModel) -> None:
    results = await asyncio.gather(
        *(write(model, max_tokens=64) for _ in range(40)), return_exceptions=True
    )
    refused = [r for r in results if isinstance(r, BusyError)]
    served = [r for r in results if isinstance(r, tuple)]
    assert len(refused) + len(served) == 40
    assert len(served) == ENGINE["max_num_queued_reqs"]
    assert "max_num_queued_reqs" in str(refused[0])


async def test_repeated_passages_are_taken_from_the_prefix_cache(model: VllmModel) -> None:
    from prometheus_client import REGISTRY

    def hits() -> float:
        return sum(
            sample.value
            for metric in REGISTRY.collect()
            for sample in metric.samples
            if sample.name == "vllm:prefix_cache_hits_total"
        )

    long = [Message(role="user", content="The passage that answers it. " * 40)]
    before = hits()
    for _ in range(2):
        async for _ in model.stream(long, sampling=Sampling(max_tokens=2)):
            pass
    assert hits() - before >= 128  # a block


async def refused(model: str | Path, /, **engine: Any) -> str:
    """Returns the message of the error that refuses the settings before an engine starts."""
    with pytest.raises(ConfigError) as caught:
        async with open_chat_model(settings_of(model, **engine)):
            pass
    return str(caught.value)


async def test_an_unknown_engine_argument_is_named_with_the_nearest_known(tiny: Path) -> None:
    said = await refused(tiny, enable_prefix_cache=False)
    assert "'enable_prefix_cache'" in said
    assert "Did you mean 'enable_prefix_caching'?" in said
    assert "'model'" in await refused(tiny, model="another")


@pytest.mark.parametrize(
    ("engine", "named"),
    [
        ({"max_model_len": "much"}, "max_model_len"),
        ({"max_model_len": 100_000}, "max_model_len"),
        ({"gpu_memory_utilization": 3}, "gpu_memory_utilization"),
        ({"quantization": "bogus"}, "bogus"),
        ({"tensor_parallel_size": 7}, "tensor parallel size"),
        ({"speculative_config": {"nonsense": 1}}, "nonsense"),
    ],
)
async def test_an_engine_argument_that_does_not_fit_is_named(
    tiny: Path, engine: dict[str, Any], named: str
) -> None:
    assert named in await refused(tiny, **engine)


async def test_a_folder_that_is_missing_or_no_model_is_said(tmp_path: Path) -> None:
    assert "no such folder" in await refused(tmp_path / "nowhere")
    assert "no config.json" in await refused(tmp_path)


async def test_a_damaged_folder_is_said_with_the_file(tiny: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny, tmp_path / "copy")
    weights = copy / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    assert "model.safetensors are missing or damaged" in await refused(copy)
    weights.unlink()
    assert "no weights" in await refused(copy)
    (copy / "model-1.safetensors").write_bytes(whole)
    index = copy / "model.safetensors.index.json"
    index.write_text(
        json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}})
    )
    assert "model-2.safetensors are missing" in await refused(copy)
    index.write_text("{")
    assert "index.json is damaged" in await refused(copy)
    index.unlink()
    (copy / "config.json").write_text("{")
    assert "config.json" in await refused(copy)


async def test_a_model_that_does_not_write_is_refused() -> None:
    from retrieval.embedders.loading import minilm_folder

    assert "not a language model" in await refused(minilm_folder())


@pytest.mark.filterwarnings("ignore:Unclosed context:ResourceWarning")
async def test_a_start_that_is_called_off_leaves_nothing_behind(
    model: VllmModel, tiny: Path
) -> None:
    async def start() -> None:
        async with open_chat_model(settings_of(tiny)):
            raise AssertionError("it was called off")

    (own,) = engines()
    starting = asyncio.create_task(start())
    while len(engines()) < 2:  # noqa: ASYNC110 - the engine has no event for it
        await asyncio.sleep(0.05)
    starting.cancel()
    await asyncio.wait([starting])
    assert starting.cancelled()
    assert engines() == [own]
    await write(model)
    del starting
    gc.collect()  # of the start, vLLM leaves this much behind: a socket context


async def test_an_adapter_that_does_not_fit_is_said_and_its_engine_has_ended(
    model: VllmModel, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("generation.models.vllm_engine.STOP", 0.01)  # it is killed
    own = engines()
    adapter = make_adapter(tmp_path / "adapter")
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"r": 64}))
    with pytest.raises(ConfigError, match=r"adapter'.*generator\.lora.*max_lora_rank"):
        async with open_chat_model(settings_of(tiny, lora=adapter)):
            pass
    assert engines() == own


async def test_it_writes_with_an_adapter_and_who_stops_lets_requests_end(
    model: VllmModel, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("generation.models.vllm_engine.STOP", 2 * PATIENCE)
    bare, _ = await write(model)
    with pytest.raises(ConfigError, match=r"holds no adapter_config\.json"):
        async with open_chat_model(settings_of(tiny, lora=tmp_path)):
            pass
    lora = make_adapter(tmp_path / "adapter")
    patient = settings_of(tiny, lora=lora, shutdown_timeout=int(PATIENCE))
    async with open_chat_model(patient) as adapted:
        assert (await write(adapted))[0] != bare
        stream = aiter(adapted.stream(CHAT, sampling=Sampling(max_tokens=400)))
        await anext(stream)

        async def rest() -> Piece:
            return [piece async for piece in stream][-1]

        reading = asyncio.create_task(rest())
        await asyncio.sleep(0)
    last = await reading
    assert last.finish_reason == "length"
    assert last.usage is not None
    assert last.usage.output_tokens == 400
    with pytest.raises(UpstreamError):
        await write(adapted)


async def test_each_tenant_has_its_adapter_and_all_write_at_once(
    model: VllmModel, tiny: Path, tmp_path: Path
) -> None:
    bare, _ = await write(model)
    acme = make_adapter(tmp_path / "acme-style")
    globex = make_adapter(tmp_path / "globex-style", seed=2)
    adapters = {"acme": str(acme), "acme-2": str(acme), "globex": str(globex)}
    async with open_chat_model(settings_of(tiny, adapters=adapters)) as adapted:
        names = [None, "acme-style", "globex-style"]
        alone = [(await write(adapted, adapter=name))[0] for name in names]
        assert len(set(alone)) == 3
        assert alone[0] == bare
        together = await asyncio.gather(*(write(adapted, adapter=name) for name in names * 4))
        assert [text for text, _ in together] == alone * 4


async def test_adapters_of_one_name_and_adapters_that_are_none_are_refused(
    tiny: Path, tmp_path: Path
) -> None:
    for tenant in ("acme", "globex"):
        make_adapter(tmp_path / tenant / "style")
    twice = {tenant: str(tmp_path / tenant / "style") for tenant in ("acme", "globex")}
    assert "two folders with the name 'style'" in await refused(tiny, adapters=twice)
    style = {"acme": str(tmp_path / "acme" / "style")}
    assert "above the number of adapters, 1" in await refused(tiny, adapters=style, max_loras=1)
    said = await refused(tiny, adapters={"acme": str(tmp_path)})
    assert "generator.adapters = " in said
    assert "holds no adapter_config.json" in said


async def test_losses_are_those_of_the_model_itself(model: VllmModel, tiny: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    text = "The question, and the passages that answer it."
    losses = await model.token_losses(text)
    assert model._supervisor.engine is not None
    tokens = model._supervisor.engine.get_tokenizer().encode(text)
    reference: Any = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    with torch.no_grad():
        mean = reference(torch.tensor([tokens]), labels=torch.tensor([tokens])).loss.item()
    assert len(losses) == len(tokens) - 1
    assert sum(losses) / len(losses) == pytest.approx(mean, abs=1e-3)
    assert len(await model.token_losses("word " * CONTEXT)) == CONTEXT - 2
    assert await model.token_losses("T") == []


async def up_again(model: VllmModel) -> None:
    deadline = time.monotonic() + 2 * PATIENCE
    while True:
        try:
            text, _ = await write(model)
        except UpstreamError:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        else:
            break
    assert text
    assert unfinished(model) == 0


async def test_an_engine_that_hangs_is_ended_and_comes_back(
    model: VllmModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("generation.models.vllm_supervisor.HANGS_AFTER", 3)
    (core,) = engines()
    assert core.pid is not None
    os.kill(core.pid, signal.SIGSTOP)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.5):  # a hang-up does not count as progress
            await write(model)
    request = asyncio.create_task(write(model))
    _, waiting = await asyncio.wait([request], timeout=PATIENCE)
    assert not waiting
    assert isinstance(request.exception(), UpstreamError)
    await up_again(model)
    assert core not in engines()


async def test_who_reads_slowly_does_not_make_an_engine_hang(
    model: VllmModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("generation.models.vllm_supervisor.HANGS_AFTER", 2)
    (core,) = engines()
    async with aclosing(model.stream(CHAT, sampling=Sampling(max_tokens=9))) as pieces:
        await anext(pieces)
        await asyncio.sleep(4)
        assert [piece async for piece in pieces][-1].finish_reason
    assert engines() == [core]


async def test_an_engine_that_is_killed_fails_its_requests_and_comes_back(
    model: VllmModel,
) -> None:
    requests = [asyncio.create_task(write(model, max_tokens=400)) for _ in range(4)]
    await under_way(model, 4)
    (core,) = engines()
    assert core.pid is not None
    os.kill(core.pid, signal.SIGKILL)
    done, waiting = await asyncio.wait(requests, timeout=PATIENCE)
    assert not waiting
    assert all(isinstance(request.exception(), UpstreamError) for request in done)
    with pytest.raises(UpstreamError, match="being started again"):
        await write(model)
    with pytest.raises(UpstreamError, match="being started again"):
        await model.count_tokens(CHAT)
    await up_again(model)


async def test_an_engine_that_does_not_stop_in_time_is_killed_and_its_requests_fail(
    model: VllmModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from generation.models.vllm_engine import stop

    monkeypatch.setattr("generation.models.vllm_engine.STOP", 0.01)
    engine, (core,) = model._supervisor.engine, engines()
    assert engine is not None
    assert core.pid is not None
    os.kill(core.pid, signal.SIGSTOP)  # the engine neither writes nor stops
    requests = [asyncio.create_task(write(model)) for _ in range(4)]
    await under_way(model, 4)
    await stop(engine)
    assert not core.is_alive()
    done, waiting = await asyncio.wait(requests, timeout=PATIENCE)
    assert not waiting
    assert all(isinstance(request.exception(), UpstreamError) for request in done)
