"""Calls to a service: at a limited rate, repeated where that may help, and without secrets in what they say."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import tenacity

from anon_batch.detect.protocol import RealArray
from anon_batch.detect.services.images import SentImage

Kind = Literal["throttled", "away", "credentials", "refused", "malformed"]
_PASSING: tuple[Kind, ...] = ("throttled", "away")
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 8.0


class Fault(Exception):  # noqa: N818  it never leaves this package
    """A call failed.

    Args:
        kind: `throttled` and `away` may pass; `credentials` ends the run; `refused` is of this image; `malformed` is an answer
            that says nothing about it.
        text: code and status of the answer, never its message, which may name accounts and keys.
    """

    def __init__(self, kind: Kind, text: str) -> None:
        super().__init__(kind, text)
        self.kind, self.text = kind, text


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
    """What a service says of an image.

    Args:
        boxes: (N, 4) xyxy, px of the file that was sent; may reach beyond its borders.
        scores: (N,), 0 to 1.
        landmarks: (N, 5, 2), NaN where it gave none.
        is_full: whether it gave as many faces as it ever gives, so that there may be more.
    """

    boxes: RealArray
    scores: RealArray
    landmarks: RealArray
    is_full: bool


class Client(Protocol):
    """A service's wire format.

    Attributes:
        endpoint: its address.
    """

    @property
    def endpoint(self) -> str: ...

    def find_faces(self, image: SentImage) -> Faces:
        """Make one request.

        Raises:
            Fault: it failed.
        """


class RateLimit:
    """A bucket of one token, refilled at a rate. Threads share it.

    Args:
        per_s: requests a second.
        clock, sleep: as in `time`.
    """

    def __init__(
        self, per_s: float, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._interval_s = 1 / per_s
        self._clock, self._sleep = clock, sleep
        self._next_at = clock()
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Return once the next request may be made."""
        with self._lock:
            now = self._clock()
            at = max(now, self._next_at)
            self._next_at = at + self._interval_s
        if at > now:
            self._sleep(at - now)


class Calls:
    """Calls a client at a limited rate, and again where that may help.

    Args:
        client: makes the requests.
        rate: of all requests, repeated ones included.
        attempts: at a request, from 1.
        sleep: as in `time`.
    """

    def __init__(
        self, client: Client, rate: RateLimit, attempts: int, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._client, self._rate = client, rate
        self._retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(attempts),
            wait=tenacity.wait_random_exponential(multiplier=_FIRST_WAIT_S, max=_LONGEST_WAIT_S),
            retry=tenacity.retry_if_exception(lambda exc: isinstance(exc, Fault) and exc.kind in _PASSING),
            sleep=sleep,
            reraise=True,
        )

    def find_faces(self, image: SentImage) -> Faces:
        """Return what the service says of an image.

        Raises:
            Fault: of the last attempt.
        """
        return self._retrying(self.once, image)

    def once(self, image: SentImage) -> Faces:
        """Make one attempt.

        Raises:
            Fault: it failed.
        """
        self._rate.wait()
        return self._client.find_faces(image)
