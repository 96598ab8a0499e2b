"use strict";
const TICK = 1000, KEPT = 120;
const byId = (id) => document.getElementById(id);
let token = sessionStorage.getItem("token") || "";
let before = null;
const rates = [];

async function ask(path, options = {}) {
  const headers = { ...(options.headers || {}) };
  if (token) headers.authorization = "Bearer " + token;
  const response = await fetch(path, { ...options, headers, cache: "no-store" });
  if (response.status === 401) { byId("token-form").hidden = false; }
  return response;
}
async function json(path) {
  const response = await ask(path);
  if (!response.ok) throw Object.assign(new Error(await reason(response)), { status: response.status });
  return response.json();
}
async function reason(response) {
  try { const problem = await response.json(); return problem.detail || problem.error; } catch { return "status " + response.status; }
}

const whole = (n) => Math.round(n).toLocaleString("en-US");
function short(n) {
  if (!isFinite(n)) return "-";
  for (const [size, name] of [[1e9, " G"], [1e6, " M"], [1e4, " k"]]) if (n >= size) return (n / (size === 1e4 ? 1e3 : size)).toFixed(1) + name;
  return n >= 100 || Number.isInteger(n) ? whole(n) : n.toFixed(1);
}
function bytes(n) {
  for (const [size, name] of [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]]) if (n >= size) return (n / size).toFixed(1) + " " + name;
  return whole(n) + " B";
}
function time(seconds) {
  if (seconds === null || seconds === undefined || !isFinite(seconds)) return "-";
  if (seconds >= 86400) return (seconds / 86400).toFixed(1) + " d";
  if (seconds >= 3600) return (seconds / 3600).toFixed(1) + " h";
  if (seconds >= 90) return (seconds / 60).toFixed(1) + " min";
  if (seconds >= 1) return seconds.toFixed(1) + " s";
  if (seconds >= 1e-3) return (seconds * 1e3).toFixed(seconds < 1e-2 ? 1 : 0) + " ms";
  return Math.max(1, seconds * 1e6).toFixed(0) + " \u00b5s";
}
/* The smallest bound that holds this share of the counts; null without any. */
function quantile(bounds, counts, share) {
  const total = counts.reduce((a, b) => a + b, 0);
  if (!total) return null;
  let seen = 0;
  for (let at = 0; at < counts.length; at++) {
    seen += counts[at];
    if (seen >= share * total) return at < bounds.length ? bounds[at] : Infinity;
  }
  return Infinity;
}
const minus = (now, old) => now.map((count, at) => count - ((old && old[at]) || 0));

function element(name, text, kind) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}
function figures(id, pairs) {
  byId(id).replaceChildren(...pairs.map(([name, value]) => {
    const box = element("div");
    box.append(element("b", value), element("span", name));
    return box;
  }));
}
function table(id, head, rows, empty) {
  const target = byId(id);
  if (!rows.length) { const row = element("tr"); row.append(element("td", empty, "empty")); return target.replaceChildren(row); }
  const line = (cells, kind) => {
    const row = element("tr");
    row.append(...cells.map((cell) => {
      if (cell instanceof Node) { const box = element("td", undefined, cell.dataset.cell || ""); box.append(cell); return box; }
      const [text, tone] = Array.isArray(cell) ? cell : [cell, ""];
      return element(kind, text, tone);
    }));
    return row;
  };
  target.replaceChildren(line(head, "th"), ...rows.map((row) => line(row, "td")));
}
function svg(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}
function bar(value, max) {
  const made = element("progress");
  made.dataset.cell = "bar";
  if (max) { made.max = max; made.value = value; }
  return made;
}

function chart() {
  const top = Math.max(1, ...rates);
  const x = (at) => 300 - (rates.length - 1 - at) * (300 / (KEPT - 1));
  const points = rates.map((rate, at) => `${x(at).toFixed(1)} ${(57 - (rate / top) * 52).toFixed(1)}`);
  if (points.length < 2) return;
  const line = "M" + points.join("L");
  byId("rate").replaceChildren(
    svg("path", { class: "area", d: `${line}L300 60L${x(0).toFixed(1)} 60Z` }), svg("path", { class: "line", d: line }));
}

function show(stats, now) {
  const past = before && now.at > before.at ? before : null;
  const seconds = past ? (now.at - past.at) / 1000 : NaN;
  const routes = (stats.server.routes || []).map((route) => {
    const old = past && (past.stats.server.routes || []).find((other) => other.route === route.route);
    const oldCount = old ? old.requests : 0;
    return { ...route, rate: past ? (route.requests - oldCount) / seconds : NaN, recent: minus(route.counts, old && old.counts) };
  });
  const total = routes.reduce((sum, route) => sum + (route.rate || 0), 0);
  if (past) { rates.push(total); if (rates.length > KEPT) rates.shift(); chart(); }
  const written = past ? (stats.operations - past.stats.operations) / seconds : NaN;
  figures("operations", [["requests a second", short(total)], ["operations written a second", short(written)],
    ["keys", short(stats.keys_at_most)], ["next offset", whole(stats.next_offset)],
    ["connections", whole(stats.server.connections)], ["in flight", whole(stats.server.requests_in_flight)]]);
  const busiest = routes.sort((a, b) => (b.rate || 0) - (a.rate || 0) || b.requests - a.requests).slice(0, 12);
  table("routes", ["route", "a second", "p50", "p99", "all", "errors"], busiest.map((route) => {
    const recent = route.recent.some((count) => count > 0) ? route.recent : route.counts;
    const at = (share) => { const bound = quantile(route.bounds, recent, share); return bound === null ? "-" : bound === Infinity ? "> " + time(route.bounds.at(-1)) : "\u2264 " + time(bound); };
    return [route.route, short(route.rate), at(.5), at(.99), short(route.requests), [short(route.errors), route.errors ? "bad" : ""]];
  }), "no request yet");

  const wal = stats.wal, oldWal = past && past.stats.wal;
  let syncs = minus(wal.sync_nanoseconds.counts, oldWal && oldWal.sync_nanoseconds.counts);
  if (!syncs.some((count) => count > 0)) syncs = wal.sync_nanoseconds.counts;
  const sync = (share) => { const bound = quantile(wal.sync_nanoseconds.bounds, syncs, share); return bound === null ? "-" : "\u2264 " + time(bound / 1e9); };
  const groups = oldWal && wal.groups > oldWal.groups ? [wal.groups - oldWal.groups, wal.group_batches - oldWal.group_batches] : [wal.groups, wal.group_batches];
  figures("wal", [["sync, median", sync(.5)], ["sync, 99 of 100", sync(.99)],
    ["syncs a second", past ? short((wal.syncs - oldWal.syncs) / seconds) : "-"],
    ["batches a group", groups[0] ? (groups[1] / groups[0]).toFixed(1) : "-"],
    ["size", bytes(wal.bytes)], ["segments", whole(wal.segments)]]);

  const delta = stats.delta, limit = delta.flush_at_bytes;
  figures("delta", [["entries", short(delta.entries)], ["memory", bytes(delta.bytes)], ["flushes", whole(stats.maintenance.flushes)]]);
  const meter = byId("delta-bar");
  meter.max = limit || 1; meter.value = Math.min(delta.bytes, limit || 1);
  meter.className = delta.bytes > limit ? "high" : "";
  const growth = past ? (delta.bytes - past.stats.delta.bytes) / seconds : 0;
  const next = growth > 0 && limit > delta.bytes ? `, in about ${time((limit - delta.bytes) / growth)} at this rate` : "";
  byId("delta-note").textContent = limit ? `The next flush starts at ${bytes(limit)}${next}.` : "";

  const index = stats.index;
  figures("index", [["leaves", short(index.leaves)], ["largest window", whole(index.max_window) + " keys"],
    ["bits a key", index.bits_per_key.toFixed(2)], ["epsilon, median", whole(index.epsilon_p50)],
    ["epsilon, 99 of 100", whole(index.epsilon_p99)], ["epsilon, largest", whole(index.epsilon_max)],
    ["mispredicts", whole(stats.reads.mispredicts)]]);
  const runs = stats.runs;
  table("runs", ["run", "entries", "deleted", "size", "index", "leaves", "window", "bits a key"], runs.map((run) =>
    ["#" + run.number, whole(run.entries), whole(run.tombstones), bytes(run.bytes), bytes(run.index_bytes), short(run.index_leaves), whole(run.max_window), run.bits_per_key.toFixed(2)]),
    "no run yet: everything is in the log and the delta");
  const memory = stats.memory && stats.memory.resident_bytes;
  figures("disk", [["all files", bytes(stats.bytes)], ["runs", bytes(runs.reduce((sum, run) => sum + run.bytes, 0))],
    ["log", bytes(wal.bytes)], ["resident memory", memory ? bytes(memory) : "-"]]);
  table("stalls", ["reason", "writes", "time"], stats.stalls.filter((stall) => stall.count).map((stall) =>
    [stall.reason, [whole(stall.count), "warn"], time(stall.seconds)]), "no write has waited or been refused");

  const [state, tone] = stats.read_only ? ["read-only after a storage failure", "bad"] : stats.server.draining ? ["stopping", "warn"]
    : stats.maintenance.failing ? ["serving; maintenance fails", "warn"] : ["serving", "good"];
  status(state, tone);
  byId("facts").textContent = `up ${time(stats.server.uptime_seconds)}` + (stats.server.version ? `, version ${stats.server.version}` : "");
}
function status(text, tone) { const state = byId("state"); state.textContent = text; state.className = "state " + tone; }

let drawn;
addEventListener("resize", () => drawn && epsilon(drawn));
function epsilon(quality) {
  drawn = quality;
  const bounds = quality.bounds, counts = bounds.map(() => 0).concat(0);
  quality.runs.forEach((run) => run.counts.forEach((count, at) => { counts[at] += count; }));
  const total = counts.reduce((a, b) => a + b, 0), top = Math.max(1, ...counts), room = Math.max(240, byId("epsilon").clientWidth), width = room / counts.length;
  byId("epsilon").setAttribute("viewBox", `0 0 ${room} 96`);
  byId("epsilon").replaceChildren(...(total ? counts : []).flatMap((count, at) => {
    const height = (count / top) * 62, x = at * width, low = at ? bounds[at - 1] + 1 : 0;
    const name = at === bounds.length ? "> " + bounds.at(-1) : low === bounds[at] ? String(low) : `${low}\u2013${bounds[at]}`;
    return [svg("rect", { x: x + 3, y: 78 - height, width: width - 6, height: Math.max(height, count ? 1 : 0), rx: 2 }), svg("text", { x: x + width / 2, y: 92 }, name),
      svg("text", { x: x + width / 2, y: 74 - height, class: "count" }, count ? (count * 100 / total).toFixed(count * 100 < total ? 1 : 0) + " %" : "")];
  }));
  byId("epsilon-note").textContent = total ? `How many places keys are from the middle of the window that is searched for them, of ${whole(total)} sampled keys.` : "No run yet: nothing to predict.";
}
function tasks(list) {
  table("tasks", ["task", "state", "progress", "time", "left", ""], list.slice(0, 8).map((task) => {
    const stop = element("span");
    if (task.kind === "load" && task.state === "running") { const button = element("button", "Stop"); button.dataset.cancel = task.id; stop.append(button); }
    const running = task.state === "running" || task.state === "cancelling";
    const how = running ? bar(task.done, task.total) : bar(1, 1);
    const told = task.result && task.result.error ? [task.state + ": " + task.result.error, "bad"] : task.state;
    return [task.kind, told, how, time(task.seconds), time(task.eta_seconds), stop];
  }), "no long work yet");
}
function versions(answer) {
  byId("versions-card").hidden = false;
  table("versions", ["version", "entries", "size", "since offset", ""], answer.versions.map((version) => {
    const act = element("span");
    if (version.current) act.textContent = "current";
    else { const button = element("button", "Roll back"); button.dataset.rollback = version.id; act.append(button); }
    return [`${version.id} ${version.label}`.trim(), whole(version.entries), bytes(version.bytes), whole(version.since), act];
  }), "no version yet");
}

let slow = 0;
async function tick() {
  try {
    const stats = await json("/v1/stats");
    const now = { at: performance.now(), stats };
    show(stats, now);
    before = now;
    byId("token-form").hidden = true;
    tasks((await json("/v1/tasks")).tasks);
    if (slow++ % 10 === 0) {
      epsilon(await json("/v1/index"));
      const answer = await ask("/v1/versions");
      if (answer.ok) versions(await answer.json());
    }
  } catch (error) {
    before = null;
    if (error.status === 401) status("a token is needed", "warn");
    else if (error.status) status(error.message, "warn");
    else status("the server does not answer", "bad");
  }
  document.body.dataset.ticks = Number(document.body.dataset.ticks || 0) + 1;
  setTimeout(tick, document.hidden ? 5 * TICK : TICK);
}
async function act(path, options, place = "task-error") {
  const note = byId(place);
  note.hidden = true;
  try {
    const response = await ask(path, options);
    if (response.ok) return true;
    note.textContent = await reason(response);
  } catch { note.textContent = "the server does not answer"; }
  note.hidden = false;
  return false;
}

byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = byId("token").value;
  byId("token").value = "";
  sessionStorage.setItem("token", token);
});
byId("lookup").addEventListener("submit", async (event) => {
  event.preventDefault();
  const found = byId("found"), note = byId("found-note"), key = byId("key").value.trim();
  found.hidden = true;
  try {
    const response = await ask("/v1/kv/" + encodeURIComponent(key));
    if (response.status === 404) { note.textContent = `Key ${key} has no value.`; return; }
    if (!response.ok) { note.textContent = await reason(response); return; }
    const value = new Uint8Array(await response.arrayBuffer());
    let text;
    try { text = new TextDecoder("utf-8", { fatal: true }).decode(value); } catch { text = Array.from(value.slice(0, 512), (byte) => byte.toString(16).padStart(2, "0")).join(" "); }
    found.textContent = text.slice(0, 20000);
    found.hidden = false;
    note.textContent = `${whole(value.length)} bytes, offset ${(response.headers.get("etag") || "").replaceAll('"', "")}.`;
  } catch { note.textContent = "The server does not answer."; }
});
document.addEventListener("click", async (event) => {
  const { post, cancel, rollback } = event.target.dataset || {};
  if (post) await act(post, { method: "POST" });
  if (cancel) await act("/v1/tasks/" + cancel, { method: "DELETE" });
  if (rollback) {
    if (await act("/v1/rollback", { method: "POST", body: JSON.stringify({ version: Number(rollback) }) }, "version-error")) slow = 0;
  }
});
byId("push").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (await act("/v1/push", { method: "POST", body: JSON.stringify({ name: byId("push-name").value }) }, "version-error")) { byId("push-name").value = ""; slow = 0; }
});
tick();
