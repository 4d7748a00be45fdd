PRAGMA user_version = 4;
PRAGMA application_id = 1668112993;
BEGIN TRANSACTION;
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
  receipt_ms INTEGER, variant TEXT NOT NULL DEFAULT '', cost_micros INTEGER NOT NULL DEFAULT 0, resend INTEGER NOT NULL DEFAULT 0, maybe_sent INTEGER NOT NULL DEFAULT 0, wall_ms INTEGER, taken INTEGER NOT NULL DEFAULT 0, soft_bounces TEXT,
  UNIQUE (episode_id, stage, address_hash)
) STRICT;
INSERT INTO "claims" VALUES('6637ad55d09e855f','ann','winback','r1','fb7a374a893c0f83','nudge','push','f93011b4ec88165a',1794052800000,1,'sent','sent',NULL,NULL,NULL,1794052800000,NULL,NULL,NULL,'warm',5,0,0,NULL,0,NULL);
INSERT INTO "claims" VALUES('e65293d35a2c4f31','bob','winback','r1','5dbad6acecaebd10','nudge','push','ba1439f0cc4e7c07',1794052800000,1,'sent','sent',NULL,NULL,NULL,1794052800000,NULL,NULL,NULL,'warm',5,0,0,NULL,0,NULL);
CREATE TABLE copies (copied_ms INTEGER PRIMARY KEY) STRICT;
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
CREATE TABLE early_reports (
  message_id TEXT NOT NULL,
  channel TEXT NOT NULL,
  address_hash TEXT NOT NULL DEFAULT '',
  kind TEXT NOT NULL,
  detail TEXT NOT NULL,
  at_ms INTEGER NOT NULL,
  PRIMARY KEY (message_id, address_hash, kind, at_ms, detail)
) STRICT, WITHOUT ROWID;
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
, region TEXT, app TEXT) STRICT;
INSERT INTO "endpoints" VALUES('phone-ann',1793448000000,NULL,'ann','GCM','token-phone-ann',1,0,'Asia/Seoul','KR','ko','android','{"plan":["free"]}','{"name":["Ann","A."]}','f93011b4ec88165a','Seoul','app-1');
INSERT INTO "endpoints" VALUES('mail-ann',1793448000000,NULL,'ann','EMAIL','ann@example.com',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'957dc8d5a2cdc8e3',NULL,NULL);
INSERT INTO "endpoints" VALUES('phone-bob',1793448000000,NULL,'bob','GCM','token-phone-bob',1,0,'Asia/Seoul','KR','ko','android','{"plan":["free"]}','{"name":["Ann","A."]}','ba1439f0cc4e7c07','Seoul','app-1');
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
  last_stage TEXT, last_sent_ms INTEGER, arm TEXT NOT NULL DEFAULT 'treated', converted_ms INTEGER, converted_stage TEXT,
  UNIQUE (user_id, rule, silence_since_ms),
  CHECK ((closed_ms IS NULL) = (outcome IS NULL)),
  CHECK ((hold IS NULL) = (held_ms IS NULL))
) STRICT;
INSERT INTO "episodes" VALUES('fb7a374a893c0f83','ann','winback','r1',1793448000000,1794052800000,'mail',1794052800000,NULL,NULL,NULL,NULL,'nudge',1794052800000,'treated',NULL,NULL);
INSERT INTO "episodes" VALUES('5dbad6acecaebd10','bob','winback','r1',1793448000000,1794052800000,'mail',1794052800000,NULL,NULL,1794139200000,'returned','nudge',1794052800000,'treated',1794139200000,'nudge');
CREATE TABLE forgotten (
  digest TEXT PRIMARY KEY,
  at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
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
INSERT INTO "journal" VALUES(1,1794052800000,'ann','winback','fb7a374a893c0f83','nudge','send','claimed',NULL,NULL);
INSERT INTO "journal" VALUES(2,1794052800000,'bob','winback','5dbad6acecaebd10','nudge','send','claimed',NULL,NULL);
INSERT INTO "journal" VALUES(3,1794139200000,'bob','winback','5dbad6acecaebd10','mail','close','active_again',NULL,'returned');
INSERT INTO "journal" VALUES(4,1794139200000,'bob','winback','5dbad6acecaebd10','nudge','credit','converted',NULL,NULL);
CREATE TABLE ladders (
  rule TEXT NOT NULL,
  revision TEXT NOT NULL,
  rule_set INTEGER NOT NULL,
  PRIMARY KEY (rule, revision)
) STRICT, WITHOUT ROWID;
INSERT INTO "ladders" VALUES('winback','r1',1);
CREATE TABLE positions (
  stream TEXT NOT NULL REFERENCES streams (name),
  shard_id TEXT NOT NULL,
  sequence_number TEXT,
  start_at_ms INTEGER,
  ended INTEGER NOT NULL,
  PRIMARY KEY (stream, shard_id)
) STRICT, WITHOUT ROWID;
INSERT INTO "positions" VALUES('events','shard-0','3',NULL,0);
CREATE TABLE restored (
  rule TEXT PRIMARY KEY,
  until_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE rule_sets (
  id INTEGER PRIMARY KEY,
  revision TEXT NOT NULL,
  rearm_after_ms INTEGER,
  sends_for_ms INTEGER NOT NULL,
  adopted_ms INTEGER NOT NULL
, contents BLOB, armed INTEGER NOT NULL DEFAULT 1) STRICT;
INSERT INTO "rule_sets" VALUES(1,'first',604800000,34560000000,1793448000000,X'789CAB562ACEC82FD0AB4CCCCD51B2528A8C702A08CB0DAB4C36CA294BCACA4F4FC972F556D2512A49CD2DC8492C492DD6CF2B4D494F85ABCEB5CC4E0DC94F4F74CFF656AA0500D2AA19F9',1);
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
INSERT INTO "silences" VALUES(1,'silence','["rule=\"winback\""]',1793448000000,NULL,'eve','a mishap',NULL);
CREATE TABLE spends (
  at_ms INTEGER NOT NULL,
  channel TEXT NOT NULL,
  micros INTEGER NOT NULL CHECK (micros >= 0),
  PRIMARY KEY (at_ms, channel)
) STRICT, WITHOUT ROWID;
INSERT INTO "spends" VALUES(1794052800000,'push',10);
CREATE TABLE streams (
  name TEXT PRIMARY KEY,
  created_ms INTEGER NOT NULL,
  recreated INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "streams" VALUES('events',1,0);
CREATE TABLE suppressions (
  address_hash TEXT PRIMARY KEY,
  channel TEXT NOT NULL,
  reason TEXT NOT NULL,
  at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE touches (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  entries BLOB NOT NULL
) STRICT;
CREATE TABLE users (
  user_id TEXT PRIMARY KEY,
  last_active_ms INTEGER NOT NULL,
  due_ms INTEGER
) STRICT, WITHOUT ROWID;
INSERT INTO "users" VALUES('ann',1793448000000,NULL);
INSERT INTO "users" VALUES('anonymous:unnamed',1793534400000,1794139200000);
INSERT INTO "users" VALUES('bob',1794139200000,1794744000000);
CREATE INDEX users_by_due ON users (due_ms) WHERE due_ms IS NOT NULL;
CREATE INDEX endpoints_by_owner ON endpoints (owner);
CREATE INDEX endpoints_by_address ON endpoints (address_hash) WHERE address_hash IS NOT NULL;
CREATE INDEX episodes_open ON episodes (user_id) WHERE closed_ms IS NULL;
CREATE INDEX claims_by_user ON claims (user_id, claimed_ms);
CREATE INDEX claims_in_flight ON claims (state) WHERE state = 'claimed';
CREATE INDEX claims_by_message ON claims (message_id) WHERE message_id IS NOT NULL;
CREATE INDEX journal_by_user ON journal (user_id, id);
CREATE INDEX episodes_held ON episodes (hold, user_id) WHERE hold IS NOT NULL;
CREATE INDEX episodes_by_ladder ON episodes (rule, revision) WHERE closed_ms IS NULL;
DELETE FROM "sqlite_sequence";
COMMIT;
