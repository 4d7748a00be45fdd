"""The SQL statements of backup, restore and forget, named. None of the hot path but FORGOTTEN_*.

The tables are described in migrations.py.
"""

from __future__ import annotations

# --- who was erased ----------------------------------------------------------------------------

ANYBODY_FORGOTTEN = "SELECT EXISTS (SELECT 1 FROM forgotten)"
FORGOTTEN_WANTED = """
SELECT digest, at_ms FROM temp.wanted CROSS JOIN forgotten ON digest = key
"""
PUT_FORGOTTEN = """
INSERT INTO forgotten (digest, at_ms) VALUES (?, ?)
ON CONFLICT (digest) DO UPDATE SET at_ms = max(at_ms, excluded.at_ms)
"""
ALL_FORGOTTEN = "SELECT digest, at_ms FROM forgotten"
EVERYBODY = """
SELECT user_id FROM users UNION SELECT owner FROM endpoints UNION SELECT user_id FROM episodes
UNION SELECT user_id FROM journal
"""
PRUNE_FORGOTTEN = "DELETE FROM forgotten WHERE at_ms < ?"

# --- erasing one person --------------------------------------------------------------------------

ENDPOINTS_OF = """
SELECT endpoint_id, address, address_hash, channel_type, opted_out, at_ms
FROM endpoints WHERE owner = ?
"""
DROP_ENDPOINT = "DELETE FROM endpoints WHERE endpoint_id = ?"
DROP_USER = "DELETE FROM users WHERE user_id = ?"
DROP_JOURNAL = "DELETE FROM journal WHERE user_id = ?"
EPISODES_OF = """
SELECT episode_id FROM episodes WHERE user_id = :user_id
UNION SELECT episode_id FROM claims WHERE user_id = :user_id
"""
DROP_CLAIMS_SETTLED = "DELETE FROM claims WHERE episode_id = ? AND state <> 'claimed'"
CLAIMS_UNDER_WAY = "SELECT count(*) FROM claims WHERE episode_id = ?"
DROP_EPISODE = "DELETE FROM episodes WHERE episode_id = ?"
# A call is under way and its answer needs a row to go to; the row no longer says whose it is.
DISOWN_CLAIMS = "UPDATE claims SET user_id = :nobody WHERE episode_id = :episode_id"
DISOWN_EPISODE = """
UPDATE episodes SET user_id = :nobody, hold = NULL, held_ms = NULL,
  closed_ms = coalesce(closed_ms, :now_ms), outcome = coalesce(outcome, 'cancelled')
WHERE episode_id = :episode_id
"""
LAST_DEAD_LETTER = "SELECT max(id) FROM dead_letters"
FIRST_DEAD_LETTER = "SELECT min(id) FROM dead_letters"
DEAD_LETTERS_BETWEEN = "SELECT id, data FROM dead_letters WHERE id >= ? AND id < ?"
DROP_DEAD_LETTER = "DELETE FROM dead_letters WHERE id = ?"

# --- copies and what becomes of them -------------------------------------------------------------

PUT_COPIED = "INSERT OR IGNORE INTO copies (copied_ms) VALUES (?)"
COPIED = "SELECT max(copied_ms) FROM copies"
COUNT_USERS = "SELECT count(*), max(last_active_ms) FROM users"
COUNT_POSITIONS = "SELECT count(*) FROM positions WHERE NOT ended"

# Before that instant a rule may have sent what a restored state does not know of.
RESTORED = "SELECT rule, until_ms FROM restored WHERE rule <> ''"
RESTORED_UNTOLD = "SELECT until_ms FROM restored WHERE rule = ''"
PUT_RESTORED = """
INSERT INTO restored (rule, until_ms) VALUES (?, ?)
ON CONFLICT (rule) DO UPDATE SET until_ms = max(until_ms, excluded.until_ms)
"""
PUT_RESTORED_LADDERS = """
INSERT INTO restored (rule, until_ms) SELECT DISTINCT rule, :until_ms FROM ladders WHERE true
ON CONFLICT (rule) DO UPDATE SET until_ms = max(until_ms, excluded.until_ms)
"""
RESTORED_TOLD = "DELETE FROM restored WHERE rule = ''"
# stage NULL: the ladder is done, and there is nothing left that could have been sent.
_IN_DOUBT = "closed_ms IS NULL AND stage IS NOT NULL AND stage_due_ms <= :until_ms"
JOURNAL_IN_DOUBT = f"""
INSERT INTO journal (at_ms, user_id, rule, episode_id, stage, action, reason, outcome)
SELECT :now_ms, user_id, rule, episode_id, stage, 'close', 'restored', 'cancelled'
FROM episodes WHERE {_IN_DOUBT}
"""  # noqa: S608  a constant of this file
CLAIMS_IN_DOUBT = f"""
UPDATE claims SET state = 'uncertain', reason = 'restored', maybe_sent = 1, retry_ms = NULL,
  settled_ms = :now_ms
WHERE state IN ('claimed', 'retry')
  AND episode_id IN (SELECT episode_id FROM episodes WHERE {_IN_DOUBT})
"""  # noqa: S608
CLOSE_IN_DOUBT = f"""
UPDATE episodes SET closed_ms = :now_ms, outcome = 'cancelled', hold = NULL, held_ms = NULL
WHERE {_IN_DOUBT}
"""  # noqa: S608
