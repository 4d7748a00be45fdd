"""The rules a process takes over with: what the folder says then, not when it began to wait."""

from __future__ import annotations

from pathlib import Path

from worker.app import latest_rules
from worker.rules.folder import fingerprint
from worker.rules.load import load

RULE = """
apiVersion: v1
rules:
  - rule: winback
    inactive_for: 7d
    max_inactive: 60d
    stages:
      - {name: push, channel: push, message: {title: "T", body: "BODY"}}
"""


def write(folder: Path, text: str) -> None:
    (folder / "rules.yaml").write_text(text)


def test_an_edit_while_a_standby_waits_holds_when_it_takes_over(tmp_path: Path) -> None:
    write(tmp_path, RULE)
    seen, rules = fingerprint(tmp_path), load(tmp_path)
    write(tmp_path, RULE.replace("BODY", "Another text."))
    taken = latest_rules(tmp_path, rules, seen)
    assert taken.revision == load(tmp_path).revision != rules.revision


def test_a_folder_that_is_broken_by_then_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path, RULE)
    seen, rules = fingerprint(tmp_path), load(tmp_path)
    write(tmp_path, "rules: [")
    assert latest_rules(tmp_path, rules, seen) is rules


def test_an_untouched_folder_is_not_read_twice(tmp_path: Path) -> None:
    write(tmp_path, RULE)
    seen, rules = fingerprint(tmp_path), load(tmp_path)
    assert latest_rules(tmp_path, rules, seen) is rules
