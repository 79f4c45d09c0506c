"""Which tools can be connected, and how their deliveries reach the service."""

from connectors.connection import MEANINGS
from connectors.providers import PROVIDERS
from domain.hooks import Known

KNOWN = Known({name: table.signature is not None for name, table in PROVIDERS.items()}, tuple(MEANINGS))
TEST = "X-Hook-Test"  # a header of deliveries that are understood and answered, but neither stored nor counted


def hook_url(base: str, provider: str, token: str) -> str:
    """Return the URL of a hook, where the service is reached at a base without a slash at its end."""
    return f"{base}/api/v1/hooks/{provider}/{token}"
