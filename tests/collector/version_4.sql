-- A database of schema version 4, as the collector of that version left it: two sessions; the first,
-- which ended, asked a model five times at costs that the provider, a table and nobody said, the
-- second once. Nothing of it is searchable yet.

CREATE TABLE projects (
    key INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
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
    missing TEXT NOT NULL DEFAULT '{}',       -- as a session's, while none is known for them
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
    missing TEXT NOT NULL DEFAULT '{}',       -- records by reason, JSON
    UNIQUE (project, id)
);
CREATE INDEX sessions_started ON sessions (project, started_at);

CREATE INDEX sessions_state ON sessions (project, end_state, started_at);
CREATE INDEX sessions_cost ON sessions (project, CASE WHEN costs_known THEN cost ELSE -1 END);
CREATE INDEX sessions_tokens ON sessions (project, prompt_tokens + completion_tokens);
CREATE INDEX sessions_events ON sessions (project, events);
CREATE INDEX sessions_errors ON sessions (project, errors);
CREATE INDEX sessions_duration ON sessions (project, MAX(0, ended_at - started_at))
    WHERE end_state IS NOT NULL;

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
    kind TEXT NOT NULL,             -- tag, session, reason, name, error, agent, model
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


CREATE INDEX session_labels_session ON session_labels (session);
CREATE INDEX sessions_unsearched ON sessions (key) WHERE searched_seq < last_seq;
CREATE VIRTUAL TABLE texts USING fts5 (
    text, content = '', columnsize = 0, tokenize = 'unicode61 remove_diacritics 2'
);
INSERT INTO texts (texts, rank) VALUES ('crisismerge', 64);
INSERT INTO texts (texts, rank) VALUES ('automerge', 16);


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

CREATE TABLE keys (
    id TEXT PRIMARY KEY,
    project TEXT NOT NULL,
    hash BLOB NOT NULL,
    hint TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) WITHOUT ROWID;
INSERT INTO "day_models" VALUES(1,20833,4,6,5010,501,751000000,3,3);
INSERT INTO "days" VALUES(1,20833,'Success',1,1,1000000000,751000000,5000,500,6,0);
INSERT INTO "events" VALUES(4294967297,1,4294967297,1,NULL,'llm','ask',NULL,'Success',1800000000001000000,1800000000002000000,'gpt-4o','openai',1000,100,NULL,NULL,NULL,X'7B22616D6F756E74223A22302E35222C2263757272656E6379223A22555344222C22736F75726365223A2270726F7669646572222C227461626C65223A6E756C6C7D',NULL,NULL);
INSERT INTO "events" VALUES(4294967298,1,4294967298,1,NULL,'llm','ask',NULL,'Success',1800000000002000000,1800000000003000000,'gpt-4o','openai',1000,100,NULL,NULL,NULL,X'7B22616D6F756E74223A22302E3235222C2263757272656E6379223A22555344222C22736F75726365223A2270726F7669646572222C227461626C65223A6E756C6C7D',NULL,NULL);
INSERT INTO "events" VALUES(4294967299,1,4294967299,1,NULL,'llm','ask',NULL,'Success',1800000000003000000,1800000000004000000,'gpt-4o','openai',1000,100,NULL,NULL,NULL,X'7B22616D6F756E74223A22302E303031222C2263757272656E6379223A22555344222C22736F75726365223A22636F6D7075746564222C227461626C65223A227072696365732031227D',NULL,NULL);
INSERT INTO "events" VALUES(4294967300,1,4294967300,1,NULL,'llm','ask',NULL,'Success',1800000000004000000,1800000000005000000,'gpt-4o','openai',1000,100,NULL,NULL,NULL,X'7B22616D6F756E74223A2237222C2263757272656E6379223A22455552222C22736F75726365223A2270726F7669646572222C227461626C65223A6E756C6C7D',NULL,NULL);
INSERT INTO "events" VALUES(4294967301,1,4294967301,1,NULL,'llm','ask',NULL,'Success',1800000000005000000,1800000000006000000,'gpt-4o','openai',1000,100,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(4294967302,1,4294967302,1,NULL,'tool','search',NULL,'Success',1800000000006000000,1800000000007000000,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,X'7B22746F6F6C5F63616C6C5F6964223A2263616C6C5F31227D');
INSERT INTO "events" VALUES(8589934593,2,8589934593,2,NULL,'llm','ask',NULL,'Success',1800000000001000000,1800000000002000000,'gpt-4o','openai',10,1,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "labels" VALUES(1,1,'name','search');
INSERT INTO "labels" VALUES(2,1,'name','ask');
INSERT INTO "labels" VALUES(3,1,'session','run 1');
INSERT INTO "labels" VALUES(4,1,'model','gpt-4o');
INSERT INTO "labels" VALUES(5,1,'session','run 2');
INSERT INTO "projects" VALUES(1,'default');
INSERT INTO "session_labels" VALUES(1,1);
INSERT INTO "session_labels" VALUES(2,1);
INSERT INTO "session_labels" VALUES(3,1);
INSERT INTO "session_labels" VALUES(4,1);
INSERT INTO "session_labels" VALUES(2,2);
INSERT INTO "session_labels" VALUES(4,2);
INSERT INTO "session_labels" VALUES(5,2);
INSERT INTO "session_models" VALUES(1,4,5,5000,500,751000000,3,2);
INSERT INTO "session_models" VALUES(2,4,1,10,1,0,0,1);
INSERT INTO "session_sources" VALUES(1,1,1800000000000000000);
INSERT INTO "session_sources" VALUES(2,2,0);
INSERT INTO "sessions" VALUES(1,1,'00000000-0000-7000-8000-000000000001','run 1',1800000000000000000,1800000000001000000,1800000000008000000,1800000000000000000,'Success',NULL,1800000001000000000,NULL,'[]',6,0,751000000,3,2,5000,500,0,0,6,0,5,1,0,0,'{}');
INSERT INTO "sessions" VALUES(2,1,'00000000-0000-7000-8000-000000000002','run 2',1800000000000000000,1800000000001000000,1800000000002000000,1800000000000000000,NULL,NULL,NULL,NULL,'[]',1,0,0,0,1,10,1,0,0,1,0,1,0,0,0,'{}');
INSERT INTO "sources" VALUES(1,1,'00000000-0000-7000-8000-00000000a001',8,1,1800000000000000000,0,NULL,NULL,NULL,NULL,NULL,'{}');
INSERT INTO "sources" VALUES(2,1,'00000000-0000-7000-8000-00000000a002',2,2,1800000000000000000,0,NULL,NULL,NULL,NULL,NULL,'{}');
INSERT INTO "statements" VALUES(1,1,1,X'7B2274797065223A2273657373696F6E222C22736571223A312C226174223A313830303030303030303030313030303030302C2273657373696F6E223A2230303030303030302D303030302D373030302D383030302D303030303030303030303031222C226E616D65223A2272756E2031222C22737461727465645F6174223A313830303030303030303030303030303030307D');
INSERT INTO "statements" VALUES(1,1,8,X'7B2274797065223A2273657373696F6E5F656E646564222C22736571223A382C226174223A313830303030303030303030383030303030302C2273657373696F6E223A2230303030303030302D303030302D373030302D383030302D303030303030303030303031222C22736169645F6279223A2275736572222C22656E6465645F6174223A313830303030303030313030303030303030302C227374617465223A2253756363657373227D');
INSERT INTO "statements" VALUES(2,2,1,X'7B2274797065223A2273657373696F6E222C22736571223A312C226174223A313830303030303030303030313030303030302C2273657373696F6E223A2230303030303030302D303030302D373030302D383030302D303030303030303030303032222C226E616D65223A2272756E2032222C22737461727465645F6174223A313830303030303030303030303030303030307D');
PRAGMA user_version = 4;
