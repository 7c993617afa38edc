/** Client of Deja, the semantic cache of AI applications. See README.md. */
import { Decorators } from "./decorators.js";
import { DejaInvalid, DejaUnavailable, errorOf } from "./errors.js";
import { eventsOf, objectsOf } from "./streams.js";

export { DejaDenied, DejaError, DejaInvalid, DejaLimited, DejaNotFound, DejaUnavailable } from "./errors.js";

const VERSION = "0.1.0";

/** Only members that were said. */
function given(members) {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined));
}

/** As the server reads it. */
function duration(seconds) {
  return `${Math.round(seconds * 1000)}ms`;
}

/** Tags and names may be any text: their UTF-8, in the form of bytes that fetch takes. */
function asBytes(headers) {
  const encoded = (value) => Buffer.from(String(value)).toString("latin1");
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, encoded(value)]));
}

function encode(value) {
  if (value instanceof Uint8Array) return ["application/octet-stream", value];
  if (typeof value === "string") return ["text/plain; charset=utf-8", value];
  return ["application/json", JSON.stringify(value)];
}

async function decode(answer) {
  const kind = (answer.headers.get("content-type") ?? "").split(";")[0].trim().toLowerCase();
  if (kind === "application/json") return answer.json();
  return kind === "text/plain" ? answer.text() : new Uint8Array(await answer.arrayBuffer());
}

function lookupOf(raw) {
  if (raw.error) throw errorOf(raw.error.status ?? 400, undefined, raw.error);
  return { ...raw, similarity: raw.similarity ?? 0 };
}

/** Plain keys: values under names, without any meaning. */
class KeyValue {
  #call;

  constructor(call) {
    this.#call = call;
  }

  async #at(method, key, { namespace, headers = {}, params, body, mayMiss = true } = {}) {
    if (/^\.*$/.test(key)) {
      const what = key === "" ? "a key has 1 to 4,096 bytes, this one is empty"
        : "a key of only dots cannot be in a path: use kv.batch";
      throw new DejaInvalid(what, { type: "invalid_request" });
    }
    return this.#call(method, `/api/v1/kv/${encodeURIComponent(key)}`, {
      headers: given({ ...headers, "x-deja-namespace": namespace }), params: given(params ?? {}), body, mayMiss,
    });
  }

  /** As batch, and what could not be done is thrown. */
  async #all(operations, namespace) {
    const results = await this.batch(operations.map(given), { namespace });
    for (const { error } of results) if (error) throw errorOf(error.status ?? 400, undefined, error);
    return results;
  }

  /** {value, ttl (seconds, null: for ever), etag, tier}, or null: tells a missing key from one that holds null. version: that one of the last two. */
  async fetch(key, options = {}) {
    return (await this.fetchOrAsOf(key, options)).found;
  }

  /** {found (as fetch has it, or null), asOf}: hand asOf to the set of what is computed from here on. */
  async fetchOrAsOf(key, { namespace, version } = {}) {
    const answer = await this.#at("GET", key, { namespace, params: { version } });
    const asOf = answer.headers.get("x-deja-as-of") ?? undefined;
    if (answer.status === 404) return { found: null, asOf };
    const ttl = Number(answer.headers.get("x-deja-ttl") ?? NaN);
    const found = {
      value: await decode(answer),
      ttl: ttl > 0 ? ttl : null,
      etag: answer.headers.get("etag"),
      tier: answer.headers.get("x-cache-tier"),
    };
    return { found, asOf };
  }

  async get(key, options = {}) {
    return (await this.fetch(key, options))?.value;
  }

  /** True: it is kept; false: the condition did not hold, or it was made void since asOf. ttl: seconds, 0: for ever.
   * version: a name of this value; the one before is kept beside it. */
  async set(key, value, { ttl, tags, dependsOn, namespace, ifAbsent, ifMatch, kind, version, asOf } = {}) {
    const [type, body] = encode(value);
    const headers = given({
      "content-type": type,
      "x-deja-ttl": ttl === undefined ? undefined : String(ttl),
      "x-deja-tags": tags?.length ? tags.join(",") : undefined,
      "x-deja-depends-on": dependsOn?.length ? dependsOn.join(",") : undefined,
      "x-deja-kind": kind,
      "x-deja-version": version,
      "if-none-match": ifAbsent ? "*" : undefined,
      "if-match": ifMatch,
      "x-deja-as-of": asOf,
    });
    const answer = await this.#at("PUT", key, { namespace, headers, body, mayMiss: Boolean(ifAbsent || ifMatch) });
    return answer.ok && ((await answer.json()).stored ?? true);
  }

  /** A JSON object is changed in place (RFC 7396); what is left of its life stays. False: no such key. */
  async merge(key, changes, { namespace } = {}) {
    const headers = { "content-type": "application/merge-patch+json" };
    return (await this.#at("PATCH", key, { namespace, headers, body: JSON.stringify(changes) })).ok;
  }

  /** Another life, from now: seconds, 0: for ever. False: no such key. */
  async expire(key, ttl, { namespace } = {}) {
    return (await this.#at("PATCH", key, { namespace, headers: { "x-deja-ttl": String(ttl) } })).ok;
  }

  /** Seconds left, 0: for ever, undefined: no such key. */
  async ttl(key, { namespace } = {}) {
    const [found] = await this.#all([{ op: "ttl", key }], namespace);
    return found.found ? found.ttl ?? 0 : undefined;
  }

  /** Adds to a counter, which begins at 0, and returns what it is then; ttl and tags are those of a new one. */
  async incr(key, by = 1, { ttl, tags, namespace } = {}) {
    return (await this.#all([{ op: "incr", key, by, ttl, tags }], namespace))[0].value;
  }

  /** A Map of key to value of those that are there, of up to 1,000. */
  async getMany(keys, { namespace } = {}) {
    const results = await this.#all(keys.map((key) => ({ op: "get", key })), namespace);
    const value = (item) => (item.value_base64 === undefined ? item.value : new Uint8Array(Buffer.from(item.value_base64, "base64")));
    return new Map(keys.map((key, i) => [key, results[i]]).filter(([, item]) => item.found).map(([key, item]) => [key, value(item)]));
  }

  /** Up to 1,000 values, of an object or a Map; how many are kept. Throws the error of the first that cannot be. */
  async setMany(values, { ttl, tags, dependsOn, namespace } = {}) {
    const entries = values instanceof Map ? [...values] : Object.entries(values);
    const packed = (value) => (value instanceof Uint8Array ? { value_base64: Buffer.from(value).toString("base64") } : { value });
    const results = await this.#all(
      entries.map(([key, value]) => ({ op: "set", key, ...packed(value), ttl, tags, depends_on: dependsOn })), namespace);
    return results.filter((item) => item.stored).length;
  }

  /** True: it was there, and as ifMatch (an etag) wants it. reason: why, for the records. */
  async delete(key, { ifMatch, namespace, reason } = {}) {
    const answer = await this.#at("DELETE", key, { namespace, headers: { "if-match": ifMatch }, params: { reason } });
    return answer.ok && (await answer.json()).removed > 0;
  }

  async exists(key, { namespace } = {}) {
    return (await this.#at("HEAD", key, { namespace })).ok;
  }

  /** One page: {keys, cursor}. */
  async keys(pattern = "*", { cursor, limit, namespace } = {}) {
    const headers = given({ "x-deja-namespace": namespace });
    return (await this.#call("GET", "/api/v1/kv", { params: given({ pattern, cursor, limit }), headers })).json();
  }

  async deleteMatching(pattern, { dryRun, namespace, reason } = {}) {
    const headers = given({ "x-deja-namespace": namespace });
    return (await this.#call("DELETE", "/api/v1/kv", { params: given({ pattern, dry_run: dryRun, reason }), headers })).json();
  }

  /** Every key of the namespace. */
  async clear({ dryRun, namespace, reason } = {}) {
    const headers = given({ "x-deja-namespace": namespace });
    return (await this.#call("DELETE", "/api/v1/kv", { params: given({ all: true, dry_run: dryRun, reason }), headers })).json();
  }

  /** Operations as the API has them, also `merge`, and `version` of a get or set; the results, in order, `error` where one could not be done. */
  async batch(operations, { namespace } = {}) {
    return (await this.#post("/api/v1/kv:batch", { operations }, namespace)).results;
  }

  async #post(path, json, namespace) {
    const headers = given({ "x-deja-namespace": namespace });
    return (await this.#call("POST", path, { json: given(json), headers })).json();
  }

  /** A key in the form of its kind: {key, kind, hash, ttl_s, tags}. parts: id, fields, part, text, sql, args, … */
  name(kind, parts = {}) {
    return this.#post("/api/v1/kv:key", { kind, ...parts });
  }

  /** {locked: true, token}, or {locked: false}: somebody else has it. lease: seconds, then it ends by itself. */
  lock(key, { lease, token, namespace } = {}) {
    return this.#post("/api/v1/kv:lock", { key, lease, token }, namespace);
  }

  /** True: it was held with that token. */
  async unlock(key, token, { namespace } = {}) {
    return (await this.#post("/api/v1/kv:unlock", { key, token }, namespace)).unlocked;
  }

  async stats({ namespace } = {}) {
    const headers = given({ "x-deja-namespace": namespace });
    return (await this.#call("GET", "/api/v1/kv:stats", { headers })).json();
  }
}

export class Deja extends Decorators {
  #headers;

  constructor({ server, key, user, namespace, timeout = 2000, token, fetch = globalThis.fetch, onError } = {}) {
    super();
    this.server = (server ?? process.env.DEJA_SERVER ?? "http://127.0.0.1:7070").replace(/\/+$/, "");
    this.namespace = namespace;
    this.timeout = timeout;
    this.token = token ?? process.env.DEJA_TOKEN;
    this.fetch = fetch;
    this.onError = onError ?? ((error) => process.emitWarning(`Deja: going on without the cache: ${error.message}`));
    const credential = key ?? process.env.DEJA_KEY;
    this.#headers = given({
      "user-agent": `deja-client-node/${VERSION}`,
      authorization: credential ? `Bearer ${credential}` : undefined,
      "x-deja-user": user,
    });
    this.kv = new KeyValue((method, path, request) => this.#request(method, path, request));
  }

  async #request(method, path, { params, headers = {}, json, body, mayMiss = false, timeout = this.timeout } = {}) {
    const url = new URL(this.server + path);
    for (const [name, value] of Object.entries(params ?? {})) url.searchParams.set(name, String(value));
    const own = path.startsWith("/api/v1/kv") && this.namespace ? { "x-deja-namespace": this.namespace } : {};
    const typed = json === undefined ? {} : { "content-type": "application/json" };
    let answer;
    try {
      answer = await this.fetch(url, {
        method,
        headers: asBytes({ ...this.#headers, ...own, ...typed, ...headers }),
        body: json === undefined ? body : JSON.stringify(json),
        signal: timeout ? AbortSignal.timeout(timeout) : undefined,
      });
    } catch (cause) {
      throw new DejaUnavailable(`Deja was not reached: ${cause.cause?.message ?? cause.message}`, { type: "unreachable", cause });
    }
    if (answer.ok || (mayMiss && [404, 412].includes(answer.status))) return answer;
    throw errorOf(answer.status, answer.headers, await answer.json().catch(() => undefined));
  }

  #spaced(members) {
    return this.namespace && members.namespace === undefined ? { ...members, namespace: this.namespace } : members;
  }

  /** Any route of /openapi.json: its JSON answer. */
  async call(method, path, { params, json } = {}) {
    return (await this.#request(method, path, { params, json })).json();
  }

  /** options: embedding, embedder, threshold, namespace, max_age, filter, limit, kind. */
  async lookup(query, options = {}) {
    const json = this.#spaced(given({ query, ...options }));
    return lookupOf(await this.call("POST", "/api/v1/lookup", { json }));
  }

  /** Texts, or objects as lookup takes them; up to 100. */
  async lookupMany(queries) {
    const items = queries.map((query) => this.#spaced(typeof query === "string" ? { query } : query));
    return (await this.call("POST", "/api/v1/lookup", { json: { queries: items } })).results.map(lookupOf);
  }

  /** options: ttl, tags, namespace, metadata, model, …, as PUT /api/v1/entries has them; dependsOn; asOf (as_of of the miss it was made for). */
  put(query, response, { dependsOn, asOf, ...options } = {}) {
    const json = this.#spaced(given({ query, response, depends_on: dependsOn, as_of: asOf, ...options }));
    return this.call("PUT", "/api/v1/entries", { json });
  }

  async putMany(entries) {
    const json = { entries: entries.map((entry) => this.#spaced(entry)) };
    return (await this.call("PUT", "/api/v1/entries", { json })).results;
  }

  /** The whole entry, or null. */
  async getEntry(id) {
    const answer = await this.#request("GET", `/api/v1/entries/${encodeURIComponent(id)}`, { mayMiss: true });
    return answer.ok ? answer.json() : null;
  }

  /** The entry of exactly this question goes. True: it was there. */
  async delete(query, { namespace, reason } = {}) {
    const params = this.#spaced(given({ query, namespace, reason }));
    return (await this.call("DELETE", "/api/v1/entries", { params })).removed > 0;
  }

  /** True: it was there. */
  async deleteEntry(id, { reason } = {}) {
    const params = given({ reason });
    return (await this.#request("DELETE", `/api/v1/entries/${encodeURIComponent(id)}`, { params, mayMiss: true })).ok;
  }

  /** selector: as POST /api/v1/invalidate has it: {tag}, {key}, {query}, {pattern}, {event}, {all: true}, … */
  invalidate(selector) {
    const json = given(selector);
    return this.call("POST", "/api/v1/invalidate", { json: "query" in json ? this.#spaced(json) : json });
  }

  /** Invalidations that were put off with at, after or cron, soonest first. */
  async schedules() {
    return (await this.call("GET", "/api/v1/schedules")).schedules;
  }

  /** One of them, or null. */
  async schedule(id) {
    const answer = await this.#request("GET", `/api/v1/schedules/${encodeURIComponent(id)}`, { mayMiss: true });
    return answer.ok ? answer.json() : null;
  }

  /** True: it was there. */
  async cancelSchedule(id) {
    return (await this.#request("DELETE", `/api/v1/schedules/${encodeURIComponent(id)}`, { mayMiss: true })).ok;
  }

  /** What kinds of plain keys there are, how long each lives where, and what they have saved. */
  async kinds() {
    return (await this.call("GET", "/api/v1/kinds")).kinds;
  }

  /** How many plain keys there are of each form, how large they are, how often they are found. */
  patterns({ namespace } = {}) {
    return this.call("GET", "/api/v1/patterns", { params: this.#spaced(given({ namespace })) });
  }

  /** Answers are made before they are asked for; order: as POST /api/v1/warm has it. */
  warm(order = {}) {
    return this.call("POST", "/api/v1/warm", { json: order });
  }

  warmStatus() {
    return this.call("GET", "/api/v1/warm");
  }

  cancelWarm() {
    return this.call("DELETE", "/api/v1/warm");
  }

  /** Past accesses, so that habits need not be learned anew: [{request, at: [ms since 1970, …]}]. */
  learnHistory(accesses) {
    return this.call("POST", "/api/v1/warm/history", { json: { accesses } });
  }

  /** So many bytes of room in each tier that evicts, without it a tenth of what it has: what is worth least goes.
   * Of this tenant; {tenant} and {all: true} need the admin token. */
  evict(bytes, { tenant, all } = {}) {
    return this.#admin("POST", "/api/v1/evict", tenant || all, { json: given({ bytes, tenant, all }) });
  }

  /** What the vector indexes hold, and how far their optimisation is. */
  indexStats({ all } = {}) {
    return this.#admin("GET", "/api/v1/index", all, { params: given({ all }) });
  }

  /** The indexes are made anew behind; (await indexStats()).optimise says how far that is. */
  indexOptimise({ all } = {}) {
    return this.#admin("POST", "/api/v1/index", all, { json: given({ action: "optimise", all }) });
  }

  async #admin(method, path, isWanted, request) {
    const headers = isWanted && this.token ? { "x-deja-token": this.token } : {};
    return (await this.#request(method, path, { ...request, headers })).json();
  }

  /** Every entry of the tenant, whole, as an object; what a later import takes as lines of JSON. */
  async *export({ vectors, timeout = 60000 } = {}) {
    let cursor;
    do {
      const params = given({ vectors, cursor });
      const answer = await this.#request("GET", "/api/v1/export", { params, timeout });
      yield* objectsOf(answer.body);
      cursor = answer.headers.get("x-deja-cursor") ?? undefined;
    } while (cursor);
  }

  /** Requests of the tenant as they are answered: the last ones, then, unless follow is false, each new one,
   * without end. {lost: n}: so many at most were not kept long enough to be told here. wait: seconds. */
  async *tail({ last = 10, follow = true, wait = 20 } = {}) {
    let params = { last };
    let timeout = this.timeout;
    do {
      const page = await (await this.#request("GET", "/api/v1/tail", { params, timeout })).json();
      if (page.lost) yield { lost: page.lost };
      yield* page.requests;
      params = { after: page.next, wait: duration(wait) };
      timeout = (wait + 10) * 1000;
    } while (follow);
  }

  /** What is made void, as it is: {event: "invalidation", id, data}, after a "following" that says since when.
   * "lost": whoever holds copies should drop them all. Ends when the daemon does, or after `wait` seconds; {after: id} goes on. */
  async *followInvalidations({ after, wait } = {}) {
    const params = given({ after, wait: wait === undefined ? undefined : duration(wait) });
    const answer = await this.#request("GET", "/api/v1/invalidations", { params, timeout: 0 });
    try {
      yield* eventsOf(answer.body);
    } catch (cause) {
      throw cause instanceof SyntaxError ? cause : new DejaUnavailable(`Deja was lost: ${cause.message}`, { type: "unreachable", cause });
    }
  }

  /** verdict: "right", or "wrong", which withdraws the entry. */
  feedback(entry, verdict) {
    return this.call("POST", "/api/v1/feedback", { json: { entry, verdict } });
  }

  /** The answer with this X-Cache-Id was wrong. */
  reportFalseHit(entry) {
    return this.feedback(entry, "wrong");
  }

  /** Would it be a hit, and why (not). */
  explain(query, { namespace, threshold } = {}) {
    return this.call("GET", "/api/v1/explain", { params: this.#spaced(given({ query, namespace, threshold })) });
  }

  /** The same of a request to a model, as the proxy would see it; options: api ("chat", …), headers, threshold. */
  explainRequest(request, options = {}) {
    return this.call("POST", "/api/v1/explain", { json: given({ request, ...options }) });
  }

  /** period: "24h": what was saved and spent in it, by kind. */
  stats(period) {
    return this.call("GET", "/api/v1/stats", { params: given({ period }) });
  }

  /** The entries served most; order: "idle" or "score": who would go first. */
  top(limit, { order } = {}) {
    return this.call("GET", "/api/v1/top", { params: given({ k: limit, order }) });
  }

  limits() {
    return this.call("GET", "/api/v1/limits");
  }

  /** True: a daemon answers. Never rejects. */
  async ping() {
    return this.#request("GET", "/livez").then(() => true, () => false);
  }
}
