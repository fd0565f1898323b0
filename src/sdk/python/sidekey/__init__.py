"""Client of Sidekey, the proxy that adds credentials to the requests of AI agents (docs/sdk.md)."""

from .client import AsyncSidekey, Connected, Sidekey
from .transport import SidekeyError

__all__ = ["AsyncSidekey", "Connected", "Sidekey", "SidekeyError"]
