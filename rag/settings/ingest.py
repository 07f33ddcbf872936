"""Settings of reading, fetching and chunking documents."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import (
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from rag.settings.base import Part, by_kind


class ReaderSettings(Part):
    """Limits on reading one document, which a separate process does."""

    processes: int = Field(2, ge=1, le=256, description="Documents that are read at once.")
    seconds: float = Field(120.0, gt=0, description="Past it the process is ended.")
    memory_mb: int = Field(4096, ge=1024, description="Address space, libraries included.")
    text_mb: int = Field(64, ge=1, description="Characters that may come out, in millions.")
    ocr_languages: str = Field(
        "eng", pattern=r"^\w+(\+\w+)*$", description="For images, where tesseract is installed."
    )
    hidden: bool = Field(
        False, description="Also hidden sheets, rows, slides and text, which nobody sees."
    )
    keep_originals: bool = Field(
        True, description="Files stay in the data folder as long as their documents, to be opened."
    )


class FetchSettings(Part):
    """Fetching of documents that are named by a URL."""

    seconds: float = Field(60.0, gt=0, description="One document, redirects included.")
    private_addresses: bool = Field(
        False, description="Also from this machine and network: whoever may ingest, reads them."
    )


class _ChunkerSettings(Part):
    kind: str
    max_tokens: int
    overlap: int = Field(0, ge=0, description="Tokens a chunk may repeat of the one before.")

    @model_validator(mode="after")
    def _leave_room(self) -> Self:
        if self.overlap >= self.max_tokens:
            raise ValueError("overlap must be smaller than max_tokens")
        return self


class SectionSettings(_ChunkerSettings):
    """Chunks of whole paragraphs, blocks of code and rows of tables, section by section."""

    kind: Literal["section"] = "section"
    max_tokens: int = Field(112, ge=32, le=8192, description="Budget of a chunk, in tokens.")


class RecursiveSettings(_ChunkerSettings):
    """Chunks split at blank lines, lines, sentences, words, without regard to structure."""

    kind: Literal["recursive"] = "recursive"
    max_tokens: int = Field(200, ge=32, le=8192, description="Budget of a chunk, in tokens.")


ChunkerSettings = Annotated[
    Annotated[SectionSettings, Tag("section")] | Annotated[RecursiveSettings, Tag("recursive")],
    Discriminator(
        by_kind("section"),
        custom_error_type="kind",
        custom_error_message="kind must be 'section' or 'recursive'",
    ),
]
