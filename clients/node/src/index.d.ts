export interface Problem { field: string; rule: string; message: string }

export class DejaError extends Error {
  status?: number;
  type?: string;
  fields: Problem[];
  retryAfter?: number;
}
export class DejaUnavailable extends DejaError {}
export class DejaLimited extends DejaUnavailable {}
export class DejaDenied extends DejaError {}
export class DejaNotFound extends DejaError {}
export class DejaInvalid extends DejaError {}

export interface Options {
  /** Else $DEJA_SERVER, else http://127.0.0.1:7070. */
  server?: string;
  /** Else $DEJA_KEY. */
  key?: string;
  /** X-Deja-User: what it stores nobody else of the tenant finds. */
  user?: string;
  /** Of every call that names none. */
  namespace?: string;
  /** Milliseconds for a whole call; 2,000. */
  timeout?: number;
  /** The admin token, else $DEJA_TOKEN; sent only with calls about other tenants. */
  token?: string;
  fetch?: typeof fetch;
  /** What a decorated function went on without; by default a process warning. */
  onError?: (error: Error) => void;
}

export interface Lookup<T = unknown> {
  hit: boolean;
  kind: "exact" | "normalized" | "semantic" | null;
  response?: T;
  similarity: number;
  threshold?: number;
  id?: string;
  tier?: string;
  age_s?: number;
  reason?: string;
  [member: string]: unknown;
}

export interface Value<T = unknown> { value: T; ttl: number | null; etag: string | null; tier: string | null }

/** "user:{0}", "user:{0.id}": the place of an argument and a path in it. */
export type Name<A extends unknown[]> = string | ((...args: A) => string);

export interface Rules<A extends unknown[] = any[]> {
  key?: Name<A>;
  tags?: Name<A> | Name<A>[];
  dependsOn?: Name<A> | Name<A>[];
  /** Seconds. */
  ttl?: number;
  /** Only where it is true is the cache used. */
  condition?: (...args: A) => boolean;
  /** null is kept, too. */
  cacheNull?: boolean;
  namespace?: string;
  /** The key is a question, and one of the same meaning answers it. */
  semantic?: boolean;
  /** 0.2: in the last fifth of its life a value is returned and made anew behind. */
  refreshAhead?: number;
  /** Of all processes that use this cache one computes, the others wait for it. */
  acrossProcesses?: boolean;
  /** Instead of the function's own. */
  name?: string;
}

export interface Eviction<A extends unknown[] = any[]> {
  key?: Name<A>;
  keys?: Name<A>[];
  tags?: Name<A> | Name<A>[];
  pattern?: Name<A>;
  namespace?: string;
  semantic?: boolean;
  condition?: (...args: A) => boolean;
  reason?: string;
}

export type Cached<A extends unknown[], R> = ((...args: A) => Promise<Awaited<R>>) & {
  key(...args: A): string;
  forget(...args: A): Promise<unknown>;
  uncached: (...args: A) => R;
};

export interface SetOptions {
  ttl?: number;
  tags?: string[];
  dependsOn?: string[];
  namespace?: string;
  ifAbsent?: boolean;
  ifMatch?: string;
  kind?: string;
  /** A name of this value; the one before is kept beside it. */
  version?: string;
  /** Of fetchOrAsOf: it is not kept if something made it void since. */
  asOf?: string;
}

export interface KeyValue {
  fetch<T = unknown>(key: string, options?: { version?: string; namespace?: string }): Promise<Value<T> | null>;
  fetchOrAsOf<T = unknown>(key: string, options?: { namespace?: string }): Promise<{ found: Value<T> | null; asOf?: string }>;
  get<T = unknown>(key: string, options?: { version?: string; namespace?: string }): Promise<T | undefined>;
  getMany<T = unknown>(keys: string[], options?: { namespace?: string }): Promise<Map<string, T>>;
  setMany(values: Record<string, unknown> | Map<string, unknown>, options?: { ttl?: number; tags?: string[]; dependsOn?: string[]; namespace?: string }): Promise<number>;
  ttl(key: string, options?: { namespace?: string }): Promise<number | undefined>;
  incr(key: string, by?: number, options?: { ttl?: number; tags?: string[]; namespace?: string }): Promise<number>;
  set(key: string, value: unknown, options?: SetOptions): Promise<boolean>;
  merge(key: string, changes: object, options?: { namespace?: string }): Promise<boolean>;
  expire(key: string, ttl: number, options?: { namespace?: string }): Promise<boolean>;
  delete(key: string, options?: { ifMatch?: string; namespace?: string; reason?: string }): Promise<boolean>;
  exists(key: string, options?: { namespace?: string }): Promise<boolean>;
  keys(pattern?: string, options?: { cursor?: string; limit?: number; namespace?: string }): Promise<any>;
  deleteMatching(pattern: string, options?: { dryRun?: boolean; namespace?: string; reason?: string }): Promise<any>;
  clear(options?: { dryRun?: boolean; namespace?: string; reason?: string }): Promise<any>;
  batch(operations: object[], options?: { namespace?: string }): Promise<any[]>;
  name(kind?: string, parts?: Record<string, unknown>): Promise<{ key: string; kind: string | null; hash: string | null; ttl_s: number | null; tags: string[] }>;
  lock(key: string, options?: { lease?: number; token?: string; namespace?: string }): Promise<{ locked: boolean; token?: string }>;
  unlock(key: string, token: string, options?: { namespace?: string }): Promise<boolean>;
  stats(options?: { namespace?: string }): Promise<any>;
}

export class Deja {
  constructor(options?: Options);
  readonly kv: KeyValue;
  cacheable<A extends unknown[] = any[]>(rules?: Rules<A>): <R>(fn: (...args: A) => R, context?: { name?: unknown }) => Cached<A, R>;
  cachePut<A extends unknown[] = any[]>(rules?: Rules<A>): <R>(fn: (...args: A) => R, context?: { name?: unknown }) => (...args: A) => Promise<Awaited<R>>;
  cacheEvict<A extends unknown[] = any[]>(rules: Eviction<A>): <R>(fn: (...args: A) => R, context?: unknown) => (...args: A) => Promise<Awaited<R>>;
  getOrCompute<T>(key: string, compute: () => T | Promise<T>, rules?: Rules<[]>): Promise<T>;
  call(method: string, path: string, request?: { params?: Record<string, unknown>; json?: unknown }): Promise<any>;
  lookup<T = unknown>(query?: string, options?: Record<string, unknown>): Promise<Lookup<T>>;
  lookupMany<T = unknown>(queries: (string | object)[]): Promise<Lookup<T>[]>;
  put(query: string, response: unknown, options?: Record<string, unknown>): Promise<any>;
  putMany(entries: object[]): Promise<any[]>;
  getEntry(id: string): Promise<any | null>;
  delete(query: string, options?: { namespace?: string; reason?: string }): Promise<boolean>;
  deleteEntry(id: string, options?: { reason?: string }): Promise<boolean>;
  invalidate(selector: Record<string, unknown>): Promise<any>;
  schedules(): Promise<any[]>;
  schedule(id: string): Promise<any | null>;
  cancelSchedule(id: string): Promise<boolean>;
  kinds(): Promise<any[]>;
  patterns(options?: { namespace?: string }): Promise<any>;
  warm(order?: Record<string, unknown>): Promise<any>;
  warmStatus(): Promise<any>;
  cancelWarm(): Promise<any>;
  learnHistory(accesses: { request: object; at: number[] }[]): Promise<{ learned: number; unknown: number }>;
  evict(bytes?: number, options?: { tenant?: string; all?: boolean }): Promise<{ removed: number; levels: Record<string, any> }>;
  indexStats(options?: { all?: boolean }): Promise<any>;
  indexOptimise(options?: { all?: boolean }): Promise<any>;
  export(options?: { vectors?: boolean; timeout?: number }): AsyncGenerator<any, void, void>;
  tail(options?: { last?: number; follow?: boolean; wait?: number }): AsyncGenerator<any, void, void>;
  followInvalidations(options?: { after?: string; wait?: number }): AsyncGenerator<{ event: string; id: string | null; data: any }, void, void>;
  feedback(entry: string, verdict: "right" | "wrong"): Promise<any>;
  reportFalseHit(entry: string): Promise<any>;
  explain(query: string, options?: { namespace?: string; threshold?: number }): Promise<any>;
  explainRequest(request: object, options?: { api?: string; headers?: Record<string, string>; threshold?: number }): Promise<any>;
  stats(period?: string): Promise<any>;
  top(limit?: number, options?: { order?: "hits" | "idle" | "score" }): Promise<any>;
  limits(): Promise<any>;
  ping(): Promise<boolean>;
}
