// A stand-in for the server, for work on the client alone: `npm run mock`, then `npm run dev`.
// It keeps everything in memory, knows one account and answers with canned text.
//   you@example.org / a long password      /setup#token=anything
// A message that contains "fail" ends in an error; "drop" also breaks the connection midway.
import { Buffer } from "node:buffer";
import { createServer } from "node:http";
import { WebSocketServer } from "ws";

const PORT = Number(process.env.PORT ?? 8000);
const DELAY_MS = Number(process.env.MOCK_DELAY_MS ?? 40);

const ANSWER = `Two **lighthouses** stand on the cliff; the nearer one carries a sign that says *PUNTA NORD 1887*.

1. The white tower is lit by the low sun.
2. Its neighbour is in shadow, about a kilometre away.

\`\`\`python
from pathlib import Path
from hashlib import blake2b

def duplicates(folder: Path) -> dict[str, list[Path]]:
    """Files with equal content, by digest."""
    groups: dict[str, list[Path]] = {}
    for path in folder.rglob("*"):
        if path.is_file():
            digest = blake2b(path.read_bytes()).hexdigest()
            groups.setdefault(digest, []).append(path)
    return {digest: paths for digest, paths in groups.items() if len(paths) > 1}
\`\`\`

| Tower | Height | Built |
|---|---|---|
| Nord | 31 m | 1887 |
| Sud | 24 m | 1903 |
`;

const user = { id: "user_1", email: "you@example.org", name: "Ada Rossi", is_admin: true };
const session = { user, csrf_token: "csrf", expires_at: "2030-01-01T00:00:00Z" };
const state = { conversations: [], items: new Map(), responses: new Map(), assets: new Map(), keys: [] };
let counter = 0;
const newId = (prefix) => `${prefix}_${(counter += 1).toString(36).padStart(6, "0")}`;
const now = () => new Date().toISOString();

function newConversation(title, updated_at = now()) {
  const conversation = { id: newId("conv"), title, created_at: updated_at, updated_at };
  state.conversations.unshift(conversation);
  state.items.set(conversation.id, []);
  return conversation;
}

const DAY_MS = 86_400_000;
for (const [title, days] of [
  ["Packing list for the Dolomites, with photographs of every label", 12],
  ["Invoice from the print shop", 4],
  ["Voice memo: ideas for the talk", 1],
  ["Which mushroom is this?", 0],
]) {
  newConversation(title, new Date(Date.now() - days * DAY_MS).toISOString());
}

const error = (status, code, message) => ({ status, body: { error: { message, type: "invalid_request_error", param: null, code } } });
const ok = (body, status = 200) => ({ status, body });
const list = (data) => ok({ data, has_more: false, last_id: data.at(-1)?.id ?? null });

const PERCEPTIONS = {
  image: {
    kind: "image",
    description: "Two white lighthouses on a cliff above the sea at sunset.",
    labels: [{ name: "lighthouse", score: 0.91 }, { name: "seashore", score: 0.06 }, { name: "promontory", score: 0.02 }],
    objects: [{ name: "boat", score: 0.83, box: null }, { name: "person", score: 0.61, box: null }],
    text_lines: [{ text: "PUNTA NORD", score: 0.97, box: null }, { text: "1887", score: 0.93, box: null }],
  },
  audio: {
    kind: "audio",
    transcript: "How tall is the lighthouse, and who built it?",
    language: "en",
    segments: [{ start_s: 0.4, end_s: 2.1, text: "How tall is the lighthouse," }, { start_s: 2.3, end_s: 3.6, text: "and who built it?" }],
    sound_tags: [{ name: "Speech", score: 0.98 }, { name: "Wind", score: 0.31 }],
  },
  document: {
    kind: "document",
    title: "Harbour report",
    pages: [
      { number: 1, text: "Harbour report 1887", is_read_from_picture: false, description: "" },
      { number: 2, text: "", is_read_from_picture: true, description: "A map of a coast." },
    ],
  },
};
const shot = (start_s, end_s, description, text_lines = []) => ({ start_s, end_s, frame_s: start_s, description, labels: [], objects: [], text_lines });
PERCEPTIONS.video = {
  kind: "video",
  duration_s: 9,
  shots: [shot(0, 4, "A rabbit comes out of its burrow."), shot(4, 9, "A sign on a cliff.", [{ text: "PUNTA NORD", score: 0.9, box: null }])],
  sound: PERCEPTIONS.audio,
};

const ROLES = ["generator", "text_encoder", "image_encoder", "audio_encoder", "speech_generator", "image_generator", "video_generator"];
const MODELS = { object: "list", data: ROLES.map((role) => ({ id: `mock-${role}`, object: "model", role })) };
const JOBS = [
  { id: "job_1", kind: "video", status: "in_progress", progress: 0.4, request: { prompt: "a rabbit on a hill" }, result: null, error: null, created_at: "2026-01-01T00:00:00Z" },
  { id: "job_2", kind: "transcription", status: "failed", progress: 0.2, request: {}, result: null, error: { code: "broken_media", message: "the sound ends midway" }, created_at: "2026-01-01T00:00:00Z" },
];
const PROVENANCE = {
  signed: true,
  valid: true,
  signed_by_us: true,
  issuer: "Polymodal",
  claim_generator: "Polymodal",
  title: "",
  actions: [{ action: "c2pa.created", software_agent: "mock", digital_source_type: "trainedAlgorithmicMedia", parameters: {} }],
  ingredients: [],
  problems: [],
};

function traceOf(responseId) {
  const span = (name, node, start_s, end_s, attributes = {}) => ({ name, node, start_s, end_s, attributes });
  return {
    response_id: responseId,
    model: "qwen2.5-coder-0.5b-int8",
    total_s: 4.62,
    usage: { input_tokens: 412, output_tokens: 238 },
    spans: [
      span("admit", "Ingress", 0, 0.004),
      span("store", "Ingress", 0.004, 0.041),
      span("look at picture", "ImageEncoder", 0.042, 0.913, { cache: "miss" }),
      span("listen to recording", "AudioEncoder", 0.042, 0.046, { cache: "hit" }),
      span("embed text", "TextEncoder", 0.043, 0.081),
      span("assemble prompt", "Ingress", 0.914, 0.921),
      span("generate", "Generator", 0.922, 4.6, { first_token_s: 0.31 }),
      span("settle", "Ingress", 4.6, 4.62),
    ],
  };
}

async function readBody(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** The first file of a multipart body; enough of the format for one well-behaved browser. */
function readUpload(request, body) {
  const boundary = `--${/boundary=(.*)$/.exec(request.headers["content-type"])[1]}`;
  const start = body.indexOf("\r\n\r\n") + 4;
  const head = body.subarray(0, start).toString();
  const end = body.indexOf(`\r\n${boundary}`, start);
  return {
    filename: /filename="([^"]*)"/.exec(head)[1],
    mime_type: /Content-Type: (\S+)/i.exec(head)[1],
    content: body.subarray(start, end),
  };
}

const signedIn = (request) => /polymodal_session=1/.test(request.headers.cookie ?? "");

async function answer(request, url) {
  const { method } = request;
  const path = url.pathname;
  const body = method === "GET" ? null : await readBody(request);
  const json = () => JSON.parse(body.toString() || "{}");
  const cookie = { "set-cookie": "polymodal_session=1; HttpOnly; SameSite=Strict; Path=/" };

  if (path === "/api/v1/session" && method === "POST") {
    return json().password === "a long password"
      ? { ...ok(session), headers: cookie }
      : error(401, "invalid_api_key", "wrong email or password");
  }
  if (path === "/api/v1/setup") return { ...ok(session), headers: cookie };
  if (!signedIn(request)) return error(401, "invalid_api_key", "no session");
  if (path === "/api/v1/session" && method === "DELETE") {
    return { ...ok(null, 204), headers: { "set-cookie": "polymodal_session=; Max-Age=0; Path=/" } };
  }
  if (path === "/api/v1/session") return ok(session);

  if (path === "/api/v1/keys" && method === "GET") return list(state.keys);
  if (path === "/api/v1/keys") {
    const { name, scopes } = json();
    const key = { id: newId("key"), name, prefix: "pm-4f2a", scopes, created_at: now(), expires_at: null, last_used_at: null };
    state.keys.unshift(key);
    return ok({ ...key, secret: "pm-4f2a9c1e7b3d5f60a8b2c4d6e8f01357" });
  }
  if (path.startsWith("/api/v1/keys/")) {
    state.keys = state.keys.filter((key) => !path.endsWith(key.id));
    return ok(null, 204);
  }

  if (path === "/v1/models") return ok(MODELS);
  if (path === "/api/v1/jobs") return list(JOBS);
  if (path.endsWith("/events")) return { status: 200, raw: "", headers: { "content-type": "text/event-stream" } };
  if (path === "/api/v1/provenance/verify" || path.endsWith("/provenance")) return ok(PROVENANCE);
  if (path === "/v1/images/generations") {
    const id = newId("asset");
    const content = Buffer.from(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><circle cx="4.5" cy="4.5" r="3" fill="crimson"/></svg>`);
    const asset = { id, kind: "image", mime_type: "image/svg+xml", filename: "", bytes: content.length, width_px: 512, height_px: 512, duration_s: null, content_url: `/api/v1/assets/${id}/content`, created_at: now() };
    state.assets.set(id, { asset, content });
    return { status: 200, raw: `data: {"type":"image_generation.completed","asset_id":"${id}"}\n\n`, headers: { "content-type": "text/event-stream" } };
  }

  if (path === "/api/v1/conversations") return list(state.conversations);
  if (path === "/v1/conversations") return ok(newConversation(""));
  const [, conversationId, sub] = /^(?:\/api)?\/v1\/conversations\/([^/]+)(?:\/(\w+))?$/.exec(path) ?? [];
  if (conversationId !== undefined) {
    const conversation = state.conversations.find((one) => one.id === conversationId);
    if (conversation === undefined) return error(404, "not_found", `no conversation '${conversationId}'`);
    if (sub === "items") return list(state.items.get(conversationId));
    if (sub === "active") {
      const running = [...state.responses.values()].find((one) => one.conversation === conversationId && one.status === "in_progress");
      return ok({ response_id: running?.id ?? null });
    }
    if (method === "DELETE") state.conversations = state.conversations.filter((one) => one !== conversation);
    if (method === "PATCH") conversation.title = json().title;
    return ok(conversation);
  }

  if (path === "/api/v1/assets") {
    const { filename, mime_type, content } = readUpload(request, body);
    const id = newId("asset");
    const kind = mime_type === "application/pdf" ? "document" : mime_type.split("/")[0];
    if (filename.includes("broken")) return error(422, "broken_media", "the picture cannot be decoded");
    const image = kind === "image";
    const asset = { id, kind, mime_type, filename, bytes: content.length, width_px: image ? 1600 : null, height_px: image ? 1067 : null, duration_s: image ? null : 3.8, content_url: `/api/v1/assets/${id}/content`, created_at: now() };
    state.assets.set(id, { asset, content });
    return ok(asset);
  }
  const [, assetId, part] = /^\/api\/v1\/assets\/([^/]+)(?:\/(\w+))?$/.exec(path) ?? [];
  const stored = state.assets.get(assetId);
  if (assetId !== undefined && stored === undefined) return error(404, "not_found", "no such asset");
  if (part === "content") return { status: 200, raw: stored.content, headers: { "content-type": stored.asset.mime_type } };
  if (part === "lineage") return ok({ asset: stored.asset, making: { action: "c2pa.created", model: "mock", recipe: {} }, parents: [], children: [] });
  if (part === "perception") return ok(PERCEPTIONS[stored.asset.kind]);
  if (assetId !== undefined) return ok(stored.asset);

  const [, tracedId] = /^\/api\/v1\/requests\/([^/]+)\/trace$/.exec(path) ?? [];
  if (tracedId !== undefined) return ok(traceOf(tracedId));
  const [, responseId] = /^\/v1\/responses\/([^/]+)$/.exec(path) ?? [];
  if (responseId !== undefined) {
    const { id, status } = state.responses.get(responseId);
    return ok({ id, status, model: "mock", error: null, incomplete_details: null, output: [], usage: null });
  }
  return error(404, "not_found", `no route '${path}'`);
}

const server = createServer(async (request, response) => {
  const { status, body, raw, headers = {} } = await answer(request, new URL(request.url, "http://mock"));
  response.writeHead(status, { "content-type": "application/json", "x-request-id": newId("req"), ...headers });
  response.end(raw ?? (status === 204 ? undefined : JSON.stringify(body)));
});

/** Writes an answer event by event; sockets come and go, the record of events stays. */
async function generate(response, content) {
  const text = content.find((part) => part.type === "input_text")?.text ?? "";
  const push = (event) => {
    const sequence_number = event.type === "polymodal.stage" ? response.events.length - 1 - response.stages : response.events.length - response.stages;
    if (event.type === "polymodal.stage") response.stages += 1;
    response.events.push({ ...event, sequence_number });
    for (const send of response.listeners) send(response.events.at(-1));
  };
  const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const stage = (name, phase, asset_id = null, cache = "") => push({ type: "polymodal.stage", stage: name, state: phase, asset_id, cache });
  const snapshot = (status, extra = {}) => ({ id: response.id, status, model: "mock", error: null, incomplete_details: null, output: [], usage: null, ...extra });

  push({ type: "response.created", response: snapshot("in_progress") });
  push({ type: "response.in_progress", response: snapshot("in_progress") });
  for (const part of content) {
    if (part.type === "input_text") continue;
    const name = part.type === "input_image" ? "looking" : part.kind === "video" ? "watching" : part.kind === "document" ? "reading" : "listening";
    stage(name, "started", part.file_id);
    for (const done of [0.3, 0.6]) {
      await pause(DELAY_MS * 10);
      push({ type: "polymodal.stage", stage: name, state: "progress", asset_id: part.file_id, done, note: "A rabbit comes out of its burrow." });
    }
    stage(name, "finished", part.file_id, part.type === "input_image" ? "miss" : "hit");
  }
  stage("reading", "started");
  await pause(DELAY_MS * 8);
  stage("reading", "finished");
  stage("writing", "started");
  const words = ANSWER.match(/\s*\S+/g);
  for (const [index, word] of words.entries()) {
    if (response.status === "cancelled") break;
    if (text.includes("fail") && index === 12) response.status = "failed";
    if (response.status === "failed") break;
    if (text.includes("drop") && index === 20) for (const socket of sockets.clients) socket.terminate();
    push({ type: "response.output_text.delta", delta: word });
    await pause(DELAY_MS);
  }
  const written = response.events.filter((event) => event.delta !== undefined).map((event) => event.delta).join("");
  const message = { type: "message", id: newId("msg"), role: "assistant", status: "completed", content: [{ type: "output_text", text: written, annotations: [] }], response_id: response.id };
  if (response.status === "failed") {
    push({ type: "response.failed", response: snapshot("failed", { error: { code: "engine_unavailable", message: "the generator restarted while it was writing" } }) });
    return;
  }
  state.items.get(response.conversation).push(message);
  if (response.status === "cancelled") push({ type: "response.incomplete", response: snapshot("cancelled", { output: [message] }) });
  else {
    response.status = "completed";
    push({ type: "response.completed", response: snapshot("completed", { output: [message], usage: { input_tokens: 412, output_tokens: 238 } }) });
  }
}

/** A recording is stored as a file, as the real server does. */
const stored = (part) =>
  part.type === "input_audio"
    ? { type: "input_file", file_id: part.file_id, filename: null, mime_type: "audio/wav", kind: "audio" }
    : part;

const sockets = new WebSocketServer({ server, path: "/api/v1/ws" });
sockets.on("connection", (socket) => {
  const send = (message) => socket.send(JSON.stringify(message));
  const follow = (response, client_id, after) => {
    const forward = (event) => send({ type: "event", client_id, response_id: response.id, event });
    response.events.filter((event) => event.sequence_number > after).forEach(forward);
    response.listeners.add(forward);
    socket.on("close", () => response.listeners.delete(forward));
  };
  socket.on("message", (data) => {
    const message = JSON.parse(data.toString());
    if (message.type === "ping") send({ type: "pong" });
    if (message.type === "response.create") {
      const { conversation, input } = message.response;
      const response = { id: newId("resp"), conversation, status: "in_progress", events: [], stages: 0, listeners: new Set() };
      state.responses.set(response.id, response);
      for (const { content } of input) {
        state.items.get(conversation).push({ type: "message", id: newId("msg"), role: "user", content: content.map(stored), response_id: response.id });
      }
      follow(response, message.client_id, -1);
      void generate(response, input.flatMap(({ content }) => content));
    }
    const known = state.responses.get(message.response_id);
    if (message.type === "response.subscribe" && known !== undefined) follow(known, null, message.starting_after);
    if (message.type === "response.cancel" && known?.status === "in_progress") known.status = "cancelled";
  });
});

server.listen(PORT, "127.0.0.1", () => console.log(`mock server on http://127.0.0.1:${PORT}`));
