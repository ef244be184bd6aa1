"""The same client for asyncio: `await client.note(…)`, `async with client.once(…) as turn`,
`async for note in client.list()`.
"""

from .client import Client
from .interface import ClientInterface

__all__ = ["Client", "ClientInterface"]
