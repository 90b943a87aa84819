-- Derived from the records of registry: python -m warifu.adapters.store.schema write

CREATE TABLE "resident" (
  "version" bigint NOT NULL,
  "resident_id" text COLLATE "C" NOT NULL,
  "resident_code" text COLLATE "C" NOT NULL,
  "name" text COLLATE "C" NOT NULL,
  "kana" text COLLATE "C" NOT NULL,
  "former_surname" text COLLATE "C" NOT NULL,
  "birth_date" date NOT NULL,
  "sex" text COLLATE "C" NOT NULL,
  "address" text COLLATE "C" NOT NULL,
  "municipality" text COLLATE "C" NOT NULL,
  "stay_until" date,
  "registered" bool NOT NULL,
  "changed_ms" bigint NOT NULL,
  PRIMARY KEY ("resident_id")
);
ALTER TABLE "resident" ADD CONSTRAINT "resident_once_resident_code" UNIQUE ("resident_code") DEFERRABLE INITIALLY IMMEDIATE;
CREATE INDEX "resident_by_municipality" ON "resident" ("municipality", "resident_id");
