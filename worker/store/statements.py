"""Every SQL statement of the hot path, named. The tables are described in migrations.py.

What money, silences and rule sets ask is in policy_statements.py, what people ask in queries.py.

Statements work on sets: the keys they are about are put into the temporary tables `wanted` and
`seen` first, and drive the join from there (CROSS JOIN keeps SQLite from turning it around).
A test holds every statement of the hot path to never scan a table that grows with the users.
"""

# ruff: noqa: S608  the parts of these statements are constants of this file, never input

from __future__ import annotations

COUNT_TABLES = "SELECT count(*) FROM sqlite_master WHERE type = 'table'"

TEMPORARY_TABLES = (
    "CREATE TEMP TABLE wanted (key TEXT PRIMARY KEY) WITHOUT ROWID",
    "CREATE TEMP TABLE seen (user_id TEXT PRIMARY KEY, at_ms INTEGER NOT NULL) WITHOUT ROWID",
    """
    CREATE TEMP TABLE touched (
      endpoint_id TEXT PRIMARY KEY, at_ms INTEGER NOT NULL, active_ms INTEGER NOT NULL
    ) WITHOUT ROWID
    """,
)
WANT_NOTHING = "DELETE FROM temp.wanted"
WANT = "INSERT OR IGNORE INTO temp.wanted (key) VALUES (?)"

# --- streams and positions ---------------------------------------------------------------------

STREAM_BORN = "SELECT created_ms, recreated FROM streams WHERE name = ?"
FORGET_POSITIONS = "DELETE FROM positions WHERE stream = ?"
PUT_STREAM = """
INSERT INTO streams (name, created_ms, recreated) VALUES (?, ?, 0)
ON CONFLICT (name) DO UPDATE SET created_ms = excluded.created_ms, recreated = 1
"""
POSITIONS = """
SELECT shard_id, sequence_number, start_at_ms, ended FROM positions
WHERE stream = ? ORDER BY shard_id
"""
POSITION = """
SELECT shard_id, sequence_number, start_at_ms, ended FROM positions
WHERE stream = ? AND shard_id = ?
"""
PUT_POSITION = """
INSERT INTO positions (stream, shard_id, sequence_number, start_at_ms, ended)
VALUES (?, ?, ?, ?, ?)
ON CONFLICT (stream, shard_id) DO UPDATE SET
  sequence_number = excluded.sequence_number,
  start_at_ms = excluded.start_at_ms,
  ended = excluded.ended
"""

# --- address book ------------------------------------------------------------------------------

ENDPOINT_FACTS = (
    "user_id, channel_type, address, active, opted_out, timezone, country, region, locale, "
    "platform, app, attributes, user_attributes"
)
ENTRIES_WANTED = f"""
SELECT endpoint_id, at_ms, stamps, {ENDPOINT_FACTS}
FROM temp.wanted CROSS JOIN endpoints ON endpoint_id = key
"""
PUT_ENTRY = f"""
INSERT INTO endpoints (endpoint_id, at_ms, stamps, {ENDPOINT_FACTS}, address_hash)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
# Whose it is and where it leads changes seldom, and moves entries of two indexes.
CHANGE_REACH = """
UPDATE endpoints SET user_id = ?, channel_type = ?, address = ?, active = ?, address_hash = ?
WHERE endpoint_id = ?
"""
CHANGE_FACTS = """
UPDATE endpoints SET at_ms = ?, stamps = ?, opted_out = ?, timezone = ?, country = ?, region = ?,
  locale = ?, platform = ?, app = ?, attributes = ?, user_attributes = ?
WHERE endpoint_id = ?
"""
TOUCH_ENTRY = "UPDATE endpoints SET at_ms = ?, stamps = ? WHERE endpoint_id = ?"
OWNERS_BY_ENDPOINT = """
SELECT endpoint_id, owner FROM temp.wanted CROSS JOIN endpoints ON endpoint_id = key
"""
OWNERS_BY_ADDRESS = """
SELECT address_hash, owner FROM temp.wanted CROSS JOIN endpoints ON address_hash = key
"""
PUT_SUPPRESSION = """
INSERT INTO suppressions (address_hash, channel, reason, at_ms) VALUES (?, ?, ?, ?)
ON CONFLICT (address_hash) DO UPDATE SET reason = excluded.reason, at_ms = excluded.at_ms
WHERE (excluded.at_ms, excluded.reason) > (at_ms, reason)
"""

# --- recency -----------------------------------------------------------------------------------

SEE_NOBODY = "DELETE FROM temp.seen"
SEE = "INSERT INTO temp.seen (user_id, at_ms) VALUES (?, ?)"
FORGET_UNMOVED = """
DELETE FROM temp.seen
WHERE at_ms <= (SELECT last_active_ms FROM users WHERE users.user_id = seen.user_id)
"""
COUNT_NEW_USERS = """
SELECT count(*) FROM temp.seen
WHERE NOT EXISTS (SELECT 1 FROM users WHERE users.user_id = seen.user_id)
"""
# Leaves due_ms of known users alone: their timers are lazy, and the index is not touched.
MOVE_RECENCY = """
INSERT INTO users (user_id, last_active_ms, due_ms)
SELECT user_id, at_ms, at_ms + :rearm_after_ms FROM temp.seen WHERE true
ON CONFLICT (user_id) DO UPDATE SET last_active_ms = excluded.last_active_ms
"""
BRING_FORWARD = """
UPDATE users SET due_ms = last_active_ms + :rearm_after_ms
WHERE user_id IN (SELECT user_id FROM temp.seen)
  AND (due_ms IS NULL OR due_ms > last_active_ms + :rearm_after_ms)
"""
# No rule can want anything of a user before last_active + rearm_after, but an open episode can.
# Without rules (rearm_after NULL) only the open episodes are left to look at.
_NEXT_LOOK = """CASE
    WHEN EXISTS (SELECT 1 FROM episodes AS e
                 WHERE e.user_id = users.user_id AND e.closed_ms IS NULL) THEN :now_ms
    ELSE max(:now_ms, last_active_ms + :rearm_after_ms) END"""
_NEVER_MS = 2**63 - 1
LOOK_AGAIN = f"""
UPDATE users SET due_ms = {_NEXT_LOOK}
WHERE user_id IN (SELECT key FROM temp.wanted)
  AND {_NEXT_LOOK} < coalesce(due_ms, {_NEVER_MS})
"""
DUE_NOW = """
UPDATE users SET due_ms = :now_ms
WHERE user_id IN (SELECT key FROM temp.wanted) AND (due_ms IS NULL OR due_ms > :now_ms)
"""
RECENCY_WANTED = """
SELECT user_id, last_active_ms FROM temp.wanted CROSS JOIN users ON user_id = key
"""
FORGET_USERS_WANTED = "DELETE FROM users WHERE user_id IN (SELECT key FROM temp.wanted)"

# --- episodes ----------------------------------------------------------------------------------

CLOSE_RETURNED = """
UPDATE episodes SET closed_ms = :now_ms, outcome = 'returned', hold = NULL, held_ms = NULL
WHERE episode_id IN (
  SELECT e.episode_id FROM temp.seen CROSS JOIN episodes AS e ON e.user_id = seen.user_id
  WHERE e.closed_ms IS NULL AND seen.at_ms > e.silence_since_ms
) RETURNING user_id, rule, episode_id, stage
"""
# A stranger becomes a user: what they lived through is the user's story now. A ladder the user is
# on already is not walked twice, and one silence has one episode.
CLOSE_MERGED = """
UPDATE episodes SET closed_ms = :now_ms, outcome = 'cancelled', hold = NULL, held_ms = NULL
WHERE user_id = :stranger AND closed_ms IS NULL AND rule IN (
  SELECT rule FROM episodes
  WHERE user_id = :user_id AND (
    closed_ms IS NULL
    OR silence_since_ms IN (
      SELECT silence_since_ms FROM episodes WHERE user_id = :stranger AND closed_ms IS NULL
    )
  )
) RETURNING user_id, rule, episode_id, stage
"""
MOVE_EPISODES = "UPDATE OR IGNORE episodes SET user_id = :user_id WHERE user_id = :stranger"
MOVE_CLAIMS = "UPDATE claims SET user_id = :user_id WHERE user_id = :stranger"
MOVE_JOURNAL = "UPDATE journal SET user_id = :user_id WHERE user_id = :stranger"
EPISODE_COLUMNS = (
    "episode_id, user_id, rule, revision, silence_since_ms, opened_ms, stage, stage_due_ms, hold, "
    "held_ms, closed_ms, outcome, last_stage, last_sent_ms, arm, converted_ms, converted_stage"
)
# The open ones, and of each rule the closed one whose silence began last, with when the last one
# was over: of a person who was two for a while that may be another.
EPISODES_WANTED = f"""
SELECT {EPISODE_COLUMNS}, CASE WHEN closed_ms IS NOT NULL THEN (
  SELECT max(closed_ms) FROM episodes AS n WHERE n.user_id = e.user_id AND n.rule = e.rule
) END
FROM temp.wanted CROSS JOIN episodes AS e ON user_id = key
WHERE closed_ms IS NULL OR silence_since_ms = (
  SELECT silence_since_ms FROM episodes AS n
  WHERE n.user_id = e.user_id AND n.rule = e.rule AND n.closed_ms IS NOT NULL
  ORDER BY silence_since_ms DESC LIMIT 1
)
"""
# A closed episode never changes again, but that a conversion may be credited to it.
PUT_EPISODE = f"""
INSERT INTO episodes ({EPISODE_COLUMNS})
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (episode_id) DO UPDATE SET
  revision = excluded.revision,
  stage = excluded.stage,
  stage_due_ms = excluded.stage_due_ms,
  hold = excluded.hold,
  held_ms = excluded.held_ms,
  closed_ms = excluded.closed_ms,
  outcome = excluded.outcome,
  last_stage = excluded.last_stage,
  last_sent_ms = excluded.last_sent_ms,
  arm = excluded.arm
WHERE closed_ms IS NULL
"""
MOVE_EPISODE = """
UPDATE episodes SET stage = ?, stage_due_ms = ?, last_stage = ?, last_sent_ms = ?
WHERE episode_id = ? AND closed_ms IS NULL
"""
# The conversion is owed to the stage sent last before it, within the window.
EPISODE_TO_CREDIT = """
SELECT episode_id, last_stage, converted_ms FROM episodes AS e
WHERE user_id = :user_id AND rule = :rule
  AND last_sent_ms <= :at_ms AND last_sent_ms >= :at_ms - :within_ms
  AND (closed_ms IS NULL OR silence_since_ms = (
    SELECT max(silence_since_ms) FROM episodes AS n
    WHERE n.user_id = :user_id AND n.rule = :rule AND n.closed_ms IS NOT NULL
  ))
ORDER BY last_sent_ms DESC, silence_since_ms DESC LIMIT 1
"""
CREDIT = "UPDATE episodes SET converted_ms = ?, converted_stage = ? WHERE episode_id = ?"
WAITING_FOR = """
SELECT DISTINCT user_id FROM episodes WHERE hold = ? AND user_id > ? ORDER BY user_id LIMIT ?
"""

# --- claims ------------------------------------------------------------------------------------

CLAIM_COLUMNS = (
    "send_id, user_id, rule, revision, episode_id, stage, channel, address_hash, claimed_ms, "
    "attempt, state, reason, retry_ms, variant, cost_micros, resend, maybe_sent, wall_ms"
)
SENT_COLUMNS = "detail, message_id, settled_ms, receipt, receipt_detail, receipt_ms"
TOLD_COLUMNS = "receipt, receipt_detail, receipt_ms, taken, soft_bounces"
_CLAIM_OF_C = ", ".join("c." + name for name in CLAIM_COLUMNS.split(", "))
# P1: a row is born once, and comes back to 'claimed' only from 'retry', one attempt later.
PUT_CLAIM = f"""
INSERT INTO claims ({CLAIM_COLUMNS})
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (send_id) DO UPDATE SET
  revision = excluded.revision,
  claimed_ms = excluded.claimed_ms,
  attempt = excluded.attempt,
  variant = excluded.variant,
  cost_micros = excluded.cost_micros,
  resend = excluded.resend,
  maybe_sent = excluded.maybe_sent,
  wall_ms = excluded.wall_ms,
  state = 'claimed', reason = NULL, retry_ms = NULL, detail = NULL, settled_ms = NULL,
  receipt = NULL, receipt_detail = NULL, receipt_ms = NULL, soft_bounces = NULL
WHERE state = 'retry' AND excluded.attempt = attempt + 1
"""
# Of a mailbox that bounced, the reports of all claims up to this one, since the last delivered.
CLAIMS_OF_OPEN_EPISODES = f"""
SELECT {_CLAIM_OF_C}, c.receipt, CASE WHEN c.receipt = 'soft_bounced' THEN (
  SELECT sum(json_array_length(b.soft_bounces)) FROM claims AS b
  WHERE b.user_id = c.user_id AND b.address_hash = c.address_hash
    AND b.soft_bounces IS NOT NULL AND b.claimed_ms <= c.claimed_ms AND b.claimed_ms > coalesce((
      SELECT max(d.claimed_ms) FROM claims AS d
      WHERE d.user_id = c.user_id AND d.address_hash = c.address_hash
        AND d.receipt = 'delivered' AND d.claimed_ms < c.claimed_ms
    ), -1)
) ELSE 0 END
FROM temp.wanted
CROSS JOIN episodes AS e ON e.user_id = key AND e.closed_ms IS NULL
CROSS JOIN claims AS c ON c.episode_id = e.episode_id
ORDER BY c.claimed_ms, c.send_id
"""
SENDS_SINCE = """
SELECT user_id, max(coalesce(wall_ms, claimed_ms)), rule, stage, episode_id, channel
FROM temp.wanted CROSS JOIN claims ON user_id = key AND claimed_ms >= ?
WHERE state IN ('claimed', 'sent', 'uncertain') OR maybe_sent
GROUP BY user_id, episode_id, stage ORDER BY 1, 2
"""
CLAIMS_WANTED = """
SELECT send_id, user_id, channel, address_hash, state, coalesce(wall_ms, claimed_ms), cost_micros,
  taken, maybe_sent
FROM temp.wanted CROSS JOIN claims ON send_id = key
"""
# A receipt may overtake the answer it belongs to (receipts.state_after).
SETTLE = """
UPDATE claims SET
  state = CASE WHEN :state = 'uncertain' AND receipt IS NOT NULL THEN 'sent'
               WHEN :state = 'retry' AND taken THEN 'sent'
               ELSE :state END,
  reason = :reason, retry_ms = :retry_ms, detail = :detail,
  maybe_sent = max(maybe_sent, :maybe_sent),
  message_id = coalesce(:message_id, message_id), settled_ms = :now_ms
WHERE send_id = :send_id AND state = 'claimed'
"""
_AGAIN = "resend AND attempt < :attempts_max"
RECOVER = f"""
UPDATE claims SET
  state = CASE WHEN taken THEN 'sent' WHEN {_AGAIN} THEN 'retry'
               WHEN receipt IS NOT NULL THEN 'sent' ELSE 'uncertain' END,
  retry_ms = CASE WHEN NOT taken AND {_AGAIN} THEN :now_ms END,
  reason = 'stopped_mid_call', maybe_sent = 1, settled_ms = :now_ms
WHERE state = 'claimed'
RETURNING user_id, rule, episode_id, stage, state
"""
_TOLD_OF = f"""
SELECT {_CLAIM_OF_C}, {", ".join("c." + name for name in TOLD_COLUMNS.split(", "))},
  e.closed_ms IS NULL
FROM claims AS c CROSS JOIN episodes AS e USING (episode_id) WHERE c.{{}} = ?
"""
CLAIM_BY_SEND = _TOLD_OF.format("send_id")
CLAIMS_BY_MESSAGE = _TOLD_OF.format("message_id") + " ORDER BY c.send_id"
TELL_CLAIM = """
UPDATE claims SET state = :state, receipt = :receipt, receipt_detail = :detail,
  receipt_ms = :at_ms, taken = :taken, soft_bounces = :soft_bounces
WHERE send_id = :send_id
"""
_MAY_BE_ABOUT = """
SELECT 1 FROM claims WHERE state = 'claimed' AND channel = {0}channel
  AND {0}address_hash IN ('', claims.address_hash)
"""
KEEP_EARLY = f"""
INSERT OR IGNORE INTO early_reports (message_id, channel, address_hash, kind, detail, at_ms)
SELECT :message_id, :channel, :address_hash, :kind, :detail, :at_ms
WHERE EXISTS ({_MAY_BE_ABOUT.format(":")})
  AND (SELECT count(*) FROM early_reports) < :rows_max
"""
ANY_EARLY = "SELECT 1 FROM early_reports LIMIT 1"
TAKE_EARLY = """
DELETE FROM early_reports WHERE message_id = ?
RETURNING channel, address_hash, kind, detail, at_ms
"""
FORGET_EARLY = f"""
DELETE FROM early_reports WHERE NOT EXISTS ({_MAY_BE_ABOUT.format("early_reports.")})
"""
# A send whose user was erased while its call was under way is nobody's (forgotten.py).
USERS_BY_MESSAGE = """
SELECT message_id, user_id, address_hash FROM temp.wanted CROSS JOIN claims ON message_id = key
WHERE user_id NOT GLOB 'forgotten:*'
"""

# --- looks -------------------------------------------------------------------------------------

DUE_USERS = """
SELECT user_id, last_active_ms FROM users WHERE due_ms <= ? ORDER BY due_ms LIMIT ?
"""
ANYBODY_DUE = "SELECT EXISTS (SELECT 1 FROM users WHERE due_ms <= ?)"
NEXT_DUE = "SELECT min(due_ms) FROM users WHERE due_ms IS NOT NULL"
SET_DUE = "UPDATE users SET due_ms = ? WHERE user_id = ?"
# In no order. displaced: a later event showed the address at another user's endpoint; the rowid is
# in the index, so that an address that only one endpoint has costs no row.
ENDPOINTS_OF_OWNERS = f"""
SELECT owner, endpoint_id, endpoints.at_ms, {ENDPOINT_FACTS}, EXISTS (
  SELECT 1 FROM endpoints AS later
  WHERE later.address_hash = endpoints.address_hash AND later.rowid <> endpoints.rowid
    AND later.owner <> endpoints.owner
    AND later.at_ms > endpoints.at_ms AND later.active IS NOT 0
), suppressions.reason
FROM temp.wanted CROSS JOIN endpoints ON owner = key
LEFT JOIN suppressions USING (address_hash)
"""

# --- journal and dead letters ------------------------------------------------------------------

JOURNAL_COLUMNS = "at_ms, user_id, rule, episode_id, stage, action, reason, until_ms, outcome"
TELL = f"INSERT INTO journal ({JOURNAL_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
DEAD_LETTER_COLUMNS = "at_ms, stream, shard_id, sequence_number, reason, detail, bytes, data"
BURY = f"INSERT INTO dead_letters ({DEAD_LETTER_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
TRIM_DEAD_LETTERS = """
DELETE FROM dead_letters WHERE id <= (SELECT max(id) FROM dead_letters) - ?
"""

# --- adopting ----------------------------------------------------------------------------------

NEXT_CHUNK = "SELECT user_id FROM users WHERE user_id >= ? ORDER BY user_id LIMIT 1 OFFSET ?"
WANT_CHUNK = """
INSERT INTO temp.wanted SELECT user_id FROM users WHERE user_id >= ? ORDER BY user_id LIMIT ?
"""

# --- forgetting --------------------------------------------------------------------------------

PRUNE_JOURNAL = """
DELETE FROM journal WHERE id IN (
  SELECT id FROM (SELECT id, at_ms FROM journal ORDER BY id LIMIT :rows_max)
  WHERE at_ms < :before_ms
)
"""
EPISODES_UPTO = """
SELECT max(rowid), count(*)
FROM (SELECT rowid FROM episodes WHERE rowid > ? ORDER BY rowid LIMIT ?)
"""
# The latest closed episode says that a silence was tried already: it stays as long as its user.
WANT_SPENT_EPISODES = """
INSERT INTO temp.wanted SELECT episode_id FROM episodes AS e
WHERE rowid > :after AND rowid <= :upto AND closed_ms < :before_ms AND (
  EXISTS (SELECT 1 FROM episodes AS n WHERE n.user_id = e.user_id AND n.rule = e.rule
          AND n.silence_since_ms > e.silence_since_ms)
  OR NOT EXISTS (SELECT 1 FROM users AS u WHERE u.user_id = e.user_id)
)
"""
FORGET_CLAIMS_WANTED = "DELETE FROM claims WHERE episode_id IN (SELECT key FROM temp.wanted)"
FORGET_EPISODES_WANTED = "DELETE FROM episodes WHERE episode_id IN (SELECT key FROM temp.wanted)"
