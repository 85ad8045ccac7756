"""Where the probe will not go, whatever the URL is dressed up as; and that our own network's trouble is ours."""

from __future__ import annotations

import ipaddress

import pytest

from bot.failures import CannotReadHealth
from bot.http_probe import HttpxProbe
from tests.test_http_probe import http, site


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://127.8.9.1/",
        "http://localhost/",
        "http://[::1]/",
        "http://0.0.0.0/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[fe80::1]/",
        "http://[fd00:ec2::254]/",
        "http://[::ffff:169.254.169.254]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://[2002:7f00:1::]/",
        "http://[::127.0.0.1]/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://224.0.0.1/",
        "http://255.255.255.255/",
    ],
)
async def test_loopback_and_link_local_are_refused_in_every_disguise(url):
    with pytest.raises(CannotReadHealth) as refused:
        await HttpxProbe(timeout_s=0.5).probe(url)
    assert "probes may not reach" in refused.value.reason or "cannot be resolved" in refused.value.reason


async def test_the_refusal_says_what_to_do():
    with pytest.raises(CannotReadHealth) as refused:
        await HttpxProbe().probe("http://127.0.0.1:9/")
    assert refused.value.reason == (
        "The probe's URL leads to 127.0.0.1, a loopback, link-local or reserved address, which "
        "probes may not reach. Add its network to PROBE_ALLOW if that is meant."
    )


async def test_allowing_one_network_allows_no_other():
    probe = HttpxProbe((ipaddress.ip_network("127.0.0.1/32"),), times=1)
    async with site(http("200 OK")) as url:
        assert (await probe.probe(url)).ok == 1
        with pytest.raises(CannotReadHealth):
            await probe.probe(url.replace("127.0.0.1", "127.0.0.2"))


@pytest.mark.parametrize(
    "url",
    ["ftp://example.com/", "file:///etc/passwd", "http://", "", "no address", "http://[", "http://a b/"],
)
async def test_what_is_no_http_address_is_refused_in_a_sentence(url):
    with pytest.raises(CannotReadHealth) as refused:
        await HttpxProbe().probe(url)
    assert refused.value.reason.endswith("correct `url`.") or "cannot be resolved" in refused.value.reason


async def test_a_name_that_does_not_resolve_is_our_own_trouble():
    with pytest.raises(CannotReadHealth) as refused:
        await HttpxProbe(timeout_s=10).probe("http://no-such-name.invalid/")
    assert refused.value.reason.startswith(
        "The name no-such-name.invalid of the probe's URL cannot be resolved"
    )


async def test_no_route_is_our_own_trouble():
    """TCP cannot leave a machine for the broadcast address, whatever its routes are."""
    probe = HttpxProbe((ipaddress.ip_network("255.255.255.255/32"),))
    with pytest.raises(CannotReadHealth) as refused:
        await probe.probe("http://255.255.255.255/")
    assert refused.value.reason.startswith("The probe could not leave this machine (")
