"""The rules of a gate, read from TOML; errors name their line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from eval.runs.tables import hint
from rag.errors import InputError
from rag.text.validation_errors import FirstFaults, first

Statistic = Literal["mean", "p50", "p90", "p95", "p99"]
Finite = Annotated[float, Field(allow_inf_nan=False)]

_HEADER = re.compile(r"\s*\[\[\s*rule\s*\]\]")


class Rule(BaseModel):
    """The limits of one measure.

    Attributes:
        measure: its name.
        statistic: of the measure, for `floor` and `ceiling`.
        slice: "lang=de", or "lang" for each of its values separately; all questions if empty.
        floor: the lowest value that passes.
        ceiling: the highest value that passes.
        allowed: how much worse than the baseline's the mean may be; 0 or more.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    measure: str
    statistic: Statistic = "mean"
    slice: str = ""
    floor: Finite | None = None
    ceiling: Finite | None = None
    allowed: Annotated[Finite, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _has_condition(self) -> Rule:
        if self.floor is None and self.ceiling is None and self.allowed is None:
            raise ValueError("the rule asks nothing: give `floor`, `ceiling` or `allowed`")
        if self.allowed is not None and self.statistic != "mean":
            raise ValueError("`allowed` is of means alone: give a percentile a `ceiling`")
        return self


class RuleFile(BaseModel):
    """A file's content; `alpha` is how often, at most, a run fails if nothing is worse."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    rule: Annotated[list[Rule], Field(min_length=1), FirstFaults()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The rules of the file at `path`; `lines` are the lines of its text they begin at, from 1."""

    alpha: float
    rules: tuple[Rule, ...]
    lines: tuple[int, ...]
    path: Path
    text: str

    def where(self, number: int, key: str) -> str:
        """Returns the file and the line at which a rule, counted from 0, sets `key`."""
        return f"{self.path}, line {_line_of(self.text, self.lines[number], key)}"


def read_rules(path: Path) -> Rules:
    """Reads the rules of a TOML file.

    Raises:
        InputError: There is no such file, it is not TOML, or a rule in it is not valid.
    """
    try:
        text = path.read_text("utf-8")
        body = tomllib.loads(text)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid TOML: {error}.") from error
    lines = tuple(n for n, line in enumerate(text.split("\n"), 1) if _HEADER.match(line))
    listed = body.setdefault("rule", [])
    if not isinstance(listed, list) or len(listed) != len(lines):
        raise InputError(f"{path}: write every rule under a line [[rule]] of its own.")
    try:
        file = RuleFile(**body)
    except ValidationError as error:
        problems = (_problem(path, text, lines, each) for each in error.errors(include_url=False))
        raise InputError(first(problems, error.error_count(), between="\n")) from None
    return Rules(alpha=file.alpha, rules=tuple(file.rule), lines=lines, path=path, text=text)


def _problem(path: Path, text: str, lines: Sequence[int], error: ErrorDetails) -> str:
    """Describes an error, with its line."""
    match error["loc"]:
        case ("rule", int(number), *rest):
            model: type[BaseModel] = Rule
            key, start = str(rest[0]) if rest else "", lines[number]
        case loc:
            model, key, start = RuleFile, str(loc[0]), 0
    where = f"{path}, line {_line_of(text, start, key)}"
    if error["type"] == "extra_forbidden":
        return f"{where}: there is no {key!r}. {hint(key, model.model_fields)}"
    if error["type"] == "too_short":
        return f"{path} has no rules: write each under a line [[rule]]."
    says = error["msg"].removeprefix("Value error, ").rstrip(".")
    return f"{where}: {f'{key}: ' if key else ''}{says}."


def _line_of(text: str, start: int, key: str) -> int:
    """Returns the line that sets `key` in the table beginning at line `start`, or else `start`."""
    for number, line in enumerate(text.split("\n")[start:], start + 1):
        if line.lstrip().startswith("["):
            break
        if key and re.match(rf"""\s*["']?{re.escape(key)}["']?\s*=""", line):
            return number
    return max(start, 1)
