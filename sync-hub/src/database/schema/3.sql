-- The record of an outcome as it came, which its hash chain is computed over; null if it came to
-- a hub that kept none.
ALTER TABLE outcome ADD COLUMN record BLOB;

-- What devices told of their chains: the value before the outcome `at`.
CREATE TABLE chain_mark (
    device INTEGER NOT NULL REFERENCES device (id),
    epoch  INTEGER NOT NULL,
    at     INTEGER NOT NULL,
    begins INTEGER NOT NULL,
    value  BLOB NOT NULL,
    PRIMARY KEY (device, epoch, at, begins, value)
) STRICT, WITHOUT ROWID;
