"""SQL about touches (touches.py). Statements drive from the keys, as those in statements.py do."""

# ruff: noqa: S608  the parts of these statements are constants of this file, never input

from __future__ import annotations

TOUCH_NOBODY = "DELETE FROM temp.touched"
TOUCH = "INSERT INTO temp.touched (endpoint_id, at_ms, active_ms) VALUES (?, ?, ?)"

ENDPOINTS_ABOUT = "SELECT coalesce(max(rowid), 0) FROM endpoints"
PUT_TOUCHES = "INSERT INTO touches (entries) VALUES (?)"
REPLACE_TOUCHES = "UPDATE touches SET entries = ? WHERE id = ?"
TOUCHES_AFTER = "SELECT id, entries FROM touches WHERE id > ? ORDER BY id"
FIRST_TOUCHES = "SELECT min(id) FROM touches"
FORGET_TOUCHES = """
DELETE FROM touches WHERE id IN (SELECT id FROM touches WHERE id <= ? ORDER BY id LIMIT ?)
"""

MOVE_TOUCHED_USERS = """
UPDATE users SET last_active_ms = t.active_ms FROM (
  SELECT e.owner AS user_id, max(touched.active_ms) AS active_ms
  FROM temp.touched CROSS JOIN endpoints AS e ON e.endpoint_id = touched.endpoint_id
  WHERE touched.active_ms >= 0 GROUP BY e.owner
) AS t
WHERE users.user_id = t.user_id AND users.last_active_ms < t.active_ms
"""
_SEEN_MS = "(SELECT t.at_ms FROM temp.touched AS t WHERE t.endpoint_id = endpoints.endpoint_id)"
MOVE_TOUCHED_ENDPOINTS = f"""
UPDATE endpoints SET at_ms = {_SEEN_MS}
WHERE endpoint_id IN (SELECT endpoint_id FROM temp.touched) AND at_ms < {_SEEN_MS}
"""

ENDPOINTS_OF_WANTED = """
SELECT endpoint_id FROM temp.wanted CROSS JOIN endpoints ON owner = key
"""
ENDPOINTS_AT_WANTED = """
SELECT endpoint_id FROM temp.wanted CROSS JOIN endpoints ON address_hash = key
"""
# Who is on no ladder, is due in time, and shares no address.
CALM_WANTED = """
SELECT e.endpoint_id FROM temp.wanted
CROSS JOIN endpoints AS e ON e.endpoint_id = key
CROSS JOIN users AS u ON u.user_id = e.owner
WHERE (:rearm_after_ms IS NULL OR u.due_ms <= u.last_active_ms + :rearm_after_ms)
  AND NOT EXISTS (SELECT 1 FROM episodes WHERE user_id = e.owner AND closed_ms IS NULL)
  AND NOT EXISTS (
    SELECT 1 FROM endpoints AS o
    WHERE o.address_hash = e.address_hash AND o.endpoint_id <> e.endpoint_id
  )
"""

SHOW_TOUCHED = (
    """
    CREATE TEMP TABLE touched_users (user_id TEXT PRIMARY KEY, active_ms INTEGER) WITHOUT ROWID
    """,
    """
    INSERT INTO temp.touched_users
    SELECT e.owner, max(touched.active_ms)
    FROM temp.touched CROSS JOIN main.endpoints AS e ON e.endpoint_id = touched.endpoint_id
    WHERE touched.active_ms >= 0 GROUP BY e.owner
    """,
    """
    CREATE TEMP VIEW users AS
    SELECT u.user_id, max(u.last_active_ms, coalesce((
      SELECT t.active_ms FROM temp.touched_users AS t WHERE t.user_id = u.user_id
    ), 0)) AS last_active_ms, u.due_ms
    FROM main.users AS u
    """,
)
