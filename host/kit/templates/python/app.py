"""{{title}}: direct chats of one account.

`receive` reads a hook and calls nobody; `send` makes one message. Secrets stay with the host: a call names its
credential, and the host fills it in. What the types are is told in wit/, with the reason of every field.
"""

import json
import re

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.connector import (
    Hook,
    Inbound,
    Malformed,
    ReceiveError_Malformed,
)
from wit_world.exports.lifecycle import (
    Account,
    Connection,
    ConnectError_Call,
    ConnectError_Field,
    FieldError,
    Health,
    Readiness,
    Report,
)
from wit_world.imports import http
from wit_world.imports.values import (
    Alias,
    AliasKind,
    Author_Customer,
    CallError_Ambiguous,
    CallError_RateLimited,
    CallError_Refused,
    CallError_Transient,
    CallError_Unauthorized,
    Chat_Direct,
    Content_Text,
    Content_Unsupported,
    DeliveryState,
    Event,
    EventBody_Message,
    EventBody_Status,
    Failure,
    Message,
    Notice,
    NoticeLevel,
    Outgoing,
    OutgoingContent_Text,
    Person,
    RateLimit,
    Refusal,
    RefusalReason,
    Sent,
    Status,
)

API = "https://api.chat.example/v1"


class Connector(exports.Connector):
    def receive(self, hook: Hook) -> Inbound:
        if depth(hook.body) > DEPTH_MAX:
            raise Err(ReceiveError_Malformed("The body is nested too deeply."))
        try:
            body = json.loads(hook.body)
        except ValueError:
            raise Err(ReceiveError_Malformed("The body is not JSON."))
        items = body.get("events") if isinstance(body, dict) else None
        if not isinstance(items, list):
            raise Err(ReceiveError_Malformed("`events` is no list."))
        events, malformed = [], []
        for place, item in enumerate(items):
            try:
                events.append(read(item))
            except Missing as missing:
                malformed.append(Malformed(f"events[{place}]", f"`{missing}` is missing."))
        return Inbound(events, malformed, None)

    def send(self, message: Outgoing) -> Sent:
        recipient = next((a.value for a in message.recipient if a.kind == AliasKind.ID), None)
        if recipient is None or not isinstance(message.content, OutgoingContent_Text):
            refusal = Refusal(RefusalReason.UNSUPPORTED, "unsupported", "Only texts to known people can be sent.", None)
            raise Err(CallError_Refused(refusal))
        body = {"to": recipient, "text": message.content.value.text, "client_id": message.id}
        if message.reply_to is not None:
            body["reply_to"] = message.reply_to
        answer = call(http.Method.POST, "/messages", body)
        made = answer.get("id")
        if not isinstance(made, str):
            # It was taken, so it must not be sent again as if nothing had happened.
            raise Err(CallError_Ambiguous(Failure("no-id", "The provider took the message and gave no id.")))
        return Sent(made, [], [])


class Lifecycle(exports.Lifecycle):
    def identify(self) -> Account:
        try:
            account = call(http.Method.GET, "/account", None)
        except Err as error:
            if isinstance(error.value, CallError_Unauthorized):
                failure = error.value.value
                raise Err(ConnectError_Field(FieldError("access_token", failure.code, failure.message)))
            raise Err(ConnectError_Call(error.value))
        return Account(str(account.get("id")), str(account.get("name")), None)

    def connect(self) -> Connection:
        words = "Enter the hook's address in the provider's console, under Webhooks."
        return Connection(Readiness.PENDING, [Notice(NoticeLevel.INFO, "enter-webhook", words)])

    def disconnect(self) -> None:
        return None

    def check(self) -> Report:
        try:
            call(http.Method.GET, "/account", None)
        except Err as error:
            gone = isinstance(error.value, CallError_Unauthorized)
            return Report(Health.DISCONNECTED if gone else Health.OFFLINE, [])
        return Report(Health.CONNECTED, [])


# Deeper than any provider nests. Beyond some thousands the interpreter's stack ends, and the call with it.
DEPTH_MAX = 100
STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)


def depth(body: bytes) -> int:
    """How deeply brackets are nested outside of strings."""
    deepest = here = 0
    for bracket in re.findall(rb"[\[\]{}]", STRINGS.sub(b"", body)):
        here += 1 if bracket in b"[{" else -1
        deepest = max(deepest, here)
    return deepest


class Missing(Exception):
    """A field that an event cannot do without."""


def part(item, name, kind):
    value = item.get(name) if isinstance(item, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise Missing(name)
    return value


def read(item) -> Event:
    kind, ident = part(item, "type", str), part(item, "id", str)
    if kind in ("delivered", "failed"):
        refusal = None
        if kind == "failed":
            code, reason = str(item.get("code", "failed")), str(item.get("reason", "The provider gave no reason."))
            refusal = Refusal(RefusalReason.OTHER, code, reason, None)
        state = DeliveryState.FAILED if kind == "failed" else DeliveryState.DELIVERED
        body = EventBody_Status(Status(ident, None, state, refusal))
        return Event(f"{kind}:{ident}", part(item, "at", int), None, body)
    sender = part(item, "from", dict)
    person = Person([Alias(AliasKind.ID, part(sender, "id", str))], sender.get("name"), None)
    content = Content_Text(part(item, "text", str)) if kind == "message" else Content_Unsupported(kind)
    message = Message(ident, person, Chat_Direct(), Author_Customer(), [content], None, None, False, None)
    return Event(f"message:{ident}", part(item, "at", int), None, EventBody_Message(message))


def call(method, path, body):
    """One call of the provider. What goes wrong is told truly: the host repeats, waits or gives up by it."""
    headers = [] if body is None else [("content-type", "application/json")]
    content = http.Body_None_() if body is None else http.Body_Bytes(json.dumps(body, ensure_ascii=False).encode())
    try:
        answer = http.fetch(http.Request(method, API + path, headers, content, "token", None, []))
    except Err as broken:
        error = broken.value
        failure = Failure(error.kind.name.lower().replace("_", "-"), error.message)
        raise Err(CallError_Ambiguous(failure) if error.request_sent else CallError_Transient(failure))
    try:
        told = json.loads(answer.body)
    except ValueError:
        told = None
    told = told if isinstance(told, dict) else {}
    if 200 <= answer.status < 300:
        return told
    code = str(told.get("code", answer.status))
    failure = Failure(code, str(told.get("message", f"The provider answered with status {answer.status}."))[:300])
    if answer.status == 429:
        seconds = next((value for name, value in answer.headers if name == "retry-after"), None)
        wait = int(seconds) * 1000 if seconds is not None and seconds.isdigit() else None
        raise Err(CallError_RateLimited(RateLimit(wait, failure)))
    if answer.status in (401, 403):
        raise Err(CallError_Unauthorized(failure))
    if answer.status >= 500:
        raise Err(CallError_Transient(failure))
    raise Err(CallError_Refused(Refusal(RefusalReason.OTHER, failure.code, failure.message, None)))
