"""A state in which users lived under real rules up to a day: what `plan` and `explain` read."""

from __future__ import annotations

from pathlib import Path

from tests.store.world import STREAM, World, day, mailbox, open_store, phone, seen
from worker.ladder import look
from worker.model import Look, Sent, UserView
from worker.retry import settle
from worker.rules.load import load
from worker.rules.ruleset import RuleSet
from worker.testing import FakeClock

RULES = """
apiVersion: v1
law_windows: ignore
prices: {{email: {{default: 0.50 USD}}}}
rules:
  - rule: winback
    mode: {mode}
    inactive_for: {days}d
    match: ['name!="Bob"']
    exit_on: [activity, match_lost]
    on_edit: {on_edit}
    stages:
      - {{name: push, channel: push, message: {{title: t, body: "{text}"}}}}
      - {{name: email, channel: email, after: 2d, message: {{subject: s, text: b}}}}
"""


def rules_text(
    *, mode: str = "live", days: int = 7, on_edit: str = "finish_old", text: str = "come back"
) -> str:
    """Push after so many days, an e-mail 2 days later."""
    return RULES.format(mode=mode, days=days, on_edit=on_edit, text=text)


def folder_of(path: Path, text: str) -> Path:
    """A rules folder with one file."""
    path.mkdir(exist_ok=True)
    (path / "shop.yaml").write_text(text)
    return path


class LivedState:
    """Users who live under the rules of a folder; times are days since day 0."""

    def __init__(self, path: Path, world: World, rules: RuleSet) -> None:
        self.path = path
        self.world = world
        self.rules = rules

    @classmethod
    async def begin(cls, path: Path, folder: Path, clock: FakeClock | None = None) -> LivedState:
        """A state file that takes the rules of the folder into force."""
        rules = load(folder)
        store = await open_store(path, clock=clock)
        world = World(store, clock=clock)
        await store.adopt(rules.adoption)
        await store.positions(STREAM)
        return cls(path, world, rules)

    async def user(self, name: str, at: float = 0) -> None:
        """A user with a phone and a mail address was here."""
        await self.world.tell(
            seen(name, at), phone(name, at), mailbox(name, f"{name}@x.test", at), on=at
        )

    async def until(self, at: float) -> None:
        """Everything that falls due up to that day happens; the provider takes every message."""
        store = self.world.store
        while (due_ms := await store.next_due_ms()) is not None and due_ms <= day(at):

            def decide(view: UserView, now_ms: int = due_ms) -> Look:
                return look(view, self.rules, now_ms)

            swept = await store.sweep(
                now_ms=due_ms, decide=decide, admits=lambda _: True, users_max=1_000
            )
            answers = [
                settle(Sent(send_id=d.claim.send_id), d.claim, due_ms) for d in swept.deliveries
            ]
            if answers:
                await store.settle(answers, now_ms=due_ms)

    async def close(self) -> None:
        """The worker stops."""
        await self.world.store.close()
