"""What people ask of the state, named: `explain`, `state`, `plan`. Nothing of the hot path.

Read beside the worker and for a bounded time (reading.py), so these may read a whole table.
"""

# ruff: noqa: S608  the parts of these statements are constants, never input

from __future__ import annotations

from worker.store import statements

JOURNAL_OF = f"""
SELECT {statements.JOURNAL_COLUMNS} FROM journal WHERE user_id = ? ORDER BY id DESC LIMIT ?
"""
CLAIMS_OF = f"""
SELECT {statements.CLAIM_COLUMNS}, {statements.SENT_COLUMNS} FROM claims WHERE user_id = ?
ORDER BY claimed_ms DESC, send_id LIMIT ?
"""
UNCERTAIN_CLAIMS = f"""
SELECT {statements.CLAIM_COLUMNS}, {statements.SENT_COLUMNS} FROM claims WHERE state = 'uncertain'
ORDER BY claimed_ms DESC, send_id LIMIT ?
"""
RECENCY_BANDS = """
SELECT count(*),
  count(*) FILTER (WHERE last_active_ms > :now_ms - :day_ms),
  count(*) FILTER (WHERE last_active_ms > :now_ms - 7 * :day_ms),
  count(*) FILTER (WHERE last_active_ms > :now_ms - 30 * :day_ms)
FROM users
"""
EPISODES_OPEN_BY_STAGE = """
SELECT rule, stage, hold, count(*) FROM episodes INDEXED BY episodes_open
WHERE closed_ms IS NULL GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""
CLAIMS_BY_STATE = "SELECT state, channel, count(*) FROM claims GROUP BY 1, 2 ORDER BY 1, 2"
ALL_POSITIONS = """
SELECT stream, shard_id, sequence_number, start_at_ms, ended FROM positions
ORDER BY stream, shard_id
"""
DEAD_LETTERS_BY_REASON = "SELECT reason, count(*) FROM dead_letters GROUP BY 1 ORDER BY 1"
DEAD_LETTERS = f"""
SELECT {statements.DEAD_LETTER_COLUMNS} FROM dead_letters ORDER BY id DESC LIMIT ?
"""
# An episode is counted at the stage that has its conversion, else at the last that was sent.
CONVERSIONS = """
SELECT rule, arm, coalesce(converted_stage, last_stage), count(*), count(converted_ms) FROM episodes
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""
OUTCOMES = """
SELECT rule, outcome, count(*) FROM episodes WHERE closed_ms IS NOT NULL
GROUP BY 1, 2 ORDER BY 1, 2
"""
SPENT_SINCE = "SELECT channel, sum(micros) FROM spends WHERE at_ms >= ? GROUP BY 1 ORDER BY 1"
ATTRIBUTES = "SELECT attributes, user_attributes FROM endpoints ORDER BY rowid DESC LIMIT ?"
USERS_AFTER = "SELECT user_id FROM users WHERE user_id > ? ORDER BY user_id LIMIT ?"
RECENCY_AFTER = """
SELECT user_id, last_active_ms, EXISTS (
  SELECT 1 FROM episodes AS e WHERE e.user_id = users.user_id AND e.closed_ms IS NULL
) FROM users WHERE user_id > ? ORDER BY user_id LIMIT ?
"""
