-- What the hub's stream for a device holds beside answers, which have their numbers in `answer`:
-- refusals of its records, directives. `subject` says what a directive is about; the latest of a
-- kind and subject holds.
CREATE TABLE down (
    id           INTEGER PRIMARY KEY,
    device       INTEGER NOT NULL REFERENCES device (id),
    stream_epoch INTEGER NOT NULL,
    stream_seq   INTEGER NOT NULL,
    kind         TEXT NOT NULL,
    subject      TEXT NOT NULL,
    record       BLOB NOT NULL,
    created_ms   INTEGER NOT NULL,
    delivered_ms INTEGER,
    UNIQUE (device, stream_epoch, stream_seq)
) STRICT;
CREATE INDEX down_waiting ON down (device, stream_seq) WHERE delivered_ms IS NULL;
CREATE INDEX down_by_subject ON down (device, kind, subject, id);
