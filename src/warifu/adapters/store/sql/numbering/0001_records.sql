-- Derived from the records of numbering: python -m warifu.adapters.store.schema write

CREATE TABLE "assigned_number" (
  "version" bigint NOT NULL,
  "resident_id" text COLLATE "C" NOT NULL,
  "encrypted" bytea NOT NULL,
  "blind_index" bytea NOT NULL,
  "assigned_ms" bigint NOT NULL,
  PRIMARY KEY ("resident_id")
);
ALTER TABLE "assigned_number" ADD CONSTRAINT "assigned_number_once_blind_index" UNIQUE ("blind_index") DEFERRABLE INITIALLY IMMEDIATE;
