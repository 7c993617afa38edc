/**
 * cacheable, cachePut, cacheEvict: each takes its rules and returns what wraps a function; so it is also a
 * decorator of methods (`@cache.cacheable({ttl: 60})`), where the language has them.
 *
 * One rule for all: what goes wrong with the cache is told to onError and never reaches the caller; what
 * goes wrong in the function does, and then nothing is stored and nothing is evicted.
 */
import { setTimeout as pause } from "node:timers/promises";

import { DejaError } from "./errors.js";
import { namer } from "./keys.js";

const LEASE_S = 30;
const PAUSE_MS = 50;

function list(value) {
  return value === undefined ? [] : Array.isArray(value) ? value : [value];
}

/** What a decorator was told, settled once for its function. */
function planOf(name, rules) {
  const { key, tags, dependsOn, ttl, condition, cacheNull = false, namespace, semantic = false, refreshAhead,
    acrossProcesses = false } = rules;
  if (refreshAhead !== undefined && (semantic || !(ttl > 0) || !(refreshAhead > 0 && refreshAhead < 1)))
    throw new RangeError("refreshAhead is the part of a life, 0 to 1, at whose end a value is made anew: it needs a ttl");
  return {
    nameOf: namer(name, key, semantic),
    tags: list(tags).map((tag) => namer(name, tag)),
    dependencies: list(dependsOn).map((rule) => namer(name, rule)),
    ttl, condition, cacheNull, namespace, semantic, refreshAhead,
    acrossProcesses: acrossProcesses && !semantic,
  };
}

async function read(cache, plan, key) {
  if (plan.semantic) {
    const hit = await cache.lookup(key, { namespace: plan.namespace });
    return { isFound: hit.hit, value: hit.response, isAgeing: false, asOf: hit.as_of };
  }
  const { found, asOf } = await cache.kv.fetchOrAsOf(key, { namespace: plan.namespace });
  const isAgeing = Boolean(found) && plan.refreshAhead !== undefined && found.ttl !== null &&
    found.ttl < plan.ttl * plan.refreshAhead;
  return { isFound: Boolean(found), value: found?.value, isAgeing, asOf };
}

/** What was made void since asOf, by whomever, is not kept. */
function write(cache, plan, key, value, args, asOf) {
  const options = {
    asOf,
    ttl: plan.ttl,
    namespace: plan.namespace,
    tags: plan.tags.length ? plan.tags.map((tag) => tag(args)) : undefined,
    dependsOn: plan.dependencies.length ? plan.dependencies.map((rule) => rule(args)) : undefined,
  };
  return plan.semantic ? cache.put(key, value, options) : cache.kv.set(key, value, options);
}

export class Decorators {
  #flights = new Map();

  /** Goes on without the cache when it fails. */
  async #guard(call) {
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof DejaError)) throw error;
      this.onError(error);
      return undefined;
    }
  }

  /** {value}: another process made it; {token}: it is ours to make; neither: nobody can say. */
  async #waitForTurn({ namespace }, key) {
    const end = Date.now() + LEASE_S * 1000;
    while (Date.now() < end) {
      const told = await this.#guard(() => this.kv.lock(key, { lease: LEASE_S, namespace }));
      if (!told) return {};
      const { found, asOf } = (await this.#guard(() => this.kv.fetchOrAsOf(key, { namespace }))) ?? {};
      if (found && told.locked) await this.#guard(() => this.kv.unlock(key, told.token, { namespace }));
      if (found) return { found };
      if (told.locked) return { token: told.token, asOf };
      await pause(PAUSE_MS);
    }
    return {};
  }

  async #make(plan, key, make, args, asOfMiss) {
    const { found, token, asOf = asOfMiss } = plan.acrossProcesses ? await this.#waitForTurn(plan, key) : {};
    if (found) return found.value;
    try {
      const value = await make();
      if ((value !== null && value !== undefined) || plan.cacheNull)
        await this.#guard(() => write(this, plan, key, value ?? null, args, asOf));
      return value;
    } finally {
      if (token) await this.#guard(() => this.kv.unlock(key, token, { namespace: plan.namespace }));
    }
  }

  /** Who asks for the same meanwhile waits for the one that runs. */
  #once(place, work) {
    const key = JSON.stringify(place);
    const running = this.#flights.get(key);
    if (running) return running;
    const flight = work().finally(() => this.#flights.delete(key));
    this.#flights.set(key, flight);
    return flight;
  }

  /** Looking is part of what happens once: who looked in vain while another one computed would compute again. */
  #cached(plan, key, make, args) {
    const place = [plan.namespace ?? null, key];
    return this.#once(place, async () => {
      let found;
      try {
        found = await read(this, plan, key);
      } catch (error) {
        if (!(error instanceof DejaError)) throw error;
        this.onError(error);
        return make();
      }
      if (!found.isFound) return this.#make(plan, key, make, args, found.asOf);
      if (found.isAgeing) /* the old one is still served */
        this.#once([...place, "anew"], () => this.#make(plan, key, make, args, found.asOf)).catch((error) => this.onError(error));
      return found.value;
    });
  }

  /** Calls the function only for what the cache has not. */
  cacheable(rules = {}) {
    const cache = this;
    return (fn, context) => {
      const plan = planOf(rules.name ?? context?.name ?? fn.name, rules);
      const wrapped = function (...args) {
        const make = async () => fn.apply(this, args);
        if (plan.condition && !plan.condition(...args)) return make();
        return cache.#cached(plan, plan.nameOf(args), make, args);
      };
      wrapped.key = (...args) => plan.nameOf(args);
      wrapped.forget = (...args) =>
        cache.#guard(() => plan.semantic
          ? cache.invalidate({ query: plan.nameOf(args), namespace: plan.namespace })
          : cache.kv.delete(plan.nameOf(args), { namespace: plan.namespace }));
      wrapped.uncached = fn;
      return wrapped;
    };
  }

  /** The value under the key, or what compute() resolves to, which is then kept. */
  getOrCompute(key, compute, rules = {}) {
    const plan = planOf("", { ...rules, key: () => key });
    return this.#cached(plan, key, async () => compute(), []);
  }

  /** Write-through: the function always runs, and what it resolves to is kept. */
  cachePut(rules = {}) {
    const cache = this;
    return (fn, context) => {
      const plan = planOf(rules.name ?? context?.name ?? fn.name, rules);
      return async function (...args) {
        const value = await fn.apply(this, args);
        const isStored = (value !== null && value !== undefined) || plan.cacheNull;
        if (isStored && (!plan.condition || plan.condition(...args)))
          await cache.#guard(() => write(cache, plan, plan.nameOf(args), value ?? null, args));
        return value;
      };
    };
  }

  /** Once the function has succeeded, its key(s), tags or pattern are invalidated. */
  cacheEvict(rules) {
    const { key, keys, tags, pattern, namespace, semantic = false, condition, reason } = rules ?? {};
    const names = [...list(key), ...list(keys)].map((rule) => namer("", rule, semantic));
    const tagNames = list(tags).map((tag) => namer("", tag));
    const patternName = pattern === undefined ? undefined : namer("", pattern);
    if (!names.length && !tagNames.length && !patternName)
      throw new TypeError("cacheEvict needs a key, tags or a pattern: what is to go?");
    const cache = this;
    return (fn) =>
      async function (...args) {
        const value = await fn.apply(this, args);
        if (condition && !condition(...args)) return value;
        for (const tag of tagNames) await cache.#guard(() => cache.invalidate({ tag: tag(args), reason }));
        for (const name of names)
          await cache.#guard(() => semantic
            ? cache.invalidate({ query: name(args), namespace, reason })
            : cache.kv.delete(name(args), { namespace }));
        if (patternName)
          await cache.#guard(() => cache.invalidate({ pattern: patternName(args), namespace, reason }));
        return value;
      };
  }
}
