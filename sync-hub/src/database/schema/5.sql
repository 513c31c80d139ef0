-- Version 5: releases of model packages, their rollouts, parcels. Digests are 64 hexadecimal digits.

CREATE TABLE release (
    id              INTEGER PRIMARY KEY,
    package         TEXT NOT NULL,
    version         TEXT NOT NULL,
    description     TEXT NOT NULL,
    tasks           TEXT NOT NULL,
    manifest        TEXT NOT NULL UNIQUE,
    manifest_bytes  INTEGER NOT NULL,
    signature       TEXT NOT NULL,
    signature_bytes INTEGER NOT NULL,
    bytes           INTEGER NOT NULL,
    added_ms        INTEGER NOT NULL
) STRICT;

CREATE TABLE release_file (
    release INTEGER NOT NULL REFERENCES release (id),
    digest  TEXT NOT NULL,
    bytes   INTEGER NOT NULL,
    PRIMARY KEY (release, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX release_file_by_digest ON release_file (digest);

-- `manifest` is what a rollout delivers; a release that was removed stays in what it was.
CREATE TABLE rollout (
    id            INTEGER PRIMARY KEY,
    package       TEXT NOT NULL,
    version       TEXT NOT NULL,
    manifest      TEXT NOT NULL,
    plan          TEXT NOT NULL,
    phase         TEXT NOT NULL,
    reason        TEXT,
    ring          INTEGER NOT NULL DEFAULT 0,
    failures_seen INTEGER NOT NULL DEFAULT 0,
    created_ms    INTEGER NOT NULL,
    changed_ms    INTEGER NOT NULL
) STRICT;
CREATE INDEX rollout_by_phase ON rollout (phase, id);

-- `previous` is the manifest of what the device ran before; null for what it is configured with.
CREATE TABLE rollout_member (
    rollout  INTEGER NOT NULL REFERENCES rollout (id),
    device   INTEGER NOT NULL REFERENCES device (id),
    ring     INTEGER NOT NULL,
    state    TEXT NOT NULL,
    number   INTEGER NOT NULL DEFAULT 0,
    previous TEXT,
    since_ms INTEGER NOT NULL,
    detail   TEXT,
    PRIMARY KEY (rollout, device)
) STRICT, WITHOUT ROWID;
CREATE INDEX rollout_member_by_device ON rollout_member (device, number);

-- What a device says that it runs, and the number of its last order.
CREATE TABLE device_release (
    device   INTEGER NOT NULL REFERENCES device (id),
    package  TEXT NOT NULL,
    manifest TEXT,
    number   INTEGER NOT NULL DEFAULT 0,
    stage    TEXT NOT NULL,
    said_ms  INTEGER NOT NULL,
    PRIMARY KEY (device, package)
) STRICT, WITHOUT ROWID;

-- What rollouts choose devices by: `site:harbour`, `quay`, whatever the operator calls them.
CREATE TABLE device_label (
    device INTEGER NOT NULL REFERENCES device (id),
    label  TEXT NOT NULL,
    PRIMARY KEY (device, label)
) STRICT, WITHOUT ROWID;

-- What parcels for a device without a link are sealed with, as its last parcel said.
CREATE TABLE courier_key (
    device  INTEGER PRIMARY KEY REFERENCES device (id),
    box_key TEXT NOT NULL,
    said_ms INTEGER NOT NULL
) STRICT;
