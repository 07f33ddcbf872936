from __future__ import annotations

import json
import re
import tomllib
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from rag.cli import output
from rag.cli.main import main
from rag.errors import ConfigError
from rag.settings.answer_cache import RedisAnswerCacheSettings
from rag.settings.backup import BackupSettings
from rag.settings.generation import ExtractiveSettings, OpenAISettings
from rag.settings.ingest import RecursiveSettings, SectionSettings
from rag.settings.model_cache import ModelCacheSettings
from rag.settings.operations import TraceSettings
from rag.settings.retrieval import (
    BertSettings,
    HttpRerankerSettings,
    OnnxSettings,
    SentenceTransformersSettings,
)
from rag.settings.storage import CeleryQueueSettings, PostgresSettings, QdrantSettings
from rag.settings.synthetic import SyntheticSettings
from rag.settings.tiers import RateSettings
from rag.settings.tree import SECRETS, Settings, load_settings, names, printable
from tests.places import ROOT

OPENAI = {"kind": "openai", "base_url": "http://localhost:8000/v1", "model": "tiny"}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder without a rag.toml."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tomls(page: str) -> list[str]:
    """Returns the TOML blocks of a page of the docs."""
    text = (ROOT / "docs" / page).read_text()
    found = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert found
    return found


def leaf(settings: Settings, name: str) -> object:
    value: Any = settings
    for part in name.split("."):
        value = getattr(value, part, None)  # an index of another kind does not have it
    return value.get_secret_value() if isinstance(value, SecretStr) else value


# `rag config`


def test_the_defaults_are_what_rag_config_prints(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config"]) == 0
    printed = capsys.readouterr().out
    (here / "rag.toml").write_text(printed)
    assert load_settings() == Settings()
    assert tomllib.loads(printed)["retrieval"]["depth"] == Settings().retrieval.depth


def test_rag_config_shows_every_setting_of_the_kinds_that_are_chosen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAG_INDEX__KIND", "qdrant")
    assert main(["config"]) == 0
    printed = capsys.readouterr().out
    for name in plain_names():
        assert name.rpartition(".")[2] in printed


@pytest.mark.parametrize("arguments", [["config"], ["config", "--json"]])
def test_rag_config_masks_secrets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    monkeypatch.setenv("RAG_INDEX__KIND", "qdrant")
    monkeypatch.setenv("RAG_INDEX__API_KEY", "hunter2")
    monkeypatch.setenv("RAG_FALLBACKS", json.dumps([{**OPENAI, "api_key": "hunter2"}]))
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "api_key" in printed
    assert "hunter2" not in printed


chosen = st.fixed_dictionaries(
    {
        "data_dir": st.sampled_from(["/a b/ü", "x/y", 'q"uote', "back\\slash"]),
        "embedder": st.fixed_dictionaries(
            {
                "model": st.none() | st.just("models/e5"),
                "dtype": st.sampled_from(["auto", "float32", "bfloat16"]),
                "max_waiting": st.integers(1, 10**6),
            }
        ),
        "chunker": st.fixed_dictionaries(
            {"max_tokens": st.integers(32, 8192), "overlap": st.integers(0, 31)},
            optional={"kind": st.sampled_from(["section", "recursive"])},
        ),
        "retrieval": st.fixed_dictionaries(
            {
                "lexical": st.sampled_from(["sparse", "rank_bm25"]),
                "depth": st.integers(1, 1000),
                "rrf_k": st.integers(1, 1000),
                "weights": st.fixed_dictionaries({"dense": st.floats(0, 9), "sparse": st.just(2)}),
            }
        ),
        "index": st.just({"kind": "edge"})
        | st.fixed_dictionaries(
            {
                "kind": st.just("qdrant"),
                "url": st.sampled_from(["http://localhost:6333", "https://q.example/a"]),
                "prefix": st.sampled_from(["", "a-b_"]),
                "on_disk": st.booleans(),
                "quantization": st.sampled_from(["none", "int8"]),
            }
        ),
        "generator": st.fixed_dictionaries({"threshold": st.none() | st.floats(0, 1)}),
        "fallbacks": st.lists(
            st.just({"kind": "extractive"})
            | st.just({"kind": "openai", "base_url": "http://m/v1", "model": 'a"b'})
            | st.just({"kind": "vllm", "model": "m", "engine": {"dtype": "auto", "a b": {"c": 1}}}),
            max_size=2,
        ),
        "limits": st.fixed_dictionaries(
            {"query_seconds": st.floats(0.001, 1e6), "top_k": st.integers(1, 1000)}
        ),
    }
)


@given(chosen)
def test_settings_come_back_from_the_toml_they_are_shown_as(values: dict[str, Any]) -> None:
    settings = Settings(**values)
    toml = "\n".join(str(line) for line in output.toml(settings.model_dump(mode="json")))
    assert Settings(**tomllib.loads(toml)) == settings


# Precedence


def test_arguments_go_before_the_environment_before_toml_before_defaults(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_settings().retrieval.depth == Settings.model_construct().retrieval.depth
    (here / "rag.toml").write_text(
        "[retrieval]\ndepth = 60\nrrf_k = 61\n[chunker]\nmax_tokens = 99"
    )
    assert load_settings().retrieval.depth == 60
    monkeypatch.setenv("RAG_RETRIEVAL__DEPTH", "70")
    settings = load_settings()
    assert settings.retrieval.depth == 70
    assert (settings.retrieval.rrf_k, settings.chunker.max_tokens) == (61, 99)
    settings = load_settings(retrieval={"depth": 80})
    assert (settings.retrieval.depth, settings.retrieval.rrf_k) == (80, 61)


def plain_names() -> list[str]:
    """Returns the settings of parts without kinds, except lists and tables."""
    kinds = {name.removesuffix("kind") for name in names() if name.endswith(".kind")}
    lists = (
        "admission.tenants",
        "backup.key",
        "capacity.gpus",
        "fallbacks",
        "gateway.audit.tenants",
        "gateway.costs.keys",
        "gateway.costs.tenants",
        "gateway.issuers",
        "gateway.limits.keys",
        "gateway.limits.tenants",
        "gateway.limits.tiers",
        "gpu.xids",
        "metrics.tenants",
        "model_cache.url",
        "privacy.mask",
        "privacy.tenants",
        "routes",
        "server.allowed_",
        "server.trusted",
        "server.tls",
        "variants",
        "webhooks",
    )
    return [name for name in names() if not name.startswith((*kinds, *lists))]


@pytest.mark.parametrize("name", plain_names())
def test_every_setting_can_be_set_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    values = {
        "data_dir": "elsewhere",
        "profile": "fast",
        "reader.memory_mb": "2048",
        "index.kind": "qdrant",
        "index.on_disk": "True",
        "index.prefer_grpc": "False",
        "index.quantization": "int8",
        "citations.claims": "mark",
        "index.url": "http://77",
        "retrieval.expansion": "hyde",
        "retrieval.lexical": "rank_bm25",
        "capacity.bandwidth_share": "0.5",
        "capacity.flops_share": "0.5",
        "capacity.load": "0.5",
        "capacity.memory_share": "0.5",
        "gateway.enabled": "True",
        "gateway.costs.key.soft": "0.5",
        "gateway.costs.tenant.soft": "0.5",
        "gateway.limits.key": "free",
        "gateway.limits.redis_url": "redis://77",
        "gateway.limits.requests_without_redis": "closed",
        "gateway.limits.subject": "free",
        "gateway.limits.tenant": "free",
        "gateway.limits.tokens_without_redis": "open",
        "generator.threshold": "0.5",
        "log.format": "json",
        "log.questions": "True",
        "online.low": "0.25",
        "online.rate": "0.5",
        "privacy.capture": "off",
        "traces.langfuse_url": "http://77",
        "traces.otlp_url": "http://77",
        "traces.rate": "0.5",
        "retrieval.diversity": "0.5",
        "retrieval.hops": "7",
        "server.host": "::1",
        "fetch.private_addresses": "True",
        "gateway.issuer_outage_seconds": "7700",
        "server.allow_unauthenticated": "True",
        "reader.hidden": "True",
        "reader.keep_originals": "False",
        "server.proxy_header": "forwarded",
        "server.public_url": "https://77",
        "server.stop_notice_url": "http://77/taken",
        "synthetic.url": "https://77",
        "reader.ocr_languages": "deu+eng",
        "gpu.memory": "0.5",
        "gpu.seconds": "7",
        "gpu.watch": "True",
        "slo.availability": "0.5",
        "slo.first_token.share": "0.5",
        "slo.groundedness.floor": "0.25",
        "slo.groundedness.share": "0.5",
        "slo.per_token.share": "0.5",
        "slo.prometheus_url": "http://77",
        "slo.retrieval.share": "0.5",
    }
    value = values.get(name, "77")
    if name.startswith("index."):
        monkeypatch.setenv("RAG_INDEX__KIND", "qdrant")
    if name.startswith("synthetic."):
        monkeypatch.setenv("RAG_SYNTHETIC__KEY", "none")
    monkeypatch.setenv("RAG_" + name.replace(".", "__").upper(), value)
    settings = load_settings()
    assert leaf(settings, name) != leaf(Settings.model_construct(), name)
    assert str(leaf(settings, name)).removesuffix(".0") == value


def test_one_chunker_setting_alone_means_the_default_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_CHUNKER__MAX_TOKENS", "150")
    assert load_settings().chunker == SectionSettings(max_tokens=150)
    monkeypatch.setenv("RAG_CHUNKER__KIND", "recursive")
    monkeypatch.setenv("RAG_CHUNKER__OVERLAP", "15")
    assert load_settings().chunker == RecursiveSettings(max_tokens=150, overlap=15)


def test_of_the_legs_one_at_least_is_searched() -> None:
    assert load_settings(retrieval={"weights": {"dense": 0}}).retrieval.weights.sparse == 1
    message = refused(retrieval={"weights": {"dense": 0, "sparse": 0}})
    assert "'retrieval.weights' does not fit" in message
    assert "one of dense and sparse must be above 0" in message
    for weight in (-1, "nan", "inf"):
        message = refused(retrieval={"weights": {"dense": weight}})
        assert "'retrieval.weights.dense' does not fit" in message


def test_an_embedder_s_model_alone_means_the_built_in_encoder_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAG_EMBEDDER__MODEL", "models/e5")
    assert load_settings().embedder == BertSettings(model=Path("models/e5"))
    monkeypatch.setenv("RAG_EMBEDDER__KIND", "sentence_transformers")
    monkeypatch.setenv("RAG_EMBEDDER__QUERY_PROMPT", "query: ")
    assert load_settings().embedder == SentenceTransformersSettings(
        kind="sentence_transformers", model="models/e5", query_prompt="query: "
    )
    monkeypatch.delenv("RAG_EMBEDDER__MODEL")
    assert "'embedder.model' does not fit: Field required" in refused()


def test_models_in_graphs_have_settings_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_EMBEDDER__KIND", "onnx")
    monkeypatch.setenv("RAG_EMBEDDER__MODEL", "models/bge")
    monkeypatch.setenv("RAG_EMBEDDER__POOLING", "cls")
    assert load_settings().embedder == OnnxSettings(kind="onnx", model="models/bge", pooling="cls")
    monkeypatch.setenv("RAG_EMBEDDER__POOLING", "max")
    assert "'embedder.pooling' does not fit" in refused()
    monkeypatch.delenv("RAG_EMBEDDER__POOLING")
    monkeypatch.setenv("RAG_EMBEDDER__DTYPE", "int8")
    assert "'embedder.dtype' goes with another kind" in refused()
    monkeypatch.delenv("RAG_EMBEDDER__DTYPE")
    for kind in ("onnx", "onnx_colbert"):
        assert "'reranker.model' does not fit: Field required" in refused(reranker={"kind": kind})


def test_a_part_that_comes_in_kinds_takes_the_settings_of_its_kind(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAG_CATALOG__KIND", "postgres")
    with pytest.raises(ConfigError, match=r"'catalog\.url' does not fit: Field required"):
        load_settings()
    monkeypatch.setenv("RAG_CATALOG__URL", "postgresql://u:hunter2@h/d")
    settings = load_settings()
    assert settings.catalog == PostgresSettings(
        kind="postgres", url=SecretStr("postgresql://u:hunter2@h/d")
    )
    assert "hunter2" not in settings.model_dump_json()
    monkeypatch.setenv("RAG_CATALOG__KIND", "sqlite")
    with pytest.raises(
        ConfigError, match=r"'catalog\.url' goes with another kind: set 'catalog\.k"
    ):
        load_settings()


def test_a_setting_of_another_kind_names_the_kinds_it_goes_with() -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(generator={"model": "m"})
    assert str(caught.value) == (
        "The setting 'generator.model' goes with another kind: set 'generator.kind' to 'openai' or"
        " 'vllm'."
    )


@pytest.mark.parametrize(
    "part",
    [
        {"catalog": {"kind": "postgres", "url": "mysql://u:hidden@h/d"}},
        {"catalog": {"kind": "postgres", "url": "hidden"}},
        {"queue": {"kind": "celery", "broker_url": "kafka://:hidden@h"}},
        {"queue": {"kind": "celery", "broker_url": ["hidden"]}},
        {"index": {"kind": "qdrant", "api_key": ["hidden"]}},
        {"generator": {**OPENAI, "api_key": ["hidden"]}},
        {"generator": {**OPENAI, "api_key": "hidden", "kind": "opena"}},
        {"generator": {**OPENAI, "api_key": "hidden", "max_tokens": 512, "context_tokens": 512}},
        {"fallbacks": [{**OPENAI, "api_key": ["hidden"]}]},
        {"fallbacks": [{**OPENAI, "api_key": "hidden", "kind": "opena"}]},
        {"fallbacks": {**OPENAI, "api_key": "hidden"}},
        {"generator": {"kind": "openai", "model": "m", "api_key": "hidden"}},
        {"fallbacks": [{"kind": "openai", "model": "m", "api_key": "hidden"}]},
        {"online": {"judge": {**OPENAI, "api_key": ["hidden"]}}},
        {"online": {"judge": {"kind": "openai", "model": "m", "api_key": "hidden"}}},
    ],
)
def test_no_message_shows_a_secret_that_does_not_fit(part: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="does not fit") as caught:
        load_settings(**part)
    assert "hidden" not in str(caught.value)


KIND = {
    "catalog.url": ("RAG_CATALOG__KIND", "postgres"),
    "queue.broker_url": ("RAG_QUEUE__KIND", "celery"),
    "answer_cache.url": ("RAG_ANSWER_CACHE__KIND", "redis"),
    "index.api_key": ("RAG_INDEX__KIND", "qdrant"),
    "generator.api_key": ("RAG_GENERATOR", json.dumps(OPENAI)),
    "reranker.api_key": (
        "RAG_RERANKER",
        json.dumps({"kind": "http", "url": "http://m/rerank"}),
    ),
    "online.judge.api_key": ("RAG_ONLINE__JUDGE", json.dumps(OPENAI)),
}
"""What else the environment sets, so that there is such a setting."""
SCHEME = {"catalog.url": "postgresql"}
OF_FORM = {"backup.key": f"hunter2{'A' * 36}="}


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_every_secret_comes_from_a_file_as_well(
    here: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    file = here / "secret"
    secret = OF_FORM.get(name, f"{SCHEME.get(name, 'redis')}://u:hunter2@h/0")
    file.write_text(f"{secret}\n")
    variable = "RAG_" + name.replace(".", "__").upper()
    monkeypatch.setenv(*KIND.get(name, ("RAG_TRACES__RATE", "1")))
    monkeypatch.setenv(f"{variable}__FILE", str(file))
    settings = load_settings()
    found: Any = reduce(getattr, name.split("."), settings)
    assert found.get_secret_value() == secret
    assert "hunter2" not in json.dumps(printable(settings))
    assert "hunter2" not in repr(settings)
    monkeypatch.setenv(variable, "redis://other@h/0")
    message = refused()
    assert f"sets {variable} and {variable}__FILE" in message
    assert "other" not in message


@pytest.mark.parametrize(
    ("content", "says"), [(None, "No such file"), (b" \n", "empty"), (b"\xff\xfe", "not UTF-8")]
)
def test_a_file_without_a_secret_is_an_error_that_names_it(
    here: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, says: str
) -> None:
    if content is not None:
        (here / "secret").write_bytes(content)
    monkeypatch.setenv("RAG_TRACES__SECRET_KEY__FILE", str(here / "secret"))
    message = refused()
    assert "RAG_TRACES__SECRET_KEY__FILE" in message
    assert str(here / "secret") in message
    assert says in message


def test_other_settings_do_not_come_from_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_INDEX__URL__FILE", "/run/secrets/url")
    assert "there is no such setting" in refused()


@pytest.mark.parametrize("proxy", ["proxy", "10.0.0.0/99", "10.0.0.1/8", "*", ""])
def test_proxies_are_addresses_and_networks(proxy: str) -> None:
    assert "'server.trusted_proxies' does not fit" in refused(server={"trusted_proxies": [proxy]})
    good = ("10.0.0.7", "10.0.0.0/8", "::1", "2001:db8::/32")
    assert load_settings(server={"trusted_proxies": good}).server.trusted_proxies == good


ISSUER = {"url": "https://sso.example.com/realms/acme", "audiences": ["plumbline"]}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"url": "http://sso.example.com"}, "issuers.0.url"),
        ({"url": "http://10.0.0.1"}, "issuers.0.url"),
        ({"url": "sso.example.com"}, "issuers.0.url"),
        ({"url": "https://"}, "issuers.0.url"),
        ({"url": "https://sso.example.com:99999"}, "issuers.0.url"),
        ({"url": "https://sso.example.com/ x"}, "issuers.0.url"),
        ({"url": "https://jo:hidden@sso.example.com"}, "issuers.0.url"),
        ({"jwks_url": "http://sso.example.com/jwks"}, "issuers.0.jwks_url"),
        ({"audiences": []}, "issuers.0.audiences"),
        ({"tenant": "../acme"}, "issuers.0.tenant"),
        ({"tenant_claim": ""}, "issuers.0.tenant_claim"),
        ({"scopes": {"reader": ["root"]}}, "issuers.0.scopes.reader.0"),
        ({"default_scopes": ["root"]}, "issuers.0.default_scopes.0"),
        ({"audience": "plumbline"}, "issuers.0.audience"),
    ],
)
def test_an_issuer_that_does_not_fit_is_named(change: dict[str, Any], says: str) -> None:
    message = refused(gateway={"issuers": [ISSUER | change]})
    assert f"gateway.{says}" in message
    assert "hidden" not in message


def test_an_issuer_may_be_on_this_machine_and_is_there_once() -> None:
    for url in ("http://localhost:8080/realms/a", "http://127.0.0.1", "http://[::1]:8080"):
        assert load_settings(gateway={"issuers": [ISSUER | {"url": url}]}).gateway.issuers
    assert "twice" in refused(gateway={"issuers": [ISSUER, ISSUER | {"audiences": ["x"]}]})
    assert "issuer_outage_seconds" in refused(gateway={"issuer_outage_seconds": 1})


def test_rag_config_prints_issuers_as_a_file_has_them(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer = ISSUER | {"scopes": {"reader": ["ask", "read"]}, "required_claims": {"hd": ["a.b"]}}
    monkeypatch.setenv("RAG_GATEWAY__ISSUERS", json.dumps([issuer]))
    set_ = load_settings()
    assert main(["config"]) == 0
    monkeypatch.delenv("RAG_GATEWAY__ISSUERS")
    (here / "rag.toml").write_text(capsys.readouterr().out)
    assert load_settings() == set_
    assert load_settings().gateway.issuers[0].scopes == {"reader": ("ask", "read")}


@pytest.mark.parametrize("block", tomls("oidc.md"))
def test_the_issuers_of_the_docs_are_valid(block: str) -> None:
    assert load_settings(**tomllib.loads(block)).gateway.issuers


def test_every_secret_is_known_as_one() -> None:
    parts: dict[str, type[BaseModel]] = {
        "catalog": PostgresSettings,
        "queue": CeleryQueueSettings,
        "index": QdrantSettings,
        "generator": OpenAISettings,
        "reranker": HttpRerankerSettings,
        "traces": TraceSettings,
        "gateway.limits": RateSettings,
        "answer_cache": RedisAnswerCacheSettings,
        "model_cache": ModelCacheSettings,
        "synthetic": SyntheticSettings,
        "online.judge": OpenAISettings,
        "backup": BackupSettings,
    }
    secrets = {
        f"{part}.{name}"
        for part, kind in parts.items()
        for name, field in kind.model_fields.items()
        if "SecretStr" in str(field.annotation)
    }
    assert secrets == SECRETS


def test_the_synthetic_canary_needs_a_tenant_of_its_own() -> None:
    assert "is the tenant of others" in refused(synthetic={"tenant": "default"})
    load_settings(synthetic={"every_minutes": 5})  # the command that makes its key reads them, too


def test_webhooks_show_no_secret(here: Path) -> None:
    good = {
        "url": "https://a.example/hook/MfKQ9",
        "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    }
    told = load_settings(webhooks={"n8n": good})
    assert "MfKQ9" not in repr(told.webhooks) + json.dumps(printable(told))
    for wrong, says in (
        ({"secret": "whsec_dG9vIHNob3J0"}, "webhooks.n8n.secret"),
        ({"secret": "whsec_?dG9vIHNob3J0"}, "webhooks.n8n.secret"),
        ({"url": "ftp://a.example/dG9vIHNob3J0"}, "webhooks.n8n.url"),
        ({"url": "https://u:dG9vIHNob3J0@a.example/"}, "webhooks.n8n.url"),
        ({"url": "https://a.example:port/dG9vIHNob3J0"}, "webhooks.n8n.url"),
    ):
        with pytest.raises(ConfigError, match=says) as refused:
            load_settings(webhooks={"n8n": good | wrong})
        assert "dG9vIHNob3J0" not in str(refused.value)


def test_rag_config_names_the_toml_file(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "rag.toml").write_text("data_dir = 'ignored'")
    (here / "other.toml").write_text("data_dir = 'from-other'")
    monkeypatch.setenv("RAG_CONFIG", "other.toml")
    assert load_settings().data_dir == Path("from-other")


def test_the_server_url_is_no_setting_and_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_URL", "http://127.0.0.1:1")
    assert load_settings() == Settings()


def test_fallbacks_are_set_as_a_list(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "rag.toml").write_text(
        '[generator]\nkind = "openai"\nbase_url = "http://big/v1"\nmodel = "big"\n'
        '[[fallbacks]]\nkind = "openai"\nbase_url = "http://small/v1"\nmodel = "small"\n'
        "[[fallbacks]]\nthreshold = 0.2\n"
    )
    small, last = load_settings().fallbacks
    assert isinstance(small, OpenAISettings)
    assert (small.model, last) == ("small", ExtractiveSettings(threshold=0.2))
    monkeypatch.setenv("RAG_FALLBACKS", '[{"kind": "extractive"}]')
    assert load_settings().fallbacks == (ExtractiveSettings(),)


# Mistakes


def test_a_mistake_in_a_fallback_is_named_with_its_place() -> None:
    fallbacks = [{"kind": "extractive"}, {**OPENAI, "timeout": 0}]
    assert "'fallbacks.1.timeout' does not fit" in refused(fallbacks=fallbacks)
    assert "'fallbacks.0.kind' does not fit" in refused(fallbacks=[{"kind": "big"}])


@pytest.mark.parametrize(
    "url", ["localhost:8000/v1", "http:///v1", "http://[::1/v1", "http://host:99999/v1", "ftp://h"]
)
def test_a_base_url_that_is_none_does_not_fit(url: str) -> None:
    assert "'generator.base_url' does not fit" in refused(generator={**OPENAI, "base_url": url})


@pytest.mark.parametrize(
    ("servers", "says"),
    [
        ({}, "either base_url, or replicas"),
        ({"base_url": "http://a/v1", "replicas": ["http://b/v1"]}, "either base_url, or replicas"),
        ({"replicas": []}, "either base_url, or replicas"),
        ({"replicas": ["http://a/v1", "http://a/v1"]}, "listed twice"),
        ({"base_url": "http://a/v1", "hedge": True}, "go with replicas"),
        ({"replicas": ["http://a:0/v1"]}, "'generator.replicas.0' does not fit"),
    ],
)
def test_a_model_is_on_one_server_or_on_replicas(servers: dict[str, Any], says: str) -> None:
    generator = {"kind": "openai", "model": "m", "api_key": "sk-hunter2", **servers}
    message = refused(generator=generator)
    assert says in message
    assert "hunter2" not in message


def test_a_part_that_does_not_fit_is_told_without_its_key() -> None:
    model = {"kind": "openai", "model": "m", "api_key": "sk-hunter2", "gpu_hour_price": 1}
    on_server = {**model, "base_url": "http://user:hunter2@a/v1"}
    priced = {**on_server, "tokens_per_second": 9}
    for faulty in (
        {"generator": on_server},
        {"fallbacks": [on_server]},
        {"online": {"judge": on_server}},
        {"routes": [{"name": "small", "generator": priced}]},
        {"routes": [{"name": "small", "languages": ["de"], "generator": {**priced, "api_key": 2}}]},
    ):
        assert "hunter2" not in refused(**faulty)
    assert "hunter2" not in refused(fallbacks=[{**model, "base_url": "http://user:hunter2@a:0/"}])


def test_replicas_are_a_list_also_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    urls = ["http://a/v1", "http://b/v1"]
    monkeypatch.setenv("RAG_GENERATOR__KIND", "openai")
    monkeypatch.setenv("RAG_GENERATOR__MODEL", "m")
    monkeypatch.setenv("RAG_GENERATOR__REPLICAS", json.dumps(urls))
    generator = load_settings().generator
    assert isinstance(generator, OpenAISettings)
    assert generator.urls == tuple(urls)


def test_an_answer_leaves_room_for_a_prompt() -> None:
    message = refused(generator={**OPENAI, "max_tokens": 4096, "context_tokens": 4096})
    assert "'generator.context_tokens' does not fit" in message
    assert "larger than max_tokens" in message


def refused(**overrides: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(**overrides)
    return str(caught.value)


def test_a_misspelt_variable_is_named_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_RETRIEVAL__DEPHT", "70")
    message = refused()
    assert "RAG_RETRIEVAL__DEPHT" in message
    assert "Did you mean RAG_RETRIEVAL__DEPTH?" in message


def test_a_variable_that_is_like_no_setting_points_to_the_list(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAG_QQQQQQQQ", "1")
    assert "`rag config` lists the settings" in refused()


def test_a_misspelt_key_in_the_toml_is_named_with_the_nearest(here: Path) -> None:
    (here / "rag.toml").write_text("[chunker]\nmax_token = 99")
    message = refused()
    assert "no setting 'chunker.max_token'" in message
    assert "Did you mean 'chunker.max_tokens'?" in message


def test_a_misspelt_key_of_a_part_with_kinds_is_named_without_its_kind() -> None:
    message = refused(index={"kind": "qdrant", "prefer_grcp": True})
    assert "no setting 'index.prefer_grcp'" in message
    assert "Did you mean 'index.prefer_grpc'?" in message


@pytest.mark.parametrize("index", [{"kind": "qdrand"}, {}], ids=["unknown", "missing"])
def test_a_kind_that_does_not_exist_is_named_and_no_secret_with_it(index: dict[str, str]) -> None:
    message = refused(index={**index, "api_key": "hunter2"})
    assert "The setting 'index.kind' does not fit" in message
    assert "hunter2" not in message


def test_every_mistake_is_told_at_once(here: Path) -> None:
    (here / "rag.toml").write_text("[chunker]\nmax_tokens = 1\n[retrieval]\ndepth = 'deep'")
    message = refused()
    assert "'chunker.max_tokens' does not fit" in message
    assert "'retrieval.depth' does not fit" in message


@pytest.mark.parametrize(
    ("variable", "value", "shown"),
    [
        ("RAG_RETRIEVAL__DEPTH", "0", "retrieval.depth"),
        ("RAG_RETRIEVAL__DEPTH", "many", "retrieval.depth"),
        ("RAG_RETRIEVAL__LEXICAL", "bm42", "retrieval.lexical"),
        ("RAG_CHUNKER__KIND", "recursiv", "chunker.kind"),
        ("RAG_CHUNKER__OVERLAP", "112", "chunker"),
        ("RAG_CHUNKER__MAX_TOKENS", "few", "chunker.max_tokens"),
        ("RAG_GENERATOR__THRESHOLD", "2", "generator.threshold"),
        ("RAG_SERVER__PORT", "70000", "server.port"),
        ("RAG_LIMITS__QUERY_SECONDS", "0", "limits.query_seconds"),
        ("RAG_INDEX__URL", "localhost:6333", "index.url"),
        ("RAG_INDEX__GRPC_PORT", "6334,70000", "index.grpc_port"),
        ("RAG_INDEX__GRPC_PORT", "6334,", "index.grpc_port"),
        ("RAG_INDEX__PREFIX", "a.b", "index.prefix"),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_its_setting(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, shown: str
) -> None:
    monkeypatch.setenv("RAG_INDEX__KIND", "qdrant")
    monkeypatch.setenv(variable, value)
    message = refused()
    assert f"The setting '{shown}' does not fit" in message
    assert repr(value) in message


def test_a_part_that_is_set_to_no_json_is_a_config_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_RETRIEVAL", "deep")
    assert "retrieval" in refused()


def test_toml_that_cannot_be_parsed_is_named(here: Path) -> None:
    (here / "rag.toml").write_text("data_dir = ")
    assert "rag.toml is not valid TOML" in refused()


def test_toml_that_is_no_text_is_named(here: Path) -> None:
    (here / "rag.toml").write_bytes(b"data_dir = '\xff'")
    assert "rag.toml is not valid TOML" in refused()


def test_a_config_file_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_CONFIG", "nowhere.toml")
    assert "RAG_CONFIG names 'nowhere.toml', and there is no such file" in refused()


def test_settings_cannot_be_changed_once_made() -> None:
    settings = load_settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.retrieval.depth = 1  # type: ignore[misc]


TWO = ("http://one:6333", "http://u:p,w@two:6333")


@pytest.mark.parametrize(
    ("url", "port"),
    [
        (",".join(TWO), "6334,6335"),
        (f"{TWO[0]} , {TWO[1]}", "6334, 6335"),
        (json.dumps(TWO), "[6334, 6335]"),
    ],
)
def test_addresses_and_ports_of_a_cluster_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, url: str, port: str
) -> None:
    monkeypatch.setenv("RAG_INDEX__KIND", "qdrant")
    monkeypatch.setenv("RAG_INDEX__URL", url)
    monkeypatch.setenv("RAG_INDEX__GRPC_PORT", port)
    index = load_settings().index
    assert isinstance(index, QdrantSettings)
    assert index.url == index.urls == TWO
    assert index.grpc_port == (6334, 6335)


def test_addresses_and_ports_of_a_cluster_in_a_file(here: Path) -> None:
    (here / "rag.toml").write_text(
        f"[index]\nkind = 'qdrant'\nurl = {list(TWO)}\ngrpc_port = [6334, 6335]\n"
    )
    index = load_settings().index
    assert isinstance(index, QdrantSettings)
    assert index.urls == TWO
    assert index.grpc_port == (6334, 6335)


def test_one_address_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    index = load_settings(index={"kind": "qdrant", "url": ["http://one:6333"]}).index
    assert isinstance(index, QdrantSettings)
    assert index.url == "http://one:6333"
    assert index.urls == ("http://one:6333",)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"url": []}, "url"),
        ({"url": [TWO[0], "hidden:6333"]}, "url"),
        ({"url": [TWO[0], {"hidden": 1}]}, "url"),
        ({"url": ["http://hidden@h", "http://hidden@h"]}, "url"),
        ({"url": ["http://hidden@h", TWO[0]], "grpc_port": [1, 2, 3]}, "grpc_port"),
        ({"url": "http://hidden@h", "grpc_port": [1, 2]}, "grpc_port"),
        ({"url": ["http://hidden@h"], "grpc_port": []}, "grpc_port"),
    ],
)
def test_addresses_that_do_not_fit_are_told_without_themselves(
    changes: dict[str, Any], name: str
) -> None:
    message = refused(index={"kind": "qdrant", "api_key": "hidden", **changes})
    assert f"The setting 'index.{name}' does not fit" in message
    assert "hidden" not in message


def test_tiers_and_budgets_by_name() -> None:
    limits = {"tiers": {"gold": {"requests": 9}}, "tenant": "gold", "keys": {"k1": "gold"}}
    costs = {"keys": {"k1": {"day": 5}}, "tenants": {"acme": {"month": 7, "soft": 0.5}}}
    gateway = load_settings(gateway={"limits": limits, "costs": costs}).gateway
    assert gateway.limits.tiers["gold"].requests == 9
    assert gateway.costs.tenants["acme"].month == 7
    assert "'gold' is none of the tiers: free, pro" in refused(
        gateway={"limits": {"tenant": "gold"}}
    )
    assert "redis://" in refused(gateway={"limits": {"redis_url": "http://hidden"}})
    faults = refused(gateway={"limits": {"tiers": {"gold": {"requests": -1}}}})
    assert "'gateway.limits.tiers.gold.requests' does not fit" in faults


def test_one_limit_of_a_class_leaves_its_others_as_they_are(tmp_path: Path) -> None:
    limits = {"batch": {"at_once": 1}, "interactive": {"at_once": 1}}
    admission = load_settings(data_dir=tmp_path, admission=limits).admission
    assert (admission.batch.weight, admission.batch.wait_seconds) == (1, 60)
    assert (admission.interactive.weight, admission.interactive.wait_seconds) == (8, 2)
