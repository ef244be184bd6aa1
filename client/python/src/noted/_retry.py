"""When a call is made again, and after which wait.

The retries are not gRPC's own: those know nothing of google.rpc.RetryInfo, and here a try that
could not end in time is not begun, so that the caller is told why the last one failed and not
merely that time is up.
"""

from __future__ import annotations

import random
import threading
import time
from typing import Optional

import grpc

from .errors import Error, StoreWentBack, Unavailable

MAX_TRIES = 4  # of one call, the first included
_BASE = 0.1  # seconds before the second try; doubles with each
_MOST = 2.0
_FULL = 100.0


class Budget:
    """Keeps a client from making an outage worse: a failure costs a token, a success earns a
    tenth, and nothing is tried again while less than half are
    left. A first try is never refused."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tokens = _FULL

    def succeed(self) -> None:
        with self._lock:
            self._tokens = min(_FULL, self._tokens + 0.1)

    def spend(self) -> bool:
        """Pays for a failure and says whether another try is within the budget."""
        with self._lock:
            self._tokens = max(0.0, self._tokens - 1)
            return self._tokens > _FULL / 2

    def wait_after(self, tries: int, error: Error, deadline: float = float("inf")) -> Optional[float]:
        """The wait before the next try of a call that has failed so often, or None where there is
        none.
        """
        if not retriable(error) or not self.spend() or tries >= MAX_TRIES:
            return None
        wait = wait_after(tries, error)
        return None if time.monotonic() + wait >= deadline else wait


def retriable(error: Error) -> bool:
    """Only UNAVAILABLE: any other code would say the same again, or says that time is up. A store
    that went back in time waits for a person, not for us.
    """
    return isinstance(error, Unavailable) and not isinstance(error, StoreWentBack)


def refused(error: Error) -> bool:
    """Whether the server has refused for good what was asked with a receipt, so that asking again
    would change nothing.
    """
    return error.code not in (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
    )


def wait_after(tries: int, error: Error) -> float:
    """Exponential, with the upper half left to chance so that callers do not come back in step.
    What the server asks for is a lower bound.
    """
    wait = min(_BASE * 2 ** min(tries - 1, 10), _MOST)
    wait = wait / 2 + random.uniform(0, wait / 2)
    asked = error.retry_after.total_seconds() if error.retry_after else 0.0
    return asked + random.uniform(0, asked / 4) if asked > wait else wait
