-- Derived from the records of center: python -m warifu.adapters.store.schema write

ALTER TABLE "card" ADD COLUMN "face_modulus" bytea NOT NULL DEFAULT '\x';
CREATE INDEX "card_by_expires_on" ON "card" ("expires_on", "card_id");
CREATE INDEX "card_by_continuation_due" ON "card" ("continuation_due", "card_id");
CREATE INDEX "card_by_municipality_state" ON "card" ("municipality", "state", "card_id");
CREATE INDEX "operation_by_state" ON "operation" ("state", "operation_id");
CREATE TABLE "calendar_mark" (
  "version" bigint NOT NULL,
  "what" text COLLATE "C" NOT NULL,
  "day" date NOT NULL,
  PRIMARY KEY ("what")
);
