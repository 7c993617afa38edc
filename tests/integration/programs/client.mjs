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

await test("kinds and what is put off", async () => {
  const made = await cache.kv.name("template_score", { id: 42 });
  assert.equal(made.key, "template:score:42");
  assert.ok((await cache.kinds()).some((kind) => kind.name === "template_score") && await cache.patterns());
  await cache.invalidate({ tag: "anything", after: "1h" });
  const [schedule] = await cache.schedules();
  assert.deepEqual([await cache.cancelSchedule(schedule.id), await cache.cancelSchedule(schedule.id)], [true, false]);
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
