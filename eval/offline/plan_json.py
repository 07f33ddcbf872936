"""The plan of an offline run as JSON, for workers: without secrets, which each worker adds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from eval.datasets.corpus import Corpus, Question
from eval.offline.plan import Plan, settings_for
from eval.offline.stage_cache import code_version
from eval.runs.run_folder import without_passwords
from rag.errors import ConfigError
from rag.privacy.redaction import HIDDEN
from rag.settings.tree import Settings

OWN = {
    *("data_dir", "fetch", "index", "catalog", "queue"),
    *("server", "traces", "privacy", "metrics", "log"),
}
"""Parts of the settings that each machine sets for itself."""
ADDRESSES = ("url", "base_url")
Json = dict[str, Any]
Place = tuple[str | int, ...]
"""The path of a part of the settings: `("online", "judge")`."""


def to_json(plan: Plan) -> Json:
    """Returns the JSON that `plan_of` reads; it has the questions but not the judgements."""
    settings = plan.settings.model_dump(mode="json", exclude=OWN)
    return {
        "version": code_version(),
        "settings": without_passwords(settings),
        "tenant": plan.tenant,
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


def plan_of(plan_json: Json, own: Settings, folder: Path) -> Plan:
    """Returns the plan with this process's secrets; documents of the set, if any, are in `folder`.

    Raises:
        ConfigError: This process lacks a secret of the plan, such as the key for a server.
    """
    settings = _GivenSettings(**_with_secrets(plan_json["settings"], own.model_dump()))
    parts = {name: getattr(settings, name) for name in plan_json["settings"]}
    merged = own.model_copy(update=parts)
    living = None if plan_json["has_documents"] else plan_json["collection"]
    return Plan(
        corpus=Corpus(
            name=plan_json["set"],
            passages=(),
            questions=tuple(_question(id_, *row) for id_, row in plan_json["questions"].items()),
            qrels={},
            langfuse_id=plan_json["langfuse_id"],
        ),
        settings=settings_for(merged, folder, living),
        tenant=plan_json["tenant"],
        collection=plan_json["collection"],
        top_k=plan_json["top_k"],
        answers=plan_json["answers"],
        scores=plan_json["scores"],
        name=plan_json["name"],
        started=plan_json["started"],
    )


def _question(id_: str, text: str, answers: list[str]) -> Question:
    return Question(id=id_, text=text, answers=tuple(answers), answerable=True, meta={})


class _GivenSettings(Settings):
    """Settings of another process: nothing is read from this process's own settings."""

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


def _with_secrets(content: Any, own: Json, at: Place = ()) -> Any:
    """Returns the settings with the addresses, keys and other secrets that this process has."""
    match content:
        case {"api_key": masked}:
            account = _account(content, own, at)
            if masked and not account["api_key"]:
                raise _lacking(f"key for {_address(content)}")
            known = {name: account[name] for name in ("api_key", *ADDRESSES) if name in account}
            return {**content, **known}
        case dict():
            return {name: _with_secrets(part, own, (*at, name)) for name, part in content.items()}
        case list():
            return [_with_secrets(part, own, (*at, i)) for i, part in enumerate(content)]
        case str() if content == HIDDEN:
            return _value(own, at)
    return content


def _account(wanted: Json, own: Json, at: Place) -> Json:
    """Returns this process's account for the same server.

    Accounts with a key come first if the run's account has one, then that of the same part.
    """

    def fits(found: tuple[Place, Json]) -> tuple[bool, bool]:
        place, account = found
        return bool(account["api_key"]) == bool(wanted["api_key"]), place == at

    there = (each for each in _accounts(own) if _address(each[1]) == _address(wanted))
    return max(there, key=fits, default=(at, {"api_key": None}))[1]


def _accounts(content: Any, at: Place = ()) -> Iterator[tuple[Place, Json]]:
    """Yields every part of the settings, also in lists, that names a server and may have a key."""
    match content:
        case {"api_key": _}:
            yield at, content
        case dict():
            for name, part in content.items():
                yield from _accounts(part, (*at, name))
        case list() | tuple():
            for i, part in enumerate(content):
                yield from _accounts(part, (*at, i))
        case _:
            return


def _address(account: Mapping[str, Any]) -> str:
    """Returns the address of an account, without a password."""
    (address,) = (account[name] for name in ADDRESSES if name in account)
    return str(without_passwords(address))


def _value(own: Any, at: Place) -> Any:
    """Returns the value that this process has set there."""
    for step in at:
        try:
            own = own[step]
        except (KeyError, IndexError, TypeError):
            raise _lacking(".".join(map(str, at))) from None
    return own


def _lacking(missing: str) -> ConfigError:
    return ConfigError(
        f"It has no {missing}: set it in the worker's own settings, for a run's are sent without"
        " secrets."
    )
