-- What a device last told of the link that it uses.
ALTER TABLE device ADD COLUMN link TEXT;

-- Outcomes that stay on their device, because the hub asked for a sample or for sketches.
CREATE TABLE withheld (
    device INTEGER NOT NULL REFERENCES device (id),
    epoch  INTEGER NOT NULL,
    first  INTEGER NOT NULL,
    "end"  INTEGER NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (device, epoch, first),
    UNIQUE (device, epoch, "end")
) STRICT, WITHOUT ROWID;

-- Sketches of outcomes, one a task and day.
CREATE TABLE sketch (
    device      INTEGER NOT NULL REFERENCES device (id),
    task        TEXT NOT NULL,
    epoch       INTEGER NOT NULL,
    first       INTEGER NOT NULL,
    "end"       INTEGER NOT NULL,
    from_ms     INTEGER NOT NULL,
    until_ms    INTEGER NOT NULL,
    received_ms INTEGER NOT NULL,
    counts      TEXT NOT NULL,
    PRIMARY KEY (device, task, epoch, first)
) STRICT, WITHOUT ROWID;
