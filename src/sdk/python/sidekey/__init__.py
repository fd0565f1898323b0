"""Client of Sidekey, the proxy that adds credentials to the requests of AI agents (docs/sdk.md)."""

try:
    from . import errors
    from .async_client import AsyncSidekey
    from .client import Sidekey
    from .consent import Connected
except ModuleNotFoundError as error:
    if error.name not in ("sidekey.client", "sidekey.errors", "sidekey.operations"):
        raise
    raise ImportError(
        f'{error.name} is missing, because it is generated: run "npm ci && npm run sdk" in the checkout, '
        "then install src/sdk/python again"
    ) from error
from .transport import SidekeyError

__all__ = ["AsyncSidekey", "Connected", "Sidekey", "SidekeyError", "errors"]
