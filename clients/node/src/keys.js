/** Names of cached calls: readable where they can be, a digest where they would be long. */
import { createHash } from "node:crypto";

const READABLE_MAX = 120;

/** JSON with sorted members. What JSON has no form for is refused, not guessed. */
export function canonical(value) {
  if (value === undefined) return "null";
  if (typeof value === "bigint") return value.toString();
  if (typeof value === "function" || typeof value === "symbol")
    throw new TypeError(`a ${typeof value} has no stable form: give cacheable a key`);
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  if (typeof value.toJSON === "function") return canonical(value.toJSON());
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  const isPlain = [Object.prototype, null].includes(Object.getPrototypeOf(value));
  if (!isPlain) throw new TypeError(`${value.constructor?.name} has no stable form: give cacheable a key`);
  const members = Object.keys(value)
    .filter((name) => value[name] !== undefined)
    .sort()
    .map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`);
  return `{${members.join(",")}}`;
}

/** So that no argument can reach the syntax of keys, patterns and lists of tags. */
export function escape(text) {
  return String(text).replace(/[%*?[\]\\:{},\x00-\x1f]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`);
}

/** A text for a call: of a template ("user:{0}", "user:{0.id}": the place of an argument and a path in
 * it), of a function of the arguments, or of the function's name and its arguments. */
export function namer(name, rule, isQuestion = false) {
  if (typeof rule === "function") return (args) => String(rule(...args));
  if (typeof rule === "string")
    return (args) =>
      rule.replace(/\{(\d+)((?:\.\w+)*)\}/g, (whole, place, path) => {
        let value = args[Number(place)];
        for (const part of path.split(".").slice(1)) value = value?.[part];
        if (value === undefined || value === null) throw new TypeError(`${rule}: ${whole} is not there`);
        return isQuestion ? String(value) : escape(value); /* a question stays as it is */
      });
  if (!name) throw new TypeError("a function without a name needs a key");
  return (args) => {
    const text = canonical(args);
    const readable = `${name}:${text}`;
    return readable.length <= READABLE_MAX
      ? readable
      : `${name}:${createHash("sha256").update(text).digest("hex").slice(0, 32)}`;
  };
}
