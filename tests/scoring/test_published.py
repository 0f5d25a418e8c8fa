"""published.py: which text and which vocabulary the published figures are of."""

import hashlib

from personagpt.scoring import published


def test_the_published_text_and_vocabulary(monkeypatch, real_tokenizer, tokenizer, tmp_path) -> None:
    assert published.has_published_vocabulary(real_tokenizer)
    assert not published.has_published_vocabulary(tokenizer)
    plain, with_candidates = tmp_path / "plain.txt", tmp_path / "candidates.txt"
    plain.write_text("1 your persona: x\n2 a\tb\n")
    with_candidates.write_text("1 your persona: x\n2 a\tb\t\tc|b\n")
    monkeypatch.setattr(published, "CONVAI2_VALID_MD5", hashlib.md5(plain.read_bytes()).hexdigest())
    assert published.is_published_text(plain)
    assert published.is_published_text(with_candidates)
    assert not published.is_published_text(tmp_path / "absent.txt")
