"""A TCP proxy in front of a real server, whose faults a test switches on and off.

    healthy   bytes go through
    refused   nobody listens, what was open is reset
    hung      connections are taken, and nothing goes through in either direction
    slowed    each piece of an answer is held for SLOW_S, and pieces are small
    reset     a few bytes of an answer, then a reset
    garbage   answers of the right length in which bytes are not what the server sent

All proxies share one thread. Faults hold for what is open and for what comes; heal() resets what is
open, as after such a fault nobody can say where in an answer it stands.
"""
import asyncio
import random
import socket
import struct
import threading

FAULTS = ("refused", "hung", "slowed", "reset", "garbage")
SLOW_S = 0.05
SLOW_PIECE_BYTES = 2048
RESET_AFTER_BYTES = 7
LINGER_0 = struct.pack("ii", 1, 0)


class Chaos:
    """The thread of all proxies. Ended with stop()."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def proxy(self, port, seed=1, has_checksums=True):
        made = Proxy(self, port, seed, has_checksums)
        self.call(made.listen())
        return made

    def stop(self):
        async def end():
            for task in asyncio.all_tasks():
                if task is not asyncio.current_task():
                    task.cancel()

        self.call(end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(30)


class Proxy:
    """port: of the server behind it. has_checksums: what it sends can be told from what is nearly
    it; else garbage is only what no client could take for an answer. Called from any thread."""

    def __init__(self, chaos, port, seed, has_checksums):
        self.chaos = chaos
        self.has_checksums = has_checksums
        self.target = port
        self.port = 0  # the system chooses, once
        self.mode = "healthy"
        self.server = None
        self.writers = set()
        self.released = None  # of the loop: set while nothing hangs
        self.random = random.Random(seed)
        self.connections = 0
        self.answer_bytes = 0

    # -- what a test does --

    def fault(self, mode):
        self.chaos.call(self._switch(mode))

    def heal(self):
        self.chaos.call(self._switch("healthy"))

    def close(self):
        self.chaos.call(self._end())

    # -- on the loop --

    async def listen(self):
        self.released = self.released or asyncio.Event()
        self.released.set()
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, backlog=1024)
        self.port = self.server.sockets[0].getsockname()[1]

    async def _switch(self, mode):
        self.mode = mode
        if mode == "hung":
            self.released.clear()
        else:
            self.released.set()
        if mode in ("refused", "healthy"):
            self._reset_all()
        if mode == "refused" and self.server:
            self.server.close()
            self.server = None
        if mode != "refused" and not self.server:
            await self.listen()
            if mode == "hung":
                self.released.clear()

    async def _end(self):
        if self.server:
            self.server.close()
        self.released.set()
        self._reset_all()

    def _reset_all(self):
        for writer in list(self.writers):
            self._reset(writer)

    @staticmethod
    def _reset(writer):
        peer = writer.get_extra_info("socket")
        if peer is not None and peer.fileno() >= 0:
            try:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
            except OSError:
                pass
        writer.transport.abort()

    async def _serve(self, reader, writer):
        self.connections += 1
        self.writers.add(writer)
        upstream = None
        try:
            await self.released.wait()
            back, upstream = await asyncio.open_connection("127.0.0.1", self.target)
            self.writers.add(upstream)
            tasks = [asyncio.ensure_future(self._forward(reader, upstream)),
                     asyncio.ensure_future(self._answer(back, writer))]
            await asyncio.wait(tasks, return_when=asyncio.ALL_COMPLETED)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for end in (writer, upstream):
                if end is not None:
                    self.writers.discard(end)
                    end.transport.abort()

    async def _forward(self, reader, writer):
        """What the client says."""
        try:
            while data := await reader.read(65536):
                await self.released.wait()
                writer.write(data)
                await writer.drain()
            writer.write_eof()
        except (OSError, RuntimeError):
            writer.transport.abort()

    async def _answer(self, reader, writer):
        """What the server says, with the fault of the moment."""
        try:
            while data := await reader.read(65536):
                await self.released.wait()
                self.answer_bytes += len(data)
                if self.mode == "reset":
                    writer.write(data[:RESET_AFTER_BYTES])
                    await writer.drain()
                    self._reset(writer)
                    return
                if self.mode == "slowed":
                    await self._slowly(data, writer)
                    continue
                writer.write(self._spoilt(data) if self.mode == "garbage" else data)
                await writer.drain()
            await self.released.wait()
            writer.write_eof()
        except (OSError, RuntimeError):
            writer.transport.abort()

    async def _slowly(self, data, writer):
        for at in range(0, len(data), SLOW_PIECE_BYTES):
            await asyncio.sleep(SLOW_S)
            writer.write(data[at : at + SLOW_PIECE_BYTES])
            await writer.drain()

    def _spoilt(self, data):
        """Every second answer is noise; in the others one byte in sixteen is another one, so that
        they may well pass for answers at first sight."""
        if not self.has_checksums or self.random.random() < 0.5:
            return self.random.randbytes(len(data))
        made = bytearray(data)
        for _ in range(max(1, len(made) // 16)):
            made[self.random.randrange(len(made))] = self.random.randrange(256)
        return bytes(made)
