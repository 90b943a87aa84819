-- Derived from the records of center: python -m warifu.adapters.store.schema write

CREATE TABLE "card" (
  "version" bigint NOT NULL,
  "card_id" text COLLATE "C" NOT NULL,
  "application_id" text COLLATE "C" NOT NULL,
  "resident_id" text COLLATE "C" NOT NULL,
  "live_resident_id" text COLLATE "C",
  "municipality" text COLLATE "C" NOT NULL,
  "state" text COLLATE "C" NOT NULL,
  "wants_signature" bool NOT NULL,
  "wants_authentication" bool NOT NULL,
  "has_signature" bool NOT NULL,
  "has_authentication" bool NOT NULL,
  "issued_on" date,
  "expires_on" date,
  "batch_id" text COLLATE "C",
  "write_id" text COLLATE "C" NOT NULL,
  "open_operation" text COLLATE "C" NOT NULL,
  "entries" bigint NOT NULL,
  "suspended_ms" bigint,
  "continuation_due" date,
  "continuation_municipality" text COLLATE "C" NOT NULL,
  "changed_ms" bigint NOT NULL,
  PRIMARY KEY ("card_id")
);
ALTER TABLE "card" ADD CONSTRAINT "card_once_application_id" UNIQUE ("application_id") DEFERRABLE INITIALLY IMMEDIATE;
ALTER TABLE "card" ADD CONSTRAINT "card_once_live_resident_id" UNIQUE ("live_resident_id") DEFERRABLE INITIALLY IMMEDIATE;
CREATE INDEX "card_by_state" ON "card" ("state", "card_id");
CREATE INDEX "card_by_resident_id" ON "card" ("resident_id", "card_id");
CREATE INDEX "card_by_batch_id" ON "card" ("batch_id", "card_id");
CREATE TABLE "operation" (
  "version" bigint NOT NULL,
  "operation_id" text COLLATE "C" NOT NULL,
  "card_id" text COLLATE "C" NOT NULL,
  "kind" text COLLATE "C" NOT NULL,
  "municipality" text COLLATE "C" NOT NULL,
  "pins" text[] NOT NULL,
  "state" text COLLATE "C" NOT NULL,
  "writes_done" bigint NOT NULL,
  "pending_write" text COLLATE "C" NOT NULL,
  "host_challenge" bytea NOT NULL,
  "opened_ms" bigint NOT NULL,
  "changed_ms" bigint NOT NULL,
  PRIMARY KEY ("operation_id")
);
CREATE INDEX "operation_by_card_id" ON "operation" ("card_id", "operation_id");
CREATE TABLE "card_write" (
  "version" bigint NOT NULL,
  "write_id" text COLLATE "C" NOT NULL,
  "card_id" text COLLATE "C" NOT NULL,
  "operation_id" text COLLATE "C" NOT NULL,
  "step_name" text COLLATE "C" NOT NULL,
  "with_jpki" bool NOT NULL,
  "digest" bytea NOT NULL,
  "state" text COLLATE "C" NOT NULL,
  "changed_ms" bigint NOT NULL,
  PRIMARY KEY ("write_id")
);
CREATE INDEX "card_write_by_card_id" ON "card_write" ("card_id", "write_id");
CREATE INDEX "card_write_by_operation_id_state" ON "card_write" ("operation_id", "state", "write_id");
