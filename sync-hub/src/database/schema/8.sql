-- The desk: where each open question stands. Whether a question was given its place yet.
ALTER TABLE escalation ADD COLUMN at_desk INTEGER NOT NULL DEFAULT 0;
CREATE INDEX escalation_not_at_desk ON escalation (id) WHERE state = 'open' AND at_desk = 0;

CREATE TABLE desk_case (
    escalation    INTEGER PRIMARY KEY REFERENCES escalation (id),
    route         TEXT NOT NULL,
    step          INTEGER NOT NULL,
    -- 'people', 'model NAME' or 'webhook NAME'.
    place         TEXT NOT NULL,
    -- 'ready': to be asked; 'waiting': its answer comes from outside.
    stage         TEXT NOT NULL,
    tries         INTEGER NOT NULL,
    -- When something is to be done; null: never by itself.
    due_ms        INTEGER,
    deadline_ms   INTEGER,
    -- How many people must agree.
    review        INTEGER NOT NULL,
    -- Who works on it, and until when it is theirs alone: a hub, or a person.
    holder        TEXT,
    held_until_ms INTEGER,
    -- When the answer that people agree on is sent.
    send_ms       INTEGER,
    -- What went wrong last.
    trouble       TEXT
) STRICT;
CREATE INDEX escalation_by_task ON escalation (task, id);
CREATE INDEX desk_case_due ON desk_case (due_ms) WHERE due_ms IS NOT NULL;
CREATE INDEX desk_case_send ON desk_case (send_ms) WHERE send_ms IS NOT NULL;
CREATE INDEX desk_case_place ON desk_case (place, escalation);

-- One word of each person; `record` is the answer as it would be sent.
CREATE TABLE desk_vote (
    escalation INTEGER NOT NULL REFERENCES escalation (id),
    given_by   TEXT NOT NULL,
    at_ms      INTEGER NOT NULL,
    record     BLOB NOT NULL,
    PRIMARY KEY (escalation, given_by)
) STRICT, WITHOUT ROWID;

CREATE TABLE desk_skip (
    escalation INTEGER NOT NULL REFERENCES escalation (id),
    skipped_by TEXT NOT NULL,
    PRIMARY KEY (escalation, skipped_by)
) STRICT, WITHOUT ROWID;

-- Every request to a model or a ticket system, with what it cost in millionths.
CREATE TABLE desk_request (
    id          INTEGER PRIMARY KEY,
    escalation  INTEGER NOT NULL REFERENCES escalation (id),
    place       TEXT NOT NULL,
    at_ms       INTEGER NOT NULL,
    took_ms     INTEGER,
    tokens_in   INTEGER,
    tokens_out  INTEGER,
    cost_micros INTEGER NOT NULL,
    result      TEXT NOT NULL
) STRICT;
CREATE INDEX desk_request_by_escalation ON desk_request (escalation);

-- What was spent or is set aside, by day (days since 1970, UTC).
CREATE TABLE desk_spend (
    place  TEXT NOT NULL,
    day    INTEGER NOT NULL,
    micros INTEGER NOT NULL,
    PRIMARY KEY (place, day)
) STRICT, WITHOUT ROWID;

-- Who may use the page and the API.
CREATE TABLE account (
    id         INTEGER PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    role       TEXT NOT NULL,
    -- Argon2id, as a PHC string.
    password   TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    removed_ms INTEGER
) STRICT;

-- Of sessions and tokens only a SHA-256 is kept.
CREATE TABLE session (
    digest     BLOB PRIMARY KEY,
    account    INTEGER NOT NULL REFERENCES account (id),
    created_ms INTEGER NOT NULL,
    seen_ms    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE token (
    id         INTEGER PRIMARY KEY,
    digest     BLOB NOT NULL UNIQUE,
    account    INTEGER NOT NULL REFERENCES account (id),
    label      TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER,
    revoked_ms INTEGER
) STRICT;

-- Who did what, and when.
CREATE TABLE trail (
    id      INTEGER PRIMARY KEY,
    at_ms   INTEGER NOT NULL,
    who     TEXT NOT NULL,
    what    TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail  TEXT NOT NULL
) STRICT;

-- Outcomes by day of arrival (days since 1970, UTC), for charts and quality: what costs the same
-- at fifty million outcomes. `bin` is the tenth of the model's confidence, or -1 where no model
-- was asked.
CREATE TABLE tally (
    day      INTEGER NOT NULL,
    device   INTEGER NOT NULL REFERENCES device (id),
    task     TEXT NOT NULL,
    package  TEXT NOT NULL,
    status   TEXT NOT NULL,
    bin      INTEGER NOT NULL,
    outcomes INTEGER NOT NULL,
    PRIMARY KEY (day, device, task, package, status, bin)
) STRICT, WITHOUT ROWID;
INSERT INTO tally (day, device, task, package, status, bin, outcomes)
    SELECT received_ms / 86400000, device, task, package, status,
           CASE WHEN mechanism <> 'model' THEN -1
                WHEN confidence_bp >= 10000 THEN 9
                ELSE confidence_bp / 1000 END,
           count(*)
    FROM outcome GROUP BY 1, 2, 3, 4, 5, 6;

-- The model's labels by day; '' is out of scope. Counted since this version.
CREATE TABLE tally_label (
    day      INTEGER NOT NULL,
    device   INTEGER NOT NULL REFERENCES device (id),
    task     TEXT NOT NULL,
    package  TEXT NOT NULL,
    label    TEXT NOT NULL,
    outcomes INTEGER NOT NULL,
    PRIMARY KEY (day, device, task, package, label)
) STRICT, WITHOUT ROWID;

CREATE INDEX escalation_audit ON escalation (received_ms) WHERE reason = 'audit';
