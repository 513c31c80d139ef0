-- Times of outcomes that devices found to be wrong. An event of the device is the only way in; it can
-- come before the outcomes that it is about.
CREATE TABLE clock_fix (
    device INTEGER NOT NULL REFERENCES device (id),
    epoch  INTEGER NOT NULL,
    -- Number of the event.
    seq    INTEGER NOT NULL,
    -- The outcomes: the first, and one past the last.
    first  INTEGER NOT NULL,
    until  INTEGER NOT NULL,
    -- To be added to their times.
    off_ms INTEGER NOT NULL,
    -- 1: by exactly so much. 0: by so much at most.
    exact  INTEGER NOT NULL,
    PRIMARY KEY (device, epoch, seq)
) STRICT, WITHOUT ROWID;

-- Devices that want a new certificate: the request (PKCS #10, DER), the latest of each.
CREATE TABLE renewal (
    device      INTEGER PRIMARY KEY REFERENCES device (id),
    request     BLOB NOT NULL,
    received_ms INTEGER NOT NULL
) STRICT;
