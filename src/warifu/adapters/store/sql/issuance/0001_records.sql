-- Derived from the records of issuance: python -m warifu.adapters.store.schema write

CREATE TABLE "produced_card" (
  "version" bigint NOT NULL,
  "card_id" text COLLATE "C" NOT NULL,
  "municipality" text COLLATE "C" NOT NULL,
  "state" text COLLATE "C" NOT NULL,
  "batch_id" text COLLATE "C",
  "changed_ms" bigint NOT NULL,
  PRIMARY KEY ("card_id")
);
CREATE INDEX "produced_card_by_state" ON "produced_card" ("state", "card_id");
CREATE TABLE "batch" (
  "version" bigint NOT NULL,
  "batch_id" text COLLATE "C" NOT NULL,
  "municipality" text COLLATE "C" NOT NULL,
  "card_ids" text[] NOT NULL,
  "shipped_ms" bigint NOT NULL,
  PRIMARY KEY ("batch_id")
);
CREATE INDEX "batch_by_municipality" ON "batch" ("municipality", "batch_id");
