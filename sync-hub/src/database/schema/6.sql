-- What the fleet page shows of a device, counted as it changes: it costs the same however much
-- there is. `lost` counts each record once.
ALTER TABLE device ADD COLUMN escalations_open INTEGER NOT NULL DEFAULT 0;
ALTER TABLE device ADD COLUMN escalations_answered INTEGER NOT NULL DEFAULT 0;
ALTER TABLE device ADD COLUMN escalations_delivered INTEGER NOT NULL DEFAULT 0;
ALTER TABLE device ADD COLUMN escalations_expired INTEGER NOT NULL DEFAULT 0;
ALTER TABLE device ADD COLUMN rejected INTEGER NOT NULL DEFAULT 0;
ALTER TABLE device ADD COLUMN lost INTEGER NOT NULL DEFAULT 0;
UPDATE device SET
    escalations_open = (SELECT count(*) FROM escalation
        WHERE escalation.device = device.id AND state = 'open'),
    escalations_answered = (SELECT count(*) FROM escalation
        WHERE escalation.device = device.id AND state = 'answered'),
    escalations_delivered = (SELECT count(*) FROM escalation
        WHERE escalation.device = device.id AND state = 'delivered'),
    escalations_expired = (SELECT count(*) FROM escalation
        WHERE escalation.device = device.id AND state = 'expired'),
    rejected = (SELECT count(*) FROM rejected WHERE rejected.device = device.id);
UPDATE device SET lost = coalesce((
    SELECT sum(CASE
        WHEN told.beyond <= told.first THEN 0
        WHEN told.before IS NULL OR told.before <= told.first THEN told.beyond - told.first
        WHEN told.before < told.beyond THEN told.beyond - told.before
        ELSE 0 END)
    FROM (
        SELECT device, first, "end" AS beyond,
            max("end") OVER (PARTITION BY device, epoch, stream ORDER BY first, id
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
        FROM loss) told
    WHERE told.device = device.id), 0);

-- Outcomes of an epoch below `below` are not kept any more; a device's mark of its chain stays at
-- that place, so that what follows can be proven.
CREATE TABLE removed (
    device INTEGER NOT NULL REFERENCES device (id),
    epoch  INTEGER NOT NULL,
    below  INTEGER NOT NULL,
    at_ms  INTEGER NOT NULL,
    PRIMARY KEY (device, epoch)
) STRICT, WITHOUT ROWID;

-- Hubs that share this database, and which of them speaks with a device.
CREATE TABLE hub (
    id      TEXT PRIMARY KEY,
    seen_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
ALTER TABLE device ADD COLUMN hub TEXT;
