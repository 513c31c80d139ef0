-- Version 1. Unsigned 64-bit epochs are stored as the signed number with the same bits; times
-- are milliseconds since 1970; lists and decisions are JSON as the API shows them.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Counts that belong to no device.
CREATE TABLE counter (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE device (
    id               INTEGER PRIMARY KEY,
    name             TEXT NOT NULL UNIQUE,
    created_ms       INTEGER NOT NULL,
    revoked_ms       INTEGER,
    -- The hub's answer stream for this device: its epoch, its end, what the device has of it.
    answers_epoch    INTEGER NOT NULL,
    answers_end      INTEGER NOT NULL DEFAULT 0,
    answers_mark     INTEGER NOT NULL DEFAULT 0,
    connected_ms     INTEGER,
    contact_ms       INTEGER,
    version          TEXT,
    config           TEXT,
    clock_offset_ms  INTEGER,
    frames_received  INTEGER NOT NULL DEFAULT 0,
    frames_malformed INTEGER NOT NULL DEFAULT 0,
    frames_refused   INTEGER NOT NULL DEFAULT 0,
    records_applied  INTEGER NOT NULL DEFAULT 0,
    records_repeated INTEGER NOT NULL DEFAULT 0,
    outcomes         INTEGER NOT NULL DEFAULT 0,
    caller_ids       INTEGER NOT NULL DEFAULT 0,
    problem          TEXT,
    problem_ms       INTEGER
) STRICT;

CREATE TABLE certificate (
    serial     TEXT PRIMARY KEY,
    device     INTEGER NOT NULL REFERENCES device (id),
    issued_ms  INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    revoked_ms INTEGER
) STRICT, WITHOUT ROWID;

-- Everything below `mark` is committed here; `device_end` is what the device last said it has.
CREATE TABLE mark (
    device     INTEGER NOT NULL REFERENCES device (id),
    epoch      INTEGER NOT NULL,
    stream     TEXT NOT NULL,
    mark       INTEGER NOT NULL,
    device_end INTEGER NOT NULL,
    PRIMARY KEY (device, epoch, stream)
) STRICT, WITHOUT ROWID;

-- `id` is the order of arrival, for paging.
CREATE TABLE outcome (
    id             INTEGER PRIMARY KEY,
    device         INTEGER NOT NULL REFERENCES device (id),
    epoch          INTEGER NOT NULL,
    seq            INTEGER NOT NULL,
    received_ms    INTEGER NOT NULL,
    task           TEXT NOT NULL,
    caller_id      TEXT,
    at_ms          INTEGER NOT NULL,
    mechanism      TEXT NOT NULL,
    mechanism_name TEXT,
    status         TEXT NOT NULL,
    reason         TEXT,
    escalation_seq INTEGER,
    decision       TEXT,
    confidence_bp  INTEGER NOT NULL,
    package        TEXT NOT NULL,
    config         TEXT NOT NULL,
    decide_us      INTEGER NOT NULL,
    -- JSON: words, words_blank, pieces, windows; null if no model was asked.
    read           TEXT,
    fields_left_out INTEGER NOT NULL,
    text           TEXT,
    text_bytes     INTEGER,
    -- What masked the text that left: 'patterns', 'patterns-and-model', 'model-unavailable'.
    masking        TEXT,
    meta           TEXT NOT NULL,
    UNIQUE (device, epoch, seq)
) STRICT;
CREATE INDEX outcome_by_device ON outcome (device, id);
CREATE INDEX outcome_by_task ON outcome (task, id);
CREATE INDEX outcome_by_caller ON outcome (device, task, caller_id) WHERE caller_id IS NOT NULL;

CREATE TABLE escalation (
    id          INTEGER PRIMARY KEY,
    device      INTEGER NOT NULL REFERENCES device (id),
    epoch       INTEGER NOT NULL,
    seq         INTEGER NOT NULL,
    received_ms INTEGER NOT NULL,
    outcome_seq INTEGER NOT NULL,
    task        TEXT NOT NULL,
    at_ms       INTEGER NOT NULL,
    reason      TEXT NOT NULL,
    text        TEXT,
    text_bytes  INTEGER,
    provisional TEXT,
    candidates  TEXT NOT NULL,
    meta        TEXT NOT NULL,
    ttl_secs    INTEGER NOT NULL,
    state       TEXT NOT NULL,
    UNIQUE (device, epoch, seq)
) STRICT;
CREATE INDEX escalation_by_state ON escalation (state, id);
CREATE INDEX escalation_by_device ON escalation (device, id);
CREATE INDEX escalation_open ON escalation (device) WHERE state = 'open';

-- A device gave up on a ticket whose escalation has not arrived yet (streams are independent).
CREATE TABLE expired_early (
    device INTEGER NOT NULL REFERENCES device (id),
    epoch  INTEGER NOT NULL,
    seq    INTEGER NOT NULL,
    PRIMARY KEY (device, epoch, seq)
) STRICT, WITHOUT ROWID;

-- One answer per escalation; `stream_*` is its place in the answer stream.
CREATE TABLE answer (
    escalation   INTEGER PRIMARY KEY REFERENCES escalation (id),
    device       INTEGER NOT NULL REFERENCES device (id),
    stream_epoch INTEGER NOT NULL,
    stream_seq   INTEGER NOT NULL,
    decision     TEXT NOT NULL,
    given_by     TEXT NOT NULL,
    at_ms        INTEGER NOT NULL,
    note         TEXT,
    record       BLOB NOT NULL,
    delivered_ms INTEGER,
    UNIQUE (device, stream_epoch, stream_seq)
) STRICT;
CREATE INDEX answer_waiting ON answer (device, stream_seq) WHERE delivered_ms IS NULL;

CREATE TABLE event (
    id          INTEGER PRIMARY KEY,
    device      INTEGER NOT NULL REFERENCES device (id),
    epoch       INTEGER NOT NULL,
    seq         INTEGER NOT NULL,
    received_ms INTEGER NOT NULL,
    kind        TEXT NOT NULL,
    detail      TEXT NOT NULL,
    UNIQUE (device, epoch, seq)
) STRICT;
CREATE INDEX event_by_device ON event (device, id);

CREATE TABLE task (
    device  INTEGER NOT NULL REFERENCES device (id),
    task    TEXT NOT NULL,
    kind    TEXT NOT NULL,
    labels  TEXT NOT NULL,
    package TEXT NOT NULL,
    PRIMARY KEY (device, task)
) STRICT, WITHOUT ROWID;

-- Records that will never arrive: what a device reported, and gaps seen here.
CREATE TABLE loss (
    id          INTEGER PRIMARY KEY,
    device      INTEGER NOT NULL REFERENCES device (id),
    epoch       INTEGER NOT NULL,
    stream      TEXT NOT NULL,
    first       INTEGER NOT NULL,
    "end"       INTEGER NOT NULL,
    reason      TEXT NOT NULL,
    received_ms INTEGER NOT NULL,
    UNIQUE (device, epoch, stream, first, "end", reason)
) STRICT;

-- Records that this hub could not use, as they came.
CREATE TABLE rejected (
    id          INTEGER PRIMARY KEY,
    device      INTEGER NOT NULL REFERENCES device (id),
    epoch       INTEGER NOT NULL,
    stream      TEXT NOT NULL,
    seq         INTEGER NOT NULL,
    received_ms INTEGER NOT NULL,
    reason      TEXT NOT NULL,
    record      BLOB NOT NULL,
    UNIQUE (device, epoch, stream, seq)
) STRICT;
