-- A database of schema version 1, as the collector of that version left it: one session with two
-- records that never arrived and one that was refused, and a source that lost four before it spoke
-- of any session.

CREATE TABLE projects (
    key INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);

CREATE TABLE sources (
    key INTEGER PRIMARY KEY,
    project INTEGER NOT NULL,
    id TEXT NOT NULL,
    mark INTEGER NOT NULL DEFAULT 0,          -- records up to this number are settled
    unattributed INTEGER NOT NULL DEFAULT 0,  -- missing records no session is known for yet
    last_session INTEGER,
    last_seen_at INTEGER NOT NULL DEFAULT 0,  -- by the collector's clock
    ended INTEGER NOT NULL DEFAULT 0,
    pid INTEGER,
    boot_id TEXT,
    sdk TEXT,
    started_at INTEGER,
    host TEXT,                      -- JSON
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
    cost INTEGER NOT NULL DEFAULT 0,
    costs_known INTEGER NOT NULL DEFAULT 0,
    costs_unknown INTEGER NOT NULL DEFAULT 0,
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
    missing_records INTEGER NOT NULL DEFAULT 0,
    UNIQUE (project, id)
);
CREATE INDEX sessions_started ON sessions (project, started_at);

CREATE TABLE session_sources (
    session INTEGER NOT NULL,
    source INTEGER NOT NULL,
    left_at INTEGER NOT NULL,       -- by the collector's clock; 0 if it did not leave
    PRIMARY KEY (session, source)
) WITHOUT ROWID;
CREATE INDEX session_sources_source ON session_sources (source);

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
    kind TEXT NOT NULL,             -- tag, name, error, agent, model
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

CREATE TABLE keys (
    id TEXT PRIMARY KEY,
    project TEXT NOT NULL,
    hash BLOB NOT NULL,
    hint TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) WITHOUT ROWID;

INSERT INTO "events" VALUES(4294967297,1,4294967297,1,NULL,'llm','step',NULL,'Success',1800000000004000000,1800000000005000000,'m',NULL,3,NULL,NULL,NULL,NULL,X'7B22616D6F756E74223A22302E35222C2263757272656E6379223A22555344222C22736F75726365223A2270726F7669646572222C227461626C65223A6E756C6C7D',NULL,X'7B22706172616D73223A7B2271223A317D7D');
INSERT INTO "labels" VALUES(1,1,'name','step');
INSERT INTO "labels" VALUES(2,1,'model','m');
INSERT INTO "labels" VALUES(3,1,'tag','eval');
INSERT INTO "projects" VALUES(1,'default');
INSERT INTO "session_labels" VALUES(1,1);
INSERT INTO "session_labels" VALUES(2,1);
INSERT INTO "session_labels" VALUES(3,1);
INSERT INTO "session_models" VALUES(1,2,1,3,0,500000000,1,0);
INSERT INTO "session_sources" VALUES(1,1,1800000000000000000);
INSERT INTO "sessions" VALUES(1,1,'00000000-0000-7000-8000-000000000001','nightly',1800000000002000000,1800000000002000000,1800000000007000000,1800000000002000000,'Fail','no',1800000000006000000,NULL,'["eval"]',1,500000000,1,0,3,0,0,0,1,0,1,0,0,0,3);
INSERT INTO "sources" VALUES(1,1,'00000000-0000-7000-8000-00000000a001',7,0,1,1800000000000000000,0,7,NULL,NULL,NULL,'{"os": {"name": "Linux"}}');
INSERT INTO "sources" VALUES(2,1,'00000000-0000-7000-8000-00000000a002',5,4,NULL,1800000000000000000,0,8,NULL,NULL,NULL,NULL);
INSERT INTO "statements" VALUES(1,1,2,X'7B2274797065223A2273657373696F6E222C22736571223A322C226174223A313830303030303030303030323030303030302C2273657373696F6E223A2230303030303030302D303030302D373030302D383030302D303030303030303030303031222C226E616D65223A226E696768746C79222C2274616773223A5B226576616C225D7D');
INSERT INTO "statements" VALUES(1,1,7,X'7B2274797065223A2273657373696F6E5F656E646564222C22736571223A372C226174223A313830303030303030303030373030303030302C2273657373696F6E223A2230303030303030302D303030302D373030302D383030302D303030303030303030303031222C22736169645F6279223A2275736572222C22656E6465645F6174223A313830303030303030303030363030303030302C227374617465223A224661696C222C22726561736F6E223A226E6F227D');
PRAGMA user_version = 1;
