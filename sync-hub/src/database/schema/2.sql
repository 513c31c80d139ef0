-- How far the answer stream of a device can have been sent: covers an answer before it is.
ALTER TABLE device ADD COLUMN answers_reach INTEGER NOT NULL DEFAULT 0;
UPDATE device SET answers_reach = answers_end;
