"""A program behind an API as a persona that talks: the partner of a self-play."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from personagpt.model.api import ApiProgram, EmptyReply


class ApiPersona:
    """A talk with a program behind an API in the voice of a persona. It does what a self-play asks of a Persona."""

    def __init__(
        self, program: ApiProgram, facts: Sequence[str], restyled: Callable[[str], str], seed: int | None = None
    ) -> None:
        """`restyled` brings a reply into the style of the other side's training text. `seed` is sent with requests."""
        self.program, self.facts, self.restyled, self.seed = program, list(facts), restyled, seed
        self.history: list[str] = []

    def stream(self, text: str | None = None, *, goal: str | None = None, avoid: Sequence[str] = ()) -> Iterator[str]:
        """Yield the whole reply to `text`, or nothing where it is empty. Raises ApiError.

        `goal` and `avoid` are for models on this machine; here they have no effect.
        """
        said = [*self.history, *([] if text is None else [text])]
        try:
            reply = self.restyled(self.program.reply(self.facts, said, seed=self.seed))
        except EmptyReply:
            return
        self.history = [*said, reply]
        yield reply

    @staticmethod
    def replies(pairs: Sequence[tuple[ApiPersona, str | None]], hear: Callable[[dict[int, str]], None]) -> None:
        """Ask for the reply of each persona to its text, several at once. Raises ApiError.

        `hear` gets each reply, with its place among the `pairs`, as soon as it is there.
        """
        if not pairs:
            return
        said = [[*persona.history, *([] if text is None else [text])] for persona, text in pairs]
        first = pairs[0][0]
        asked = [(persona.facts, history) for (persona, _), history in zip(pairs, said, strict=True)]

        def heard(place: int, reply: str) -> None:
            reply = first.restyled(reply)
            pairs[place][0].history = [*said[place], reply]
            hear({place: reply})

        for _ in first.program.replies(asked, seed=first.seed, heard=heard):
            pass
