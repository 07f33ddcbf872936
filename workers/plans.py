"""The plan of an offline run as JSON, for workers: it has no secrets, and each puts in its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from eval.corpus import Corpus, Question
from eval.offline import Plan, code_version, settings_for, without_passwords
from rag.errors import ConfigError
from rag.settings import Settings

OWN = {
    *("data_dir", "fetch", "index", "catalog", "queue"),
    *("server", "traces", "privacy", "log"),
}
"""Parts of the settings of which each machine has its own."""
ADDRESSES = ("url", "base_url")
Json = dict[str, Any]


def to_json(plan: Plan) -> Json:
    """What `plan_of` makes a plan of, which has the questions and not the judgements."""
    settings = plan.settings.model_dump(mode="json", exclude=OWN)
    return {
        "version": code_version(),
        "settings": without_passwords(settings),
        "collection": plan.scope.collection,
        "has_documents": plan.collection is None,
        "top_k": plan.top_k,
        "answers": plan.answers,
        "scores": plan.scores,
        "name": plan.name,
        "started": plan.started,
        "set": plan.corpus.name,
        "langfuse_id": plan.corpus.langfuse_id,
        "questions": {q.id: [q.text, q.answers] for q in plan.corpus.questions},
    }


def plan_of(told: Json, own: Settings, folder: Path) -> Plan:
    """The plan with this process's secrets; where the set has documents, they lie in `folder`.

    Raises:
        ConfigError: this process has no key for a server of the plan's.
    """
    accounts = {_address(each): each for each in _accounts(own.model_dump())}
    settings = _Told(**_with_keys(told["settings"], accounts))
    parts = {name: getattr(settings, name) for name in told["settings"]}
    merged = own.model_copy(update=parts)
    return Plan(
        corpus=Corpus(
            name=told["set"],
            passages=(),
            questions=tuple(_question(id_, *row) for id_, row in told["questions"].items()),
            qrels={},
            langfuse_id=told["langfuse_id"],
        ),
        settings=settings_for(merged, folder) if told["has_documents"] else merged,
        collection=told["collection"],
        top_k=told["top_k"],
        answers=told["answers"],
        scores=told["scores"],
        name=told["name"],
        started=told["started"],
    )


def _question(id_: str, text: str, answers: list[str]) -> Question:
    return Question(id=id_, text=text, answers=tuple(answers), answerable=True, meta={})


class _Told(Settings):
    """Settings of another process: nothing of them is looked for in this one's."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def _accounts(content: Any) -> Iterator[Json]:
    """Every part of the settings, or of a list of parts, that names a server and may have a key."""
    match content:
        case {"api_key": _}:
            yield content
        case dict():
            for part in content.values():
                yield from _accounts(part)
        case list() | tuple():
            for part in content:
                yield from _accounts(part)


def _address(account: Mapping[str, Any]) -> str:
    """Without a password."""
    (address,) = (account[name] for name in ADDRESSES if name in account)
    return str(without_passwords(address))


def _with_keys(content: Any, accounts: Mapping[str, Json]) -> Any:
    """What was told, with the address and key that this process has for the same server."""
    match content:
        case {"api_key": masked}:
            own = accounts.get(_address(content), {"api_key": None})
            if masked and not own["api_key"]:
                raise ConfigError(
                    f"It has no key for {_address(content)}: set it in the worker's own settings,"
                    " for a run's are sent without secrets."
                )
            known = {name: own[name] for name in ("api_key", *ADDRESSES) if name in own}
            return {**content, **known}
        case dict():
            return {name: _with_keys(part, accounts) for name, part in content.items()}
        case list():
            return [_with_keys(part, accounts) for part in content]
    return content
