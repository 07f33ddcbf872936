"""ACLs as they come over HTTP, and go out."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic import model_validator as check_model

from rag.api.checked_names import checked_name
from rag.errors import InputError
from rag.text.numbers import Flag
from rag.text.validation_errors import FewUnknown, faults_of, first
from rag.types import GROUP, PUBLIC, USER, Readers

ENTRIES = 1000
"""Most users, and most groups, of one ACL."""
NAME_CHARS = 256


def _few(value: Any) -> Any:
    """Counts the entries before they are checked: each may have a fault."""
    if isinstance(value, list) and len(value) > ENTRIES:
        raise ValueError(f"it has {len(value):,} entries, and {ENTRIES:,} are allowed")
    return value


def _named(text: str) -> str:
    if not text.strip():
        raise ValueError("the name is empty")
    return checked_name(text)


_Name = Annotated[str, Field(min_length=1, max_length=NAME_CHARS), AfterValidator(_named)]
_Names = Annotated[list[_Name], BeforeValidator(_few), Field(max_length=ENTRIES)]


class AclIn(FewUnknown):
    """The callers who may read a document: users, groups, or with `public` all of the tenant.

    Empty lists without `public` leave the document to callers with the scope `admin`.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "minProperties": 1,
            "examples": [{"users": ["anna"], "groups": ["sales"]}, {"public": True}],
        },
    )

    users: _Names = Field(default=[])
    groups: _Names = Field(default=[])
    public: Flag = False

    @check_model(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("name `users`, `groups` or `public`; empty lists shut everyone out")
        return self

    def words(self) -> Readers:
        """Returns the words of the readers."""
        users = {f"{USER}{name}" for name in self.users}
        groups = {f"{GROUP}{name}" for name in self.groups}
        return frozenset(users | groups | ({PUBLIC} if self.public else set()))


class AclOut(BaseModel):
    """An ACL; `inherited` says that it is the default of the collection."""

    users: list[str]
    groups: list[str]
    public: bool
    inherited: bool


def acl_json(words: Readers, *, inherited: bool) -> dict[str, Any]:
    """Returns an ACL in the form of `AclOut`."""
    return {
        "users": _names(words, USER),
        "groups": _names(words, GROUP),
        "public": PUBLIC in words,
        "inherited": inherited,
    }


def acl_of_form(text: str) -> Readers:
    """Returns the ACL in a field of a form, which holds JSON.

    Raises:
        InputError: It is no valid ACL.
    """
    try:
        return AclIn.model_validate_json(text).words()
    except ValidationError as error:
        faults = faults_of(error)
        sentences = (".".join(map(str, ("acl", *f["loc"]))) + f": {f['msg']}" for f in faults)
        raise InputError(first(sentences, len(faults), between=" ")) from None


def _names(words: Readers, start: str) -> list[str]:
    return sorted(word.removeprefix(start) for word in words if word.startswith(start))
