/* The Node client, used as a program would: reports what it saw as JSON. */
import assert from "node:assert/strict";
import { once, EventEmitter } from "node:events";
import { setTimeout as pause } from "node:timers/promises";

const { Deja, DejaDenied, DejaInvalid, DejaNotFound, DejaUnavailable } = await import(process.env.TEST_CLIENT);
const { TEST_URL: server, TEST_KEY: key, TEST_WORD: namespace, TEST_LOST: lost } = process.env;
const cache = new Deja({ server, key, namespace, timeout: 20000 });
const passed = [];

async function test(name, work) {
  try {
    await work();
  } catch (error) {
    error.message = `${name}: ${error.message}`;
    throw error;
  }
  passed.push(name);
}

await test("entries", async () => {
  const made = await cache.put("How do I reset my password?", { text: "Settings." }, { ttl: "1h", tags: ["help"] });
  const hit = await cache.lookup("How do I reset my password?");
  assert.deepEqual([hit.hit, hit.kind, hit.response, hit.id], [true, "exact", { text: "Settings." }, made.id]);
  assert.equal((await cache.lookup("Something else altogether")).hit, false);
  assert.equal((await cache.getEntry(made.id)).query, "How do I reset my password?");
  assert.deepEqual((await cache.putMany([{ query: "a", response: 1 }, { query: "b", response: 2 }])).length, 2);
  assert.deepEqual((await cache.lookupMany(["b", { query: "a" }])).map((found) => found.response), [2, 1]);
  assert.equal((await cache.invalidate({ tag: "help", reason: "test" })).removed, 1);
  assert.equal(await cache.deleteEntry(made.id), false);
  assert.equal(await cache.getEntry(made.id), null);
  assert.equal((await cache.explain("a")).hit, true);
  assert.ok(await cache.stats() && await cache.limits());
  while ((await cache.top()).entries.length !== 2) await pause(5);
  assert.equal((await cache.top(1)).entries.length, 1);
});

await test("errors", async () => {
  await assert.rejects(cache.put("", "r"), (error) =>
    error instanceof DejaInvalid && error.status === 400 && error.fields[0].field === "query");
  await assert.rejects(cache.call("GET", "/api/v1/tenants"), DejaDenied);
  await assert.rejects(cache.call("GET", `/api/v1/entries/${"0".repeat(32)}`), DejaNotFound);
  await assert.rejects(new Deja({ server: lost }).lookup("q"), DejaUnavailable);
  assert.deepEqual([await cache.ping(), await new Deja({ server: lost }).ping()], [true, false]);
});

await test("plain keys", async () => {
  const values = { text: "häßlich\n", json: { a: [1, null, "x"] }, nothing: null, "a/b?c#d %2F*": "odd name", empty: "" };
  for (const [name, value] of Object.entries(values)) {
    assert.equal(await cache.kv.set(name, value), true);
    assert.deepEqual(await cache.kv.get(name), value);
  }
  const bytes = Uint8Array.from({ length: 256 }, (_, i) => i);
  await cache.kv.set("bytes", bytes, { ttl: 3600 });
  assert.deepEqual(await cache.kv.get("bytes"), bytes);
  const found = await cache.kv.fetch("bytes");
  assert.ok(found.ttl > 3500 && found.ttl <= 3600);
  assert.equal(await cache.kv.fetch("no such key"), null);
  assert.equal(await cache.kv.get("no such key"), undefined);
  assert.equal(await cache.kv.set("text", "other", { ifAbsent: true }), false);
  assert.equal(await cache.kv.merge("json", { a: null, b: 2 }), true);
  assert.deepEqual(await cache.kv.get("json"), { b: 2 });
  assert.deepEqual([await cache.kv.exists("json"), await cache.kv.delete("json"), await cache.kv.exists("json")],
    [true, true, false]);
  await cache.kv.set("tagged", 1, { tags: ["Zoë ☃"] });
  assert.equal((await cache.invalidate({ tag: "Zoë ☃" })).removed, 1);
  const { keys } = await cache.kv.keys("tex*");
  assert.deepEqual(keys.map((item) => item.key), ["text"]);
  assert.equal((await cache.kv.deleteMatching("tex*")).removed, 1);
});

await test("many keys, counters, versions", async () => {
  const kept = new Map([["m:1", "text"], ["m:2", { a: [1, null] }], ["m:3", Uint8Array.from([0, 255])], ["m:4", null]]);
  assert.equal(await cache.kv.setMany(kept, { ttl: 6000, tags: ["many"] }), 4);
  assert.deepEqual(await cache.kv.getMany([...kept.keys(), "m:5"]), kept);
  const left = await cache.kv.ttl("m:1");
  assert.deepEqual([left > 0 && left <= 6000, await cache.kv.ttl("m:5")], [true, undefined]);
  assert.deepEqual([await cache.kv.incr("n", 5, { ttl: 0 }), await cache.kv.incr("n", -7), await cache.kv.incr("n")], [5, -2, -1]);
  assert.equal(await cache.kv.ttl("n"), 0);
  await assert.rejects(cache.kv.incr("m:1"), (error) => error instanceof DejaInvalid && error.type === "not_an_integer");
  await assert.rejects(cache.kv.setMany({ "": 1 }), DejaInvalid);
  for (const name of ["", "."])
    for (const call of [() => cache.kv.set(name, 1), () => cache.kv.get(name), () => cache.kv.delete(name), () => cache.kv.exists(name)])
      await assert.rejects(call, DejaInvalid);
  for (const version of ["v1", "v2"]) assert.equal(await cache.kv.set("m:v", `of ${version}`, { version }), true);
  assert.deepEqual([await cache.kv.get("m:v", { version: "v0" }), await cache.kv.get("m:v", { version: "v1" }), await cache.kv.get("m:v")],
    [undefined, "of v1", "of v2"]);
  assert.equal(await cache.kv.delete("n", { reason: "no longer so" }), true);
  assert.equal((await cache.kv.deleteMatching("m:*", { reason: "tidied up" })).removed, 5);
});

await test("kinds and what is put off", async () => {
  const made = await cache.kv.name("template_score", { id: 42 });
  assert.equal(made.key, "template:score:42");
  assert.ok((await cache.kinds()).some((kind) => kind.name === "template_score") && await cache.patterns());
  await cache.invalidate({ tag: "anything", after: "1h" });
  const [schedule] = await cache.schedules();
  assert.deepEqual([await cache.cancelSchedule(schedule.id), await cache.cancelSchedule(schedule.id)], [true, false]);
});

await test("what is there and what happens", async () => {
  await cache.putMany(Array.from({ length: 90 }, (_, i) => ({ query: `question ${i}`, response: "x".repeat(20000) })));
  const queries = new Set();
  for await (const entry of cache.export()) queries.add(entry.query);
  assert.ok(queries.has("question 0") && queries.has("question 89"));
  for await (const entry of cache.export({ vectors: true })) if (entry.query === "question 0") assert.ok(entry.vector);
  const told = [];
  for await (const request of cache.tail({ last: 3, wait: 20 })) {
    told.push(request);
    if (told.length === 3) cache.lookup("question 1");
    if (told.length === 4) break;
  }
  assert.deepEqual([told[3].api, told[3].result], ["api", "hit_exact"]);
  for await (const { event, data } of cache.followInvalidations({ wait: 60 })) {
    if (event === "following") await cache.invalidate({ tag: "told", reason: "test" });
    if (event === "invalidation" && data.name === "told") break;
  }
  for await (const { event } of cache.followInvalidations({ wait: 0.1 })) assert.equal(event, "following");
  await assert.rejects(cache.followInvalidations({ wait: 1e9 }).next(), DejaInvalid);
  await assert.rejects(new Deja({ server: lost }).export().next(), DejaUnavailable);
});

await test("room, indexes and single questions", async () => {
  const before = (await cache.stats()).levels.memory;
  const { removed } = await cache.evict(Math.floor(before.bytes / 2));
  assert.ok(removed > 0 && (await cache.stats()).levels.memory.entries === before.entries - removed);
  assert.equal((await cache.indexStats()).ready, true);
  assert.deepEqual(await cache.indexOptimise(), { status: "started" });
  await assert.rejects(cache.evict(1, { all: true }), DejaDenied);
  await cache.put("which way", "left");
  assert.deepEqual([await cache.delete("which way"), await cache.delete("which way")], [true, false]);
  const request = { model: "m", messages: [{ role: "user", content: "q" }] };
  assert.equal((await cache.explainRequest(request)).hit, false);
  await cache.kv.set("k", 1);
  assert.deepEqual([await cache.kv.expire("k", 50), await cache.kv.expire("other", 1)], [true, false]);
  assert.equal(await cache.kv.delete("k", { ifMatch: '"1"' }), false);
  const there = (await cache.kv.clear({ dryRun: true })).would_remove;
  assert.deepEqual([there >= 1, (await cache.kv.clear()).removed, (await cache.kv.stats()).keys], [true, there, 0]);
  await assert.rejects(cache.learnHistory([]), /habits are not kept/);
});

await test("cacheable", async () => {
  let calls = 0;
  const load = cache.cacheable({ key: "user:{0}:{1.id}", ttl: 60, tags: "user:{0}" })(async function load(user, { id }) {
    calls++;
    return { user, id };
  });
  assert.deepEqual([await load(1, { id: 2 }), await load(1, { id: 2 }), await load(1, { id: 3 })],
    [{ user: 1, id: 2 }, { user: 1, id: 2 }, { user: 1, id: 3 }]);
  assert.deepEqual([calls, load.key("*,", { id: 1 })], [2, "user:%2A%2C:1"]);
  await cache.invalidate({ tag: "user:1" });
  await load(1, { id: 2 });
  await load.forget(1, { id: 2 });
  await load(1, { id: 2 });
  assert.equal(calls, 4);
  const named = cache.cacheable()(async function named(a, b) { return [a, b]; });
  assert.equal(named.key({ y: 1, x: 2 }), named.key({ x: 2, y: 1 }));
  assert.notEqual(named.key(1, 2), named.key(2, 1));
  assert.throws(() => named.key(() => 1), /no stable form/);
  assert.throws(() => cache.cacheable()(async () => 1), /needs a key/);
});

await test("as a decorator of methods", async () => {
  let calls = 0;
  class Users {
    constructor(name) { this.name = name; }
    async load(id) { calls++; return `${this.name}:${id}`; }
  }
  /* What a compiler makes of @cache.cacheable({...}) in front of load. */
  Users.prototype.load = cache.cacheable({ key: "method:{0}" })(Users.prototype.load, { kind: "method", name: "load" });
  const users = new Users("db");
  assert.deepEqual([await users.load(1), await users.load(1), calls], ["db:1", "db:1", 1]);
});

await test("null, conditions, errors", async () => {
  let calls = 0;
  const count = async (x) => { calls++; return x; };
  const load = cache.cacheable({ key: "null:{0}" })(async () => count(null));
  await load(1); await load(1);
  assert.equal(calls, 2);
  const negative = cache.cacheable({ key: "negative:{0}", cacheNull: true })(async () => count(null));
  await negative(1); await negative(1);
  assert.equal(calls, 3);
  const some = cache.cacheable({ key: "some:{0}", condition: (x) => x > 0 })(async (x) => count(x));
  await some(1); await some(1); await some(-1); await some(-1);
  assert.equal(calls, 6);
  const failing = cache.cacheable({ key: "failing" })(async () => { throw new RangeError("no"); });
  await assert.rejects(failing(), RangeError);
  assert.equal(await cache.kv.exists("failing"), false);
});

await test("one computes for all", async () => {
  let calls = 0;
  const gate = new EventEmitter();
  const load = cache.cacheable({ key: "together" })(async () => { calls++; await once(gate, "open"); return "made"; });
  const running = Array.from({ length: 8 }, () => load());
  while (!calls) await pause(5);
  gate.emit("open");
  assert.deepEqual(await Promise.all(running), Array(8).fill("made"));
  assert.equal(calls, 1);
});

await test("of several processes one computes", async () => {
  let calls = 0;
  const gate = new EventEmitter();
  const work = async () => { calls++; await once(gate, "open"); return "made"; };
  const other = new Deja({ server, key, namespace, timeout: 20000 });
  const running = [cache, other].map((one) => one.cacheable({ key: "everywhere", acrossProcesses: true })(work)());
  while (!calls) await pause(5);
  assert.equal((await other.kv.lock("everywhere")).locked, false);
  gate.emit("open");
  assert.deepEqual([await Promise.all(running), calls], [["made", "made"], 1]);
  const told = await cache.kv.lock("everywhere");
  assert.deepEqual([told.locked, await other.kv.unlock("everywhere", told.token)], [true, true]);
});

await test("eviction, write-through, get or compute", async () => {
  let calls = 0;
  const load = cache.cacheable({ key: "account:{0}", tags: ["owner:{0}"] })(async () => ++calls);
  const byKey = cache.cacheEvict({ key: "account:{0}" })(async (user, fails) => { if (fails) throw new Error("full"); });
  const byTag = cache.cacheEvict({ tags: ["owner:{0}"] })(async () => "saved");
  assert.equal(await load(1), 1);
  await assert.rejects(byKey(1, true), /full/);
  assert.equal(await load(1), 1);
  await byKey(1);
  assert.equal(await load(1), 2);
  assert.equal(await byTag(1), "saved");
  assert.equal(await load(1), 3);
  assert.throws(() => cache.cacheEvict({}), /what is to go/);
  const rename = cache.cachePut({ key: "account:{0}", ttl: 60 })(async (user, name) => name);
  await rename(1, "Ann");
  assert.equal(await load(1), "Ann");
  const compute = async () => ++calls;
  assert.equal(await cache.getOrCompute("computed", compute, { ttl: 60 }), await cache.getOrCompute("computed", compute));
});

await test("what ages is made anew behind", async () => {
  let calls = 0;
  const load = cache.cacheable({ key: "ageing", ttl: 1000, refreshAhead: 0.5 })(async () => ++calls);
  await load();
  await cache.kv.set("ageing", 1, { ttl: 300 });
  assert.equal(await load(), 1);
  while ((await cache.kv.get("ageing")) !== 2) await pause(5);
  assert.throws(() => cache.cacheable({ refreshAhead: 0.5, key: "x" })(async () => 1), /needs a ttl/);
});

await test("without the cache everything goes on", async () => {
  const told = [];
  const away = new Deja({ server: lost, onError: (error) => told.push(error) });
  let calls = 0;
  const load = away.cacheable({ key: "x:{0}" })(async () => ++calls);
  assert.deepEqual([await load(1), await load(1)], [1, 2]);
  assert.equal(await away.cacheEvict({ key: "x" })(async () => "saved")(), "saved");
  assert.equal(told.length, 3);
  await assert.rejects(away.kv.get("x"), DejaUnavailable);
});

console.log(JSON.stringify(passed));
