"""The SQL statements about money, silences and rule sets, named. Small tables, all of them.

The tables are described in migrations.py.
"""

# ruff: noqa: S608  the parts of these statements are constants of this file, never input

from __future__ import annotations

# --- money -------------------------------------------------------------------------------------

ADD_SPEND = """
INSERT INTO spends (at_ms, channel, micros) VALUES (?, ?, ?)
ON CONFLICT (at_ms, channel) DO UPDATE SET micros = micros + excluded.micros
"""
GIVE_BACK = "UPDATE spends SET micros = micros - ? WHERE at_ms = ? AND channel = ?"
SPENDS = """
SELECT channel, at_ms, micros FROM spends WHERE at_ms > ? AND micros > 0 ORDER BY at_ms, channel
"""
PRUNE_SPENDS = "DELETE FROM spends WHERE at_ms < ?"

# --- silences ----------------------------------------------------------------------------------

SILENCE_COLUMNS = "silence_id, kind, matchers, begins_ms, ends_ms, author, comment"
SILENCES_STANDING = f"""
SELECT {SILENCE_COLUMNS} FROM silences WHERE ends_ms IS NULL OR ends_ms > ? ORDER BY silence_id
"""
COUNT_SILENCES = "SELECT count(*) FROM silences WHERE ends_ms IS NULL OR ends_ms > ?"
SILENCE = f"SELECT {SILENCE_COLUMNS} FROM silences WHERE silence_id = ?"
ALL_SILENCES = f"SELECT {SILENCE_COLUMNS} FROM silences ORDER BY silence_id DESC LIMIT ?"
ADD_SILENCE = f"INSERT INTO silences ({SILENCE_COLUMNS}) VALUES (NULL, ?, ?, ?, ?, ?, ?)"
END_SILENCE = """
UPDATE silences SET ends_ms = :now_ms, ended_by = :author
WHERE silence_id = :silence_id AND (ends_ms IS NULL OR ends_ms > :now_ms)
"""
# The newest row stays, so that no id is given twice.
PRUNE_SILENCES = """
DELETE FROM silences WHERE ends_ms < ? AND silence_id < (SELECT max(silence_id) FROM silences)
"""

# --- rule sets ---------------------------------------------------------------------------------

RULE_SET_IN_FORCE = """
SELECT id, revision, rearm_after_ms, sends_for_ms, adopted_ms, armed FROM rule_sets
ORDER BY id DESC LIMIT 1
"""
FILES_IN_FORCE = "SELECT contents FROM rule_sets ORDER BY id DESC LIMIT 1"
ADOPT = """
INSERT INTO rule_sets (revision, rearm_after_ms, sends_for_ms, adopted_ms, contents, armed)
VALUES (?, ?, ?, ?, ?, 0) RETURNING id
"""
ARMED = "UPDATE rule_sets SET armed = 1 WHERE id = ?"
KEEP_FILES = "UPDATE rule_sets SET contents = ? WHERE id = ? AND contents IS NULL"
PUT_LADDER = """
INSERT INTO ladders (rule, revision, rule_set) VALUES (?, ?, ?)
ON CONFLICT (rule, revision) DO UPDATE SET rule_set = excluded.rule_set
"""
# Steps from one ladder that is walked to the next, whatever the number of its episodes.
NEXT_LADDER_WALKED = """
SELECT * FROM (
  SELECT rule, revision FROM episodes INDEXED BY episodes_by_ladder
  WHERE closed_ms IS NULL AND rule = :rule AND revision > :revision ORDER BY revision LIMIT 1
) UNION ALL SELECT * FROM (
  SELECT rule, revision FROM episodes INDEXED BY episodes_by_ladder
  WHERE closed_ms IS NULL AND rule > :rule ORDER BY rule, revision LIMIT 1
) LIMIT 1
"""
FILES_OF_LADDER = """
SELECT rule_sets.id, contents FROM ladders JOIN rule_sets ON rule_sets.id = rule_set
WHERE rule = ? AND ladders.revision = ?
"""
# What open episodes began with is kept for as long as they are open.
PRUNE_LADDERS = """
DELETE FROM ladders
WHERE rule_set IN (
  SELECT id FROM rule_sets
  WHERE id < (SELECT max(id) FROM rule_sets)
    AND (adopted_ms < :before_ms OR id <= (SELECT max(id) FROM rule_sets) - :kept_max)
) AND NOT EXISTS (
  SELECT 1 FROM episodes INDEXED BY episodes_by_ladder
  WHERE episodes.rule = ladders.rule AND episodes.revision = ladders.revision
    AND closed_ms IS NULL
)
"""
PRUNE_RULE_SETS = """
DELETE FROM rule_sets
WHERE id < (SELECT max(id) FROM rule_sets)
  AND (adopted_ms < :before_ms OR id <= (SELECT max(id) FROM rule_sets) - :kept_max)
  AND id NOT IN (SELECT rule_set FROM ladders)
"""
