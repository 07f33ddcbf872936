"""Reads a folder with a model for ONNX Runtime: its graph, tokenizer and window."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from rag.errors import ConfigError
from rag.inference.onnx_graph import OnnxGraph
from rag.inference.onnx_session import open_session
from rag.privacy.redaction import words

GRAPHS = ("model.onnx", "onnx/model.onnx")
"""Places of the graph, in the order in which they are looked for."""
_CONFIGURATIONS = ("*.json", "*/config.json", "artifact.metadata")
_UNLIMITED = 1 << 20
"""Tokenizers without a window say 10^30."""


class OnnxFolder:
    """The files of a model."""

    def __init__(self, model: str, *, file: str | None, owner: str) -> None:
        """Finds the graph; a model on the hub is downloaded first, unless it was before.

        Args:
            model: a folder, or a name on the hub.
            file: the graph's path in it; None: `model.onnx` or `onnx/model.onnx`.
            owner: "embedder" or "reranker", for messages.

        Raises:
            ConfigError: There is no such model, or it has no such file.
        """
        self._owner = owner
        self.folder = Path(model) if Path(model).is_dir() else self._downloaded(model, file)
        names = (file,) if file else GRAPHS
        found = [self.folder / name for name in names if (self.folder / name).is_file()]
        if not found:
            raise self.refused(
                f"has no {' or '.join(names)}",
                f"name a folder or a model on the hub with a graph, or the file in {owner}.file",
            )
        self.file = found[0]

    def graph(self, *, axes: int) -> OnnxGraph:
        """Opens the graph.

        Args:
            axes: as for `OnnxGraph`.

        Raises:
            ConfigError: ONNX Runtime cannot open it, or it is no encoder's.
        """
        import onnxruntime

        try:
            session = open_session(self.file)
        except Exception as error:  # its errors are of many types
            raise self.refused(
                f"cannot be opened by ONNX Runtime {onnxruntime.__version__}: {self.file.name}:"
                f" {words(error)}",
                "copy the file again if it is cut short, or export it for an older opset",
            ) from error
        return OnnxGraph(session, axes=axes, name=str(self.file))

    def tokenizer(self, *, window: int | None) -> Tokenizer:
        """Returns the tokenizer, which truncates at `window` tokens; None: never.

        Raises:
            ConfigError: It is missing or damaged.
        """
        file = self.folder / "tokenizer.json"
        try:
            tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises nothing more specific
            cause = f"cannot be read ({words(error)})" if file.is_file() else "is missing"
            raise self.refused(
                f"cannot be read: tokenizer.json {cause}",
                "add the tokenizer.json of the model, which libraries save beside its weights",
            ) from error
        tokenizer.no_padding()
        tokenizer.no_truncation()
        if window is not None:
            tokenizer.enable_truncation(window)
        return tokenizer

    def window(self) -> int:
        """Returns how many tokens the model reads, the least that its files say.

        Raises:
            ConfigError: No file says it.
        """
        said = (
            self.json("sentence_bert_config.json").get("max_seq_length"),
            self.json("tokenizer_config.json").get("model_max_length"),
            self.json("config.json").get("max_position_embeddings"),
        )
        known = [int(tokens) for tokens in said if tokens and tokens < _UNLIMITED]
        if not known:
            raise self.refused(
                "does not say how many tokens it reads",
                "write `model_max_length` into its tokenizer_config.json",
            )
        return min(known)

    def json(self, name: str) -> dict[str, Any]:
        """Returns the content of a file; an empty object if there is none.

        Raises:
            ConfigError: The file is damaged.
        """
        file = self.folder / name
        try:
            found: dict[str, Any] = json.loads(file.read_bytes()) if file.is_file() else {}
        except (OSError, ValueError) as error:
            raise self.refused(
                f"cannot be read: {name}: {words(error)}", "copy the file again"
            ) from error
        return found

    def refused(self, fault: str, advice: str) -> ConfigError:
        """Returns an error about this model.

        Args:
            fault: the end of a sentence that begins with the folder.
            advice: the remedy, as a clause.
        """
        return ConfigError(f"The {self._owner}'s model {self.folder} {fault}: {advice}.")

    def _downloaded(self, model: str, file: str | None) -> Path:
        from huggingface_hub import snapshot_download

        graphs = (file,) if file else GRAPHS
        weights = [f"{graph}{end}" for graph in graphs for end in ("", "_data", ".data")]
        try:
            return Path(snapshot_download(model, allow_patterns=[*weights, *_CONFIGURATIONS]))
        except Exception as error:  # the library's errors are of many types
            raise ConfigError(
                f"The {self._owner} {model!r} cannot be loaded: {words(error)} Is"
                f" {self._owner}.model a folder, or OWNER/NAME of a model on the hub?"
            ) from error
