"""`comeback events check`: real records, field by field, without running."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result

from tests.core import samples
from tests.core.samples import EVENT_MS, MAIL, TOKEN, as_bytes
from worker.cli import commands
from worker.errors import ProblemsFound, SettingsError, UsageError

FORMAT = """
formats:
  - name: shop
    when: {source: shop}
    type: kind
    user_id: who
    time: at
    unit: seconds
    addresses: [{channel_type: {fixed: EMAIL}, address: mail}]
"""


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(commands, ["events", "check", *arguments], env=environment)


def recording(folder: Path, *events: object, rubbish: bytes = b"") -> str:
    file = folder / "events.ndjson"
    file.write_bytes(as_bytes(*events) + b"\n" + rubbish)
    return str(file)


def own(**changes: object) -> dict[str, object]:
    return {"source": "shop", "kind": "v", "who": "u1", "at": EVENT_MS // 1_000, **changes}


def test_each_kind_of_event_is_shown_with_an_example_and_what_it_means(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(FORMAT)
    file = recording(tmp_path, samples.app_event(), own(mail=MAIL), own(who=None))
    result = run(file, "--as", f"pinpoint,{tmp_path}/shop.yaml", "--json")
    document = json.loads(result.output)
    assert (document["records"], document["events"], document["users"]) == (3, 2, 2)
    kinds = {(kind["format"], kind["type"]): kind for kind in document["kinds"]}
    assert kinds["pinpoint", "_session.start"]["active"] == 1
    shop = kinds["shop", "v"]
    assert (shop["events"], shop["active"], shop["addresses"]) == (1, 0, 1)
    fields = {field["name"]: field for field in shop["example"]}
    assert (fields["time"]["found_at"], fields["time"]["means_ms"]) == ("at", EVENT_MS)
    assert fields["channel_type 1"]["found_at"] == "fixed"
    (unread,) = document["unread"]
    assert unread.startswith("no_event_type: in none of the formats pinpoint, shop")


def test_addresses_and_attributes_are_shown_only_to_who_asks(tmp_path: Path) -> None:
    file = recording(tmp_path, samples.app_event())
    told = run(file)
    assert told.exit_code == 0, told.output
    assert TOKEN not in told.output
    assert f"text of {len(TOKEN)}" in told.output
    assert TOKEN in run(file, "--show-values").output


def test_a_stream_on_which_nobody_would_count_as_active_is_told(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(FORMAT)
    file = recording(tmp_path, own())
    result = run(file, COMEBACK_EVENTS=f"{tmp_path}/shop.yaml")
    assert isinstance(result.exception, ProblemsFound)
    assert "name types in `defaults.activity.events` of the rules (found: v)" in result.output
    assert "no event tells an address" in result.output


def test_the_rules_say_what_counts(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(FORMAT)
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "a.yaml").write_text(
        "apiVersion: v1\ndefaults: {activity: {events: [v]}}\nrules:\n"
        "  - rule: r\n    inactive_for: 7d\n    stages:\n"
        "      - name: p\n        channel: push\n        message: {title: t, body: b}\n"
    )
    file = recording(tmp_path, own(mail=MAIL))
    arguments = (file, "--as", f"{tmp_path}/shop.yaml", "--rules", str(rules), "--json")
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["kinds"][0]["active"] == 1


def test_reading_ends_after_the_stated_number_of_records(tmp_path: Path) -> None:
    file = recording(tmp_path, *(samples.app_event() for _ in range(7)))
    assert json.loads(run(file, "--records", "3", "--json").output)["records"] == 3


def test_nothing_to_read_and_formats_nobody_knows_are_told() -> None:
    assert isinstance(run(COMEBACK_STREAM="").exception, UsageError)
    wrong = run("-", "--as", "pinpoit").exception
    assert isinstance(wrong, SettingsError)
    assert 'did you mean "pinpoint"?' in str(wrong)
