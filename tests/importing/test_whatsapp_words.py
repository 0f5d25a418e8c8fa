"""WhatsApp's own phrases, in its languages."""

from __future__ import annotations

from collections import Counter

import pytest

from personagpt.importing.whatsapp_words import DELETED
from tests.importing.helpers import read

CHAT = "12/11/23, 21:56 - Mira: hi\n12/11/23, 21:57 - Tom: {}\n12/11/23, 21:58 - Tom: ho\n"


@pytest.mark.parametrize("phrase", sorted(DELETED))
def test_a_deleted_message_is_no_reply(phrase: str) -> None:
    left_out: Counter[str] = Counter()
    (dialogue,) = read(CHAT.format(phrase), left_out=left_out)
    assert dialogue.utterances == ["hi", "ho"]
    assert +left_out == {"deleted messages": 1}


def test_a_sentence_about_a_deleted_message_is_a_reply() -> None:
    (dialogue,) = read(CHAT.format("you deleted this message, why ?"))
    assert dialogue.utterances == ["hi", "you deleted this message, why ? ho"]
