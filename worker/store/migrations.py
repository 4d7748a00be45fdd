"""The tables of the state file, as numbered forward migrations.

`MIGRATIONS[n]` leads from schema version n to n + 1; the version is `PRAGMA user_version`. A
migration that was released is never edited: a change is a new one at the end, together with a dump
of the version before it in tests/store (schema_v<n>.sql). Runs no queries of its own; `connection`
executes the scripts when it opens the file.

Enums are stored by their value, times in milliseconds since the epoch, UTC.
"""

from __future__ import annotations

APPLICATION_ID = 0x636D6261
"""`PRAGMA application_id` of a state file: other programs' SQLite files are not taken for ours."""

FIRST = """
CREATE TABLE streams (
  name TEXT PRIMARY KEY,
  created_ms INTEGER NOT NULL,
  recreated INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE positions (
  stream TEXT NOT NULL REFERENCES streams (name),
  shard_id TEXT NOT NULL,
  sequence_number TEXT,
  start_at_ms INTEGER,
  ended INTEGER NOT NULL,
  PRIMARY KEY (stream, shard_id)
) STRICT, WITHOUT ROWID;

-- The hot table: one narrow row per user. Only a look, or an activity that brings the look forward,
-- writes due_ms; last_active_ms moves without touching the index.
CREATE TABLE users (
  user_id TEXT PRIMARY KEY,
  last_active_ms INTEGER NOT NULL,
  due_ms INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX users_by_due ON users (due_ms) WHERE due_ms IS NOT NULL;

-- stamps: JSON object of the fields that are older than at_ms, with their own time.
-- owner: whose endpoint it is, an anonymous user of its own while no event named one.
CREATE TABLE endpoints (
  endpoint_id TEXT PRIMARY KEY,
  at_ms INTEGER NOT NULL,
  stamps TEXT,
  user_id TEXT,
  channel_type TEXT,
  address TEXT,
  active INTEGER,
  opted_out INTEGER,
  timezone TEXT,
  country TEXT,
  locale TEXT,
  platform TEXT,
  attributes TEXT,
  user_attributes TEXT,
  address_hash TEXT,
  owner TEXT NOT NULL AS (coalesce(user_id, 'anonymous:' || endpoint_id)) VIRTUAL
) STRICT;
CREATE INDEX endpoints_by_owner ON endpoints (owner);
CREATE INDEX endpoints_by_address ON endpoints (address_hash) WHERE address_hash IS NOT NULL;

-- No plain address: a suppression outlives the person's erasure.
CREATE TABLE suppressions (
  address_hash TEXT PRIMARY KEY,
  channel TEXT NOT NULL,
  reason TEXT NOT NULL,
  at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE episodes (
  episode_id TEXT PRIMARY KEY,
  user_id TEXT NOT NULL,
  rule TEXT NOT NULL,
  revision TEXT NOT NULL,
  silence_since_ms INTEGER NOT NULL,
  opened_ms INTEGER NOT NULL,
  stage TEXT,
  stage_due_ms INTEGER NOT NULL,
  hold TEXT,
  held_ms INTEGER,
  closed_ms INTEGER,
  outcome TEXT,
  last_stage TEXT,
  UNIQUE (user_id, rule, silence_since_ms),
  CHECK ((closed_ms IS NULL) = (outcome IS NULL)),
  CHECK ((hold IS NULL) = (held_ms IS NULL))
) STRICT;
CREATE INDEX episodes_open ON episodes (user_id) WHERE closed_ms IS NULL;

-- UNIQUE (episode_id, stage, address_hash) is promise P1 as a constraint.
CREATE TABLE claims (
  send_id TEXT PRIMARY KEY,
  user_id TEXT NOT NULL,
  rule TEXT NOT NULL,
  revision TEXT NOT NULL,
  episode_id TEXT NOT NULL REFERENCES episodes (episode_id),
  stage TEXT NOT NULL,
  channel TEXT NOT NULL,
  address_hash TEXT NOT NULL,
  claimed_ms INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  state TEXT NOT NULL,
  reason TEXT,
  retry_ms INTEGER,
  detail TEXT,
  message_id TEXT,
  settled_ms INTEGER,
  receipt TEXT,
  receipt_detail TEXT,
  receipt_ms INTEGER,
  UNIQUE (episode_id, stage, address_hash)
) STRICT;
CREATE INDEX claims_by_user ON claims (user_id, claimed_ms);
CREATE INDEX claims_in_flight ON claims (state) WHERE state = 'claimed';
CREATE INDEX claims_by_message ON claims (message_id) WHERE message_id IS NOT NULL;

CREATE TABLE dead_letters (
  id INTEGER PRIMARY KEY,
  at_ms INTEGER NOT NULL,
  stream TEXT NOT NULL,
  shard_id TEXT NOT NULL,
  sequence_number TEXT NOT NULL,
  reason TEXT NOT NULL,
  detail TEXT NOT NULL,
  bytes INTEGER NOT NULL,
  data BLOB NOT NULL
) STRICT;

CREATE TABLE journal (
  id INTEGER PRIMARY KEY,
  at_ms INTEGER NOT NULL,
  user_id TEXT NOT NULL,
  rule TEXT,
  episode_id TEXT,
  stage TEXT,
  action TEXT NOT NULL,
  reason TEXT NOT NULL,
  until_ms INTEGER,
  outcome TEXT
) STRICT;
CREATE INDEX journal_by_user ON journal (user_id, id);

-- One row per adoption; the last one is in force.
CREATE TABLE rule_sets (
  id INTEGER PRIMARY KEY,
  revision TEXT NOT NULL,
  rearm_after_ms INTEGER,
  sends_for_ms INTEGER NOT NULL,
  adopted_ms INTEGER NOT NULL
) STRICT;
"""

SECOND = """
ALTER TABLE endpoints ADD COLUMN region TEXT;
ALTER TABLE endpoints ADD COLUMN app TEXT;

ALTER TABLE episodes ADD COLUMN last_sent_ms INTEGER;
ALTER TABLE episodes ADD COLUMN arm TEXT NOT NULL DEFAULT 'treated';
ALTER TABLE episodes ADD COLUMN converted_ms INTEGER;
UPDATE episodes SET last_sent_ms = (
  SELECT max(claimed_ms) FROM claims
  WHERE claims.episode_id = episodes.episode_id AND stage = last_stage
) WHERE last_stage IS NOT NULL;
-- Whose stages wait for what, and which ladders are still walked.
CREATE INDEX episodes_held ON episodes (hold, user_id) WHERE hold IS NOT NULL;
CREATE INDEX episodes_by_ladder ON episodes (rule, revision) WHERE closed_ms IS NULL;

ALTER TABLE claims ADD COLUMN variant TEXT NOT NULL DEFAULT '';
ALTER TABLE claims ADD COLUMN cost_micros INTEGER NOT NULL DEFAULT 0;
ALTER TABLE claims ADD COLUMN resend INTEGER NOT NULL DEFAULT 0;
ALTER TABLE claims ADD COLUMN maybe_sent INTEGER NOT NULL DEFAULT 0;
-- claimed_ms is stream time, this the world's; NULL when they are the same.
ALTER TABLE claims ADD COLUMN wall_ms INTEGER;

-- What the claims made in a span of time have cost; `at_ms` is its beginning.
CREATE TABLE spends (
  at_ms INTEGER NOT NULL,
  channel TEXT NOT NULL,
  micros INTEGER NOT NULL CHECK (micros >= 0),
  PRIMARY KEY (at_ms, channel)
) STRICT, WITHOUT ROWID;

-- contents: the files of the set, packed; NULL when they were not kept.
ALTER TABLE rule_sets ADD COLUMN contents BLOB;
-- 0 until every user it may want something of has been made due.
ALTER TABLE rule_sets ADD COLUMN armed INTEGER NOT NULL DEFAULT 1;
-- The latest rule set that has a rule in this revision. Only ladders that somebody walks, or that a
-- kept rule set has, are here.
CREATE TABLE ladders (
  rule TEXT NOT NULL,
  revision TEXT NOT NULL,
  rule_set INTEGER NOT NULL,
  PRIMARY KEY (rule, revision)
) STRICT, WITHOUT ROWID;

-- matchers: JSON list of texts. Written by people, beside the worker.
CREATE TABLE silences (
  silence_id INTEGER PRIMARY KEY,
  kind TEXT NOT NULL,
  matchers TEXT NOT NULL,
  begins_ms INTEGER NOT NULL,
  ends_ms INTEGER,
  author TEXT NOT NULL,
  comment TEXT NOT NULL,
  ended_by TEXT
) STRICT;
"""

THIRD = """
-- taken: a receipt proved that the provider has the message, which no later one takes back.
-- soft_bounces: JSON list of when such a report was told, in milliseconds, the earliest of them.
ALTER TABLE claims ADD COLUMN taken INTEGER NOT NULL DEFAULT 0;
ALTER TABLE claims ADD COLUMN soft_bounces TEXT;
UPDATE claims SET taken = 1 WHERE receipt IN ('delivered', 'buffered');
UPDATE claims SET receipt = 'soft_bounced', soft_bounces = json_array(receipt_ms)
WHERE receipt = 'failed' AND receipt_detail LIKE 'softbounce%';
-- What the stream said of a message while calls were under way whose answer may name it.
CREATE TABLE early_reports (
  message_id TEXT NOT NULL,
  channel TEXT NOT NULL,
  address_hash TEXT NOT NULL DEFAULT '',
  kind TEXT NOT NULL,
  detail TEXT NOT NULL,
  at_ms INTEGER NOT NULL,
  PRIMARY KEY (message_id, address_hash, kind, at_ms, detail)
) STRICT, WITHOUT ROWID;

-- The stage that has a conversion to its credit; later stages do not take it over.
ALTER TABLE episodes ADD COLUMN converted_stage TEXT;
UPDATE episodes SET converted_stage = last_stage WHERE converted_ms IS NOT NULL;

-- Who was erased, as digests of user and endpoint ids; what happened up to then is not read again.
CREATE TABLE forgotten (
  digest TEXT PRIMARY KEY,
  at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- When this file was copied, in a copy and in what became of it.
CREATE TABLE copies (copied_ms INTEGER PRIMARY KEY) STRICT;

-- This state was restored from a copy: until then a rule may have sent what is not known here.
-- rule: '' stands for those of the rule set that is adopted next.
CREATE TABLE restored (
  rule TEXT PRIMARY KEY,
  until_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
"""

FOURTH = """
-- What events of known faces said (touches.py), one row for each batch: MessagePack, endpoint to
-- (seen as it is, active) in milliseconds. Rows that were folded into the tables are deleted; an id
-- never comes twice.
CREATE TABLE touches (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  entries BLOB NOT NULL
) STRICT;
"""

MIGRATIONS: tuple[str, ...] = (FIRST, SECOND, THIRD, FOURTH)
SCHEMA_VERSION = len(MIGRATIONS)


def script_from(version: int) -> str:
    """The one transaction that leads from a schema version to `SCHEMA_VERSION`."""
    pending = "\n".join(MIGRATIONS[version:])
    return (
        f"BEGIN IMMEDIATE;\n{pending}\n"
        f"PRAGMA application_id = {APPLICATION_ID};\n"
        f"PRAGMA user_version = {SCHEMA_VERSION};\nCOMMIT;"
    )
