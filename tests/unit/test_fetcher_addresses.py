"""Which addresses the guarded fetcher talks to, and what it makes of what it gets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from serve.domain.errors import InvalidRequest, MediaTooLarge
from serve.media.addresses import is_public
from serve.media.fetcher import GuardedFetcher
from serve.media.late_fetcher import LateFetcher


@pytest.mark.parametrize(
    "address",
    ["93.184.215.14", "8.8.8.8", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "::ffff:8.8.8.8"],
)
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.255.0.1", "0.1.2.3", "10.1.2.3", "172.16.0.1", "192.168.1.1",
        "169.254.169.254", "100.64.0.1", "100.100.100.200", "192.0.0.192", "192.0.2.1",
        "198.18.0.1", "203.0.113.9", "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.88.99.1",
        "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
        "::127.0.0.1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1",
        "64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::", "2001:0:7f00:1::", "2001:db8::1",
        "100::1", "3fff::1", "5f00::1", "", "localhost", "0x7f.1", "127.1", "2130706433",
    ],
)  # fmt: skip
def test_no_other_address_is_public(address: str) -> None:
    assert not is_public(address)


def resolving_to(*addresses: str) -> Callable[[str, int], Awaitable[list[str]]]:
    async def resolve(host: str, port: int) -> list[str]:
        return list(addresses)

    return resolve


public = resolving_to("8.8.8.8")


async def refusal(url: str, resolve: Callable[[str, int], Awaitable[list[str]]] = public) -> str:
    async with GuardedFetcher(max_bytes=10, resolve=resolve) as fetcher:
        with pytest.raises(InvalidRequest) as refused:
            await fetcher.fetch(url)
    assert refused.value.param == "url"
    return refused.value.message


@pytest.mark.parametrize(
    "url",
    ["http://example.com/a.png", "ftp://example.com/a", "file:///etc/passwd", "//example.com/a",
     "gopher://example.com", "https:///nowhere", "a.png", ""],
)  # fmt: skip
async def test_only_https_is_fetched(url: str) -> None:
    assert await refusal(url) == "only https:// URLs are fetched"


async def test_other_ports_and_credentials_are_refused() -> None:
    assert "port 443" in await refusal("https://example.com:6379/a")
    assert "password" in await refusal("https://user:password@example.com/a")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]", "[::ffff:7f00:1]", "169.254.169.254", "10.0.0.1"]
)
async def test_private_addresses_in_the_url_are_refused(host: str) -> None:
    assert "public internet" in await refusal(f"https://{host}/latest/meta-data")


async def test_a_name_with_any_private_address_is_refused() -> None:
    mixed = resolving_to("8.8.8.8", "127.0.0.1")
    assert "public internet" in await refusal("https://rebind.example/a", mixed)


@pytest.mark.parametrize(
    "host",
    ["[::]", "[::1]", "[::127.0.0.1]", "[::ffff:169.254.169.254]", "[::ffff:0:127.0.0.1]",
     "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[fd00:ec2::254]", "[fe80::1]", "[ff02::1]",
     "0.0.0.1", "100.100.100.200", "192.168.0.1", "172.31.255.255", "224.0.0.1"],
)  # fmt: skip
async def test_no_spelling_of_a_private_address_reaches_a_connection(host: str) -> None:
    async def never(name: str, port: int) -> list[str]:
        raise AssertionError("an address needs no resolver")

    assert "public internet" in await refusal(f"https://{host}/latest/meta-data", never)


@pytest.mark.parametrize(
    "url",
    ["https://example.com@127.0.0.1/", "https://127.0.0.1\\@example.com/",
     "https://example.com:443@127.0.0.1/", "https://[::1%25eth0]/", "https://127.0.0.1:443:80/",
     "https://%31%32%37.0.0.1/", "https://\u2460\u2461\u2466.0.0.1/", "https://127\u30020.0.1/",
     "https://127.0.0.1./", "https://localhost./", "https://0/", "https://0300.0250.0.1/",
     "https://0xa9fea9fe/", "https://2852039166/", "https://017700000001/", "https://1.1/",
     "https:\\\\127.0.0.1", "HTTPS://127.0.0.1/", "https://127.0.0.1#@example.com/",
     "https://127.0.0.1?@example.com/"],
)  # fmt: skip
async def test_addresses_in_disguise_are_refused(url: str) -> None:
    async def as_the_machine_does(name: str, port: int) -> list[str]:
        try:
            return [socket.gethostbyname(name)]
        except UnicodeError:
            raise socket.gaierror from None

    assert await refusal(url, as_the_machine_does)


async def test_a_name_is_resolved_once_so_it_cannot_mean_something_else_a_moment_later(
    site: Site,
) -> None:
    """DNS rebinding: public when checked, private when connected to."""
    answers = ["127.0.0.1", "10.0.0.1", "10.0.0.2"]
    asked: list[str] = []

    async def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return [answers[len(asked) - 1]]

    site.pages["/"] = page(b"pinned")
    async with GuardedFetcher(
        max_bytes=10, allow_hosts=frozenset({site.host}), resolve=rebinding
    ) as fetcher:
        assert (await fetcher.fetch(f"http://{site.host}/"))[0] == b"pinned"
    assert asked == ["pictures.example"]


async def test_a_name_that_turns_private_behind_a_redirect_is_refused(site: Site) -> None:
    n_asked = 0

    async def rebinding(host: str, port: int) -> list[str]:
        nonlocal n_asked
        n_asked += 1
        return ["127.0.0.1"] if host == "pictures.example" else ["169.254.169.254"]

    site.pages["/"] = page(status="307 Temporary Redirect", Location="https://metadata.example/")
    async with GuardedFetcher(
        max_bytes=10, allow_hosts=frozenset({site.host}), resolve=rebinding
    ) as fetcher:
        with pytest.raises(InvalidRequest, match="public internet"):
            await fetcher.fetch(f"http://{site.host}/")
    assert (n_asked, len(site.requests)) == (2, 1)


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "localhost"])
async def test_odd_spellings_of_this_machine_are_refused(host: str) -> None:
    async def as_the_machine_does(name: str, port: int) -> list[str]:
        return [socket.gethostbyname(name)]

    assert await refusal(f"https://{host}/", as_the_machine_does)


async def test_a_name_that_does_not_exist_is_refused() -> None:
    async def nobody(host: str, port: int) -> list[str]:
        raise socket.gaierror

    assert "resolved" in await refusal("https://nowhere.example/", nobody)


class Site:
    """A tiny web server: path -> raw answer, or None to stay silent. Remembers what was asked."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes | None] = {}
        self.requests: list[str] = []
        self.host = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.requests.append(request)
        page = self.pages.get(request.split(" ")[1])
        if page is None:
            await reader.read()
        else:
            writer.write(page)
            await writer.drain()
        writer.close()
        await writer.wait_closed()


def page(body: bytes = b"", status: str = "200 OK", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + body


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    server = await asyncio.start_server(site.serve, "127.0.0.1", 0)
    async with server:
        site.host = f"pictures.example:{server.sockets[0].getsockname()[1]}"
        yield site


@pytest.fixture
async def fetcher(site: Site) -> AsyncIterator[GuardedFetcher]:
    async with GuardedFetcher(
        max_bytes=1000,
        timeout_s=0.5,
        allow_hosts=frozenset({site.host}),
        resolve=resolving_to("127.0.0.1"),
    ) as fetcher:
        yield fetcher


async def test_content_and_declared_type_come_back_from_the_resolved_address(
    site: Site, fetcher: GuardedFetcher
) -> None:
    site.pages["/a.png?x=1"] = page(b"picture", Content_Type="image/png")
    assert await fetcher.fetch(f"http://{site.host}/a.png?x=1") == (b"picture", "image/png")
    assert f"Host: {site.host}\r\n" in site.requests[0]


async def test_redirects_are_followed_three_times(site: Site, fetcher: GuardedFetcher) -> None:
    for step in range(5):
        site.pages[f"/{step}"] = page(status="302 Found", Location=f"/{step + 1}")
    site.pages["/5"] = page(b"there")
    assert (await fetcher.fetch(f"http://{site.host}/2"))[0] == b"there"
    with pytest.raises(InvalidRequest, match="more than 3 times"):
        await fetcher.fetch(f"http://{site.host}/1")


@pytest.mark.parametrize(
    "location", ["http://127.0.0.1/", "https://127.0.0.1/", "https://internal.example/", "file:///"]
)
async def test_a_redirect_to_elsewhere_is_checked_like_a_url(
    site: Site, fetcher: GuardedFetcher, location: str
) -> None:
    site.pages["/"] = page(status="301 Moved Permanently", Location=location)
    with pytest.raises(InvalidRequest):
        await fetcher.fetch(f"http://{site.host}/")
    assert len(site.requests) == 1


async def test_a_body_over_the_limit_is_cut_off_announced_or_not(
    site: Site, fetcher: GuardedFetcher
) -> None:
    site.pages["/announced"] = page(b"", Content_Length="1001")
    site.pages["/silent"] = page(b"x" * 1001)
    site.pages["/fits"] = page(b"x" * 1000)
    for path in ("/announced", "/silent"):
        with pytest.raises(MediaTooLarge, match="1000"):
            await fetcher.fetch(f"http://{site.host}{path}")
    assert len((await fetcher.fetch(f"http://{site.host}/fits"))[0]) == 1000


async def test_silence_errors_and_compressed_bodies_are_refused(
    site: Site, fetcher: GuardedFetcher
) -> None:
    site.pages["/gzip"] = page(b"\x1f\x8b", Content_Encoding="gzip")
    site.pages["/missing"] = page(status="404 Not Found")
    site.pages["/nonsense"] = b"what?\r\n\r\n"
    for path, reason in {
        "/gzip": "compressed",
        "/missing": "404",
        "/nonsense": "could not be fetched",
        "/silence": "within 0.5 seconds",
    }.items():
        with pytest.raises(InvalidRequest, match=reason):
            await fetcher.fetch(f"http://{site.host}{path}")


async def test_nobody_there_is_refused() -> None:
    async with GuardedFetcher(
        max_bytes=10, allow_hosts=frozenset({"gone.example:1"}), resolve=resolving_to("127.0.0.1")
    ) as fetcher:
        with pytest.raises(InvalidRequest, match="could not be fetched"):
            await fetcher.fetch("http://gone.example:1/")


async def test_a_fetcher_that_is_made_late_guards_as_well() -> None:
    async with LateFetcher(max_bytes=10) as fetcher:
        both = await asyncio.gather(
            fetcher.fetch("https://127.0.0.1/a"),
            fetcher.fetch("http://example.com/a"),
            return_exceptions=True,
        )
    assert [type(refused) for refused in both] == [InvalidRequest, InvalidRequest]
