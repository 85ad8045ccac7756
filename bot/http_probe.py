"""Asks the site over HTTP as a user would, from a place that must not be talked into asking anything else."""

from __future__ import annotations

import asyncio
import errno
import functools
import ipaddress
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from bot.failures import CannotReadHealth
from bot.loop_lag import loop_lag
from bot.one_get import BrokeOff, Target, get
from bot.per_loop import PerLoop
from policies.facts import ProbeSample

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

TIMEOUT_S: Final = 5.0
"""Of one whole probe: a page that takes longer is broken for whoever waits for it."""
TIMES: Final = 3
"""GETs a probe: one request in five that fails shows in half of such probes, but only in a fifth of single ones,
which found 300 of 300 such simulated deploys within the watch instead of 221."""
AT_ONCE: Final = 2_000
"""Probes under way in one loop. Those of a worker that fell behind took 20 KB each, ten thousand of them at once, and
all were too slow; 400 a second go on even if every site hangs."""
OURS_AT_MOST: Final = 0.2
OURS_AT_MOST_S: Final = 0.5
"""The share of that time, or the time, by which our own event loop may be late; beyond both, silence says nothing
about the site."""
REDIRECTS: Final = 3
ADDRESSES: Final = 3
FAILED_4XX: Final = frozenset({408})
TOO_MANY_REQUESTS: Final = 429

# Metadata of EC2 over IPv6; over IPv4 it is link-local and refused as such.
_METADATA: Final = ipaddress.ip_address("fd00:ec2::254")
_OURS: Final = frozenset(
    {
        errno.ENETUNREACH,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.EADDRNOTAVAIL,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
        errno.EACCES,
        errno.EPERM,
    }
)
"""No route, or no sockets left: our own trouble, which says nothing about the site."""


@dataclass(frozen=True, slots=True)
class _Site:
    """A URL taken apart, once for all GETs of it: `name` for TLS, `netloc` for the Host header."""

    scheme: str
    host: str
    port: int
    name: str
    netloc: str
    path: str

    @classmethod
    def of(cls, url: httpx.URL) -> _Site:
        return cls(
            scheme=url.scheme,
            host=url.host,
            port=url.port or (443 if url.scheme == "https" else 80),
            name=url.raw_host.decode("ascii"),
            netloc=url.netloc.decode("ascii"),
            path=url.raw_path.decode("ascii"),
        )


class HttpxProbe:
    """Fills `ports.HttpProbe`. One instance serves all guards; it keeps no connections between probes.

    `allow`: networks that may be reached although they are loopback or link-local (PROBE_ALLOW).
    `times`: how many GETs, side by side, make one probe."""

    def __init__(
        self, allow: Sequence[Network] = (), *, timeout_s: float = TIMEOUT_S, times: int = TIMES
    ) -> None:
        self._allow = tuple(allow)
        self._times = times
        self._timeout_s = timeout_s
        self._tls = ssl.create_default_context()
        self._reachable = functools.lru_cache(4096)(self._may_reach)
        self._turns = PerLoop(lambda: asyncio.Semaphore(AT_ONCE))
        self._looking: dict[tuple[int, str, int], asyncio.Task[list[Any]]] = {}

    async def probe(self, url: str) -> ProbeSample:
        """GET `url` a few times, following redirects on the same host. May be called again at will.

        2xx, 3xx and most 4xx are good: a page that asks for a login was still served, and
        `policies.badness` counts 403, 404 and 410 as failed where the same URL was open before the deploy.
        5xx, 408, a refused, broken or slow connection and bad TLS are failed probes. 429 says only that we
        ask too often. Raises CannotReadHealth for that, for DNS, no route, and forbidden addresses."""
        try:
            first = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise CannotReadHealth(f"The probe's URL cannot be used ({error}): correct `url`.") from None
        async with self._turns():
            answers = await self._some_times(first)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, CannotReadHealth):
                raise answer
        samples = [answer for answer in answers if isinstance(answer, ProbeSample)]
        if not samples:
            raise next(answer for answer in answers if isinstance(answer, CannotReadHealth))
        told = next((sample for sample in samples if sample.failed), samples[0])
        failed = sum(sample.failed for sample in samples)
        return _told(len(samples) - failed, failed, told.status, told.detail)

    async def _some_times(self, url: httpx.URL) -> list[ProbeSample | BaseException]:
        """What each GET came to. One without an answer in time has failed, unless the time was lost by us."""
        loop, site, lag = asyncio.get_running_loop(), _Site.of(url), loop_lag()
        before_s = lag.total_s()
        asking = [loop.create_task(self._follow(url, site)) for _ in range(self._times)]
        try:
            # One clock for all of them: a timeout each was a tenth of a probe's cost.
            _done, late = await asyncio.wait(asking, timeout=self._timeout_s)
            ours_s = lag.total_s() - before_s
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        finally:
            for task in asking:
                task.cancel()
        return [
            self._unanswered(site, ours_s) if task.cancelled() else task.exception() or task.result()
            for task in asking
        ]

    def _unanswered(self, site: _Site, ours_s: float) -> ProbeSample | CannotReadHealth:
        """What it means that no answer came in time."""
        if ours_s > max(OURS_AT_MOST_S, OURS_AT_MOST * self._timeout_s):
            return CannotReadHealth(
                f"The bot was too busy to probe: {ours_s:.1f} of {self._timeout_s:g} s were its own delay. "
                "Give the worker more CPU, or start another one."
            )
        if (id(asyncio.get_running_loop()), site.host, site.port) in self._looking:
            return CannotReadHealth(
                f"The name {site.host} of the probe's URL was not resolved within {self._timeout_s:g} s: check DNS."
            )
        return _failed(f"no answer within {self._timeout_s:g} s")

    async def _follow(self, url: httpx.URL, site: _Site) -> ProbeSample:
        host = site.host
        for _ in range(REDIRECTS + 1):
            response = await self._get(site)
            if isinstance(response, ProbeSample):
                return response
            status, location = response
            target = _join(url, location) if location else None
            # Another host is another service: that this one sent us there is all it has to do with it.
            if target is None or target.host != host:
                return _judged(status)
            url, site = target, _Site.of(target)
        return _failed(f"more than {REDIRECTS} redirects")

    async def _get(self, site: _Site) -> tuple[int, str | None] | ProbeSample:
        """The status and, for a redirect, where to; or the failed probe."""
        if site.scheme not in ("http", "https") or not site.host:
            raise CannotReadHealth("The probe's URL is not an http(s) address: correct `url`.")
        addresses = await self._resolve(site.host, site.port)
        answer: tuple[int, str | None] | ProbeSample = NOTHING
        for address in addresses[:ADDRESSES]:
            try:
                return await self._ask(site, address)
            except OSError as error:
                answer = _failed(_why(error))  # as a browser would, try the next address
            except BrokeOff:
                return _failed("the answer broke off")
        return answer

    async def _ask(self, site: _Site, address: Address) -> tuple[int, str | None]:
        """Ask the very address that was checked, so that a second look-up cannot lead elsewhere."""
        target = Target(
            address=_written(address),
            port=site.port,
            tls=self._tls if site.scheme == "https" else None,
            name=site.name,
            host=site.netloc,
            path=site.path,
        )
        status, location = await get(target)
        return status, location if 300 <= status < 400 else None

    async def _resolve(self, host: str, port: int) -> list[Address]:
        """The host's addresses, each of them checked. Raises CannotReadHealth."""
        literal = _literal(host)
        if literal is not None:
            return self._checked([literal])
        try:
            found = await self._looked_up(host, port)
        except (socket.gaierror, UnicodeError, OSError) as error:
            raise CannotReadHealth(
                f"The name {host} of the probe's URL cannot be resolved here ({error}): check DNS and `url`."
            ) from None
        addresses = list(
            dict.fromkeys(ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found)
        )
        if not addresses:
            raise CannotReadHealth(f"The name {host} of the probe's URL has no address: check DNS and `url`.")
        return self._checked(addresses)

    async def _looked_up(self, host: str, port: int) -> list[Any]:
        """One look-up serves the GETs of one probe; it takes a thread."""
        loop = asyncio.get_running_loop()
        key = (id(loop), host, port)
        looking = self._looking.get(key)
        if looking is None:
            looking = loop.create_task(loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))
            self._looking[key] = looking
            looking.add_done_callback(lambda _done: self._looking.pop(key, None))
        return await asyncio.shield(looking)

    def _checked(self, addresses: list[Address]) -> list[Address]:
        for address in addresses:
            if not self._reachable(address):
                raise CannotReadHealth(
                    f"The probe's URL leads to {address}, a loopback, link-local or reserved address, which "
                    "probes may not reach. Add its network to PROBE_ALLOW if that is meant."
                )
        return addresses

    def _may_reach(self, address: Address) -> bool:
        plain = _unwrapped(address)
        if any(plain.version == network.version and plain in network for network in self._allow):
            return True
        return not (
            plain.is_loopback
            or plain.is_link_local
            or plain.is_unspecified
            or plain.is_multicast
            or (plain.is_reserved and plain.version == 4)
            or plain == _METADATA
        )


_written = functools.lru_cache(4096)(str)


@functools.lru_cache(4096)
def _literal(host: str) -> Address | None:
    """The address that is written out as `host`, None for a name."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _unwrapped(address: Address) -> Address:
    """IPv4 in its IPv6 disguises (mapped, 6to4, NAT64): what a packet to it would reach."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in ipaddress.ip_network("64:ff9b::/96") or (int(address) >> 32 == 0 and int(address) > 1):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _judged(status: int) -> ProbeSample:
    if status == TOO_MANY_REQUESTS:
        raise CannotReadHealth("The site answered our probe with 429 (too many requests): probe less often.")
    if status >= 500 or status in FAILED_4XX:
        return _failed(f"HTTP {status}", status)
    return ProbeSample(ok=1, failed=0, status=status)


@functools.lru_cache(1024)
def _told(ok: int, failed: int, status: int | None, detail: str | None) -> ProbeSample:
    """Nearly every poll of nearly every watch says the same, and watches remember it."""
    return ProbeSample(ok, failed, status, detail)


def _failed(detail: str, status: int | None = None) -> ProbeSample:
    return ProbeSample(ok=0, failed=1, status=status, detail=detail)


NOTHING: Final = _failed("nothing answered")


def _join(url: httpx.URL, location: str) -> httpx.URL | None:
    try:
        target = url.join(location)
    except (httpx.InvalidURL, ValueError):
        return None
    # A redirect is the site's text: only its host, port, path and query count.
    return target if urlsplit(str(target)).scheme in ("http", "https") else None


def _why(error: OSError) -> str:
    """Words for a connection that did not come about. Raises CannotReadHealth if that is our own network's or
    machine's fault."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: {error.verify_message or error.reason}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    if error.errno in _OURS:
        raise CannotReadHealth(
            f"The probe could not leave this machine ({error.strerror}): check the network."
        ) from None
    return "connection refused" if isinstance(error, ConnectionRefusedError) else "no connection"
