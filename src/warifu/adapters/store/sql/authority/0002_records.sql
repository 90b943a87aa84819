-- Derived from the records of authority: python -m warifu.adapters.store.schema write

ALTER TABLE "ca_generation" ADD COLUMN "active_from_ms" bigint NOT NULL DEFAULT 0;
ALTER TABLE "certificate" ADD COLUMN "name_digest" bytea NOT NULL DEFAULT '\x';
CREATE TABLE "key_holder" (
  "version" bigint NOT NULL,
  "holder" text COLLATE "C" NOT NULL,
  "public_key" bytea NOT NULL,
  "enrolled_ms" bigint NOT NULL,
  PRIMARY KEY ("holder")
);
ALTER TABLE "key_holder" ADD CONSTRAINT "key_holder_once_public_key" UNIQUE ("public_key") DEFERRABLE INITIALLY IMMEDIATE;
CREATE TABLE "key_ceremony" (
  "version" bigint NOT NULL,
  "ca" text COLLATE "C" NOT NULL,
  "generation" bigint NOT NULL,
  "minutes" bytea NOT NULL,
  "signature" bytea NOT NULL,
  "made_ms" bigint NOT NULL,
  PRIMARY KEY ("ca", "generation")
);
CREATE TABLE "key_block" (
  "version" bigint NOT NULL,
  "block_id" text COLLATE "C" NOT NULL,
  "pairs" bytea NOT NULL,
  PRIMARY KEY ("block_id")
);
CREATE TABLE "key_use" (
  "version" bigint NOT NULL,
  "key_pair_id" text COLLATE "C" NOT NULL,
  "ca" text COLLATE "C" NOT NULL,
  "serial" bigint NOT NULL,
  "used_ms" bigint NOT NULL,
  PRIMARY KEY ("key_pair_id")
);
ALTER TABLE "key_use" ADD CONSTRAINT "key_use_once_ca_serial" UNIQUE ("ca", "serial") DEFERRABLE INITIALLY IMMEDIATE;
CREATE TABLE "issue_block" (
  "version" bigint NOT NULL,
  "batch_id" text COLLATE "C" NOT NULL,
  "position" bigint NOT NULL,
  "digest" bytea NOT NULL,
  "state" text COLLATE "C" NOT NULL,
  "serials" bytea NOT NULL,
  "refused" bytea NOT NULL,
  "changed_ms" bigint NOT NULL,
  PRIMARY KEY ("batch_id", "position")
);
CREATE INDEX "certificate_by_municipality" ON "certificate" ("municipality", "ca", "serial");
CREATE INDEX "certificate_by_name_digest" ON "certificate" ("name_digest", "ca", "serial");
CREATE INDEX "certificate_by_municipality_name_digest" ON "certificate" ("municipality", "name_digest", "ca", "serial");
ALTER TABLE "certificate" SET (fillfactor = 45);
CREATE TABLE "imported_certificate" (
  "version" bigint NOT NULL,
  "authority" text COLLATE "C" NOT NULL,
  "serial" bigint NOT NULL,
  "not_before" date NOT NULL,
  "not_after" date NOT NULL,
  "municipality" text COLLATE "C" NOT NULL,
  "revoked_ms" bigint,
  "reason" text COLLATE "C" NOT NULL,
  PRIMARY KEY ("authority", "serial")
);
CREATE INDEX "imported_certificate_by_authority_municipality" ON "imported_certificate" ("authority", "municipality", "serial");
CREATE TABLE "imported_authority" (
  "version" bigint NOT NULL,
  "authority" text COLLATE "C" NOT NULL,
  "name" text COLLATE "C" NOT NULL,
  "through" bigint NOT NULL,
  "certificates" bigint NOT NULL,
  "revoked" bigint NOT NULL,
  "complete" bool NOT NULL,
  "changed_ms" bigint NOT NULL,
  PRIMARY KEY ("authority")
);
