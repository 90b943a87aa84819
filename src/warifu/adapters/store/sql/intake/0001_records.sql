-- Derived from the records of intake: python -m warifu.adapters.store.schema write

CREATE TABLE "notification_card" (
  "version" bigint NOT NULL,
  "resident_id" text COLLATE "C" NOT NULL,
  "application_id" text COLLATE "C" NOT NULL,
  "municipality" text COLLATE "C" NOT NULL,
  "sent_ms" bigint NOT NULL,
  PRIMARY KEY ("resident_id")
);
ALTER TABLE "notification_card" ADD CONSTRAINT "notification_card_once_application_id" UNIQUE ("application_id") DEFERRABLE INITIALLY IMMEDIATE;
CREATE TABLE "application" (
  "version" bigint NOT NULL,
  "application_id" text COLLATE "C" NOT NULL,
  "resident_id" text COLLATE "C" NOT NULL,
  "state" text COLLATE "C" NOT NULL,
  "findings" text[] NOT NULL,
  "wants_signature" bool NOT NULL,
  "wants_authentication" bool NOT NULL,
  "photo_digest" bytea NOT NULL,
  "changed_ms" bigint NOT NULL,
  PRIMARY KEY ("application_id")
);
CREATE INDEX "application_by_resident_id" ON "application" ("resident_id", "application_id");
CREATE TABLE "application_photo" (
  "version" bigint NOT NULL,
  "application_id" text COLLATE "C" NOT NULL,
  "photo" bytea NOT NULL,
  PRIMARY KEY ("application_id")
);
