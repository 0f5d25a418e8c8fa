"""Messenger's and Instagram's message_1.json, newest message first, and Messenger's export of encrypted chats.

    {"participants": [{"name": "Kim"}, {"name": "Ola"}], "title": "Kim", "messages": [
     {"sender_name": "Kim", "timestamp_ms": 1706781720000, "content": "caf\\u00c3\\u00a9?", "reactions": [...]},
     {"sender_name": "Ola", "timestamp_ms": 1706781660000, "photos": [{"uri": "1.jpg"}]}]}

    {"participants": ["Kim", "Ola"], "threadName": "Kim_1", "messages": [
     {"senderName": "Kim", "timestamp": 1706781720000, "text": "caf\\u00e9?", "type": "text", "isUnsent": false}]}

Facebook writes each byte of UTF-8 as a character of its own, which is mended. Reactions, shares, photos, calls and what
Messenger says itself are left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from personagpt.importing.chats import ChatMessage, chat_talk, list_at, text_at
from personagpt.importing.sources import Source
from personagpt.importing.stamps import number_seconds
from personagpt.importing.talks import ImportedTalk, RecordError

SENDER = ("sender_name", "senderName")
TIMES = {"timestamp_ms", "timestamp"}
MEDIA = ("photos", "videos", "audio_files", "gifs", "files", "sticker", "media")
# What Messenger says about somebody, who is named before it: "Kim sent a photo."
THING = (
    r"photos?|videos?|attachments?|gifs?|stickers?|voice messages?|(?:live )?location|links?|files?|reels?|posts?|"
    r"fotos?|anhang|anhänge|sprachnachricht(?:en)?|standort|pièces? jointes?|vidéos?|archivos? adjuntos?|"
    r"mensajes? de voz|allegat[oi]|messagg[io] vocal[ei]|vídeos?|anexos?|mensagem de voz"
)
ACTION = re.compile(
    rf"(?:sent|shared) (?:an?|\d+) (?:{THING})(?: to .*)?|(?:hat|hast) (?:eine?n?|\d+) (?:{THING}) gesendet|"
    rf"(?:a|avez) envoyé (?:une?|des|\d+) (?:{THING})|(?:envió|enviaste) (?:una?|\d+) (?:{THING})|"
    rf"(?:ha|hai) inviato (?:una?|un'|\d+) ?(?:{THING})|enviou (?:uma?|\d+) (?:{THING})|"
    r"created (?:the group|a poll|a plan).*|named the group .*|changed the (?:chat )?(?:theme|group photo|emoji|quick "
    r"reaction).*|set (?:the|your|their|his|her) (?:own )?(?:nickname|quick reaction|emoji).*|cleared .* nickname.*|"
    r"(?:added|removed) .+ (?:to|from) the group|left the group|joined the (?:video chat|call|group).*|"
    r"started (?:an? )?(?:audio call|video call|video chat|call|sharing .*)|ended the (?:call|video chat)|"
    r"missed (?:your|a) (?:video )?(?:call|chat).*|unsent a message|pinned a message|liked a message|"
    r"(?:reacted|replied) .*to (?:your|an?|their) (?:message|story)|turned (?:on|off) .*|made .* an? (?:group )?admin",
    re.IGNORECASE,
)
ALONE = re.compile(
    r"reacted \S+ to your message ?|liked a message|hat mit \S+ auf deine nachricht reagiert ?|"
    r"a réagi (?:avec )?\S+ à votre message ?|reaccionó con \S+ a tu mensaje ?|ha reagito con \S+ al tuo messaggio ?|"
    r"reagiu com \S+ à (?:sua|tua) mensagem ?|you are now connected on messenger\.?|"
    r"say hi to your new facebook friend.*|"
    r"the (?:video chat|audio call|video call|call) (?:has )?(?:ended|started)\.?|this poll is no longer available\.?",
    re.IGNORECASE,
)


def recognises(source: Source) -> bool:
    messages = list_at(source.document, "messages") if source.kind == "JSON" else []
    return any(text_at(message, *SENDER) and TIMES & message.keys() for message in messages[:10])


def read(source: Source, left_out: Counter[str]) -> Iterator[ImportedTalk | RecordError]:
    messages = []
    for message in list_at(source.document, "messages"):
        sender = mended(text_at(message, *SENDER))
        if sender and (said := _said(message, sender, left_out)):
            seconds = number_seconds(message.get("timestamp_ms", message.get("timestamp")), per_second=1000)
            messages.append(ChatMessage(sender, said, seconds))
        elif not sender:
            left_out["messages of nobody"] += 1
    if messages and (messages[0].seconds or 0.0) > (messages[-1].seconds or 0.0):  # newest first
        messages.reverse()
    title = mended(text_at(source.document, "title", "threadName"))
    if talk := chat_talk(f"chat {title}", messages, {}, left_out):
        yield talk


def mended(text: str) -> str:
    """Return `text` whose characters are the bytes of UTF-8 as that UTF-8; any other text as it is."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def _said(message: dict[str, Any], sender: str, left_out: Counter[str]) -> str:
    """Return what `sender` says; "" where it is left out, which is counted."""
    text = mended(text_at(message, "content", "text"))
    share = message.get("share")
    if message.get("is_unsent") is True or message.get("isUnsent") is True:
        left_out["deleted messages"] += 1
    elif "call_duration" in message or message.get("type") in ("Call", "Subscribe", "Unsubscribe"):
        left_out["notices of calls and changes"] += 1
    elif _is_messengers(text, sender):
        is_media = share or any(message.get(key) for key in MEDIA)
        left_out["messages of media" if is_media else "notices of calls and changes"] += 1
    elif isinstance(share, dict) and text.strip() in ("", mended(text_at(share, "link")).strip()):
        left_out["shared links"] += 1
    elif not text.strip():
        left_out["messages of media"] += 1
    else:
        return text
    return ""


def _is_messengers(text: str, sender: str) -> bool:
    """Return whether Messenger wrote `text`, such as `Kim sent a photo.`, in the name of `sender`."""
    bare = text.strip().removesuffix(".")
    if ALONE.fullmatch(text.strip()):
        return True
    for name in (sender, sender.split(" ")[0], "You", "Du", "Vous", "Tu", "Hai"):
        if bare.startswith(f"{name} ") and ACTION.fullmatch(bare[len(name) + 1 :]):
            return True
    return bool(re.match(r"(?:enviaste|hai inviato) ", bare, re.IGNORECASE) and ACTION.fullmatch(bare))
