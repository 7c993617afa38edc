"""cacheable, cache_put, cache_evict and get_or_compute, for functions and for coroutines.

One rule for all of them: what goes wrong with the cache is logged and never reaches the caller; what
goes wrong in the function does, and then nothing is stored and nothing is evicted.

What is done is written once, as generators: each yields a call and gets back what that came to.
`_run` makes the calls one after the other, `_run_async` awaits them.
"""
import asyncio
import functools
import inspect
import logging
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

from .errors import DejaError
from .keys import Namer

log = logging.getLogger("deja_client")
REFRESHERS = 4
LEASE_S = 30
PAUSE_S = 0.05


class _Plan:
    """What a decorator was told, settled once for its function."""

    def __init__(self, function, *, key=None, tags=None, ttl=None, condition=None, cache_none=False, namespace=None,
                 semantic=False, refresh_ahead=None, depends_on=None, across_processes=False):
        if refresh_ahead is not None and (semantic or not ttl or not 0 < refresh_ahead < 1):
            raise ValueError("refresh_ahead is the part of a life, 0 to 1, at whose end a value is made anew: "
                             "it needs a ttl in seconds")
        self.function = function
        self.name_of = Namer(function, key, semantic)
        self.tag_namers = [Namer(function, tag) for tag in ([tags] if isinstance(tags, str) else tags or ())]
        self.dependency_namers = [Namer(function, rule) for rule in
                                  ([depends_on] if isinstance(depends_on, str) else depends_on or ())]
        self.ttl = ttl
        self.condition = condition
        self.cache_none = cache_none
        self.namespace = namespace
        self.semantic = semantic
        self.refresh_ahead = refresh_ahead
        self.across_processes = across_processes and not semantic

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

    def read(self, cache, name):
        """(found, value, is it worth making anew, as of when what is computed from here on is)"""
        if self.semantic:
            hit = yield lambda: cache.lookup(name, namespace=self.namespace)
            return bool(hit), hit.response, False, hit.raw.get("as_of")
        found, as_of = yield lambda: cache.kv.fetch_or_as_of(name, namespace=self.namespace)
        return (False, None, False, as_of) if found is None else (True, found.value, self.is_ageing(found), as_of)

    def write(self, cache, name, value, args, kwargs, as_of=None):
        """What was made void since as_of, by whomever, is not kept."""
        tags = self.tags(args, kwargs) or None
        dependencies = self.dependencies(args, kwargs) or None
        if self.semantic:
            return cache.put(name, value, ttl=self.ttl, tags=tags, namespace=self.namespace, depends_on=dependencies,
                             as_of=as_of)
        return cache.kv.set(name, value, ttl=self.ttl, tags=tags, namespace=self.namespace, depends_on=dependencies,
                            as_of=as_of)

    def drop(self, cache, name):
        if self.semantic:
            return cache.invalidate(query=name, namespace=self.namespace)
        return cache.kv.delete(name, namespace=self.namespace)


class _Eviction:
    def __init__(self, function, *, key=None, keys=None, tags=None, pattern=None, namespace=None, semantic=False,
                 condition=None, reason=None):
        rules = ([key] if key is not None else []) + list(keys or ())
        self.keys = [Namer(function, rule, semantic) for rule in rules]
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


def _run(steps):
    """Exhausts the generator, whatever its calls end with; returns what it returns."""
    try:
        call = next(steps)
        while True:
            try:
                result = call()
            except BaseException as error:
                call = steps.throw(error)
            else:
                call = steps.send(result)
    except StopIteration as end:
        return end.value


async def _run_async(steps):
    try:
        call = next(steps)
        while True:
            try:
                result = await call()
            except BaseException as error:
                call = steps.throw(error)
            else:
                call = steps.send(result)
    except StopIteration as end:
        return end.value


def _guarded(call):
    try:
        return (yield call)
    except DejaError as error:
        log.warning("deja: goes on without the cache: %s", error)
        return None


class _Decorators:
    def cacheable(self, key=None, **rules):
        """Calls the function only for what the cache has not.

        key: a template of its arguments ("user:{user_id}"), a callable of them, or None: the function's
        name and arguments. ttl: seconds. tags: templates. condition: a callable of the arguments; only
        where it is true is the cache used. cache_none: None is kept, too. semantic: the key is a question,
        and one of the same meaning answers it. refresh_ahead: 0.2: in the last fifth of its life a value
        is returned and made anew behind. depends_on: keys whose invalidation with cascade takes this one
        along. across_processes: of all processes that use this cache one computes, the others wait for
        it. The decorated function has `.key(*args)`, `.forget(*args)` and `.uncached(*args)`."""
        def decorate(function):
            self._check(function)
            plan = _Plan(function, key=key, **rules)
            wrapper = self._wrap(function, lambda args, kwargs: self._cached(plan, args, kwargs))
            wrapper.key = lambda *args, **kwargs: plan.name_of(args, kwargs)
            wrapper.forget = lambda *args, **kwargs: self._drive(
                _guarded(lambda: plan.drop(self, plan.name_of(args, kwargs))))
            wrapper.uncached = function
            return wrapper
        return decorate

    def get_or_compute(self, key, compute, *, ttl=None, tags=None, **rules):
        """The value under the key, or what compute() returns, which is then kept. Rules as in cacheable."""
        plan = _Plan(lambda: None, key=lambda: key, ttl=ttl, tags=[lambda t=tag: t for tag in tags or ()], **rules)
        plan.function = compute
        return self._drive(self._cached(plan, (), {}))

    def cache_put(self, key=None, **rules):
        """Write-through: the function always runs, and what it returns is kept."""
        def decorate(function):
            self._check(function)
            plan = _Plan(function, key=key, **rules)

            def steps(args, kwargs):
                value = yield lambda: function(*args, **kwargs)
                if plan.applies(args, kwargs) and plan.is_stored(value):
                    yield from _guarded(lambda: plan.write(self, plan.name_of(args, kwargs), value, args, kwargs))
                return value
            return self._wrap(function, steps)
        return decorate

    def cache_evict(self, key=None, **rules):
        """Once the function has succeeded, its key(s), tags or pattern are invalidated; with condition,
        only where that is true."""
        def decorate(function):
            self._check(function)
            eviction = _Eviction(function, key=key, **rules)

            def steps(args, kwargs):
                value = yield lambda: function(*args, **kwargs)
                for call in eviction.calls(self, args, kwargs):
                    yield from _guarded(call)
                return value
            return self._wrap(function, steps)
        return decorate

    # ---- steps ----

    def _cached(self, plan, args, kwargs):
        if not plan.applies(args, kwargs):
            return (yield lambda: plan.function(*args, **kwargs))
        name = plan.name_of(args, kwargs)
        return (yield lambda: self._once((plan.namespace, name), lambda: self._find_or_make(plan, name, args, kwargs)))

    def _find_or_make(self, plan, name, args, kwargs):
        """Looking is part of what happens once: who looked in vain while another one computed would
        compute again."""
        try:
            found, value, is_ageing, as_of = yield from plan.read(self, name)
        except DejaError as error:
            log.warning("deja: computes without the cache: %s", error)
            return (yield lambda: plan.function(*args, **kwargs))
        if found and is_ageing:
            self._behind((plan.namespace, name, "anew"), lambda: self._make(plan, name, args, kwargs, as_of))
        return value if found else (yield from self._make(plan, name, args, kwargs, as_of))

    def _make(self, plan, name, args, kwargs, as_of):
        found, value, token = False, None, None
        if plan.across_processes:
            found, value, token, as_of = yield from self._wait_for_turn(plan, name, as_of)
        if found:
            return value
        try:
            value = yield lambda: plan.function(*args, **kwargs)
            if plan.is_stored(value):
                yield from _guarded(lambda: plan.write(self, name, value, args, kwargs, as_of))
            return value
        finally:
            if token:
                yield from _guarded(lambda: self.kv.unlock(name, token, namespace=plan.namespace))

    def _wait_for_turn(self, plan, name, as_of):
        """(found, value, token, as_of): another process made it; or it is ours to make. Neither, after a lease:
        whoever has it is too slow, or the cache cannot say."""
        until = time.monotonic() + LEASE_S
        try:
            while time.monotonic() < until:
                told = yield lambda: self.kv.lock(name, lease=LEASE_S, namespace=plan.namespace)
                found, value, _, as_of = yield from plan.read(self, name)
                if found and told["locked"]:
                    yield from _guarded(lambda: self.kv.unlock(name, told["token"], namespace=plan.namespace))
                if found or told["locked"]:
                    return found, value, None if found else told["token"], as_of
                yield lambda: self._pause(PAUSE_S)
        except DejaError as error:
            log.warning("deja: computes without waiting for others: %s", error)
        return False, None, None, as_of


_making = threading.Lock()


class Decorators(_Decorators):
    """For plain functions; of several threads that ask for the same, one computes it."""
    _drive = staticmethod(_run)
    _pause = staticmethod(time.sleep)

    @staticmethod
    def _check(function):
        if inspect.iscoroutinefunction(function):
            raise TypeError(f"{function.__qualname__} is a coroutine: decorate it with an AsyncDeja")

    @staticmethod
    def _wrap(function, steps):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            return _run(steps(args, kwargs))
        return wrapper

    def _flights(self):
        with _making:
            return self.__dict__.setdefault("_running", {})

    def _once(self, place, steps):
        """The others of this process wait for the first one, and have its error, too."""
        mine, flights = Future(), self._flights()
        running = flights.setdefault(place, mine)
        if running is not mine:
            return running.result()
        try:
            mine.set_result(_run(steps()))
        except BaseException as error:
            mine.set_exception(error)
        finally:
            flights.pop(place, None)
        return mine.result()

    def _behind(self, place, steps):
        if place in self._flights():
            return
        with _making:
            if "_refreshers" not in self.__dict__:
                self._refreshers = ThreadPoolExecutor(REFRESHERS, thread_name_prefix="deja-refresh")
        self._refreshers.submit(self._once_quietly, place, steps)

    def _once_quietly(self, place, steps):
        try:
            self._once(place, steps)
        except Exception as error:  # the value that was there is still served
            log.warning("deja: not made anew: %s", error)


class AsyncDecorators(_Decorators):
    """The same for coroutines; who asks for the same meanwhile awaits the one that runs."""
    _drive = staticmethod(_run_async)
    _pause = staticmethod(asyncio.sleep)

    @staticmethod
    def _check(function):
        if not inspect.iscoroutinefunction(function):
            raise TypeError(f"{function.__qualname__} is no coroutine: decorate it with a Deja")

    @staticmethod
    def _wrap(function, steps):
        @functools.wraps(function)
        async def wrapper(*args, **kwargs):
            return await _run_async(steps(args, kwargs))
        return wrapper

    def _behind(self, place, steps):
        flights = self.__dict__.setdefault("_running", {})
        if place not in flights:
            flights[place] = asyncio.ensure_future(_run_async(steps()))
            flights[place].add_done_callback(lambda task: self._landed(place, task))
        return flights[place]

    def _landed(self, place, task):
        self._running.pop(place, None)
        if not task.cancelled() and task.exception():  # told to whoever awaited it
            log.debug("deja: %s: %s", place[1], task.exception())

    async def _once(self, place, steps):
        """A caller that is cancelled ends neither the computation nor those who wait with it."""
        return await asyncio.shield(self._behind(place, steps))
