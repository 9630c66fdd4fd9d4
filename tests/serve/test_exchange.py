from __future__ import annotations

import asyncio

import pytest

from sekisho.serve.engines.exchange import BrokenError, Exchange, _whole


def told(body: str, *heads: str) -> bytes:
    raw = body.encode()
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(raw)}", *heads, "", ""]
    return "\r\n".join(lines).encode() + raw


def run(answers, work):
    """A server that gives these bytes to one request after another; what `work` returns, and how many connections came."""

    async def main():
        connections, gone, left = 0, asyncio.Event(), iter(answers)

        async def serve(reader, writer):
            nonlocal connections
            connections += 1
            try:
                while True:
                    head = (await reader.readuntil(b"\r\n\r\n")).decode()
                    length = int(head.lower().split("content-length: ")[1].split("\r\n")[0])
                    await reader.readexactly(length)
                    answer = next(left)
                    if answer is None:
                        await reader.read()
                        break
                    writer.write(answer)
                    if b"close" in answer:
                        break
            except (asyncio.IncompleteReadError, ConnectionError, StopIteration, RuntimeError):
                pass
            finally:
                gone.set()
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        exchange = Exchange(f"http://127.0.0.1:{port}", "k")
        try:
            return await work(exchange, gone), connections
        finally:
            exchange.close()
            server.close()

    return asyncio.run(main())


def test_one_connection_serves_one_exchange_after_another():
    async def work(exchange, gone):
        return [(await exchange.post("/x", {"n": i})).text for i in range(3)]

    assert run([told('{"a":"あ"}'), told("{}"), told("[]")], work) == (['{"a":"あ"}', "{}", "[]"], 1)


def test_those_at_once_have_one_each():
    async def work(exchange, gone):
        return len(await asyncio.gather(*(exchange.post("/x", {}) for _ in range(3))))

    assert run([told("{}")] * 3, work) == (3, 3)


def test_a_connection_that_will_be_closed_is_not_used_again():
    async def work(exchange, gone):
        return [(await exchange.post("/x", {})).status_code for _ in range(2)]

    assert run([told("{}", "Connection: close"), told("{}")], work) == ([200, 200], 2)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n{",
        b"nonsense\r\n\r\nclose",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nclose",
        b"x" * 70_000 + b"close",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: close\r\n\r\n\xff\xfe",
    ],
)
def test_what_is_no_whole_answer_is_a_broken_connection(answer):
    async def work(exchange, gone):
        with pytest.raises(BrokenError):
            await exchange.post("/x", {})

    run([answer], work)


def test_nobody_there_is_a_broken_connection():
    with pytest.raises(BrokenError, match="no connection"):
        asyncio.run(Exchange("http://127.0.0.1:9", "k").post("/x", {}))


def test_an_answer_may_come_in_any_pieces_and_with_more_behind_it():
    async def work(exchange, gone):
        return [(await exchange.post("/x", {})).text for _ in range(2)]

    whole = told("[1]")
    assert run([whole + b"more", told("[2]")], work) == (["[1]", "[2]"], 2)
    for cut in range(1, len(whole)):
        assert _whole(bytearray(whole[:cut])) is None
    assert _whole(bytearray(whole)) == (200, b"[1]", True)


def test_a_connection_that_has_served_exchanges_serves_a_stream():
    async def work(exchange, gone):
        first = (await exchange.post("/x", {})).text
        return first, await _lines(exchange)

    assert run([told("[1]"), chunks("data: 1\n", "data: 2\n")], work) == (("[1]", ["data: 1", "data: 2"]), 1)


def test_a_cancelled_exchange_drops_its_connection():
    async def work(exchange, gone):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await exchange.post("/x", {})
        await asyncio.wait_for(gone.wait(), 5)
        return True

    assert run([None], work)[0]


def chunks(*pieces: str, end: bool = True) -> bytes:
    """A chunked answer; without its end the connection is closed in the middle."""
    head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    parts = [f"{len(p.encode()):x}\r\n{p}\r\n" for p in pieces]
    return (head + "".join(parts) + ("0\r\n\r\n" if end else "")).encode()


async def _lines(exchange):
    stream, found = await exchange.stream("/x", {}), []
    try:
        while (line := await stream.line()) is not None:
            found.append(line)
    finally:
        stream.close()
    return found


def test_a_stream_is_read_line_by_line_wherever_its_chunks_end():
    async def work(exchange, gone):
        return await _lines(exchange)

    pieces = ["data: {", '"a":"あ"}\n\nda', "ta: x\r\n", "\nlast"]
    assert run([chunks(*pieces)], work)[0] == ['data: {"a":"あ"}', "", "data: x", "", "last"]


@pytest.mark.parametrize("told", [["a\n"], []])
def test_a_stream_that_breaks_off_is_a_broken_connection(told):
    async def work(exchange, gone):
        with pytest.raises(BrokenError):
            await _lines(exchange)

    run([chunks(*told, end=False)], work)


@pytest.mark.parametrize("size", ["-1", "zz", "fffffffff"])
def test_a_chunk_of_no_readable_size_is_a_broken_connection(size):
    async def work(exchange, gone):
        with pytest.raises(BrokenError):
            await _lines(exchange)

    run([f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{size}\r\nclose\n".encode()], work)


def test_a_refusal_in_place_of_a_stream_is_read_whole():
    async def work(exchange, gone):
        stream = await exchange.stream("/x", {})
        try:
            return stream.status_code, await stream.text()
        finally:
            stream.close()

    answer = told('{"error":\n1}').replace(b"200 OK", b"400 Bad Request")
    assert run([answer], work)[0] == (400, '{"error":\n1}')


def test_a_closed_stream_drops_its_connection():
    async def work(exchange, gone):
        stream = await exchange.stream("/x", {})
        stream.close()
        await asyncio.wait_for(gone.wait(), 5)
        return True

    assert run([chunks("a\n", end=False).replace(b"Connection: close\r\n", b"")], work)[0]
