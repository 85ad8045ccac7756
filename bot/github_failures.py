"""Turns every way a call to GitHub can fail into one sentence, and says which calls may be tried again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TypeVar

import jwt
import requests
import tenacity
import urllib3
from github import BadAttributeException, BadCredentialsException, GithubException, RateLimitExceededException

from bot.failures import BotFailure, CannotReachForge

Trace = TypeVar("Trace")

TRIES = 3
LONGEST_WAIT_S = 60.0
"""GitHub may ask for an hour; a rollback cannot wait so long, and a person is better told."""

_CALL_FAILED = (
    GithubException,
    BadAttributeException,
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    jwt.PyJWTError,
    OSError,
    # PyGithub asserts that links in answers point back at the host it was given, raises RuntimeError for
    # redirects, and stumbles with these over JSON of another shape than GitHub's.
    AssertionError,
    RuntimeError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
)
_BAD_GATEWAY = re.compile(r"too many (\d{3}) error responses")
_MISREAD = (ValueError, LookupError, TypeError, AttributeError, BadAttributeException)


@contextmanager
def asking_github(what: str) -> Iterator[None]:
    """Raise CannotReachForge for whatever goes wrong inside; `what` finishes "GitHub did not …"."""
    try:
        yield
    except BotFailure:
        raise
    except _CALL_FAILED as error:
        raise CannotReachForge(f"GitHub did not {what}: {_cause(error)}") from error


def once_only(look: Callable[[], Trace | None], act: Callable[[], Trace]) -> Trace:
    """Do `act` at most once: look for its trace first, and again after an answer that tells nothing.

    A POST answered 502 or cut off may have been done all the same; only the trace can tell. Waits as GitHub
    asks where it refused because of a rate limit, up to a minute.
    """
    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(TRIES) | tenacity.stop_after_delay(LONGEST_WAIT_S),
        wait=_wait_s,
        retry=tenacity.retry_if_exception(worth_another_try),
        reraise=True,
    )

    def attempt() -> Trace:
        found = look()
        return act() if found is None else found

    return retrying(attempt)


def worth_another_try(error: BaseException) -> bool:
    """Whether looking again may end differently: the answer was lost, or GitHub asked us to slow down."""
    if isinstance(error, GithubException):
        return error.status >= 500 or (_rate_limited(error) and _asked_to_wait_s(error) <= LONGEST_WAIT_S)
    lost = (requests.ConnectionError, requests.Timeout, urllib3.exceptions.HTTPError, *_MISREAD)
    return isinstance(error, lost) and not isinstance(error, requests.exceptions.InvalidURL)


def _rate_limited(error: GithubException) -> bool:
    return (
        isinstance(error, RateLimitExceededException)
        or error.status == 429
        or (error.status == 403 and "retry-after" in _headers(error))
        or "secondary rate limit" in (error.message or "").lower()
    )


def _asked_to_wait_s(error: GithubException) -> float:
    """How long GitHub wants us to wait; it documents a minute for a secondary limit that names no time."""
    headers = _headers(error)
    if (after := headers.get("retry-after", "")).isdigit():
        return float(after)
    if (
        headers.get("x-ratelimit-remaining") == "0"
        and (reset := headers.get("x-ratelimit-reset", "")).isdigit()
    ):
        return max(0.0, float(reset) - datetime.now(UTC).timestamp()) + 1.0
    return LONGEST_WAIT_S


def _wait_s(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, GithubException) and error.status < 500:
        return min(_asked_to_wait_s(error), LONGEST_WAIT_S)
    return 0.3 * 2.0 ** (state.attempt_number - 1)


def _headers(error: GithubException) -> Mapping[str, str]:
    return {name.lower(): str(value) for name, value in (error.headers or {}).items()}


def _cause(error: BaseException) -> str:
    """Why, and what to do next, as the rest of a sentence."""
    if isinstance(error, GithubException):
        return _refusal(error)
    if isinstance(error, AssertionError | RuntimeError):
        return (
            "its answers point to another address than the one we were given. "
            "Set GITHUB_API_URL to the address that the API itself advertises in its links."
        )
    if (gateway := _BAD_GATEWAY.search(str(error))) is not None:
        return f"it answered {gateway[1]} again and again. Nothing was changed; it will be tried again."
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not trusted here. Give the certificate authority in REQUESTS_CA_BUNDLE."
    if _timed_out(error):
        return "it did not answer in time. Look at its status page, or at the way from here to it."
    if isinstance(error, jwt.PyJWTError):
        return "our GITHUB_APP_PRIVATE_KEY cannot sign. Make a new key in the App's settings."
    if isinstance(error, requests.RequestException | urllib3.exceptions.HTTPError | OSError):
        return "the connection failed. Look at its status page, or at the way from here to it."
    return f"its answer is not one of GitHub's ({type(error).__name__}). Is GITHUB_API_URL right?"


def _timed_out(error: BaseException) -> bool:
    """requests calls a timeout after the last repetition a ConnectionError; the reason lies inside."""
    inner = error.args[0] if error.args else None
    reason = inner.reason if isinstance(inner, urllib3.exceptions.MaxRetryError) else inner
    if isinstance(reason, urllib3.exceptions.NewConnectionError):  # to urllib3 that is a timeout too
        return False
    return isinstance(error, requests.Timeout) or isinstance(reason, urllib3.exceptions.TimeoutError)


def _refusal(error: GithubException) -> str:
    status, said = error.status, _said(error)
    if isinstance(error, BadCredentialsException) or status == 401:
        return (
            f"it refused our credentials ({status}{said}). Check GITHUB_APP_ID and its key, or GITHUB_TOKEN, "
            "and this machine's clock; `rollback-bot doctor` tries them."
        )
    if _rate_limited(error):
        return f"we are over its rate limit ({status}); it asks to wait {_asked_to_wait_s(error):.0f} s."
    if status == 403:
        needed = _headers(error).get("x-accepted-github-permissions")
        grant = f"`{needed}`" if needed else "the permissions in the README"
        return f"we may not ({status}{said}). Grant the App {grant} and accept them for this repository."
    if status == 404:
        return (
            f"it does not know that ({status}{said}), or we are not installed there. "
            "Look at the name, or install the App."
        )
    if status >= 500:
        return f"it is in trouble itself ({status}{said}). It will be tried again; look at its status page."
    return f"it refused ({status}{said})."


def _said(error: GithubException) -> str:
    """GitHub's own words, short and on one line, to stand behind a status."""
    words = [str(error.message or "")]
    details = error.data.get("errors") if isinstance(error.data, dict) else None
    for detail in details if isinstance(details, list) else []:
        words.append(str(detail.get("message") or "") if isinstance(detail, dict) else str(detail))
    text = " ".join(" ".join(words).split())
    return f", “{text[:200]}”" if text else ""
