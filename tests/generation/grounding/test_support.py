"""The contract of both scorers of support by a passage."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from generation.grounding.citations import MIN_SUPPORT
from generation.grounding.entailment import EntailmentScorer
from generation.grounding.support import BlendedSupport
from rag.errors import ConfigError
from rag.protocols import SupportScorer
from rag.text.sentences import sentence_spans
from rag.types import Chunk
from retrieval.embedders.embedder import BertEmbedder
from retrieval.embedders.loading import minilm_folder
from tests.fakes import CharacterSupport, make_chunk
from tests.tiny_bert import make_tiny_judge

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_loop")]

TEXT = "James Watt patented his engine in 1769. It used a separate condenser. Cats sleep a lot."
CHUNK = make_chunk(TEXT)
SPANS = sentence_spans(TEXT)
WORDS = ["cats", "sleep", "a", "lot", "engine"]


def make_checkpoint(folder: Path, *labels: str) -> Path:
    """Writes a model that classifies pairs into these labels."""
    ids = dict(enumerate(labels))
    return make_tiny_judge(folder, WORDS, id2label=ids, label2id={v: k for k, v in ids.items()})


@pytest.fixture(scope="module")
def nli(tmp_path_factory: pytest.TempPathFactory) -> Path:
    labels = ("contradiction", "ENTAILMENT", "neutral")
    return make_checkpoint(tmp_path_factory.mktemp("nli") / "model", *labels)


@pytest.fixture(scope="module")
async def blended() -> AsyncIterator[BlendedSupport]:
    embedder = BertEmbedder(minilm_folder())
    yield BlendedSupport(embedder)
    embedder.close()


@pytest.fixture(scope="module")
async def entailment(nli: Path) -> AsyncIterator[EntailmentScorer]:
    scorer = EntailmentScorer(str(nli), device="cpu")
    yield scorer
    scorer.close()


@pytest.fixture(params=["characters", "blended", "entailment"])
def support(
    request: pytest.FixtureRequest, blended: BlendedSupport, entailment: EntailmentScorer
) -> SupportScorer:
    scorers: dict[str, SupportScorer] = {
        "characters": CharacterSupport(),
        "blended": blended,
        "entailment": entailment,
    }
    return scorers[request.param]


@pytest.mark.parametrize("claim", ["Watt patented an engine.", "?", "!" * 10_000, "Ü 1769"])
async def test_contract(support: SupportScorer, claim: str) -> None:
    scores = await support.score(claim, CHUNK, SPANS)
    assert scores.dtype == np.float32
    assert scores.shape == (3,)
    assert ((scores >= 0) & (scores <= 1.001)).all()
    again = await support.score(claim, CHUNK, SPANS[1:])
    assert again.tolist() == pytest.approx(scores[1:].tolist(), abs=1e-3)


async def best(support: SupportScorer, claim: str, chunk: Chunk = CHUNK) -> tuple[int, float]:
    scores = await support.score(claim, chunk, sentence_spans(chunk.text))
    return int(scores.argmax()), float(scores.max())


async def test_meaning_counts_beside_characters(blended: BlendedSupport) -> None:
    claim = "The inventor got a patent for the engine in 1769."
    place, support = await best(blended, claim)
    assert place == 0
    assert support > (await best(CharacterSupport(), claim))[1]
    assert support >= MIN_SUPPORT


@pytest.mark.parametrize(
    "claim", ["Mitochondria make most of a cell's energy.", "James Watt patented it in 1796."]
)
async def test_what_is_not_there_is_not_supported(blended: BlendedSupport, claim: str) -> None:
    assert (await best(blended, claim))[1] < MIN_SUPPORT


async def test_a_sentence_past_the_window_has_its_characters_alone(blended: BlendedSupport) -> None:
    far = make_chunk("Cats sleep. " * 300 + "Watt built engines.")
    scores = await blended.score("Watt built engines.", far, sentence_spans(far.text))
    assert scores[-1] == pytest.approx(0.5)


async def test_entailment_is_the_model_s_own_probability(
    entailment: EntailmentScorer, nli: Path
) -> None:
    import torch

    hf: Any = import_module("transformers")
    tokenizer = hf.AutoTokenizer.from_pretrained(nli)
    model = hf.AutoModelForSequenceClassification.from_pretrained(nli).eval()
    premise = TEXT[slice(*SPANS[2])]
    with torch.no_grad():
        logits = model(**tokenizer(premise, "cats sleep", return_tensors="pt")).logits
    scores = await entailment.score("cats sleep", CHUNK, SPANS)
    assert scores[2] == pytest.approx(logits.softmax(-1)[0, 1].item(), abs=1e-4)


def test_a_model_for_something_else_is_refused_at_start(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "other", "cat", "dog", "cow")
    with pytest.raises(ConfigError, match="its labels are cat, dog, cow, and none is"):
        EntailmentScorer(str(folder), device="cpu")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        EntailmentScorer(str(tmp_path), device="cpu")
