"""personagpt/model/api_answers.py: what a program behind an API answers; test_api.py has a server that answers so."""

from __future__ import annotations

import datetime
import email.utils
import ssl

import httpx2

from personagpt.model.api_answers import as_utterance, connection_fault, seconds_to_wait


def test_the_forms_of_retry_after() -> None:
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=90)
    assert 80 < seconds_to_wait(email.utils.format_datetime(soon, usegmt=True)) <= 90
    assert seconds_to_wait("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert [seconds_to_wait(value) for value in ("3", "0.5", " 2 ")] == [3, 0.5, 2]
    assert [seconds_to_wait(value) for value in ("", "soon", "-1", "9" * 30)] == [None] * 4


def test_a_reply_is_one_line() -> None:
    assert as_utterance('  "Hi!"\r\n\n* I like\ttea \x00\x1b[2J\ud83d') == '"Hi!" * I like tea [2J'
    assert as_utterance("a\x7f\x9b31mb \u200b") == "a 31mb \u200b"
    assert as_utterance("\u200b \ufeff\u202e") == ""
    assert as_utterance("<think>\nhm\n</think>Yes.") == "Yes."


def test_an_untrusted_certificate() -> None:
    cause = ssl.SSLCertVerificationError("certificate verify failed")
    cause.verify_message = "self-signed certificate"
    error = httpx2.ConnectError("x")
    error.__cause__ = cause
    fault = connection_fault(error)
    assert str(fault) == (
        "no trusted connection (TLS: self-signed certificate): check url, and the server's certificate"
    )
    assert not fault.passes
