-- Alarms: one for each cause until it is over.
CREATE TABLE alarm (
    id         INTEGER PRIMARY KEY,
    kind       TEXT NOT NULL,
    -- What it is about: a device, a rollout, a task with its release; '' for the hub as a whole.
    subject    TEXT NOT NULL,
    detail     TEXT NOT NULL,
    raised_ms  INTEGER NOT NULL,
    cleared_ms INTEGER,
    acked_by   TEXT,
    acked_ms   INTEGER
) STRICT;
CREATE UNIQUE INDEX alarm_open ON alarm (kind, subject) WHERE cleared_ms IS NULL;

-- What webhooks are to be told: `what` is 'raised' or 'cleared'.
CREATE TABLE alarm_post (
    id      INTEGER PRIMARY KEY,
    alarm   INTEGER NOT NULL REFERENCES alarm (id),
    what    TEXT NOT NULL,
    webhook TEXT NOT NULL,
    tries   INTEGER NOT NULL,
    -- When it is to be tried; null when it is done or given up.
    due_ms  INTEGER,
    done_ms INTEGER,
    trouble TEXT
) STRICT;
CREATE INDEX alarm_post_due ON alarm_post (due_ms) WHERE due_ms IS NOT NULL;
CREATE INDEX alarm_post_by_alarm ON alarm_post (alarm);

-- When the chain of a device's outcomes was last looked at, and what was found.
CREATE TABLE chain_check (
    device   INTEGER PRIMARY KEY REFERENCES device (id),
    at_ms    INTEGER NOT NULL,
    findings INTEGER NOT NULL
) STRICT;

-- Devices that run, or are to run, the release of a rollout: those that go back when it is rolled back.
CREATE INDEX rollout_member_told ON rollout_member (rollout, device)
    WHERE state IN ('ordered', 'accepted', 'fetched', 'trial', 'current');
