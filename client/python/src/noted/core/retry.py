"""When a call is tried again, and after which wait.

gRPC's own retries are off. They do not know google.rpc.RetryInfo. This module also refuses
a try that could not end in time, so that the caller learns why the last try failed, and not
only that time is up.
"""

from __future__ import annotations

import random
from typing import Optional

from ..errors import Error, StoreWentBack, Unavailable

MAX_TRIES = 4  # of one call, the first included
_BASE = 0.1  # seconds before the second try; doubles with each try
_MOST = 2.0  # seconds
_FULL = 100.0  # tokens

# After these codes another try may succeed.
_PASSING = {"UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "ABORTED", "INTERNAL", "UNKNOWN"}


class Budget:
    """Keeps a client from making an outage worse. A failure costs a token, a success earns
    a tenth of one, and below half of the tokens there are no retries. A first try is never
    refused. Threads share it without a lock. The worst is a change that is lost, and a lock
    that is held during a fork would stay locked in the new process.
    """

    def __init__(self) -> None:
        self._tokens = _FULL

    def succeed(self) -> None:
        self._tokens = min(_FULL, self._tokens + 0.1)

    def spend(self) -> bool:
        """Pays for a failure and reports whether the budget allows another try."""
        self._tokens = max(0.0, self._tokens - 1)
        return self._tokens > _FULL / 2


class Tries:
    """The tries of one call: the time that each has, and the wait before the next one."""

    def __init__(self, budget: Budget, repeatable: bool, timeout: float, now: float) -> None:
        self._budget, self._repeatable, self._deadline = budget, repeatable, now + timeout
        self._made = 0
        self._earlier: Optional[Error] = None  # the first try's error, or the latest with a reason

    def left(self, now: float) -> float:
        """The seconds that are left for the next try."""
        return max(self._deadline - now, 0.0)

    def wait(self, error: Error, now: float) -> Optional[float]:
        """The wait after a failed try, or None where no other try follows."""
        self._made += 1
        if not self._repeatable or not retriable(error) or not self._budget.spend() or self._made >= MAX_TRIES:
            return None
        wait = wait_after(self._made, error)
        if now + wait >= self._deadline:
            return None
        if self._earlier is None or error.reason:
            self._earlier = error
        return wait

    def telling(self, error: Error) -> Error:
        """The error of the last try. If that try got no answer, because it hung until the
        deadline, for instance, its text also tells why an earlier try failed. Its class
        stays: it may have noted, even if the earlier try did not.
        """
        earlier = self._earlier
        if earlier is None or error.reason not in ("", "DEADLINE_EXCEEDED") or error.message == earlier.message:
            return error
        why = f"{earlier.reason or earlier.code_name}: {earlier.message}"
        message = f"{error.message}; an earlier try failed: {why}"
        told = type(error)(error.act, message, error.code_name, error.reason, error.retry_after, error.violations)
        told.__cause__ = error.__cause__
        return told


def retriable(error: Error) -> bool:
    """Reports whether another try may succeed: only after UNAVAILABLE. Other codes would
    come again, or say that time is up. A store that lost notes waits for its operator.
    """
    return isinstance(error, Unavailable) and not isinstance(error, StoreWentBack)


def refused(error: Error) -> bool:
    """Reports whether the server refused a receipt for good, so that another try would
    change nothing.
    """
    return error.code_name not in _PASSING


def wait_after(tries: int, error: Error) -> float:
    """The wait after a number of tries. It grows exponentially. Its upper half is random,
    so that clients do not return in step. The server's retry_after is a lower bound.
    """
    wait = min(_BASE * 2 ** min(tries - 1, 10), _MOST)
    wait = wait / 2 + random.uniform(0, wait / 2)
    asked = error.retry_after.total_seconds() if error.retry_after else 0.0
    return asked + random.uniform(0, asked / 4) if asked > wait else wait
