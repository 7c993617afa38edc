/* The Node client's decorators: the function itself makes void what it has read. Reports the rounds. */
import assert from "node:assert/strict";

const { Deja } = await import(process.env.TEST_CLIENT);
const { TEST_URL: server, TEST_KEY: key, TEST_WORD: word } = process.env;
const cache = new Deja({ server, key, namespace: word, timeout: 20000 });
const name = `${word}:key`;
const passed = [];

const drops = Object.entries(JSON.parse(process.env.TEST_ROUNDS)).map(([form, body]) => [form, () => cache.invalidate(body)]);
drops.push(["key", () => cache.kv.delete(name)]);

for (const acrossProcesses of [false, true])
  for (const [form, drop] of drops) {
    await cache.kv.delete(name);
    let row = 1;
    const load = cache.cacheable({ key: () => name, tags: `${word}:tag`, dependsOn: `${word}:dep`, ttl: 600, acrossProcesses })(
      async () => {
        const read = row;
        if (read === 1) {
          row = 2;
          await drop();
        }
        return read;
      });
    assert.equal(await load(), 1, form);
    assert.equal(await cache.kv.fetch(name), null, form);
    assert.equal(await load(), 2, form);
    assert.equal(await cache.kv.get(name), 2, form);
    passed.push(form);
  }

const newer = cache.cacheable({ key: () => `${word}:newer`, ttl: 600 })(async () => {
  await cache.kv.set(`${word}:newer`, "newer");
  return "older";
});
assert.deepEqual([await newer(), await newer()], ["older", "newer"]);
passed.push("newer");

let row = 1;
const ask = cache.cacheable({ key: () => `What is the row of ${word}?`, tags: `${word}:tag`, ttl: 600, semantic: true })(async () => {
  const read = row;
  if (read === 1) {
    row = 2;
    await cache.invalidate({ tag: `${word}:tag` });
  }
  return read;
});
assert.deepEqual([await ask(), await ask(), await ask()], [1, 2, 2]);
passed.push("question");

console.log(JSON.stringify(passed));
