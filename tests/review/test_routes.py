"""routes.py: the review over HTTP, with the access control of the page."""

from __future__ import annotations

from tests.page.served import Visitor
from tests.records.making import make_talk


def test_a_reviewer_over_http(serve_review) -> None:
    talk = make_talk("hi", "ho")
    page = serve_review(talk)
    ann = Visitor(page)
    assert ann.ask("GET", "/api/start").json["kinds"]["other"] == "fails in another way"
    state = ann.ask("GET", "/api/review")
    assert state.json["talk"]["id"] == talk.id
    assert "default-src 'none'" in state.headers["content-security-policy"]
    label = {"talk": talk.id, "turn": 1, "kinds": ["other"]}
    # Another site's form cannot label.
    assert ann.ask("POST", "/api/review/label", label, content_type="text/plain").status == 403
    assert ann.ask("POST", "/api/review/label", label, sec_fetch_site="cross-site").status == 403
    assert [review.labels for review in page.reviews.all()] == [{}]
    assert ann.ask("POST", "/api/review/label", label).json == {"turn": 1, "kinds": ["other"], "note": ""}
    assert ann.ask("POST", "/api/review/label", label | {"turn": 0}).status == 400
    assert ann.ask("POST", "/api/review/finish", {"talk": talk.id, "turns": len(talk.turns)}).json["talk"] is None
    assert ann.ask("POST", "/api/review/reopen", {}).json["talk"]["labels"] == {"1": ["other"]}
    assert ann.ask("POST", "/api/review/result", {}).status == 409
    assert [ann.ask("GET", f"/{name}").status for name in ("review.js", "text.js", "page.css")] == [200] * 3
    # Reviewers cannot reach or delete talks by the addresses of the other pages.
    for method in ("GET", "DELETE"):
        assert ann.ask(method, f"/api/talks/{talk.id}").status == 404
    assert Visitor(page, cookie="").ask("GET", "/api/review").status == 403
