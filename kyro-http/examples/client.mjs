// A client of kyro-http with nothing but what Node 18, Deno and browsers have.
//
//     node client.mjs http://127.0.0.1:8080      (a token: KYRODB_AUTH_TOKEN)
//
// Keys are BigInt, as numbers lose what is above 2^53; values are Uint8Array. A write is durable when its promise resolves.

export class Kyro {
  constructor(url, token) {
    this.url = url.replace(/\/$/, "");
    this.headers = token ? { authorization: `Bearer ${token}` } : {};
  }

  async request(method, path, { body, headers, absent } = {}) {
    const response = await fetch(this.url + path, { method, body, headers: { ...this.headers, ...headers } });
    if (response.status === 404 && absent) return null;
    if (response.ok) return response;
    const problem = await response.json().catch(() => ({}));
    throw Object.assign(new Error(`${response.status} ${problem.code}: ${problem.detail}`), { status: response.status, code: problem.code });
  }

  // Sets a key and gives the offset; with ifOffset only over the value of that offset (else an error, 412).
  async put(key, value, { ifOffset } = {}) {
    const headers = { "content-type": "application/octet-stream" };
    if (ifOffset !== undefined) headers["if-match"] = `"${ifOffset}"`;
    const response = await this.request("PUT", `/v1/kv/${key}`, { body: value, headers });
    return (await response.json()).offset;
  }

  // { value, offset }, or null.
  async get(key) {
    const response = await this.request("GET", `/v1/kv/${key}`, { absent: true });
    if (!response) return null;
    return { value: new Uint8Array(await response.arrayBuffer()), offset: Number(response.headers.get("etag").slice(1, -1)) };
  }

  // Whether there was a value to remove.
  async delete(key) {
    return (await this.request("DELETE", `/v1/kv/${key}`, { absent: true })) !== null;
  }

  // Many keys in one round trip; null where there is no value.
  async mget(keys) {
    const packed = new BigUint64Array(keys);
    const headers = { "content-type": "application/octet-stream", accept: "application/vnd.kyro.v1+binary" };
    const response = await this.request("POST", "/v1/mget", { body: new Uint8Array(packed.buffer), headers });
    const frame = new Uint8Array(await response.arrayBuffer()), numbers = new DataView(frame.buffer);
    let at = 16;
    return keys.map(() => {
      const length = numbers.getUint32(at, true);
      at += 4;
      if (length === 0xffffffff) return null;
      return frame.slice(at, (at += length));
    });
  }

  // Events from an offset on, past and then live; ends when the caller breaks out of its loop.
  async *changes(from = 0) {
    for (let since = from; ; ) {
      const response = await this.request("GET", `/v1/changes?since=${since}&wait=20`);
      const lines = (await response.text()).trim().split("\n").map((line) => JSON.parse(line));
      since = lines.pop().next;
      yield* lines;
    }
  }
}

if (typeof process !== "undefined" && import.meta.url.endsWith(process.argv[1]?.split("/").at(-1))) {
  const text = new TextEncoder(), equal = (a, b) => { if (JSON.stringify(a) !== JSON.stringify(b)) throw new Error(`${JSON.stringify(a)} is not ${JSON.stringify(b)}`); };
  const db = new Kyro(process.argv[2] ?? "http://127.0.0.1:8080", process.env.KYRODB_AUTH_TOKEN);
  const largest = 2n ** 64n - 1n;
  const offset = await db.put(largest, text.encode("é"));
  equal([...(await db.get(largest)).value], [0xc3, 0xa9]);
  await db.put(largest, text.encode("again"), { ifOffset: offset });
  equal(await db.put(largest, text.encode("late"), { ifOffset: offset }).catch((error) => error.status), 412);
  equal((await db.mget([largest, 12345n])).map((value) => value && new TextDecoder().decode(value)), ["again", null]);
  for await (const event of db.changes(offset)) { equal(event.offset, offset); break; }
  equal([await db.delete(largest), await db.delete(largest), await db.get(largest)], [true, false, null]);
  console.log("all as expected");
}
