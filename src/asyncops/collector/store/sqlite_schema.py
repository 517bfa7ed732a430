"""
The tables of the SQLite store, and how a connection to them is opened.

Sums of a session stand in its row, those of a day in the day's, and both move in the transaction
that brings the events, so nothing that lists or adds up ever looks at events. Each order that a
list can have is an index. Costs are integer nano-dollars: floats drift.
"""

# ruff: noqa: S608 - SQL is put together from texts of ours alone

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

import msgspec

from ..._events import MAX_LABEL_CHARS, Cost
from ..._exceptions import StoreError
from .base import is_refused, nano_dollars
from .fingerprints import fingerprint
from .sqlite_errors import unavailable

__all__ = [
    "DAY",
    "MAX_SUM",
    "SEQ_BITS",
    "event_id",
    "event_number",
    "open_reader",
    "open_writer",
]

VERSION = 10
"""What `PRAGMA user_version` says of a file that has these tables."""

SEQ_BITS = 32
"""
An event's key is its session's key and, in this many bits, its order of arrival there: a session's
events lie together in the file and are read in order without an index for it.
"""

DAY = 86_400_000_000_000
"""Nanoseconds."""

MAX_SUM = 2**62 - 1
"""Where sums stop: hostile counts must not overflow SQLite's integers into floats."""

ORDERS = """
CREATE INDEX sessions_state ON sessions (project, end_state, started_at);
CREATE INDEX sessions_cost ON sessions (project, CASE WHEN costs_known THEN cost ELSE -1 END);
CREATE INDEX sessions_tokens ON sessions (project, prompt_tokens + completion_tokens);
CREATE INDEX sessions_events ON sessions (project, events);
CREATE INDEX sessions_errors ON sessions (project, errors);
CREATE INDEX sessions_duration ON sessions (project, MAX(0, ended_at - started_at))
    WHERE end_state IS NOT NULL;
"""
"""What lists of sessions are sorted and narrowed down by."""

TEXTS = """
CREATE INDEX session_labels_session ON session_labels (session);
CREATE INDEX sessions_unsearched ON sessions (key) WHERE searched_seq < last_seq;
CREATE VIRTUAL TABLE texts USING fts5 (
    text, content = '', columnsize = 0, tokenize = 'unicode61 remove_diacritics 2'
);
INSERT INTO texts (texts, rank) VALUES ('crisismerge', 64);
INSERT INTO texts (texts, rank) VALUES ('automerge', 16);
"""
"""
What is searched beside labels: the words of closed events, by the event's key (sqlite_texts.py).
FTS5 merges what it appended sixteen by sixteen instead of four by four: half a million events cost
30 % less processor time and 38 % less writing, and a word is looked up in 0.1 ms instead of 0.06.
Merging bit by bit keeps up; only where it does not are 64 merged at once.
"""

MISSING = """
CREATE INDEX sessions_missing ON sessions (project) WHERE missing <> '{}';
"""
"""Those with missing records are few."""

DAYS = """
CREATE TABLE days (                 -- of the sessions that ended, by the day they started
    project INTEGER NOT NULL,
    day INTEGER NOT NULL,           -- since the epoch
    end_state TEXT NOT NULL,
    sessions INTEGER NOT NULL,
    priced INTEGER NOT NULL,        -- those with a cost
    duration NOT NULL,              -- these sums are text where they are too large for an integer
    cost NOT NULL,
    prompt_tokens NOT NULL,
    completion_tokens NOT NULL,
    events NOT NULL,
    errors NOT NULL,
    PRIMARY KEY (project, day, end_state)
) WITHOUT ROWID;

CREATE TABLE day_models (           -- what session_models adds up to, by the day sessions started
    project INTEGER NOT NULL,
    day INTEGER NOT NULL,
    model INTEGER NOT NULL,
    calls INTEGER NOT NULL,
    prompt_tokens NOT NULL,
    completion_tokens NOT NULL,
    cost NOT NULL,
    costs_known INTEGER NOT NULL,
    costs_unknown INTEGER NOT NULL,
    PRIMARY KEY (project, day, model)
) WITHOUT ROWID;
"""

TOOL_CALLS = """
CREATE TABLE tool_calls (           -- by the id that a model gave them
    session INTEGER NOT NULL,
    id TEXT NOT NULL,
    asked INTEGER NOT NULL,         -- whether the event asked for it, or else carried it out
    event INTEGER NOT NULL,
    PRIMARY KEY (session, id, asked, event)
) WITHOUT ROWID;
"""

DELETED = """
CREATE TABLE deleted (              -- sessions that must not come back
    key INTEGER PRIMARY KEY,        -- what theirs was; no other gets it
    project INTEGER NOT NULL,
    id TEXT NOT NULL,
    searched_seq INTEGER NOT NULL,  -- as a session's
    waiting INTEGER NOT NULL,       -- whether events of it wait to be taken out
    UNIQUE (project, id)
);
CREATE INDEX deleted_waiting ON deleted (key) WHERE waiting;
CREATE INDEX session_sources_source ON session_sources (source);
"""

STARRED = """
CREATE INDEX sessions_starred ON sessions (project) WHERE starred;
"""
"""Those that people starred are few."""

SCORED = """
CREATE INDEX sessions_scored ON sessions (project, score) WHERE score IS NOT NULL;
"""

SESSION_AGENTS = """
CREATE TABLE session_agents (       -- those that took part
    session INTEGER NOT NULL,
    agent INTEGER NOT NULL,         -- a label; 0 where no agent spent it
    calls INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL, -- these and what follows of other events, too
    completion_tokens INTEGER NOT NULL,
    cost INTEGER NOT NULL,
    costs_known INTEGER NOT NULL,
    costs_unknown INTEGER NOT NULL,
    PRIMARY KEY (session, agent)
) WITHOUT ROWID;
"""

TABLES = f"""
CREATE TABLE projects (
    key INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    annotator TEXT                  -- the source whose records are what people say here
);

CREATE TABLE sources (
    key INTEGER PRIMARY KEY,
    project INTEGER NOT NULL,
    id TEXT NOT NULL,
    mark INTEGER NOT NULL DEFAULT 0,          -- records up to this number are settled
    last_session INTEGER,
    last_seen_at INTEGER NOT NULL DEFAULT 0,  -- by the collector's clock
    ended INTEGER NOT NULL DEFAULT 0,
    pid INTEGER,
    boot_id TEXT,
    sdk TEXT,
    started_at INTEGER,
    host TEXT,                      -- JSON
    missing TEXT NOT NULL DEFAULT '{{}}',       -- as a session's, while none is known for them
    UNIQUE (project, id)
);

CREATE TABLE sessions (
    key INTEGER PRIMARY KEY,
    project INTEGER NOT NULL,
    id TEXT NOT NULL,
    name TEXT,
    owner_started_at INTEGER,
    first_at INTEGER NOT NULL,
    last_record_at INTEGER NOT NULL,
    started_at INTEGER NOT NULL,    -- owner_started_at, else first_at
    end_state TEXT,
    reason TEXT,
    ended_at INTEGER,
    video TEXT,
    tags TEXT NOT NULL DEFAULT '[]',  -- JSON
    last_seq INTEGER NOT NULL DEFAULT 0,      -- of its events
    searched_seq INTEGER NOT NULL DEFAULT 0,  -- the words of those up to this one are in texts
    cost INTEGER NOT NULL DEFAULT 0,
    costs_known INTEGER NOT NULL DEFAULT 0,
    costs_unknown INTEGER NOT NULL DEFAULT 0,
    costs_from TEXT NOT NULL DEFAULT '[]',    -- [source, currency, table, events] of those, JSON
    prompt_tokens INTEGER NOT NULL DEFAULT 0,
    completion_tokens INTEGER NOT NULL DEFAULT 0,
    cached_tokens INTEGER NOT NULL DEFAULT 0,
    reasoning_tokens INTEGER NOT NULL DEFAULT 0,
    events INTEGER NOT NULL DEFAULT 0,
    actions INTEGER NOT NULL DEFAULT 0,
    llms INTEGER NOT NULL DEFAULT 0,
    tools INTEGER NOT NULL DEFAULT 0,
    agents INTEGER NOT NULL DEFAULT 0,
    errors INTEGER NOT NULL DEFAULT 0,
    missing TEXT NOT NULL DEFAULT '{{}}',       -- records by reason, JSON
    starred INTEGER NOT NULL DEFAULT 0,
    score REAL,                     -- the last that somebody gave it as a whole
    UNIQUE (project, id)
);
CREATE INDEX sessions_started ON sessions (project, started_at);
{ORDERS}{MISSING}{STARRED}{SCORED}
CREATE TABLE session_sources (
    session INTEGER NOT NULL,
    source INTEGER NOT NULL,
    left_at INTEGER NOT NULL,       -- by the collector's clock; 0 if it did not leave
    PRIMARY KEY (session, source)
) WITHOUT ROWID;

CREATE TABLE statements (           -- what fold.py folds
    session INTEGER NOT NULL,
    source INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    line BLOB NOT NULL,
    PRIMARY KEY (session, source, seq)
) WITHOUT ROWID;

CREATE TABLE events (
    key INTEGER PRIMARY KEY,        -- session << SEQ_BITS | seq
    session INTEGER NOT NULL,
    id INTEGER NOT NULL,            -- 16 hex digits as a signed number
    source INTEGER NOT NULL,
    parent INTEGER,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    agent TEXT,
    state TEXT,                     -- NULL while it is open
    started_at INTEGER NOT NULL,
    ended_at INTEGER,
    model TEXT,
    provider TEXT,
    prompt_tokens INTEGER,
    completion_tokens INTEGER,
    cached_tokens INTEGER,
    reasoning_tokens INTEGER,
    time_to_first_token INTEGER,
    cost BLOB,                      -- JSON
    error TEXT,
    payload BLOB,                   -- JSON; last, so that a timeline need not read past it
    UNIQUE (session, id)
);

CREATE TABLE labels (               -- texts that sessions are found by
    key INTEGER PRIMARY KEY,
    project INTEGER NOT NULL,
    kind TEXT NOT NULL,             -- tag, session, reason, name, error, fingerprint, agent, model
    text TEXT NOT NULL,
    UNIQUE (project, kind, text)
);

CREATE TABLE session_labels (
    label INTEGER NOT NULL,
    session INTEGER NOT NULL,
    PRIMARY KEY (label, session)
) WITHOUT ROWID;

CREATE TABLE session_models (
    session INTEGER NOT NULL,
    model INTEGER NOT NULL,         -- a label; 0 where the event named none
    calls INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    cost INTEGER NOT NULL,
    costs_known INTEGER NOT NULL,
    costs_unknown INTEGER NOT NULL,
    PRIMARY KEY (session, model)
) WITHOUT ROWID;

{SESSION_AGENTS}
{TOOL_CALLS}
{TEXTS}
{DAYS}{DELETED}
CREATE TABLE keys (
    id TEXT PRIMARY KEY,
    project TEXT NOT NULL,
    hash BLOB NOT NULL,
    hint TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) WITHOUT ROWID;
"""


def _total(expression: str) -> str:
    """
    SQL for a sum over a group: SQLite's own stops with an error where hostile counts are too large.
    """
    return f"(SUM(({expression}) >> 32) << 32) + SUM(({expression}) & 4294967295)"


def _bounded_total(expression: str) -> str:
    """
    SQL for a sum over a group that stops where the sums of a session do.
    """
    high = f"MIN(SUM(({expression}) >> 32), {(MAX_SUM >> 32) + 1})"
    return f"MIN(({high} << 32) + SUM(({expression}) & 4294967295), {MAX_SUM})"


MIGRATIONS = {
    1: """
ALTER TABLE sources ADD COLUMN missing TEXT NOT NULL DEFAULT '{}';
UPDATE sources SET missing = json_object('unknown', unattributed) WHERE unattributed;
ALTER TABLE sources DROP COLUMN unattributed;
ALTER TABLE sessions ADD COLUMN missing TEXT NOT NULL DEFAULT '{}';
UPDATE sessions SET missing = json_object('unknown', missing_records) WHERE missing_records;
ALTER TABLE sessions DROP COLUMN missing_records;
""",
    2: f"""
{ORDERS}{DAYS}
INSERT INTO days SELECT project, started_at / {DAY}, end_state, COUNT(*), SUM(costs_known > 0),
    {_total("MAX(0, ended_at - started_at)")}, {_total("cost")}, {_total("prompt_tokens")},
    {_total("completion_tokens")}, {_total("events")}, {_total("errors")}
    FROM sessions WHERE end_state IS NOT NULL GROUP BY 1, 2, 3;
INSERT INTO day_models SELECT s.project, s.started_at / {DAY}, m.model, SUM(m.calls),
    {_total("m.prompt_tokens")}, {_total("m.completion_tokens")}, {_total("m.cost")},
    SUM(m.costs_known), SUM(m.costs_unknown)
    FROM session_models m JOIN sessions s ON s.key = m.session GROUP BY 1, 2, 3;
CREATE TEMP TABLE said AS
    SELECT project, key, 'session' AS kind, name AS text FROM sessions WHERE name IS NOT NULL
    UNION ALL SELECT project, key, 'reason', substr(reason, 1, {MAX_LABEL_CHARS})
    FROM sessions WHERE reason IS NOT NULL;
INSERT OR IGNORE INTO labels (project, kind, text) SELECT project, kind, text FROM said;
INSERT INTO session_labels
    SELECT l.key, said.key FROM said JOIN labels l USING (project, kind, text);
DROP TABLE said;
""",
    3: f"""
ALTER TABLE sessions ADD COLUMN searched_seq INTEGER NOT NULL DEFAULT 0;
DROP INDEX session_sources_source;
{TEXTS}""",
    4: f"""
{TOOL_CALLS}
ALTER TABLE sessions ADD COLUMN costs_from TEXT NOT NULL DEFAULT '[]';
CREATE TEMP TABLE said AS
    SELECT session, json_extract(cost, '$.source') AS source,
    json_extract(cost, '$.currency') AS currency, json_extract(cost, '$.table') AS table_,
    COUNT(*) AS events
    FROM (SELECT session, CAST(cost AS TEXT) AS cost FROM events WHERE cost IS NOT NULL)
    GROUP BY 1, 2, 3, 4;
CREATE TEMP TABLE said_of AS
    SELECT session, json_group_array(json_array(source, currency, table_, events)) AS costs
    FROM said GROUP BY session;
UPDATE sessions SET costs_from = said_of.costs FROM said_of WHERE said_of.session = sessions.key;
DROP TABLE said;
DROP TABLE said_of;
""",
    5: f"""
{MISSING}
CREATE TEMP TABLE said AS
    SELECT key, project, fingerprint(text) AS text FROM labels WHERE kind = 'error';
INSERT OR IGNORE INTO labels (project, kind, text) SELECT project, 'fingerprint', text FROM said;
INSERT OR IGNORE INTO session_labels
    SELECT l.key, sl.session FROM said JOIN session_labels sl ON sl.label = said.key
    JOIN labels l ON l.project = said.project AND l.kind = 'fingerprint' AND l.text = said.text;
DROP TABLE said;
""",
    6: DELETED,
    7: f"""
ALTER TABLE projects ADD COLUMN annotator TEXT;
ALTER TABLE sessions ADD COLUMN starred INTEGER NOT NULL DEFAULT 0;
{STARRED}""",
    8: f"""
{SESSION_AGENTS}
INSERT INTO session_agents SELECT e.session, COALESCE(l.key, 0), SUM(e.kind = 'llm'),
    {_bounded_total("COALESCE(e.prompt_tokens, 0)")},
    {_bounded_total("COALESCE(e.completion_tokens, 0)")},
    {_bounded_total("COALESCE(e.nanos, 0)")}, COUNT(e.nanos),
    SUM(e.nanos IS NULL AND (e.cost IS NOT NULL OR (e.kind = 'llm' AND NOT
        is_refused(e.state, e.error, e.prompt_tokens, e.completion_tokens))))
    FROM (
        SELECT session, agent, kind, state, error, prompt_tokens, completion_tokens, cost,
        nano_dollars(cost) AS nanos FROM events WHERE state IS NOT NULL
        AND (kind = 'llm' OR COALESCE(prompt_tokens, completion_tokens, cost) IS NOT NULL)
    ) e JOIN sessions s ON s.key = e.session
    LEFT JOIN labels l ON l.project = s.project AND l.kind = 'agent' AND l.text = e.agent
    GROUP BY 1, 2;
INSERT OR IGNORE INTO session_agents SELECT sl.session, l.key, 0, 0, 0, 0, 0, 0
    FROM labels l JOIN session_labels sl ON sl.label = l.key WHERE l.kind = 'agent';
""",
    9: f"""
ALTER TABLE sessions ADD COLUMN score REAL;
{SCORED}
CREATE TEMP TABLE said AS
    SELECT session, json_extract(line, '$.score') AS score, MAX(json_extract(line, '$.at'))
    FROM (SELECT session, CAST(line AS TEXT) AS line FROM statements)
    WHERE json_extract(line, '$.type') = 'annotation' AND json_extract(line, '$.event') IS NULL
    AND json_extract(line, '$.score') IS NOT NULL GROUP BY session;
UPDATE sessions SET score = said.score FROM said WHERE said.session = sessions.key;
DROP TABLE said;
""",
}
"""What makes the tables of a version those of the next."""


def open_writer(path: Path, *, busy_timeout: float) -> sqlite3.Connection:
    """
    A connection that writes to *path*, which is made if there is no such file.

    Raises:
        StoreError: It is not a database, or was made by a newer version.
    """
    try:
        for missing in reversed([above for above in path.parents if not above.exists()]):
            missing.mkdir(mode=0o700, exist_ok=True)  # with `parents` only the last had the mode
        with contextlib.suppress(FileExistsError):
            # before SQLite does, for the mode; the -wal and -shm files take theirs from this one
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except OSError as error:
        raise StoreError(f"cannot make the database {path}: {error.strerror}") from error
    connection = None
    try:
        connection = _connect(path, busy_timeout)
        for function, arguments in ((fingerprint, 1), (is_refused, 4), (_nano_dollars, 1)):
            name = function.__name__.removeprefix("_")
            connection.create_function(name, arguments, function, deterministic=True)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # or an acknowledgement would be a hope
        connection.execute("PRAGMA cache_size = -65536")
        connection.execute("PRAGMA wal_autocheckpoint = 4000")
        connection.execute("PRAGMA analysis_limit = 1000")  # or an `optimize` would read it all
        _migrate(connection, path)
    except sqlite3.Error as error:
        if connection is not None:
            connection.close()
        raise unavailable(f"cannot open the database {path}", error) from error
    except StoreError:
        if connection is not None:
            connection.close()
        raise
    return connection


def open_reader(path: Path, *, busy_timeout: float) -> sqlite3.Connection:
    """
    A connection that only reads.
    """
    connection = _connect(path, busy_timeout)
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA cache_size = -16384")
    return connection


def event_number(event_id: str) -> int:
    """
    16 hex digits as SQLite keeps them.
    """
    number = int(event_id, 16)
    return number - (1 << 64) if number >> 63 else number


def event_id(number: int) -> str:
    """
    What `event_number` made, as 16 hex digits again.
    """
    return f"{number & 0xFFFF_FFFF_FFFF_FFFF:016x}"


def _nano_dollars(cost: bytes | None) -> int | None:
    """
    The cost of an event, as it is stored, as it is added up.
    """
    return None if cost is None else nano_dollars(msgspec.json.decode(cost, type=Cost))


def _connect(path: Path, busy_timeout: float) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",  # never make one: a file that is gone is an error
        uri=True,
        timeout=busy_timeout,
        isolation_level=None,
        check_same_thread=False,  # a connection moves between threads, one at a time
    )


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise StoreError(
                f"the database {path} was made by a newer asyncops (schema {version}, this one"
                f" knows {VERSION}): upgrade asyncops or choose another file"
            )
        if version == 0:
            if connection.execute("SELECT 1 FROM sqlite_schema").fetchone():
                raise StoreError(f"{path} is a database of something else: choose another file")
            _execute_all(connection, TABLES)
        else:
            for older in range(version, VERSION):
                _execute_all(connection, MIGRATIONS[older])
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _execute_all(connection: sqlite3.Connection, statements: str) -> None:
    for statement in statements.split(";\n"):
        connection.execute(statement)
