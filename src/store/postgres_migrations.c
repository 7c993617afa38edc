/* store/postgres_migrations.c - the schema as steps up and down; postgres_schema.c applies them.
 *
 * Applied steps never change: what is to be different is a new step at the end. Names are found by
 * the session's search_path; functions keep the one they were made with. Vectors have any
 * dimension here; the ANN index of each embedder and dimension is made when there are rows enough
 * (postgres_upkeep.c).
 */
#include "store/postgres_migrations.h"

/* clang-format off: SQL is read as SQL */
static const char entries_up[] =
    "CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public;\n"
    "CREATE TABLE cache_metadata (\n"
    "    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,\n"
    "    tenant uuid NOT NULL,\n"
    "    key uuid NOT NULL,\n"
    "    version bigint NOT NULL,\n"
    "    query_hash bytea NOT NULL,\n"
    "    query text,\n"
    "    scope uuid NOT NULL,\n"
    "    name_space text,\n"
    "    kind smallint NOT NULL,\n"
    "    model text,\n"
    "    provider text,\n"
    "    metadata jsonb,\n"
    "    input_tokens bigint NOT NULL DEFAULT 0,\n"
    "    output_tokens bigint NOT NULL DEFAULT 0,\n"
    "    cost_usd double precision NOT NULL DEFAULT 0,\n"
    "    embedder_id text,\n"
    "    dim integer,\n"
    "    embedding vector,\n"
    "    record bytea NOT NULL,\n"
    "    octets bigint NOT NULL,\n"
    "    hit_count bigint NOT NULL DEFAULT 0,\n"
    "    last_access timestamptz NOT NULL,\n"
    "    active boolean NOT NULL DEFAULT true,\n"
    "    created_at timestamptz NOT NULL,\n"
    "    expires_at timestamptz,\n"
    "    gone_at timestamptz,\n"
    "    updated_at timestamptz NOT NULL DEFAULT now(),\n"
    "    CONSTRAINT cache_metadata_tenant_key UNIQUE (tenant, key),\n"
    "    CONSTRAINT cache_metadata_vector_is_whole CHECK (\n"
    "        (embedding IS NULL) = (dim IS NULL) AND (embedding IS NULL) = (embedder_id IS NULL)\n"
    "        AND (embedding IS NULL OR vector_dims(embedding) = dim))\n"
    ");\n"
    /* Records are compressed already, and a vector is read whole. */
    "ALTER TABLE cache_metadata ALTER COLUMN record SET STORAGE EXTERNAL;\n"
    "CREATE INDEX cache_metadata_tenant_access ON cache_metadata (tenant, last_access);\n"
    "CREATE INDEX cache_metadata_tenant_hits ON cache_metadata (tenant, hit_count);\n"
    "CREATE INDEX cache_metadata_access ON cache_metadata (last_access);\n"
    "CREATE INDEX cache_metadata_active ON cache_metadata (tenant) WHERE active;\n"
    "CREATE INDEX cache_metadata_gone ON cache_metadata (gone_at) WHERE gone_at IS NOT NULL;\n"
    "CREATE INDEX cache_metadata_vectors ON cache_metadata (tenant, embedder_id, dim, scope)\n"
    "    WHERE active AND embedding IS NOT NULL;\n"
    "CREATE FUNCTION set_updated_at() RETURNS trigger LANGUAGE plpgsql SET search_path FROM "
    "CURRENT\n"
    "AS $$BEGIN NEW.updated_at := now(); RETURN NEW; END$$;\n"
    "CREATE TRIGGER cache_metadata_updated_at BEFORE UPDATE ON cache_metadata\n"
    "    FOR EACH ROW EXECUTE FUNCTION set_updated_at();\n"
    /* A put must not fail because of what its metadata look like to jsonb. */
    "CREATE FUNCTION jsonb_or_null(given text) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE STRICT\n"
    "AS $$BEGIN RETURN given::jsonb; EXCEPTION WHEN OTHERS THEN RETURN NULL; END$$;\n"
    "CREATE TABLE tombstones (\n"
    "    tenant uuid NOT NULL,\n"
    "    key uuid NOT NULL,\n"
    "    version bigint NOT NULL,\n"
    "    expires_at timestamptz NOT NULL,\n"
    "    PRIMARY KEY (tenant, key)\n"
    ");\n"
    "CREATE INDEX tombstones_expires ON tombstones (expires_at);\n";

static const char entries_down[] = "DROP TABLE tombstones;\n"
                                   "DROP TABLE cache_metadata;\n"
                                   "DROP FUNCTION jsonb_or_null(text);\n"
                                   "DROP FUNCTION set_updated_at();\n";

static const char tenants_up[] =
    "CREATE TABLE tenant_config (\n"
    "    tenant uuid PRIMARY KEY,\n"
    "    config jsonb NOT NULL DEFAULT '{}',\n"
    "    created_at timestamptz NOT NULL DEFAULT now(),\n"
    "    updated_at timestamptz NOT NULL DEFAULT now()\n"
    ");\n"
    "CREATE TRIGGER tenant_config_updated_at BEFORE UPDATE ON tenant_config\n"
    "    FOR EACH ROW EXECUTE FUNCTION set_updated_at();\n"
    /* The hash of a key, never the key. */
    "CREATE TABLE tenant_keys (\n"
    "    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),\n"
    "    tenant uuid NOT NULL,\n"
    "    key_hash bytea NOT NULL UNIQUE,\n"
    "    name text NOT NULL DEFAULT '',\n"
    "    scopes text[] NOT NULL DEFAULT '{}',\n"
    "    created_at timestamptz NOT NULL DEFAULT now(),\n"
    "    updated_at timestamptz NOT NULL DEFAULT now(),\n"
    "    expires_at timestamptz,\n"
    "    revoked_at timestamptz\n"
    ");\n"
    "CREATE INDEX tenant_keys_tenant ON tenant_keys (tenant);\n"
    "CREATE TRIGGER tenant_keys_updated_at BEFORE UPDATE ON tenant_keys\n"
    "    FOR EACH ROW EXECUTE FUNCTION set_updated_at();\n"
    "CREATE TABLE tenant_access (\n"
    "    tenant uuid PRIMARY KEY,\n"
    "    hit_count bigint NOT NULL DEFAULT 0,\n"
    "    last_access timestamptz,\n"
    "    verdicts bigint NOT NULL DEFAULT 0,\n"
    "    verdicts_wrong bigint NOT NULL DEFAULT 0\n"
    ");\n"
    /* Counters that make what is older than they are invalid; sequence: the order of raises,
     * microseconds since 1970 or one more than the last. */
    "CREATE TABLE generations (\n"
    "    tenant uuid NOT NULL,\n"
    "    tag bytea NOT NULL,\n"
    "    generation bigint NOT NULL,\n"
    "    sequence bigint NOT NULL,\n"
    "    PRIMARY KEY (tenant, tag)\n"
    ");\n"
    "CREATE INDEX generations_order ON generations (sequence);\n"
    /* Locks that end by themselves; a crash of the server ends them all. */
    "CREATE UNLOGGED TABLE leases (\n"
    "    tenant uuid NOT NULL,\n"
    "    key uuid NOT NULL,\n"
    "    token uuid NOT NULL,\n"
    "    expires_at timestamptz NOT NULL,\n"
    "    PRIMARY KEY (tenant, key)\n"
    ");\n";

static const char tenants_down[] = "DROP TABLE leases;\n"
                                   "DROP TABLE generations;\n"
                                   "DROP TABLE tenant_access;\n"
                                   "DROP TABLE tenant_keys;\n"
                                   "DROP TABLE tenant_config;\n";

static const char history_up[] =
    "CREATE TABLE answer_history (\n"
    "    tenant uuid NOT NULL,\n"
    "    key uuid NOT NULL,\n"
    "    version bigint NOT NULL,\n"
    "    query text,\n"
    "    model text,\n"
    "    provider text,\n"
    "    metadata jsonb,\n"
    "    record bytea NOT NULL,\n"
    "    octets bigint NOT NULL,\n"
    "    hit_count bigint NOT NULL,\n"
    "    created_at timestamptz NOT NULL,\n"
    "    expires_at timestamptz,\n"
    "    replaced_at timestamptz NOT NULL DEFAULT now(),\n"
    "    PRIMARY KEY (tenant, key, version)\n"
    ");\n"
    "ALTER TABLE answer_history ALTER COLUMN record SET STORAGE EXTERNAL;\n"
    "CREATE INDEX answer_history_replaced ON answer_history (replaced_at);\n"
    /* How many are kept is the session's: programs that know nothing of it keep none. */
    "CREATE FUNCTION keep_history() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT\n"
    "AS $$\n"
    "DECLARE\n"
    "    kept integer := coalesce(nullif(current_setting('deja.history_max', true), ''), '0');\n"
    "BEGIN\n"
    "    IF kept > 0 THEN\n"
    "        INSERT INTO answer_history (tenant, key, version, query, model, provider, metadata,\n"
    "            record, octets, hit_count, created_at, expires_at)\n"
    "        VALUES (OLD.tenant, OLD.key, OLD.version, OLD.query, OLD.model, OLD.provider,\n"
    "            OLD.metadata, OLD.record, OLD.octets, OLD.hit_count, OLD.created_at,\n"
    "            OLD.expires_at) ON CONFLICT DO NOTHING;\n"
    "        DELETE FROM answer_history WHERE tenant = OLD.tenant AND key = OLD.key\n"
    "            AND version <= (SELECT h.version FROM answer_history h\n"
    "                WHERE h.tenant = OLD.tenant AND h.key = OLD.key\n"
    "                ORDER BY h.version DESC OFFSET kept LIMIT 1);\n"
    "    END IF;\n"
    "    RETURN NULL;\n"
    "END$$;\n"
    "CREATE TRIGGER cache_metadata_history AFTER UPDATE OF record ON cache_metadata\n"
    "    FOR EACH ROW WHEN (OLD.version IS DISTINCT FROM NEW.version)\n"
    "    EXECUTE FUNCTION keep_history();\n"
    /* What is deleted leaves no earlier answers behind. */
    "CREATE FUNCTION forget_history() RETURNS trigger LANGUAGE plpgsql\n"
    "SET search_path FROM CURRENT AS $$BEGIN\n"
    "    DELETE FROM answer_history WHERE tenant = OLD.tenant AND key = OLD.key;\n"
    "    RETURN NULL;\n"
    "END$$;\n"
    "CREATE TRIGGER cache_metadata_forget AFTER DELETE ON cache_metadata\n"
    "    FOR EACH ROW EXECUTE FUNCTION forget_history();\n";

static const char history_down[] = "DROP TRIGGER cache_metadata_forget ON cache_metadata;\n"
                                   "DROP TRIGGER cache_metadata_history ON cache_metadata;\n"
                                   "DROP FUNCTION forget_history();\n"
                                   "DROP FUNCTION keep_history();\n"
                                   "DROP TABLE answer_history;\n";
/* clang-format on */

const struct dj_pg_migration dj_pg_migrations[] = {
    {"entries, vectors and tombstones", entries_up, entries_down},
    {"tenants: configuration, keys, access, generations, leases", tenants_up, tenants_down},
    {"history of answers", history_up, history_down},
};
const uint32_t dj_pg_migration_count = sizeof dj_pg_migrations / sizeof *dj_pg_migrations;
