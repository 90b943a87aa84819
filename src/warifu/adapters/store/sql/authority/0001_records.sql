-- Derived from the records of authority: python -m warifu.adapters.store.schema write

CREATE TABLE "ca_generation" (
  "version" bigint NOT NULL,
  "ca" text COLLATE "C" NOT NULL,
  "generation" bigint NOT NULL,
  "key_label" text COLLATE "C" NOT NULL,
  "public_key" bytea NOT NULL,
  "der" bytea NOT NULL,
  PRIMARY KEY ("ca", "generation")
);
CREATE TABLE "key_pair" (
  "version" bigint NOT NULL,
  "key_pair_id" text COLLATE "C" NOT NULL,
  "public_key" bytea NOT NULL,
  "wrapped" bytea,
  "state" text COLLATE "C" NOT NULL,
  "reserved_for" text COLLATE "C",
  "changed_ms" bigint NOT NULL,
  PRIMARY KEY ("key_pair_id")
);
ALTER TABLE "key_pair" ADD CONSTRAINT "key_pair_once_public_key" UNIQUE ("public_key") DEFERRABLE INITIALLY IMMEDIATE;
ALTER TABLE "key_pair" ADD CONSTRAINT "key_pair_once_reserved_for" UNIQUE ("reserved_for") DEFERRABLE INITIALLY IMMEDIATE;
CREATE INDEX "key_pair_by_state" ON "key_pair" ("state", "key_pair_id");
CREATE TABLE "certificate" (
  "version" bigint NOT NULL,
  "ca" text COLLATE "C" NOT NULL,
  "serial" bigint NOT NULL,
  "generation" bigint NOT NULL,
  "card_id" text COLLATE "C" NOT NULL,
  "resident_id" text COLLATE "C" NOT NULL,
  "municipality" text COLLATE "C" NOT NULL,
  "key_pair_id" text COLLATE "C" NOT NULL,
  "state" text COLLATE "C" NOT NULL,
  "write_id" text COLLATE "C" NOT NULL,
  "resident_version" bigint NOT NULL,
  "not_after" date NOT NULL,
  "tbs" bytea NOT NULL,
  "der" bytea NOT NULL,
  "reason" text COLLATE "C" NOT NULL,
  "revoked_ms" bigint,
  "changed_ms" bigint NOT NULL,
  PRIMARY KEY ("ca", "serial")
);
ALTER TABLE "certificate" ADD CONSTRAINT "certificate_once_key_pair_id" UNIQUE ("key_pair_id") DEFERRABLE INITIALLY IMMEDIATE;
ALTER TABLE "certificate" ADD CONSTRAINT "certificate_once_card_id_ca_write_id" UNIQUE ("card_id", "ca", "write_id") DEFERRABLE INITIALLY IMMEDIATE;
CREATE INDEX "certificate_by_card_id" ON "certificate" ("card_id", "ca", "serial");
CREATE INDEX "certificate_by_resident_id" ON "certificate" ("resident_id", "ca", "serial");
CREATE TABLE "revocation" (
  "version" bigint NOT NULL,
  "ca" text COLLATE "C" NOT NULL,
  "serial" bigint NOT NULL,
  "generation" bigint NOT NULL,
  "municipality" text COLLATE "C" NOT NULL,
  "reason" text COLLATE "C" NOT NULL,
  "revoked_ms" bigint NOT NULL,
  "not_after" date NOT NULL,
  "entry" bytea NOT NULL,
  PRIMARY KEY ("ca", "serial")
);
CREATE INDEX "revocation_by_ca_generation_municipality_serial_not_after_entry" ON "revocation" ("ca", "generation", "municipality", "serial", "not_after", "entry");
CREATE TABLE "list_revision" (
  "version" bigint NOT NULL,
  "ca" text COLLATE "C" NOT NULL,
  "municipality" text COLLATE "C" NOT NULL,
  "changed_ms" bigint NOT NULL,
  PRIMARY KEY ("ca", "municipality")
);
CREATE TABLE "published_list" (
  "version" bigint NOT NULL,
  "ca" text COLLATE "C" NOT NULL,
  "generation" bigint NOT NULL,
  "municipality" text COLLATE "C" NOT NULL,
  "number" bigint NOT NULL,
  "basis" text COLLATE "C" NOT NULL,
  "this_update_ms" bigint NOT NULL,
  "name" text COLLATE "C" NOT NULL,
  PRIMARY KEY ("ca", "generation", "municipality")
);
CREATE TABLE "applet_write" (
  "version" bigint NOT NULL,
  "write_id" text COLLATE "C" NOT NULL,
  "card_id" text COLLATE "C" NOT NULL,
  "purpose" text COLLATE "C" NOT NULL,
  "state" text COLLATE "C" NOT NULL,
  "changed_ms" bigint NOT NULL,
  PRIMARY KEY ("write_id")
);
CREATE INDEX "applet_write_by_card_id" ON "applet_write" ("card_id", "write_id");
CREATE TABLE "known_resident" (
  "version" bigint NOT NULL,
  "resident_id" text COLLATE "C" NOT NULL,
  "resident_version" bigint NOT NULL,
  "registered" bool NOT NULL,
  "changed_ms" bigint NOT NULL,
  PRIMARY KEY ("resident_id")
);
