"""What may be kept, and sent, of what people write and documents hold."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Literal

Capture = Literal["off", "masked", "full"]
_log = logging.getLogger(__name__)


class Privacy:
    """Leaves content out, masks it, or lets it be, by tenant; left out where masking fails."""

    def __init__(
        self, mask: Callable[[Any], Any], *, capture: Capture, tenants: Mapping[str, Capture]
    ) -> None:
        """Make it so.

        Args:
            mask: takes texts, and lists and dicts of them, and gives them back masked.
            capture: what becomes of content.
            tenants: of the content of these, instead.
        """
        self._mask = mask
        self._capture = capture
        self._tenants = tenants

    def allows(self, tenant: str) -> bool:
        """Whether anything of a tenant's content may leave the process."""
        return self._tenants.get(tenant, self._capture) != "off"

    def content(self, content: Any, tenant: str) -> Any:
        """As it may leave the process; None where nothing may."""
        match self._tenants.get(tenant, self._capture):
            case "off":
                return None
            case "full":
                return content
        try:
            return self._mask(content)
        except Exception as error:  # noqa: BLE001 - whatever it was, nothing goes out unmasked
            # Without its message, which may hold what was to be masked.
            _log.error("Masking failed (%s): some content is left out.", type(error).__name__)
            return None
