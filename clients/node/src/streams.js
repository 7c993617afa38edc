/** What comes in lines: of an export, and of server-sent events. */

/** Lines of a body as they come; whoever leaves the loop ends the connection. */
async function* linesOf(body) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      rest += done ? decoder.decode() : decoder.decode(value, { stream: true });
      const lines = rest.split(/\r?\n/);
      rest = lines.pop();
      yield* lines;
      if (done) break;
    }
    if (rest) yield rest;
  } finally {
    await reader.cancel().catch(() => {});
  }
}

export async function* objectsOf(body) {
  for await (const line of linesOf(body)) if (line) yield JSON.parse(line);
}

export async function* eventsOf(body) {
  let members = {};
  for await (const line of linesOf(body)) {
    if (line.startsWith(":")) continue;
    if (line) {
      const at = line.indexOf(":") < 0 ? line.length : line.indexOf(":");
      const name = line.slice(0, at);
      const value = line.slice(at + 1).replace(/^ /, "");
      members[name] = name === "data" && name in members ? `${members.data}\n${value}` : value;
    } else if ("data" in members) {
      const { event = "message", id = null, data } = members;
      members = {};
      yield { event, id, data: JSON.parse(data) };
    }
  }
}
