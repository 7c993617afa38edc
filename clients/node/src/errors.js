/** What a call may reject with: one class for each thing a program would do about it. */

/** `type` is the problem's name (RFC 9457), `status` the HTTP status or undefined, `fields` what was
 * wrong with which member. */
export class DejaError extends Error {
  constructor(message, { status, type, fields = [], retryAfter, cause } = {}) {
    super(message, cause ? { cause } : undefined);
    this.name = new.target.name;
    this.status = status;
    this.type = type;
    this.fields = fields;
    this.retryAfter = retryAfter;
  }
}

/** Not reached, too slow, or not able to: go on without the cache. */
export class DejaUnavailable extends DejaError {}
/** Too many requests; `retryAfter` seconds to wait. */
export class DejaLimited extends DejaUnavailable {}
/** The key is wrong, or may not do this. */
export class DejaDenied extends DejaError {}
/** There is no such thing. */
export class DejaNotFound extends DejaError {}
/** The call itself is wrong: a mistake of the program. */
export class DejaInvalid extends DejaError {}

function classOf(status) {
  if (status === 429) return DejaLimited;
  if (status >= 500 || status === 408) return DejaUnavailable;
  if (status === 401 || status === 403) return DejaDenied;
  return status === 404 ? DejaNotFound : DejaInvalid;
}

/** The error that an answer of status >= 400 stands for. */
export function errorOf(status, headers, body) {
  const problem = body && typeof body === "object" ? body : {};
  const wait = Number(headers?.get("retry-after") ?? NaN);
  const Kind = classOf(status);
  return new Kind(problem.detail || problem.title || `HTTP status ${status}`, {
    status,
    type: problem.type,
    fields: problem.fields ?? [],
    retryAfter: Number.isFinite(wait) ? wait : undefined,
  });
}
