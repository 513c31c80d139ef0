-- Rules that devices decide by before their model, as operators give them.
CREATE TABLE site_rule (
    id         INTEGER PRIMARY KEY,
    -- For devices with this label; '' for all.
    label      TEXT NOT NULL,
    task       TEXT NOT NULL,
    -- The names in the file, one a line.
    names      TEXT NOT NULL,
    file       TEXT NOT NULL,
    -- The question whose answer it came with, and that answer: it holds once that is the answer.
    escalation INTEGER REFERENCES escalation (id),
    decision   TEXT,
    made_by    TEXT NOT NULL,
    made_ms    INTEGER NOT NULL,
    removed_by TEXT,
    removed_ms INTEGER
) STRICT;
CREATE INDEX site_rule_here ON site_rule (task, label) WHERE removed_ms IS NULL;
CREATE INDEX site_rule_by_escalation ON site_rule (escalation) WHERE escalation IS NOT NULL;

-- What each slot of a device was last ordered to hold, and what the device said of it.
CREATE TABLE rule_slot (
    device  INTEGER NOT NULL REFERENCES device (id),
    slot    INTEGER NOT NULL,
    task    TEXT NOT NULL,
    -- Null for nothing.
    rule    INTEGER REFERENCES site_rule (id),
    -- Number of the order.
    number  INTEGER NOT NULL,
    -- Of whose key the signature is.
    signer  TEXT NOT NULL,
    sent_ms INTEGER NOT NULL,
    said_ms INTEGER,
    refused TEXT,
    PRIMARY KEY (device, slot)
) STRICT, WITHOUT ROWID;
CREATE INDEX rule_slot_by_rule ON rule_slot (rule, device) WHERE rule IS NOT NULL;
