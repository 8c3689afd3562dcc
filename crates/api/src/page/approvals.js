"use strict";

// Whatever comes from elsewhere becomes text, never markup: the policy of this page has no way to make markup of it.

const HIDDEN = /*HIDDEN*/;
const MAX_LINES = 200;
const MAX_BYTES = 16 * 1024;
const REFRESH_MS = 3000;
const ANSWER_MS = 5 * 60_000;
const HEAD = "casemate approval v1\n";
const P256_HEAD = "3059301306072a8648ce3d020106082a8648ce3d030107034200";
const ED25519_HEAD = "302a300506032b6570032100";

let token = "";
let welcome = false;
// What is said of a request that was lost, until one is not.
let lost = "";
// What the list of waiting calls was made of.
let listed = "";
let shown = null;
let full = false;

const at = (id) => document.getElementById(id);
const encoder = new TextEncoder();

// Bytes.

const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const sha256 = async (bytes) => new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
const digest = async (bytes) => "sha256:" + hex(await sha256(bytes));

function base64url(buffer) {
  let text = "";
  for (const byte of new Uint8Array(buffer)) text += String.fromCharCode(byte);
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

// The bytes of a text as the gateway writes it: a string, or base64 if they are not UTF-8.
function bytesOf(text) {
  if (typeof text === "string") return encoder.encode(text);
  if (typeof text?.base64 !== "string") throw new Error("a part of the call is not bytes");
  return Uint8Array.from(atob(text.base64), (char) => char.charCodeAt(0));
}

const same = (one, other) => one.length === other.length && one.every((byte, index) => byte === other[index]);

// RFC 8785, which is what JSON.stringify does, with the members in order.
function canonical(value) {
  if (Array.isArray(value)) return "[" + value.map(canonical).join(",") + "]";
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const members = Object.keys(value).sort().map((name) => JSON.stringify(name) + ":" + canonical(value[name]));
  return "{" + members.join(",") + "}";
}

// What people see.

const codePoint = (point) => "\\u{" + point.toString(16) + "}";
const HIDES = new RegExp("[\\0-\\x1f\\x7f-\\x9f" + HIDDEN.map(([from, to]) => codePoint(from) + "-" + codePoint(to)).join("") + "]", "gu");

// Text in which nothing hides, or changes the order of what is read.
const visible = (text) => text.replace(HIDES, (char) => (char === "\t" ? "\\t" : codePoint(char.codePointAt(0))));

// How many bytes the UTF-8 character has that begins here; 0 if none does.
function charBytes(bytes, start) {
  const lead = bytes[start];
  if (lead < 0x80) return 1;
  const count = lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
  // The second byte may not make a longer form than needed, a surrogate, or more than there is.
  const lowest = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
  const highest = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
  for (let next = 1; next < count; next += 1) {
    const byte = bytes[start + next];
    const holds = next === 1 ? lowest <= byte && byte <= highest : (byte & 0xc0) === 0x80;
    if (!holds) return 0;
  }
  return count;
}

const ESCAPES = Array.from({ length: 256 }, (_, byte) => encoder.encode("\\x" + hex([byte])));

// Bytes as text: what is not UTF-8 as escapes. Decoded once, as a call may be large and all of it binary.
function asText(bytes) {
  const escaped = new Uint8Array(4 * bytes.length);
  let end = 0;
  for (let start = 0; start < bytes.length; ) {
    const after = start + charBytes(bytes, start);
    if (after === start) {
      escaped.set(ESCAPES[bytes[start]], end);
      end += 4;
      start += 1;
    }
    for (; start < after; start += 1, end += 1) escaped[end] = bytes[start];
  }
  return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(escaped.subarray(0, end));
}

const time = (ms) => (ms > 8.64e15 ? "for ever" : new Date(ms).toISOString());

function element(name, text, className) {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function say(text, bad) {
  at("message").textContent = visible(text);
  at("message").className = bad ? "bad" : "";
  at("message").hidden = text === "";
}

// Does something, and says what went wrong with it.
const doing = (job) => async (event) => {
  event?.preventDefault();
  try {
    await job();
  } catch (error) {
    say(error.message, true);
  }
};

// The gateway.

async function ask(method, path, body) {
  const headers = {};
  if (token !== "") headers.authorization = "Bearer " + token;
  if (body !== undefined) headers["content-type"] = "application/json";
  const response = await fetch(path, {
    method,
    headers,
    body: body === undefined ? undefined : JSON.stringify(body),
    credentials: "omit",
    cache: "no-store",
    redirect: "error",
    signal: AbortSignal.timeout(ANSWER_MS),
  });
  if (response.ok) return response.json();
  // What stands between does not answer in JSON.
  const { detail, title } = await response.json().catch(() => ({}));
  const error = new Error(detail ?? title ?? "the gateway answered " + response.status);
  // Too many and too busy pass by themselves.
  error.refused = response.status < 500 && response.status !== 429;
  throw error;
}

// The calls that wait. Made anew only if they are others: whoever is about to press one keeps it.
function list(approvals) {
  const rows = approvals.map((row) => [row.decision, visible(
    `${row.tool} of ${row.agent}, until ${time(row.expires_at_ms)}, ${row.votes.length} answered`)]);
  const found = JSON.stringify(rows);
  if (found === listed) return;
  listed = found;
  const chosen = document.activeElement?.dataset.decision;
  const buttons = rows.map(([decision, text]) => {
    const button = element("button", text);
    button.type = "button";
    button.dataset.decision = decision;
    button.addEventListener("click", doing(() => show(decision)));
    return button;
  });
  at("waiting").replaceChildren(...buttons.map((button) => {
    const item = document.createElement("li");
    item.append(button);
    return item;
  }));
  buttons.find((button) => button.dataset.decision === chosen)?.focus();
}

async function refresh() {
  // One at a time. Who was refused is not asked about again and again: each refusal is a record.
  welcome = false;
  try {
    const { approvals } = await ask("GET", "/v1/approvals?state=pending");
    list(approvals);
    at("none").hidden = approvals.length > 0;
    welcome = true;
  } catch (error) {
    if (!error.refused) {
      welcome = true;
      lost = visible(error.message);
    }
    throw error;
  }
  if (lost !== "" && at("message").textContent === lost) say("", false);
  lost = "";
}

// A call, of which only what belongs to its hash is believed.
async function check(said, decision) {
  const refuse = (why) => {
    throw new Error(why + ". Do not approve it: what the gateway shows is not what would run");
  };
  const bytes = bytesOf(said.canonical);
  const action = await digest(bytes);
  if (said.decision !== decision) refuse("The gateway shows another call");
  if (action !== said.action) refuse("The call does not have the hash that the gateway says");
  const call = JSON.parse(asText(bytes));
  if (!same(encoder.encode(canonical(call)), bytes)) refuse("The call is not in its canonical form");
  const code = said.code === null ? null : bytesOf(said.code);
  const codeDigest = code === null ? null : await digest(code);
  if (codeDigest !== call.program.code) refuse("The source that is shown is not the one that would run");
  const files = said.files.map(([name, content]) => [bytesOf(name), bytesOf(content)]);
  if (files.length !== call.program.inputs.length) refuse("A file is shown that would not be there, or is missing");
  for (const input of call.program.inputs) {
    const found = files.find(([name]) => same(name, bytesOf(input.name)));
    if (!found || (await digest(found[1])) !== input.sha256) refuse("A file that is shown is not the one that would be there");
  }
  return { decision, action, call, code, files, said };
}

async function show(decision) {
  shown = null;
  at("call").hidden = true;
  const said = await ask("GET", "/v1/approvals/" + encodeURIComponent(decision));
  shown = await check(said, decision);
  full = false;
  say("", false);
  at("reason").value = "";
  draw();
}

function facts({ call, action, said }) {
  const limits = call.limits;
  const within = call.within ?? {};
  const places = ["thread", "session", "context"].filter((name) => within[name]).map((name) => `the ${name} ${within[name]}`);
  const of = said.roles.length > 0 ? " of " + said.roles.join(", ") : "";
  return [
    ["state", said.state],
    ["asked by", `${call.user} of the tenant ${call.tenant}`],
    ["agent", `${call.agent}, on the route ${call.route}`],
    ["tool", `${call.tool}, which is a ${call.side_effect}`],
    ["sends to", call.destination],
    ["runs in", places.join(", ")],
    ["may use", `${Math.ceil(limits.wall_ms / 1000)} s, ${Math.floor(limits.memory_bytes / 1048576)} MiB of memory, ` +
      `${limits.processes} processes, ${Math.floor(limits.output_bytes / 1024)} KiB of output`],
    ["waits since", time(said.held_at_ms)],
    ["until", time(said.expires_at_ms)],
    ["because", said.detail],
    ["policies", said.policies.join(", ")],
    ["needs", `${said.needed} consent${of}`],
    ...said.votes.map((vote) => ["answered", `${vote.vote} by ${vote.user}${vote.reason ? ": " + vote.reason : ""}`]),
    ["policy", call.policy],
    ["action hash", action],
  ].filter(([, value]) => value);
}

function parts({ decision, call, code, files }) {
  const program = call.program;
  const found = program.argv.map((word, number) => [`argument ${number}`, bytesOf(word)]);
  // A request has its fields where a program has its variables.
  const kind = call.tool === "egress.request" ? "field" : "variable";
  for (const [name, value] of Object.entries(program.env)) found.push([`${kind} ${name}`, bytesOf(value)]);
  if (program.terminal) found.push(["terminal", encoder.encode("yes")]);
  if (code !== null) found.push([program.cell ? "cell" : "source", code]);
  for (const [name, content] of files) {
    const title = "file " + asText(name);
    if (code !== null && same(code, content)) found.push([title, encoder.encode("the source above")]);
    else found.push([title, content]);
  }
  // Its own name is nothing that the agent chose.
  if (call.idempotency_key && call.idempotency_key !== decision) found.push(["idempotency key", encoder.encode(call.idempotency_key)]);
  return found;
}

// As much of a part as is shown, and how many bytes are not.
function cut(bytes) {
  if (full) return [asText(bytes), 0];
  let lines = 0;
  let end = 0;
  while (end < bytes.length && end < MAX_BYTES && lines < MAX_LINES) {
    if (bytes[end] === 0x0a) lines += 1;
    end += 1;
  }
  // Not in the middle of a character.
  while (end < bytes.length && end > 0 && (bytes[end] & 0xc0) === 0x80) end -= 1;
  return [asText(bytes.subarray(0, end)), bytes.length - end];
}

function draw() {
  at("call-title").textContent = shown.decision;
  at("facts").replaceChildren(
    ...facts(shown).flatMap(([name, value]) => [element("dt", name), element("dd", visible(String(value)), "mono")]));
  let hidden = 0;
  const boxes = parts(shown).map(([name, bytes]) => {
    const [text, left] = cut(bytes);
    hidden += left;
    const box = document.createElement("div");
    box.className = "part";
    const lines = text.split("\n").map(visible).join("\n");
    box.append(element("h3", visible(`${name} (${bytes.length} bytes)`)), element("pre", lines));
    if (left > 0) box.append(element("p", `… ${left} more bytes are NOT shown`, "warning"));
    return box;
  });
  at("parts").replaceChildren(...boxes);
  at("cut").textContent = `${hidden} bytes of this call are NOT shown above, and nobody approves what they did not see.`;
  at("cut").hidden = hidden === 0;
  at("all").hidden = hidden === 0;
  at("approve").disabled = hidden > 0;
  at("call").hidden = false;
}

// Answers.

async function answer(vote) {
  const { decision, action } = shown;
  const reason = at("reason").value.trim();
  if (vote !== "approve" && reason === "") throw new Error("Say why: the agent is told");
  // The members in this order: there is one text for each statement.
  const statement = HEAD + JSON.stringify({ members: [{ decision, action }], vote, reason, at_ms: Date.now() }) + "\n";
  const credential = await navigator.credentials.get({
    publicKey: {
      challenge: await sha256(encoder.encode(statement)),
      rpId: location.hostname,
      userVerification: "required",
    },
  });
  const { authenticatorData, clientDataJSON, signature } = credential.response;
  const assertion = {
    id: credential.id,
    type: credential.type,
    response: {
      authenticatorData: base64url(authenticatorData),
      clientDataJSON: base64url(clientDataJSON),
      signature: base64url(signature),
    },
  };
  const { state } = await ask("POST", `/v1/approvals/${encodeURIComponent(decision)}/answer`, { statement, assertion });
  shown = null;
  at("call").hidden = true;
  say(`${decision} is ${state}`, false);
  await refresh();
}

// The raw key of a SubjectPublicKeyInfo, and how it signs.
function rawKey(spki) {
  const text = hex(new Uint8Array(spki));
  for (const [algorithm, head, bytes] of [["ES256", P256_HEAD, 65], ["EdDSA", ED25519_HEAD, 32]]) {
    if (text.startsWith(head) && text.length === head.length + 2 * bytes) {
      return [algorithm, new Uint8Array(spki).slice(head.length / 2)];
    }
  }
  throw new Error("the passkey has a key of another kind than ES256 or EdDSA");
}

async function enlist() {
  const user = at("user").value.trim();
  if (!/^[!-~]+$/.test(user) || /['"\\$`,]/.test(user)) throw new Error("Say who you are, as callers are named: such as uid:1000");
  const random = (bytes) => crypto.getRandomValues(new Uint8Array(bytes));
  const credential = await navigator.credentials.create({
    publicKey: {
      rp: { id: location.hostname, name: "Casemate" },
      user: { id: random(32), name: user, displayName: user },
      challenge: random(32),
      pubKeyCredParams: [{ type: "public-key", alg: -7 }, { type: "public-key", alg: -8 }],
      authenticatorSelection: { residentKey: "required", userVerification: "required" },
      attestation: "none",
    },
  });
  const [algorithm, key] = rawKey(credential.response.getPublicKey());
  const text = ["passkey", algorithm, location.hostname, credential.id, base64url(key), location.origin].join(":");
  at("line").textContent = `casemate approvals enlist '${user}' '${text}'`;
  at("line").hidden = false;
  at("line-title").hidden = false;
}

at("access").addEventListener("submit", doing(async () => {
  token = at("token").value.trim();
  at("token").value = "";
  say("", false);
  at("who").textContent = token === "" ? "" : "kept until this page is closed";
  await refresh();
}));
at("all").addEventListener("click", () => {
  full = true;
  draw();
});
at("approve").addEventListener("click", doing(() => answer("approve")));
at("changes").addEventListener("click", doing(() => answer("request_changes")));
at("deny").addEventListener("click", doing(() => answer("deny")));
at("answer").addEventListener("submit", (event) => event.preventDefault());
at("enlist").addEventListener("submit", doing(enlist));
if (!window.isSecureContext || !navigator.credentials) {
  say("A browser signs only on https, or on http://localhost: open this page by that name", true);
}
setInterval(async () => {
  if (welcome && !document.hidden) await doing(refresh)();
}, REFRESH_MS);
