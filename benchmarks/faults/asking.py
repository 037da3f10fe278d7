"""One request over a line of its own, of which only the status matters."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.load.wire import Address, ConnectFailed, ConnectionBroken, Pool, request_bytes

_PATIENCE_S = 2.0


class _Status:
    status = 0

    def head(self, status: int, _headers: dict[str, str]) -> None:
        self.status = status

    def body(self, _data: bytes, _at_s: float) -> None:
        return


async def ask(address: Address, path: str, headers: Mapping[str, str], body: bytes = b"") -> str:
    """The status, or in a word why there was none. POST where there is a body."""
    reply = _Status()
    method = "POST" if body else "GET"
    request = request_bytes(method, path, address, dict(headers), body)
    pool = Pool(address, connect_timeout_s=_PATIENCE_S)
    try:
        await pool.exchange(request, reply, silence_s=_PATIENCE_S)
    except ConnectFailed:
        return "refused"
    except ConnectionBroken as error:
        return "silent" if str(error) == "silent" else "broken"
    finally:
        pool.close()
    return str(reply.status)
