// {{title}}: direct chats of one account.
//
// `receive` reads a hook and calls nobody; `send` makes one message. Secrets stay with the host: a call names its
// credential, and the host fills it in. What the values are is told in wit/, with the reason of every field. A result's
// error is thrown as it is spelled there: { tag, val }.

import { fetch } from "mantle:connector/http@1.0.0";

const API = "https://api.chat.example/v1";

export const connector = {
  receive(hook) {
    let body;
    try {
      body = JSON.parse(text(hook.body));
    } catch {
      throw { tag: "malformed", val: "The body is not JSON." };
    }
    if (!Array.isArray(body?.events)) {
      throw { tag: "malformed", val: "`events` is no list." };
    }
    const events = [];
    const malformed = [];
    body.events.forEach((item, place) => {
      try {
        events.push(read(item));
      } catch (error) {
        if (!(error instanceof Missing)) throw error;
        malformed.push({ place: `events[${place}]`, problem: `\`${error.field}\` is missing.` });
      }
    });
    return { events, malformed, answer: undefined };
  },

  send(message) {
    const to = message.recipient.find((alias) => alias.kind === "id")?.value;
    if (to === undefined || message.content.tag !== "text") {
      throw { tag: "refused", val: refusal("unsupported", "unsupported", "Only texts to known people can be sent.") };
    }
    const body = { to, text: message.content.val.text, client_id: message.id };
    if (message.replyTo !== undefined) body.reply_to = message.replyTo;
    const made = call("post", "/messages", body).id;
    if (typeof made !== "string") {
      // It was taken, so it must not be sent again as if nothing had happened.
      throw { tag: "ambiguous", val: { code: "no-id", message: "The provider took the message and gave no id." } };
    }
    return { id: made, aliases: [], extras: [] };
  },
};

export const lifecycle = {
  identify() {
    try {
      const account = call("get", "/account");
      return { externalId: String(account.id), name: String(account.name), foreignWebhook: undefined };
    } catch (error) {
      if (error.tag !== "unauthorized") throw { tag: "call", val: error };
      throw { tag: "field", val: { field: "access_token", ...error.val } };
    }
  },

  connect() {
    const message = "Enter the hook's address in the provider's console, under Webhooks.";
    return { readiness: "pending", notices: [{ level: "info", code: "enter-webhook", message }] };
  },

  disconnect() {},

  check() {
    try {
      call("get", "/account");
      return { health: "connected", notices: [] };
    } catch (error) {
      return { health: error.tag === "unauthorized" ? "disconnected" : "offline", notices: [] };
    }
  },
};

/** A field that an event cannot do without. */
class Missing extends Error {
  constructor(field) {
    super(field);
    this.field = field;
  }
}

function part(item, field, type) {
  const value = item?.[field];
  if (typeof value !== type || value === null) throw new Missing(field);
  return value;
}

function read(item) {
  const kind = part(item, "type", "string");
  const id = part(item, "id", "string");
  if (kind === "delivered" || kind === "failed") {
    const why = () => refusal("other", String(item.code ?? "failed"), String(item.reason ?? "The provider gave no reason."));
    const status = { messageId: id, correlation: undefined, state: kind, refusal: kind === "failed" ? why() : undefined };
    return { key: `${kind}:${id}`, at: time(item), account: undefined, body: { tag: "status", val: status } };
  }
  const sender = part(item, "from", "object");
  const message = {
    id,
    person: { aliases: [{ kind: "id", value: part(sender, "id", "string") }], name: sender.name, language: undefined },
    chat: { tag: "direct" },
    author: { tag: "customer" },
    content: [kind === "message" ? { tag: "text", val: part(item, "text", "string") } : { tag: "unsupported", val: kind }],
    quote: undefined,
    referral: undefined,
    forwarded: false,
    correlation: undefined,
  };
  return { key: `message:${id}`, at: time(item), account: undefined, body: { tag: "message", val: message } };
}

function time(item) {
  return BigInt(Math.trunc(part(item, "at", "number")));
}

function refusal(reason, code, message) {
  return { reason, code, message, nextStep: undefined };
}

/** One call of the provider. What goes wrong is told truly: the host repeats, waits or gives up by it. */
function call(method, path, body) {
  const headers = body === undefined ? [] : [["content-type", "application/json"]];
  const content = body === undefined ? { tag: "none" } : { tag: "bytes", val: bytes(JSON.stringify(body)) };
  let answer;
  try {
    answer = fetch({ method, url: API + path, headers, body: content, credential: "token", timeoutMs: undefined, keep: [] });
  } catch (error) {
    // The tools wrap what an import throws.
    const broken = error.payload ?? error;
    const failure = { code: broken.kind, message: broken.message };
    throw { tag: broken.requestSent ? "ambiguous" : "transient", val: failure };
  }
  let told = {};
  try {
    told = JSON.parse(text(answer.body)) ?? {};
  } catch {
    // A page of HTML, or nothing.
  }
  if (answer.status >= 200 && answer.status < 300) return told;
  const failure = {
    code: String(told.code ?? answer.status),
    message: String(told.message ?? `The provider answered with status ${answer.status}.`).slice(0, 300),
  };
  if (answer.status === 429) {
    const seconds = answer.headers.find(([name]) => name === "retry-after")?.[1];
    const wait = /^\d+$/.test(seconds ?? "") ? BigInt(seconds) * 1000n : undefined;
    throw { tag: "rate-limited", val: { retryAfterMs: wait, failure } };
  }
  if (answer.status === 401 || answer.status === 403) throw { tag: "unauthorized", val: failure };
  if (answer.status >= 500) throw { tag: "transient", val: failure };
  throw { tag: "refused", val: refusal("other", failure.code, failure.message) };
}

function text(body) {
  return new TextDecoder("utf-8", { fatal: true }).decode(body);
}

function bytes(text) {
  return new TextEncoder().encode(text);
}
