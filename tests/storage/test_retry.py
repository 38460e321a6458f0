"""What is retried, for how long, and who pays for it, on a clock that only pauses move."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from anon_batch.config import StorageConfig
from anon_batch.errors import (
    AccessDeniedError,
    ObjectUnavailableError,
    StorageError,
    ThrottledError,
    TransientStorageError,
    TruncatedObjectError,
)
from anon_batch.storage.retry import Call, Purpose, Successes

S3, OTHER, WEB = "s3://bucket/key", "s3://bucket/other", "https://a.example/image.jpg"


class Clock:
    """Replace the time of the module `retry`, tenacity's pauses included."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now_s += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("anon_batch.storage.retry.time", clock)
    return clock


class AnswerError(Exception):
    """A refusal as botocore raises it."""

    def __init__(self, code: str, status: int, **headers: str) -> None:
        super().__init__(code)
        self.response = {
            "Error": {"Code": code},
            "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers},
        }


AnswerError.__module__ = "botocore.exceptions"
SLOW_DOWN, BROKEN = AnswerError("SlowDown", 503), AnswerError("InternalError", 500)


class WebAnswerError(Exception):
    """A refusal as aiohttp raises it."""

    def __init__(self, status: int, **headers: str) -> None:
        super().__init__(f"{status}, url='{WEB}?token=CANARY'")
        self.status, self.headers = status, headers


WebAnswerError.__module__ = "aiohttp.client_exceptions"


class Attempts:
    """Fail until the clock shows `until_s`, then return what was asked."""

    def __init__(self, clock: Clock, error: Exception, until_s: float = 1e9) -> None:
        self.clock, self.error, self.until_s, self.count = clock, error, until_s, 0

    def __call__(self) -> bytes:
        self.count += 1
        if self.clock.now_s < self.until_s:
            raise self.error
        return b"body"


def _no_probe(_: str) -> None:
    raise ConnectionResetError("away")


def _call(
    uri: str = S3,
    purpose: Purpose = "read a row",
    successes: Successes | None = None,
    probe: Callable[[str], object] = _no_probe,
) -> Call:
    return Call(StorageConfig(), successes or Successes(), probe, uri, purpose)


@pytest.mark.parametrize("purpose", ["read a row", "write a row", "other"])
@pytest.mark.parametrize("error", [SLOW_DOWN, BROKEN, ConnectionResetError("reset")], ids=repr)
def test_two_minutes_without_the_store_are_survived_by_every_call(
    clock: Clock, purpose: Purpose, error: Exception
) -> None:
    attempts = Attempts(clock, error, until_s=120)
    assert _call(purpose=purpose).run(attempts) == b"body"
    assert 120 <= clock.now_s <= 150
    assert 12 <= attempts.count < 80


@pytest.mark.parametrize(
    ("error", "kind", "advice"),
    [
        (SLOW_DOWN, ThrottledError, "send fewer requests"),
        (BROKEN, TransientStorageError, "wait until the store can be reached"),
    ],
    ids=repr,
)
def test_a_store_that_stays_away_is_given_up_with_advice(
    clock: Clock, error: Exception, kind: type[StorageError], advice: str
) -> None:
    with pytest.raises(
        TransientStorageError, match=rf"tried \d+ times in 150 s; {advice}.*run the same command again"
    ) as caught:
        _call().run(Attempts(clock, error))
    assert type(caught.value) is kind
    assert int(caught.value.exit_code) == 75
    assert 150 <= clock.now_s < 151


def test_pauses_grow_and_differ(clock: Clock) -> None:
    with pytest.raises(ThrottledError):
        _call().run(Attempts(clock, SLOW_DOWN))
    first = list(clock.pauses)
    assert all(pause <= min(10, 0.5 * 2**number) for number, pause in enumerate(first))
    assert max(first) > 4
    clock.pauses.clear()
    with pytest.raises(ThrottledError):
        _call().run(Attempts(clock, SLOW_DOWN))
    assert clock.pauses != first


def test_an_object_whose_neighbours_are_read_meanwhile_ends_alone(clock: Clock) -> None:
    successes = Successes()

    def broken() -> bytes:
        successes.note(OTHER, "read a row")
        raise BROKEN

    with pytest.raises(ObjectUnavailableError, match="tried 6 times"):
        _call(successes=successes).run(broken)
    assert clock.now_s < 20


def test_a_probe_tells_the_last_object_of_all_from_a_dead_store(clock: Clock) -> None:
    successes, probed = Successes(), list[str]()
    successes.note(OTHER, "read a row")
    clock.now_s = 5
    with pytest.raises(ObjectUnavailableError):
        _call(successes=successes, probe=probed.append).run(Attempts(clock, BROKEN))
    assert probed == [OTHER]
    assert clock.now_s < 25

    def refused(_: str) -> None:  # an answer too
        raise AnswerError("AccessDenied", 403)

    with pytest.raises(ObjectUnavailableError):
        _call(successes=successes, probe=refused).run(Attempts(clock, BROKEN))
    with pytest.raises(TransientStorageError) as caught:
        _call(successes=successes).run(Attempts(clock, BROKEN))
    assert type(caught.value) is TransientStorageError


def test_other_reads_say_nothing_of_writes_and_of_other_buckets(clock: Clock) -> None:
    successes = Successes()

    def broken() -> bytes:
        successes.note(OTHER, "read a row")
        successes.note("s3://elsewhere/key", "write a row")
        raise BROKEN

    with pytest.raises(TransientStorageError) as caught:
        _call(purpose="write a row", successes=successes).run(broken)
    assert type(caught.value) is TransientStorageError
    assert clock.now_s >= 150


def test_a_write_that_never_succeeds_ends_alone_though_nothing_is_written_meanwhile(clock: Clock) -> None:
    successes = Successes()
    successes.note(OTHER, "write a row")
    clock.now_s = 100
    with pytest.raises(ObjectUnavailableError):
        _call(purpose="write a row", successes=successes, probe=lambda uri: None).run(Attempts(clock, BROKEN))
    assert 250 <= clock.now_s < 251, "it may pass, so it is waited for"
    with pytest.raises(TransientStorageError) as caught:  # the store is away for reads, too
        _call(purpose="write a row", successes=successes).run(Attempts(clock, BROKEN))
    assert type(caught.value) is TransientStorageError
    with pytest.raises(TransientStorageError) as caught:  # the last write is long ago
        _call(purpose="write a row", successes=successes, probe=lambda uri: None).run(Attempts(clock, BROKEN))
    assert type(caught.value) is TransientStorageError


@pytest.mark.parametrize("uri", [WEB, "/mnt/disk/image.jpg"])
@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), ConnectionRefusedError("no"), RuntimeError("bug")])
def test_dead_web_servers_and_bad_sectors_cost_their_row_some_seconds(clock: Clock, uri: str, error: Exception) -> None:
    with pytest.raises(ObjectUnavailableError, match="tried 6 times"):
        _call(uri).run(Attempts(clock, error))
    assert clock.now_s < 20


def test_an_unknown_error_of_a_program_is_not_waited_for(clock: Clock) -> None:
    with pytest.raises(TransientStorageError, match="tried 6 times"):
        _call(purpose="other").run(Attempts(clock, RuntimeError("bug")))
    assert clock.now_s < 20


def test_retry_after_is_honoured_in_seconds_and_as_a_date(clock: Clock) -> None:
    assert _call(WEB).run(Attempts(clock, WebAnswerError(429, **{"Retry-After": "70"}), until_s=100)) == b"body"
    assert [round(pause) in (70, 71) for pause in clock.pauses] == [True, True]
    clock.pauses.clear()
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 60))
    begin_s = clock.now_s
    assert (
        _call().run(Attempts(clock, AnswerError("503", 503, **{"retry-after": date}), until_s=begin_s + 50)) == b"body"
    )
    assert 58 <= clock.pauses[0] <= 61
    for nonsense in ("", "soon", "-5"):
        begin_s = clock.now_s
        answer = WebAnswerError(429, **{"Retry-After": nonsense})
        assert _call(WEB).run(Attempts(clock, answer, until_s=begin_s + 1)) == b"body"


def test_a_server_that_asks_for_an_hour_is_given_up_at_once(clock: Clock) -> None:
    attempts = Attempts(clock, WebAnswerError(429, **{"Retry-After": "3600"}))
    with pytest.raises(ObjectUnavailableError):
        _call(WEB).run(attempts)
    assert attempts.count == 1


def test_a_web_server_that_says_503_for_ever_costs_its_row_some_seconds(clock: Clock) -> None:
    with pytest.raises(ObjectUnavailableError):
        _call(WEB).run(Attempts(clock, WebAnswerError(503)))
    assert clock.now_s < 20


def test_a_body_of_the_web_that_is_short_twice_is_short(clock: Clock) -> None:
    class ClientPayloadError(Exception):
        pass

    attempts = Attempts(clock, ClientPayloadError("received 5 of 10 bytes"))
    with pytest.raises(TruncatedObjectError):
        _call(WEB).run(attempts)
    assert attempts.count == 2


def test_an_error_that_stays_costs_one_call(clock: Clock) -> None:
    attempts = Attempts(clock, WebAnswerError(403))
    with pytest.raises(AccessDeniedError) as caught:
        _call(WEB).run(attempts)
    assert attempts.count == 1
    assert clock.pauses == []
    assert "CANARY" not in str(caught.value)


def test_no_retry_means_one_call(clock: Clock) -> None:
    attempts = Attempts(clock, BROKEN)
    with pytest.raises(TransientStorageError, match="tried once"):
        Call(StorageConfig(retries=0, retry_for_s=0), Successes(), _no_probe, S3, "other").run(attempts)
    assert attempts.count == 1


def test_an_answer_that_came_just_after_the_store_went_away_proves_nothing(clock: Clock) -> None:
    """Reads that were under way when the store went away may end a moment later."""
    successes, tries = Successes(), 0

    def away() -> bytes:
        nonlocal tries
        tries += 1
        if tries == 2:
            successes.note(OTHER, "read a row")
        raise ConnectionResetError("away")

    with pytest.raises(TransientStorageError) as caught:
        _call(successes=successes).run(away)
    assert type(caught.value) is TransientStorageError
    assert clock.now_s >= 150


def test_an_object_that_stalls_ends_alone_before_all_its_retries(clock: Clock) -> None:
    tries = 0

    def stalls() -> bytes:
        nonlocal tries
        tries += 1
        clock.now_s += 70
        raise TimeoutError("stalled")

    with pytest.raises(ObjectUnavailableError, match="tried 2 times"):
        _call(WEB).run(stalls)
    assert tries == 2
