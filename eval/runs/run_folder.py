"""The folder of a run: the results of one configuration on one set.

    run.json         which set, which configuration, which code; `finished` once it is complete
    outcomes.jsonl   a line for each question, in the order in which they ended
    summary.json     means with their intervals, over all and by slice
    run.trec         the ranking of documents, for other tools

A line is written whole and at once: a process killed while it writes one leaves all lines before
it. The writer has a lock on `outcomes.jsonl`, which the kernel releases if the process dies.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from rag.errors import InputError
from rag.privacy.redaction import HIDDEN, scrubbed
from rag.process.atomic_write import write_atomically
from rag.types import DEFAULT_TENANT

INFO, OUTCOMES, SUMMARY, TREC = "run.json", "outcomes.jsonl", "summary.json", "run.trec"
"""Names of the files in a run's folder."""
_SECRETS = ("key", "password", "secret", "token")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A hit: a chunk, its document, and its characters there."""

    chunk_id: str
    document_id: str
    start: int
    end: int
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cited:
    """A citation: characters of a document, and how well they support the text that cites them."""

    document_id: str
    start: int
    end: int
    support: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome of one question.

    `id` is the question's in the set; `slices` are the parts of the set that it belongs to
    (`{"lang": "de"}`). `expected` are its gold answers, if it has some. `hits` are best first.
    `documents` are ids, best first, of the first `chunks_asked` chunks: more than `hits` if these
    are of fewer documents than were asked for. `answer` is empty if it abstained, and `reason` says
    why. `unsupported` and `uncited` count markers that were removed and sentences without a marker.
    `claims` counts the sentences of a model by what became of them, `refused_right` those that were
    refused and have a right answer, `wrong_figures` the figures of the answer that no passage has.
    `timings` are milliseconds by stage, `seconds` the whole. `measures` are by name, as
    `eval.measures` has them; one that does not apply to the question is missing. `trace_id` names
    its trace. `error` is what failed; then all else is empty.
    """

    id: str
    question: str
    slices: Mapping[str, str]
    expected: tuple[str, ...] = ()
    hits: tuple[Found, ...] = ()
    documents: tuple[str, ...] = ()
    chunks_asked: int = 0
    answer: str = ""
    reason: str | None = None
    confidence: float = 0.0
    citations: tuple[Cited, ...] = ()
    unsupported: int = 0
    uncited: int = 0
    claims: Mapping[str, int] = field(default_factory=dict)
    refused_right: int = 0
    wrong_figures: int = 0
    degraded: tuple[str, ...] = ()
    timings: Mapping[str, float]
    seconds: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    measures: Mapping[str, float]
    trace_id: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """The set, the configuration and the code of a run.

    `set_fingerprint` identifies the set's questions and judgements, `config` is the settings
    without their secrets, `version` Plumbline's. `tenant` is whose run it is; runs of versions that
    did not record it are the default tenant's. Times are ISO 8601, UTC; `finished` is None until
    the run is finished.
    """

    set_name: str
    set_fingerprint: str
    questions: int
    config: Mapping[str, Any]
    version: str
    started: str
    tenant: str = DEFAULT_TENANT
    finished: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run that is finished; `outcomes` are in the order of their ids."""

    folder: Path
    info: RunInfo
    outcomes: tuple[Outcome, ...]
    summary: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.folder.name


class RunFolder:
    """A run while it is written, by one process at a time.

    Attributes:
        info: the description of the run that is stored.
        done: ids of the questions that were asked before, and did not fail.
    """

    def __init__(self, folder: Path, info: RunInfo) -> None:
        """Stores the arguments; nothing of the folder is read yet."""
        self._folder = folder
        self.info = info
        self.done: frozenset[str] = frozenset()

    def __enter__(self) -> Self:
        """Begins the run, or resumes one that was stopped.

        Raises:
            InputError: The folder holds something else: another set or configuration, or a run
                that is finished; or another process writes it.
        """
        folder = self._folder
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file: name a folder for the run.")
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / INFO).exists() and any(folder.iterdir()):
            raise InputError(f"{folder} is not empty, and holds no run: name another folder.")
        self._file = _locked(folder / OUTCOMES)
        try:
            self._begin()
        except BaseException:
            self._file.close()
            raise
        return self

    def _begin(self) -> None:
        if (self._folder / OUTCOMES).stat().st_size:
            before = read_info(self._folder)
            _check_same(self._folder, before, self.info)
            self.info = before
        elif (self._folder / INFO).exists():
            read_info(self._folder)  # fails unless it is a run's, of which nothing was asked yet
        _write(self._folder / INFO, asdict(self.info))
        self.done = frozenset(o.id for o in self._mended() if not o.error)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._file.close()

    def append(self, outcome: Outcome) -> None:
        """Writes the outcome of a question."""
        self._file.write(_line(outcome))
        self._file.flush()

    def outcomes(self) -> list[Outcome]:
        """Returns all outcomes, in the order of their ids."""
        return sorted(_outcomes(self._folder), key=lambda outcome: outcome.id)

    def finish(self, summary: Mapping[str, Any], trec: str, *, finished: str) -> None:
        """Marks the run as complete, after all of it was written."""
        write_atomically(self._folder / TREC, trec)
        _write(self._folder / SUMMARY, summary)
        _write(self._folder / INFO, asdict(replace(self.info, finished=finished)))

    def _mended(self) -> list[Outcome]:
        """Returns the outcomes written before; cuts off half a line that a killed process left."""
        path = self._folder / OUTCOMES
        os.truncate(path, path.read_bytes().rfind(b"\n") + 1)
        return list(_outcomes(self._folder))


def read_run(folder: Path) -> Run:
    """Reads a finished run.

    Raises:
        InputError: There is none, it is not finished, or a line of it cannot be read.
    """
    info = read_info(folder)
    if info.finished is None:
        raise InputError(
            f"The run {folder} is not finished: run the same `rag eval run` again, and it goes on."
        )
    outcomes = tuple(sorted(_outcomes(folder), key=lambda outcome: outcome.id))
    return Run(folder=folder, info=info, outcomes=outcomes, summary=read_summary(folder))


def is_finished(folder: Path, info: RunInfo) -> bool:
    """True if the folder holds exactly this run, complete."""
    if not (folder / INFO).exists():
        return False
    before = read_info(folder)
    return before.finished is not None and not _differs(before, info)


def _check_same(folder: Path, before: RunInfo, info: RunInfo) -> None:
    if before.finished is not None:
        raise InputError(f"The run {folder} is finished: name another folder.")
    if differs := _differs(before, info):
        raise InputError(
            f"The run {folder} was begun with another {differs}: name another folder, or remove it."
        )


def _differs(before: RunInfo, info: RunInfo) -> str:
    """Returns the first thing in which two runs differ, in words; empty if they do not."""
    for name in ("set_name", "set_fingerprint", "questions", "config", "version", "tenant"):
        if getattr(before, name) != getattr(info, name):
            return name.replace("_", " ")
    return ""


def _locked(path: Path) -> IO[str]:
    """Opens a file to append to, and locks it against other processes that do the same."""
    file = path.open("a", encoding="utf-8", errors="surrogatepass")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise InputError(
            f"Another process writes the run {path.parent}: wait until it ends, or name another"
            " folder."
        ) from None
    return file


def _outcomes(folder: Path) -> list[Outcome]:
    """Returns the outcomes, without failures of questions that were asked again later."""
    found = list(_lines(folder))
    last = {outcome.id: outcome for outcome in found}
    return [outcome for outcome in found if not outcome.error or last[outcome.id] is outcome]


def _lines(folder: Path) -> Iterator[Outcome]:
    path = folder / OUTCOMES
    if not path.exists():
        return
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield outcome_of(json.loads(line))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise InputError(
                    f"{path}, line {number}: no outcome of a run ({error})."
                ) from error


def outcome_of(row: dict[str, Any]) -> Outcome:
    """Returns the outcome that `asdict` and JSON made a row of."""
    hits = tuple(Found(**hit) for hit in row.pop("hits"))
    citations = tuple(Cited(**cited) for cited in row.pop("citations"))
    degraded = tuple(row.pop("degraded"))
    documents = tuple(row.pop("documents", ()))
    expected = tuple(row.pop("expected", ()))
    return Outcome(
        hits=hits,
        documents=documents,
        citations=citations,
        degraded=degraded,
        expected=expected,
        **row,
    )


def read_info(folder: Path) -> RunInfo:
    """Reads the description of a run.

    Raises:
        InputError: There is none, or it cannot be read.
    """
    try:
        return RunInfo(**_read(folder / INFO))
    except TypeError as error:
        raise InputError(f"{folder / INFO} is not what `rag eval run` writes: {error}.") from error


def read_summary(folder: Path) -> Mapping[str, Any]:
    """Reads the summary of a finished run; raises as `read_info` does."""
    summary: Mapping[str, Any] = _read(folder / SUMMARY)
    return summary


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise InputError(
            f"{path.parent} is no run: {path.name} is missing. `rag eval run` writes one."
        ) from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}.") from error


def _line(outcome: Outcome) -> str:
    return json.dumps(asdict(outcome)) + "\n"  # ASCII: an answer may hold half a character


def _write(path: Path, content: Any) -> None:
    write_atomically(path, json.dumps(content, indent=2) + "\n")


def without_passwords(content: Any) -> Any:
    """Returns settings with only host and path of URLs, and without values secret by name."""
    match content:
        case str():
            return scrubbed(content).replace(f"://{HIDDEN}@", "://")
        case list():
            return [without_passwords(item) for item in content]
        case dict():
            return {
                name: HIDDEN if _is_secret(name, value) else without_passwords(value)
                for name, value in content.items()
            }
        case _:
            return content


def _is_secret(name: str, value: Any) -> bool:
    """True if the name is a secret's: parts passed on unchanged (vLLM's engine) may have some."""
    return isinstance(value, str) and name.lower().endswith(_SECRETS)
