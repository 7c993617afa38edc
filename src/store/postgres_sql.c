/* store/postgres_sql.c - the statements each connection prepares, by enum dj_pg_statement.
 *
 * Every one names its tenant. Times are the program's, given as parameters, so that one clock
 * decides. Limits on rows and bytes are the server's to keep and checked again by who reads.
 */
#include "store/postgres_internal.h"

#define ALIVE(time) "active AND (gone_at IS NULL OR gone_at > " time ")"

/* The same answer, sealed anew (store/sealed_form.h): a readable vector stays. */
#define ANEW "(excluded.embedding IS NULL AND excluded.version >> 8 = m.version >> 8)"

/* clang-format off: SQL is read as SQL */
const char *const dj_pg_sql[DJ_PG_STATEMENT_COUNT] = {
    /* tenant, key, now, octets at most */
    [DJ_PG_GET] =
        "SELECT record, version FROM cache_metadata WHERE tenant = $1::uuid AND key = $2::uuid"
        " AND " ALIVE("$3::timestamptz") " AND octets <= $4::bigint",
    /* a hash of tenant and key: puts and removes of one key come one after the other, whichever
     * programs they are of, so that none overtakes a removal it has not seen */
    [DJ_PG_LOCK] = "SELECT pg_advisory_xact_lock($1::bigint)",
    /* tenant, key, version, query_hash, query, scope, name_space, kind, model, provider, metadata,
     * tokens in, tokens out, cost, embedder_id, dim, embedding, record, octets, created, expires,
     * gone, now */
    [DJ_PG_PUT] =
        "INSERT INTO cache_metadata AS m (tenant, key, version, query_hash, query, scope,"
        " name_space, kind, model, provider, metadata, input_tokens, output_tokens, cost_usd,"
        " embedder_id, dim, embedding, record, octets, created_at, expires_at, gone_at, "
        "last_access)"
        " SELECT $1::uuid, $2::uuid, $3::bigint, $4::bytea, $5::text, $6::uuid, $7::text, $8::int,"
        " $9::text, $10::text, jsonb_or_null($11::text), $12::bigint, $13::bigint,"
        " $14::double precision, $15::text, $16::int, $17::vector, $18::bytea, $19::bigint,"
        " $20::timestamptz, $21::timestamptz, $22::timestamptz, $23::timestamptz"
        " WHERE NOT EXISTS (SELECT 1 FROM tombstones t WHERE t.tenant = $1::uuid"
        " AND t.key = $2::uuid AND t.version >= $3::bigint AND t.expires_at > $23::timestamptz)"
        " ON CONFLICT (tenant, key) DO UPDATE SET version = excluded.version,"
        " query_hash = excluded.query_hash, query = excluded.query, scope = excluded.scope,"
        " name_space = excluded.name_space, kind = excluded.kind, model = excluded.model,"
        " provider = excluded.provider, metadata = excluded.metadata,"
        " input_tokens = excluded.input_tokens, output_tokens = excluded.output_tokens,"
        " cost_usd = excluded.cost_usd,"
        " embedder_id = CASE WHEN " ANEW " THEN m.embedder_id ELSE excluded.embedder_id END,"
        " dim = CASE WHEN " ANEW " THEN m.dim ELSE excluded.dim END,"
        " embedding = CASE WHEN " ANEW " THEN m.embedding ELSE excluded.embedding END,"
        " record = excluded.record, octets = excluded.octets,"
        " created_at = excluded.created_at, expires_at = excluded.expires_at,"
        " gone_at = excluded.gone_at, last_access = excluded.last_access, active = true"
        " WHERE m.version < excluded.version OR m.gone_at <= $23::timestamptz",
    /* tenant, key, version at most, version of the tombstone or NULL: that of what was there, its
     * end. A removal that was acknowledged survives the server's crash. */
    [DJ_PG_REMOVE] =
        "WITH durable AS MATERIALIZED (SELECT set_config('synchronous_commit', 'on', true) AS v),"
        " gone AS (DELETE FROM cache_metadata WHERE tenant = $1::uuid AND key = $2::uuid"
        " AND version <= $3::bigint AND (SELECT v FROM durable) = 'on'"
        " RETURNING version, " ALIVE(
            "now()") " AS was_there),"
                     " stone AS (INSERT INTO tombstones AS t (tenant, key, version, expires_at)"
                     " SELECT $1::uuid, $2::uuid, x.v, $5::timestamptz FROM"
                     " (SELECT coalesce($4::bigint, (SELECT max(version) FROM gone)) AS v) x"
                     " WHERE x.v IS NOT NULL"
                     " ON CONFLICT (tenant, key) DO UPDATE SET version = greatest(t.version, "
                     "excluded.version),"
                     " expires_at = greatest(t.expires_at, excluded.expires_at))"
                     " SELECT count(*) FILTER (WHERE was_there) FROM gone",
    /* tenant, key, version: a reader found it damaged */
    [DJ_PG_DROP] =
        "WITH gone AS (DELETE FROM cache_metadata WHERE tenant = $1::uuid AND key = $2::uuid"
        " AND version = $3::bigint RETURNING 1) SELECT count(*) FROM gone",
    /* tenant, rows at most */
    [DJ_PG_CLEAR] = "WITH gone AS (DELETE FROM cache_metadata WHERE id = ANY (ARRAY(SELECT id FROM"
                    " cache_metadata WHERE tenant = $1::uuid LIMIT $2::bigint)) RETURNING 1)"
                    " SELECT count(*) FROM gone",
    /* tenant, key after which or NULL, rows at most, now, octets of all (but of one row at least),
     * octets of one. of_page: how many rows the page had without the bound on octets. */
    [DJ_PG_LIST] =
        "SELECT c.key, c.of_page, c.gone, c.version, m.record FROM"
        " (SELECT id, key, octets, version, NOT (" ALIVE(
            "$4::timestamptz") ") AS gone,"
                               " count(*) OVER () AS of_page, sum(octets) OVER (ORDER BY key) - "
                               "octets AS before FROM"
                               " (SELECT id, key, octets, version, active, gone_at FROM "
                               "cache_metadata"
                               " WHERE tenant = $1::uuid AND ($2::uuid IS NULL OR key > $2::uuid)"
                               " ORDER BY key LIMIT $3::bigint) p) c"
                               " LEFT JOIN cache_metadata m ON m.id = c.id AND NOT c.gone AND "
                               "c.octets <= $6::bigint"
                               " WHERE c.before < $5::bigint ORDER BY c.key",
    [DJ_PG_PROBE] = "SELECT count(*) FROM (SELECT 1 FROM cache_metadata LIMIT 1) x",
    /* vector, tenant, embedder_id, dim, now, scope or NULL, threshold, limit, rows at most. One row
     * at least: how many vectors there are, counted up to one above the most. */
    [DJ_PG_EXACT] =
        "WITH n AS MATERIALIZED (SELECT count(*) AS c FROM (SELECT 1 FROM cache_metadata"
        " WHERE tenant = $2::uuid AND embedder_id = $3::text AND dim = $4::int"
        " AND embedding IS NOT NULL AND active AND ($6::uuid IS NULL OR scope = $6::uuid)"
        " LIMIT $9::bigint + 1) x),"
        " near AS MATERIALIZED (SELECT key, scope, 1 - (embedding <=> $1::vector) AS similarity"
        " FROM cache_metadata WHERE (SELECT c FROM n) <= $9::bigint"
        " AND tenant = $2::uuid AND embedder_id = $3::text AND dim = $4::int"
        " AND embedding IS NOT NULL AND " ALIVE(
            "$5::timestamptz") " AND ($6::uuid IS NULL OR scope = $6::uuid))"
                               " SELECT n.c, b.key, b.scope, b.similarity FROM n LEFT JOIN LATERAL"
                               " (SELECT * FROM near WHERE similarity BETWEEN $7::double precision "
                               "AND 1.01"
                               " ORDER BY similarity DESC LIMIT $8::bigint) b ON true",
    /* tenants, keys, hits, last accesses */
    [DJ_PG_KEEP_ACCESS] =
        "UPDATE cache_metadata m SET hit_count = a.hits, last_access = coalesce(a.last,"
        " m.last_access) FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::timestamptz[])"
        " AS a(tenant, key, hits, last) WHERE m.tenant = a.tenant AND m.key = a.key"
        " AND (m.hit_count, m.last_access) IS DISTINCT FROM (a.hits, a.last)",
    [DJ_PG_ADD_ACCESS] = "UPDATE cache_metadata m SET hit_count = m.hit_count + a.hits,"
                         " last_access = greatest(a.last, m.last_access) FROM (SELECT tenant, key,"
                         " sum(hits)::bigint AS hits, max(last) AS last FROM"
                         " unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::timestamptz[])"
                         " AS b(tenant, key, hits, last) GROUP BY tenant, key) a"
                         " WHERE m.tenant = a.tenant AND m.key = a.key",
    /* tenants, hits, last accesses, verdicts, wrong ones */
    [DJ_PG_KEEP_TENANTS] =
        "INSERT INTO tenant_access (tenant, hit_count, last_access, verdicts, verdicts_wrong)"
        " SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::timestamptz[], $4::bigint[],"
        " $5::bigint[]) ON CONFLICT (tenant) DO UPDATE SET hit_count = excluded.hit_count,"
        " last_access = excluded.last_access, verdicts = excluded.verdicts,"
        " verdicts_wrong = excluded.verdicts_wrong",
    /* tenant, tag; under one lock for all, so that sequences become visible in their order. Counter
     * and place begin at the time in us: a database that lost them gives none out again. */
    [DJ_PG_RAISE] =
        "WITH durable AS MATERIALIZED (SELECT set_config('synchronous_commit', 'on', true) AS v)"
        " INSERT INTO generations AS g (tenant, tag, generation, sequence)"
        " SELECT $1::uuid, $2::bytea, n.us, greatest(n.us, n.place + 1) FROM durable,"
        " (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS us,"
        " (SELECT coalesce(max(sequence), 0) FROM generations) AS place) n WHERE v = 'on'"
        " ON CONFLICT (tenant, tag) DO UPDATE SET generation ="
        " greatest(g.generation + 1, excluded.generation),"
        " sequence = excluded.sequence RETURNING generation",
    /* sequence after which, rows at most */
    [DJ_PG_PULL] =
        "SELECT tenant, tag, generation, sequence FROM generations WHERE sequence > $1::bigint"
        " ORDER BY sequence LIMIT $2::bigint",
    /* tenant, key, token, milliseconds; the server's clock, which all programs share */
    [DJ_PG_TAKE_LEASE] = "WITH held AS (INSERT INTO leases AS l (tenant, key, token, expires_at)"
                         " VALUES ($1::uuid, $2::uuid, $3::uuid, clock_timestamp()"
                         " + $4::bigint * interval '1 millisecond')"
                         " ON CONFLICT (tenant, key) DO UPDATE SET token = excluded.token,"
                         " expires_at = excluded.expires_at WHERE l.expires_at <= clock_timestamp()"
                         " OR l.token = excluded.token RETURNING 1) SELECT count(*) FROM held",
    [DJ_PG_END_LEASE] =
        "WITH ended AS (DELETE FROM leases WHERE tenant = $1::uuid AND key = $2::uuid"
        " AND token = $3::uuid RETURNING 1) SELECT count(*) FROM ended",
    /* tenant or NULL: all; octets to free */
    [DJ_PG_EVICT] =
        "WITH old AS (SELECT id, octets, sum(octets) OVER (ORDER BY last_access, id) - octets AS"
        " before FROM (SELECT id, octets, last_access FROM cache_metadata"
        " WHERE ($1::uuid IS NULL OR tenant = $1::uuid) ORDER BY last_access LIMIT 10000) o),"
        " gone AS (DELETE FROM cache_metadata WHERE id = ANY (ARRAY(SELECT id FROM old"
        " WHERE before < $2::bigint)) RETURNING octets)"
        " SELECT count(*), coalesce(sum(octets), 0)::bigint FROM gone",
};
/* clang-format on */
