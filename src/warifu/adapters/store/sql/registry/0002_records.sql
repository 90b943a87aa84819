-- Derived from the records of registry: python -m warifu.adapters.store.schema write

CREATE INDEX "resident_by_municipality_name" ON "resident" ("municipality", "name", "resident_id");
CREATE INDEX "resident_by_municipality_kana" ON "resident" ("municipality", "kana", "resident_id");
CREATE INDEX "resident_by_municipality_birth_date" ON "resident" ("municipality", "birth_date", "resident_id");
