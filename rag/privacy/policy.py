"""The policy on storing and sending the text of users and documents."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Literal

Capture = Literal["off", "masked", "full"]
_log = logging.getLogger(__name__)


class Privacy:
    """Removes content, masks it, or keeps it, by tenant; content is removed if masking fails."""

    def __init__(
        self, mask: Callable[[Any], Any], *, capture: Capture, tenants: Mapping[str, Capture]
    ) -> None:
        """Makes a policy.

        Args:
            mask: takes texts, and lists and dicts of them, and returns them masked.
            capture: the treatment of content.
            tenants: the treatment by tenant, for those that differ.
        """
        self._mask = mask
        self._capture = capture
        self._tenants = tenants

    def allows(self, tenant: str) -> bool:
        """Returns True if any of a tenant's content may leave the process."""
        return self._tenants.get(tenant, self._capture) != "off"

    def content(self, content: Any, tenant: str) -> Any:
        """Returns the content in the form that may leave the process; None if none may."""
        match self._tenants.get(tenant, self._capture):
            case "off":
                return None
            case "full":
                return content
            case "masked":
                return self._masked(content)

    def _masked(self, content: Any) -> Any:
        try:
            return self._mask(content)
        except Exception as error:  # noqa: BLE001 - after any error, nothing goes out unmasked
            # Without its message, which may contain what was to be masked.
            _log.error("Masking failed (%s): some content is left out.", type(error).__name__)
            return None
