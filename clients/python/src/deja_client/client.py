"""The two clients: the same calls, blocking and to be awaited."""
import os

import httpx

from . import errors
from .calls import Calls, KeyValue
from .message import MISSING, Response
from .streams import Events
from .decorators import AsyncDecorators, Decorators

DEFAULT_SERVER = "http://127.0.0.1:7070"
RAISE = object()
SILENCE_S = 60.0  # of a stream; the daemon says something every 15 s


class _Client:
    """server, key: else $DEJA_SERVER and $DEJA_KEY. namespace: of every call that names none. timeout:
    seconds for a whole call; a cache that takes longer is no help. user: X-Deja-User, whose entries
    nobody else of the tenant finds. token: the admin token, else $DEJA_TOKEN; sent only with calls about
    other tenants. transport: an httpx transport, for tests and proxies."""

    def __init__(self, server=None, *, key=None, user=None, namespace=None, timeout=2.0, token=None, transport=None):
        self.server = (server or os.environ.get("DEJA_SERVER") or DEFAULT_SERVER).rstrip("/")
        self.namespace = namespace
        self.token = token or os.environ.get("DEJA_TOKEN")
        key = key or os.environ.get("DEJA_KEY")
        headers = {"user-agent": "deja-client-python/0.1.0",
                   **({"authorization": f"Bearer {key}"} if key else {}),
                   **({"x-deja-user": user} if user else {})}
        self._http = self._transport(base_url=self.server, headers=_as_bytes(headers), timeout=timeout, transport=transport)
        self.kv = KeyValue(self)

    def _prepare(self, request):
        headers = dict(request.headers)
        json = request.json
        if self.namespace and request.path.startswith("/api/v1/kv"):
            headers.setdefault("x-deja-namespace", self.namespace)
        elif self.namespace and isinstance(json, dict):
            json = _with_namespace(json, self.namespace)
        known = {} if json is MISSING else {"json": json}
        if request.content is not None:
            known = {"content": request.content}
        if request.timeout is not None:
            known["timeout"] = request.timeout
        return self._http.build_request(request.method, request.path, params=request.params, headers=_as_bytes(headers),
                                        **known)

    @staticmethod
    def _read(request, read, answer):
        response = Response(answer.status_code, answer.headers, answer.content)
        if answer.status_code < 400 or (request.may_miss and answer.status_code in (404, 412)):
            return read(response)
        try:
            body = response.json
        except ValueError:
            body = None
        raise errors.of_response(answer.status_code, answer.headers, body)

    @staticmethod
    def _unreached(error):
        return errors.DejaUnavailable(f"Deja was not reached: {error or type(error).__name__}", type="unreachable")


def _as_bytes(headers):
    """Tags and names may be any text: UTF-8, where httpx by itself takes ASCII only."""
    return {name: value.encode() for name, value in headers.items()}


def _with_namespace(json, namespace):
    items = "queries" if "queries" in json else "entries" if "entries" in json else None
    if items:
        return {**json, items: [{"namespace": namespace, **item} for item in json[items]]}
    return {"namespace": namespace, **json} if "query" in json or "embedding" in json else json


class Deja(_Client, Calls, Decorators):
    """Blocking; may be shared by threads. `with Deja() as cache:` closes its connections."""
    _transport = httpx.Client

    def _call(self, request, read, otherwise=RAISE):
        try:
            return self._read(request, read, self._http.send(self._prepare(request)))
        except httpx.TransportError as error:
            if otherwise is not RAISE:
                return otherwise
            raise self._unreached(error) from error

    def _pages(self, pages):
        while (request := pages.request()) is not None:
            yield from self._call(request, pages.read)

    def _events(self, request):
        events = Events()
        try:
            with self._http.stream(request.method, request.path, params=request.params, timeout=SILENCE_S) as answer:
                if answer.status_code >= 400:
                    answer.read()
                    self._read(request, None, answer)
                for line in answer.iter_lines():
                    if (event := events.feed(line)) is not None:
                        yield event
        except httpx.TransportError as error:
            raise self._unreached(error) from error

    def close(self):
        self._http.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


class AsyncDeja(_Client, Calls, AsyncDecorators):
    """For one event loop; its calls are awaited. `async with AsyncDeja() as cache:`."""
    _transport = httpx.AsyncClient

    async def _call(self, request, read, otherwise=RAISE):
        try:
            return self._read(request, read, await self._http.send(self._prepare(request)))
        except httpx.TransportError as error:
            if otherwise is not RAISE:
                return otherwise
            raise self._unreached(error) from error

    async def _pages(self, pages):
        while (request := pages.request()) is not None:
            for item in await self._call(request, pages.read):
                yield item

    async def _events(self, request):
        events = Events()
        try:
            async with self._http.stream(request.method, request.path, params=request.params,
                                         timeout=SILENCE_S) as answer:
                if answer.status_code >= 400:
                    await answer.aread()
                    self._read(request, None, answer)
                async for line in answer.aiter_lines():
                    if (event := events.feed(line)) is not None:
                        yield event
        except httpx.TransportError as error:
            raise self._unreached(error) from error

    async def aclose(self):
        await self._http.aclose()

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc):
        await self.aclose()


