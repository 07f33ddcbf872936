"""Masking by Presidio (https://microsoft.github.io/presidio/), which finds names and places.

The only module that imports it.
"""

from __future__ import annotations

import logging
from pathlib import Path

import tldextract
import yaml
from presidio_analyzer import AnalyzerEngine, AnalyzerEngineProvider, RecognizerResult

from rag.errors import ConfigError
from rag.privacy.masking import MASKED
from rag.privacy.redaction import words

logging.getLogger("presidio-analyzer").setLevel(logging.ERROR)  # one line per other language


class PresidioMasker:
    """Replaces what Presidio finds in a text by its kind: `[PERSON]`."""

    def __init__(self, file: Path) -> None:
        """Starts Presidio.

        Args:
            file: its analyzer configuration, YAML: languages, models, recognizers.

        Raises:
            ConfigError: The file cannot be read, or Presidio cannot be started with it.
        """
        _check(file)
        # To check the domains of mail addresses it would ask a server on the internet first.
        tldextract.tldextract.TLD_EXTRACTOR.suffix_list_urls = ()
        try:
            provider = AnalyzerEngineProvider(analyzer_engine_conf_file=str(file))
            self._engine: AnalyzerEngine = provider.create_engine()
        except (Exception, SystemExit) as error:  # a failed download of a model calls exit
            raise ConfigError(
                f"Presidio cannot be started with privacy.presidio = {str(file)!r}:"
                f" {type(error).__name__}: {words(error)}. Are the models that it names installed?"
            ) from error

    def text(self, text: str) -> str:
        """Returns the text with everything replaced that was found in any configured language."""
        found = [
            result
            for language in self._engine.supported_languages
            for result in self._engine.analyze(text, language=language)
        ]
        pieces, done = [], 0
        for result in sorted(found, key=_place):
            if result.start >= done:
                pieces += [text[done : result.start], MASKED.format(result.entity_type)]
            done = max(done, result.end)
        return "".join([*pieces, text[done:]])


def _place(result: RecognizerResult) -> tuple[int, int]:
    """Returns the sort key: by start, the longest first of those with the same start."""
    return result.start, -result.end


def _check(file: Path) -> None:
    """Checks that the file is readable: if not, Presidio silently uses its own defaults."""
    try:
        content = yaml.safe_load(file.read_bytes())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(
            f"privacy.presidio = {str(file)!r} cannot be read: {words(error)}"
        ) from error
    if not isinstance(content, dict):
        raise ConfigError(f"privacy.presidio = {str(file)!r} is no YAML mapping.")
