-- Which authority a certificate is of, by its name; NULL where a hub issued it that did not say.
ALTER TABLE certificate ADD COLUMN authority TEXT;
