"""cacheable, cache_put, cache_evict and get_or_compute, for functions and for coroutines.

One rule for all of them: what goes wrong with the cache is logged and never reaches the caller; what
goes wrong in the function does, and then nothing is stored and nothing is evicted.
"""
import asyncio
import functools
import inspect
import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor

from .errors import DejaError
from .keys import Namer

log = logging.getLogger("deja_client")
REFRESHERS = 4


class _Plan:
    """What a decorator was told, settled once for its function."""

    def __init__(self, function, *, key=None, tags=None, ttl=None, condition=None, cache_none=False, namespace=None,
                 semantic=False, refresh_ahead=None, depends_on=None):
        if refresh_ahead is not None and (semantic or not ttl or not 0 < refresh_ahead < 1):
            raise ValueError("refresh_ahead is the part of a life, 0 to 1, at whose end a value is made anew: "
                             "it needs a ttl in seconds")
        self.function = function
        self.name_of = Namer(function, key)
        self.tag_namers = [Namer(function, tag) for tag in ([tags] if isinstance(tags, str) else tags or ())]
        self.dependency_namers = [Namer(function, rule) for rule in
                                  ([depends_on] if isinstance(depends_on, str) else depends_on or ())]
        self.ttl = ttl
        self.condition = condition
        self.cache_none = cache_none
        self.namespace = namespace
        self.semantic = semantic
        self.refresh_ahead = refresh_ahead

    def applies(self, args, kwargs):
        return self.condition is None or bool(self.condition(*args, **kwargs))

    def tags(self, args, kwargs):
        return [namer(args, kwargs) for namer in self.tag_namers]

    def dependencies(self, args, kwargs):
        return [namer(args, kwargs) for namer in self.dependency_namers]

    def is_stored(self, value):
        return value is not None or self.cache_none

    def is_ageing(self, found):
        return (self.refresh_ahead is not None and found.ttl_s is not None
                and found.ttl_s < self.ttl * self.refresh_ahead)

    # ---- the calls, alike for both kinds: what to send, and what an answer means ----

    def read(self, cache, name):
        """(found, value, is it worth making anew) of what the call answers."""
        if self.semantic:
            return cache.lookup(name, namespace=self.namespace), lambda hit: (bool(hit), hit.response, False)
        return (cache.kv.fetch(name, namespace=self.namespace),
                lambda found: (False, None, False) if found is None else (True, found.value, self.is_ageing(found)))

    def write(self, cache, name, value, args, kwargs):
        tags = self.tags(args, kwargs) or None
        dependencies = self.dependencies(args, kwargs) or None
        if self.semantic:
            return cache.put(name, value, ttl=self.ttl, tags=tags, namespace=self.namespace, depends_on=dependencies)
        return cache.kv.set(name, value, ttl=self.ttl, tags=tags, namespace=self.namespace, depends_on=dependencies)

    def drop(self, cache, name):
        if self.semantic:
            return cache.invalidate(query=name, namespace=self.namespace)
        return cache.kv.delete(name, namespace=self.namespace)


class _Eviction:
    def __init__(self, function, *, key=None, keys=None, tags=None, pattern=None, namespace=None, semantic=False,
                 condition=None, reason=None):
        rules = ([key] if key is not None else []) + list(keys or ())
        self.keys = [Namer(function, rule) for rule in rules]
        self.tags = [Namer(function, tag) for tag in ([tags] if isinstance(tags, str) else tags or ())]
        self.pattern = Namer(function, pattern) if pattern is not None else None
        if not (self.keys or self.tags or self.pattern):
            raise ValueError("cache_evict needs a key, tags or a pattern: what is to go?")
        self.namespace = namespace
        self.semantic = semantic
        self.condition = condition
        self.reason = reason

    def calls(self, cache, args, kwargs):
        """The calls to be made, each to be run only once the one before has ended."""
        if self.condition is not None and not self.condition(*args, **kwargs):
            return
        for tag in self.tags:
            yield functools.partial(cache.invalidate, tag=tag(args, kwargs), reason=self.reason)
        for name in self.keys:
            if self.semantic:
                yield functools.partial(cache.invalidate, query=name(args, kwargs), namespace=self.namespace,
                                        reason=self.reason)
            else:
                yield functools.partial(cache.kv.delete, name(args, kwargs), namespace=self.namespace)
        if self.pattern:
            yield functools.partial(cache.invalidate, pattern=self.pattern(args, kwargs), namespace=self.namespace,
                                    reason=self.reason)


def _note(what, error):
    log.warning("deja: %s without the cache: %s", what, error)


class Decorators:
    """For plain functions; what is asked for by several threads at once is computed by one of them."""

    def cacheable(self, key=None, **rules):
        """Calls the function only for what the cache has not.

        key: a template of its arguments ("user:{user_id}"), a callable of them, or None: the function's
        name and arguments. ttl: seconds, or "5m" with semantic. tags: templates. condition: a callable of the arguments; only where
        it is true is the cache used. cache_none: None is kept, too. semantic: the key is a question, and
        one of the same meaning answers it. refresh_ahead: 0.2: in the last fifth of its life a value is
        returned and made anew behind. depends_on: keys whose invalidation with cascade takes this one along.
        The decorated function has `.key(*args)`, `.forget(*args)` and `.uncached(*args)`."""
        def decorate(function):
            if inspect.iscoroutinefunction(function):
                raise TypeError(f"{function.__qualname__} is a coroutine: decorate it with an AsyncDeja")
            plan = _Plan(function, key=key, **rules)

            @functools.wraps(function)
            def wrapper(*args, **kwargs):
                if not plan.applies(args, kwargs):
                    return function(*args, **kwargs)
                return self._cached(plan, plan.name_of(args, kwargs), args, kwargs)
            wrapper.key = lambda *args, **kwargs: plan.name_of(args, kwargs)
            wrapper.forget = lambda *args, **kwargs: self._guard(plan.drop, self, plan.name_of(args, kwargs))
            wrapper.uncached = function
            return wrapper
        return decorate

    def get_or_compute(self, key, compute, *, ttl=None, tags=None, cache_none=False, namespace=None):
        """The value under the key, or what compute() returns, which is then kept."""
        plan = _Plan(lambda: None, key=lambda: key, ttl=ttl, cache_none=cache_none, namespace=namespace,
                     tags=[lambda t=tag: t for tag in tags or ()])
        plan.function = compute
        return self._cached(plan, key, (), {})

    def cache_put(self, key=None, **rules):
        """Write-through: the function always runs, and what it returns is kept."""
        def decorate(function):
            plan = _Plan(function, key=key, **rules)

            @functools.wraps(function)
            def wrapper(*args, **kwargs):
                value = function(*args, **kwargs)
                if plan.applies(args, kwargs) and plan.is_stored(value):
                    self._guard(plan.write, self, plan.name_of(args, kwargs), value, args, kwargs)
                return value
            return wrapper
        return decorate

    def cache_evict(self, key=None, **rules):
        """Once the function has succeeded, its key(s), tags or pattern are invalidated; with condition,
        only where that is true."""
        def decorate(function):
            eviction = _Eviction(function, key=key, **rules)

            @functools.wraps(function)
            def wrapper(*args, **kwargs):
                value = function(*args, **kwargs)
                for call in eviction.calls(self, args, kwargs):
                    self._guard(call)
                return value
            return wrapper
        return decorate

    # ---- ----

    def _guard(self, call, *args):
        try:
            return call(*args)
        except DejaError as error:
            _note("goes on", error)
            return None

    def _cached(self, plan, name, args, kwargs):
        try:
            answer, meaning = plan.read(self, name)
            found, value, is_ageing = meaning(answer)
        except DejaError as error:
            _note("computes", error)
            return plan.function(*args, **kwargs)
        if found and is_ageing:
            self._refresh(plan, name, args, kwargs)
        return value if found else self._compute(plan, name, args, kwargs)

    def _compute(self, plan, name, args, kwargs):
        """One thread computes; the others of this process wait for it, and have its error, too."""
        flights, lock = _state(self)
        mine = Future()
        with lock:
            running = flights.setdefault((plan.namespace, name), mine)
        if running is not mine:
            return running.result()
        try:
            value = plan.function(*args, **kwargs)
            if plan.is_stored(value):
                self._guard(plan.write, self, name, value, args, kwargs)
        except BaseException as error:
            mine.set_exception(error)
            raise
        else:
            mine.set_result(value)
            return value
        finally:
            with lock:
                flights.pop((plan.namespace, name), None)

    def _refresh(self, plan, name, args, kwargs):
        flights, lock = _state(self)
        with lock:
            if (plan.namespace, name) in flights:
                return
            if "_refreshers" not in self.__dict__:
                self._refreshers = ThreadPoolExecutor(REFRESHERS, thread_name_prefix="deja-refresh")
            refreshers = self._refreshers
        refreshers.submit(self._refresh_now, plan, name, args, kwargs)

    def _refresh_now(self, plan, name, args, kwargs):
        try:
            self._compute(plan, name, args, kwargs)
        except Exception as error:  # the value that was there is still served
            log.warning("deja: %s was not made anew: %s", name, error)


_making = threading.Lock()


def _state(owner):
    with _making:
        if "_flights" not in owner.__dict__:
            owner._flights = {}
            owner._flights_lock = threading.Lock()
        return owner._flights, owner._flights_lock


class AsyncDecorators:
    """The same for coroutines; who asks for the same meanwhile awaits the one that runs."""

    def cacheable(self, key=None, **rules):
        def decorate(function):
            if not inspect.iscoroutinefunction(function):
                raise TypeError(f"{function.__qualname__} is no coroutine: decorate it with a Deja")
            plan = _Plan(function, key=key, **rules)

            @functools.wraps(function)
            async def wrapper(*args, **kwargs):
                if not plan.applies(args, kwargs):
                    return await function(*args, **kwargs)
                return await self._cached(plan, plan.name_of(args, kwargs), args, kwargs)
            wrapper.key = lambda *args, **kwargs: plan.name_of(args, kwargs)
            wrapper.forget = lambda *args, **kwargs: self._guard(plan.drop, self, plan.name_of(args, kwargs))
            wrapper.uncached = function
            return wrapper
        return decorate

    async def get_or_compute(self, key, compute, *, ttl=None, tags=None, cache_none=False, namespace=None):
        plan = _Plan(lambda: None, key=lambda: key, ttl=ttl, cache_none=cache_none, namespace=namespace,
                     tags=[lambda t=tag: t for tag in tags or ()])
        plan.function = compute
        return await self._cached(plan, key, (), {})

    def cache_put(self, key=None, **rules):
        def decorate(function):
            plan = _Plan(function, key=key, **rules)

            @functools.wraps(function)
            async def wrapper(*args, **kwargs):
                value = await function(*args, **kwargs)
                if plan.applies(args, kwargs) and plan.is_stored(value):
                    await self._guard(plan.write, self, plan.name_of(args, kwargs), value, args, kwargs)
                return value
            return wrapper
        return decorate

    def cache_evict(self, key=None, **rules):
        def decorate(function):
            eviction = _Eviction(function, key=key, **rules)

            @functools.wraps(function)
            async def wrapper(*args, **kwargs):
                value = await function(*args, **kwargs)
                for call in eviction.calls(self, args, kwargs):
                    await self._guard(call)
                return value
            return wrapper
        return decorate

    # ---- ----

    async def _guard(self, call, *args):
        try:
            return await call(*args)
        except DejaError as error:
            _note("goes on", error)
            return None

    async def _cached(self, plan, name, args, kwargs):
        try:
            answer, meaning = plan.read(self, name)
            found, value, is_ageing = meaning(await answer)
        except DejaError as error:
            _note("computes", error)
            return await plan.function(*args, **kwargs)
        if found and is_ageing:
            self._start(plan, name, args, kwargs)
        return value if found else await asyncio.shield(self._start(plan, name, args, kwargs))

    def _start(self, plan, name, args, kwargs):
        """The task that computes: a caller that is cancelled ends neither it nor those who wait with it."""
        flights, _ = _state(self)
        place = (plan.namespace, name)
        if place not in flights:
            task = asyncio.ensure_future(self._compute(plan, name, args, kwargs))
            flights[place] = task
            task.add_done_callback(lambda done: (flights.pop(place, None), done.cancelled() or done.exception()))
        return flights[place]

    async def _compute(self, plan, name, args, kwargs):
        value = await plan.function(*args, **kwargs)
        if plan.is_stored(value):
            await self._guard(plan.write, self, name, value, args, kwargs)
        return value
