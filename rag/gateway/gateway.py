"""The parts of the gateway, which decide about each request before its route."""

from __future__ import annotations

from dataclasses import dataclass

from rag.gateway.accounts import Accounts
from rag.gateway.audit_log import AuditLog
from rag.gateway.credentials import is_token
from rag.gateway.failed_attempts import FailedAttempts
from rag.gateway.key_authenticator import KeyAuthenticator
from rag.gateway.refusals import TokenRefusals
from rag.protocols import Authenticator
from rag.types import Principal


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """Everything that a request passes before its route, and is counted in after it."""

    authenticator: Authenticator
    keys: KeyAuthenticator
    """Forgets keys that are changed in this process."""
    refusals: TokenRefusals
    failed: FailedAttempts
    accounts: Accounts
    audit: AuditLog

    async def identify(self, credential: str, address: str) -> Principal:
        """Returns the caller whose credential it is; `address` is where the request comes from.

        Raises:
            UnauthenticatedError: The credential is not valid.
            RateLimitedError: Too many wrong ones came from the address.
            UpstreamError: It cannot be checked now.
        """
        if is_token(credential):
            counted = self.failed.attempt_by_token(address)
        else:
            counted = self.failed.attempt(credential, address)
        with counted:
            return await self.authenticator.authenticate(credential)
