"""Decide after each failed call whether another try may help, and how long to wait for it: the only place that retries.

Three kinds of faults differ in who else is answered:

- The store throttles, or answers nobody: the call is repeated for `storage.retry_for_s`, because such faults pass.
- Other objects of the store can be read: the fault is this object's. `storage.retries` repetitions, then its row ends alone.
- A web server where none was reached before, a local file, an error that nobody knows: `storage.retries` repetitions.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random_exponential

from anon_batch.config import StorageConfig
from anon_batch.errors import (
    ObjectUnavailableError,
    ShortBodyError,
    StorageError,
    ThrottledError,
    TransientStorageError,
    TruncatedObjectError,
    error_code,
)
from anon_batch.storage.addresses import is_http, is_local
from anon_batch.storage.faults import translate

_LONGEST_PAUSE_S = 10.0
_LONG_S = 120.0  # because the row of an object that fails for so long holds a thread that others need
_CLIENTS = frozenset({"aiobotocore", "aiohttp", "azure", "botocore", "fsspec", "gcsfs", "google", "requests", "s3fs"})
_T = TypeVar("_T")

Purpose = Literal["read a row", "write a row", "other"]
"""What a call is for: a row may end without its object, everything else needs it."""


class _Success(NamedTuple):
    at_s: float
    uri: str


class Successes:
    """The last calls that each store answered. Threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: dict[tuple[str, Purpose], _Success] = {}

    def note(self, uri: str, purpose: Purpose) -> None:
        """Keep that a call for this object was answered now."""
        with self._lock:
            self._last[store_of(uri), purpose] = _Success(time.monotonic(), uri)

    def last(self, uri: str, purpose: Purpose) -> _Success | None:
        """Return the last call of this kind that the store of an address answered."""
        with self._lock:
            return self._last.get((store_of(uri), purpose))


class Repetitions:
    """Calls that were repeated, by the code of what had failed. Threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def add(self, code: str) -> None:
        """Count a call that is about to be repeated."""
        with self._lock:
            self._counts[code] += 1

    def take(self) -> dict[str, int]:
        """Return code -> calls since the last `take`."""
        with self._lock:
            taken, self._counts = self._counts, Counter()
        return dict(taken)


def store_of(uri: str) -> str:
    """Return what fails as a whole: the local disk, the web, or a bucket."""
    if is_local(uri):
        return "local"
    if is_http(uri):
        return "web"
    scheme, _, rest = uri.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"


class Call:
    """One call of a storage with its retries.

    Args:
        config: how often and how long.
        successes: what other calls of the same storage saw.
        probe: reads the first byte of an object once, without retries.
        uri: the object.
        purpose: of the call.
        repetitions: counts them.
    """

    def __init__(
        self,
        config: StorageConfig,
        successes: Successes,
        probe: Callable[[str], object],
        uri: str,
        purpose: Purpose,
        repetitions: Repetitions | None = None,
    ) -> None:
        self._config, self._successes, self._probe = config, successes, probe
        self._repetitions = repetitions or Repetitions()
        self._uri, self._purpose = uri, purpose
        self._begin_s = self._failed_s = time.monotonic()
        self._tries, self._text = 0, ""
        self._passes, self._is_alone = False, False
        self._exponential = wait_random_exponential(multiplier=config.retry_wait_s, max=_LONGEST_PAUSE_S)

    def run(self, attempt: Callable[[], _T]) -> _T:
        """Return what `attempt` returns in the end.

        Raises:
            StorageError: it failed; the class says what follows.
        """
        retrying = Retrying(
            retry=retry_if_exception_type(TransientStorageError),
            stop=self._is_over,
            wait=self._pause,
            before_sleep=lambda state: self._repetitions.add(error_code(_fault(state))),
            sleep=time.sleep,
            reraise=True,
        )
        try:
            result: _T = retrying(self._try, attempt)
        except TransientStorageError as exc:
            raise self._verdict(exc) from exc.__cause__
        self._successes.note(self._uri, self._purpose)
        return result

    def _try(self, attempt: Callable[[], _T]) -> _T:
        self._tries += 1
        try:
            return attempt()
        except (StorageError, MemoryError):  # a lack of memory says nothing about the store
            raise
        except Exception as exc:
            raise translate(exc, self._uri) from exc

    def _is_over(self, state: RetryCallState) -> bool:
        fault = _fault(state)
        before_s, self._failed_s = self._failed_s, time.monotonic()
        elapsed_s, is_repeated = self._failed_s - self._begin_s, fault.message == self._text
        self._text = fault.message
        if isinstance(fault, ShortBodyError) and is_http(self._uri) and is_repeated:  # as short as before
            self._is_alone = self._purpose == "read a row"
            return True
        if isinstance(fault, ThrottledError):
            self._passes = True
            left_s = max(0.0, self._config.retry_for_s - elapsed_s)
            return (fault.wait_s or 0.0) > left_s or (left_s == 0.0 and self._tries > self._config.retries)
        self._passes = False
        if self._tries <= self._config.retries and elapsed_s <= _LONG_S:
            return False
        self._passes = self._may_pass(fault, before_s)
        is_late = elapsed_s >= self._config.retry_for_s
        if self._passes and is_late and self._purpose == "write a row":
            self._is_alone = self._was_written_before()
        return not self._passes or is_late

    def _may_pass(self, fault: TransientStorageError, before_s: float) -> bool:
        """Return whether the whole store seems to be away, so that it is worth to wait for it.

        Args:
            fault: the last one.
            before_s: when the try before failed; only what was answered since then speaks for the store.
        """
        self._is_alone = self._purpose != "other" and self._others_are_answered(before_s)
        is_shared = not (is_local(self._uri) or (is_http(self._uri) and self._purpose == "other"))
        return not self._is_alone and is_shared and _is_of_client(fault.__cause__)

    def _others_are_answered(self, since_s: float) -> bool:
        last = self._successes.last(self._uri, self._purpose)
        if last is not None and last.at_s >= since_s and self._tries > 1:
            return True
        if self._purpose == "write a row":
            return is_local(self._uri)
        if last is None or last.uri == self._uri:
            return is_http(self._uri) or is_local(self._uri)  # because servers and sectors have nothing in common
        return self._is_answered(last.uri)

    def _was_written_before(self) -> bool:
        """Return whether others were written not long before, and can be read now.

        Because nothing may have been written meanwhile, as at the end of a shard, an object that the store never takes would
        otherwise end each run.
        """
        last = self._successes.last(self._uri, self._purpose)
        return (
            last is not None and last.at_s >= self._begin_s - self._config.retry_for_s and self._is_answered(last.uri)
        )

    def _is_answered(self, uri: str) -> bool:
        try:
            self._probe(uri)
        except Exception as exc:
            return not isinstance(translate(exc, uri), TransientStorageError)
        return True

    def _pause(self, state: RetryCallState) -> float:
        fault, pause_s = _fault(state), self._exponential(state)
        if isinstance(fault, ThrottledError) and fault.wait_s is not None:
            return fault.wait_s + min(1.0, pause_s)  # because all that wait as long would come back together
        if self._passes and self._tries > self._config.retries:  # so that the last try comes when the time is up
            left_s = self._begin_s + self._config.retry_for_s - time.monotonic()
            return min(pause_s, max(0.0, left_s))
        return pause_s

    def _verdict(self, fault: TransientStorageError) -> TransientStorageError:
        tries = "once" if self._tries == 1 else f"{self._tries} times"
        spent = f"tried {tries} in {time.monotonic() - self._begin_s:.0f} s"
        is_row = self._purpose != "other"
        if isinstance(fault, ThrottledError) and not (is_row and is_http(self._uri)):
            advice = "send fewer requests (fewer workers, a smaller engine.io_threads) or wait, then run the same command again"
            return ThrottledError(f"{fault.message}; {spent}; {advice}", self._uri)
        if is_row and (self._is_alone or isinstance(fault, ThrottledError)):
            kind = TruncatedObjectError if isinstance(fault, ShortBodyError) else ObjectUnavailableError
            return kind(f"{fault.message}; {spent}", self._uri)
        advice = "wait until the store can be reached, then run the same command again"
        return TransientStorageError(f"{fault.message}; {spent}; {advice}", self._uri)


def _fault(state: RetryCallState) -> TransientStorageError:
    assert state.outcome is not None  # noqa: S101  tenacity asks after an attempt only
    fault: Any = state.outcome.exception()
    return fault  # type: ignore[no-any-return]


def _is_of_client(exc: BaseException | None) -> bool:
    """Return whether an error came over a connection, and not from a fault of a program."""
    return isinstance(exc, OSError) or type(exc).__module__.partition(".")[0] in _CLIENTS
