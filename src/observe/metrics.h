/* SPDX-License-Identifier: Apache-2.0 */
/*
 * observe/metrics.h: counters, gauges and histograms, one table row a family; text in the Prometheus exposition format
 * (0.0.4). docs/metrics.md is generated from the table.
 *
 *   family (a table row) ── series (its label values) ── cells (one a writer)
 *
 * A cell has one writer (usually one worker thread): adding is a relaxed load and store, no locked
 * instruction. Cells with the same labels in several threads are summed when rendered. Labels never hold values,
 * keys or offsets. The exposition stays under 2,000 samples: past the bound, further label values of a family share
 * its series "other". Everything but the cells themselves takes a lock and may be called from any thread.
 */
#ifndef KVEIL_OBSERVE_METRICS_H
#define KVEIL_OBSERVE_METRICS_H

#include "base/buf.h"
#include "base/event.h"
#include "kveil/base.h"

#include <stdatomic.h>

/* X(ID, "name", TYPE, "label1,label2", "help") */
#define KVEIL_METRIC_TABLE(X)                                                                                          \
	X(READY, "kveil_ready", GAUGE, "", "1 if `/readyz` answers 200, 0 if it says why not.")                        \
	X(RECORDS_CONSUMED, "kveil_records_consumed_total", COUNTER, "", "Records taken from input topics.")           \
	X(RECORDS_PRODUCED, "kveil_records_produced_total", COUNTER, "",                                               \
	  "Protected records acknowledged by the broker, counted in each view.")                                       \
	X(RECORDS_FAILED, "kveil_records_failed_total", COUNTER, "code",                                               \
	  "Records that could not be protected, by error code.")                                                       \
	X(TOPIC_RECORDS, "kveil_topic_records_total", COUNTER, "topic,outcome",                                        \
	  "Records of an input topic that were `protected` or `failed`; control records are neither. Of at most "      \
	  "200 topics.")                                                                                               \
	X(RECORDS_DEAD_LETTERED, "kveil_records_dead_lettered_total", COUNTER, "",                                     \
	  "Dead letters acknowledged by the broker.")                                                                  \
	X(RECORDS_DROPPED, "kveil_records_dropped_total", COUNTER, "", "Records dropped by on_error: drop.")           \
	X(BYTES_CONSUMED, "kveil_consumed_bytes_total", COUNTER, "", "Bytes of keys and values consumed.")             \
	X(BYTES_PRODUCED, "kveil_produced_bytes_total", COUNTER, "", "Bytes of keys and values produced.")             \
	X(RULE_MATCHES, "kveil_rule_matches_total", COUNTER, "rule", "Places that a rule found.")                      \
	X(TRANSFORM_DURATION, "kveil_transform_duration_seconds", HISTOGRAM, "",                                       \
	  "Time to protect one record in all views (sampled).")                                                        \
	X(CONSUMER_LAG, "kveil_consumer_lag_records", GAUGE, "topic,partition",                                        \
	  "Records between the committed offset and the end of the partition.")                                        \
	X(IN_FLIGHT_BYTES, "kveil_in_flight_bytes", GAUGE, "", "Bytes of records consumed and not yet acknowledged.")  \
	X(DEAD_OUTPUTS, "kveil_output_partitions_silent", GAUGE, "",                                                   \
	  "Output partitions that have acknowledged nothing for 5 s although records are in flight to them.")          \
	X(REBALANCES, "kveil_rebalances_total", COUNTER, "", "Group rebalances seen.")                                 \
	X(RETRIES, "kveil_retries_total", COUNTER, "code",                                                             \
	  "Pauses because an external system did not answer, by error code.")                                          \
	X(FETCH_ERRORS, "kveil_fetch_errors_total", COUNTER, "code",                                                   \
	  "Fetches that returned an error instead of records, by error code.")                                         \
	X(OFFSET_GAPS, "kveil_offset_gaps_total", COUNTER, "proof",                                                    \
	  "Missing offsets between two records, by what proved that no record is there: `transaction` (its marker), "  \
	  "`look` (the broker was asked), `none` (too many to ask, as after compaction).")                             \
	X(REWINDS, "kveil_rewinds_total", COUNTER, "", "Partitions rewound to their first unacknowledged record.")     \
	X(TRANSACTIONS, "kveil_transactions_total", COUNTER, "outcome",                                                \
	  "Transactions of exactly-once: `committed`, `aborted` (all of it was read again), `unknown` (the broker "    \
	  "was asked what became of it), and producers `fenced` (suspended for long, or two processes share one "      \
	  "`instance`).")                                                                                              \
	X(BEGUN_ANEW, "kveil_partitions_begun_anew_total", COUNTER, "",                                                \
	  "Partitions read from their start because their topic was deleted and created again.")                       \
	X(KEY_CREATED, "kveil_key_created_timestamp_seconds", GAUGE, "key",                                            \
	  "Creation time of the newest active version.")                                                               \
	X(ROTATION_OVERDUE, "kveil_key_rotation_overdue_seconds", GAUGE, "key",                                        \
	  "How long the next version of a rotating key has been overdue; 0 if it is not.")                             \
	X(KEK_UP, "kveil_kek_up", GAUGE, "kek",                                                                        \
	  "1 if the key-encryption key answered when last asked to wrap and unwrap, at least every 20 s.")             \
	X(KEK_EXPIRY, "kveil_kek_expiry_timestamp_seconds", GAUGE, "kek",                                              \
	  "When the certificate of a key-encryption key expires.")                                                     \
	X(NAMED_KEYS, "kveil_named_keys", GAUGE, "pattern", "Keys named from records, for each pattern of keys.data.") \
	X(NAMED_KEYS_WAITING, "kveil_named_keys_waiting", GAUGE, "pattern",                                            \
	  "Names from records whose key is not there yet.")                                                            \
	X(REGISTRY_IGNORED, "kveil_registry_records_ignored_total", COUNTER, "reason",                                 \
	  "Registry records that were not authentic or not readable.")                                                 \
	X(SCHEMA_REGISTRY_UP, "kveil_schema_registry_up", GAUGE, "",                                                   \
	  "1 if the schema registry answered when last asked; it is asked only when records need it.")                 \
	X(RELOAD_SUCCESSFUL, "kveil_config_last_reload_successful", GAUGE, "",                                         \
	  "1 if the last reload of rules was accepted.")                                                               \
	X(RELOAD_TIMESTAMP, "kveil_config_last_reload_success_timestamp_seconds", GAUGE, "",                           \
	  "When rules were last accepted.")                                                                            \
	X(EVENTS, "kveil_events_total", COUNTER, "event", "Events, as listed in docs/events.md and shown in the log.") \
	X(LOG_DROPPED, "kveil_log_dropped_total", COUNTER, "", "Log lines that could not be written to stderr.")       \
	X(RULES_LOSSES, "kveil_rules_losses", GAUGE, "",                                                               \
	  "Losses of protection against the rules accepted last; the log names each.")                                 \
	X(RULES_INFO, "kveil_rules_info", GAUGE, "digest",                                                             \
	  "Always 1. Replicas with different digests run different rules.")                                            \
	X(BUILD_INFO, "kveil_build_info", GAUGE, "version", "Always 1.")

enum kveil_metric {
#define X(id, name, type, labels, help) KVEIL_M_##id,
	KVEIL_METRIC_TABLE(X)
#undef X
	    KVEIL_METRIC_COUNT
};

struct kveil_metrics;

struct kveil_cell {
	_Atomic uint64_t value; /* counters: uint64; gauges: bits of a double */
};

enum { KVEIL_HISTOGRAM_BUCKETS = 16 }; /* 0.2 µs … 1 s in steps of 2 to 10, then +Inf (see metrics.c) */
struct kveil_histogram {
	_Atomic uint64_t buckets[KVEIL_HISTOGRAM_BUCKETS], sum_ns; /* buckets do not include lower ones */
};

/* build_info and a counter at 0 for every code that can stand in records_failed and retries are there from the
 * start. NULL when memory is out. */
struct kveil_metrics *kveil_metrics_new(void);
void kveil_metrics_free(struct kveil_metrics *m);
/* A kveil_event_sink, any thread: user is the struct kveil_metrics. */
void kveil_metrics_take_event(void *user, const struct kveil_event *e);
/* A new cell at 0 for the calling writer; lives as long as m, or until released. Label values are copied (their first
 * 127 bytes); NULL where the family has fewer labels. Not for the hot path. Never NULL: without memory a cell that is
 * not rendered. */
struct kveil_cell *kveil_metrics_cell(struct kveil_metrics *m, enum kveil_metric id, const char *label1,
				      const char *label2);
/* A gauge's series vanishes with its last cell; counters' values are kept in the sum. */
void kveil_metrics_release(struct kveil_metrics *m, struct kveil_cell *cell);
/* A new histogram for the calling writer; lives as long as m. Never NULL. */
struct kveil_histogram *kveil_metrics_histogram(struct kveil_metrics *m, enum kveil_metric id);
void kveil_metrics_render(struct kveil_metrics *m, struct kveil_buf *out);
/* The same numbers as a JSON object for /stats: {"name": 1, "name with labels": [{"label": "x", "value": 1}]}. */
void kveil_metrics_render_json(struct kveil_metrics *m, struct kveil_buf *out);
/* docs/metrics.md. */
void kveil_metrics_write_markdown(struct kveil_buf *out);
/* The current sum over cells of a family (all labels), for the terminal and tests; of a histogram, its count. */
double kveil_metrics_sum(struct kveil_metrics *m, enum kveil_metric id);

static inline void kveil_cell_add(struct kveil_cell *c, uint64_t n)
{
	atomic_store_explicit(&c->value, atomic_load_explicit(&c->value, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

static inline uint64_t kveil_cell_count(const struct kveil_cell *c)
{
	return atomic_load_explicit(&c->value, memory_order_relaxed);
}

static inline void kveil_cell_set(struct kveil_cell *c, double v)
{
	uint64_t bits;
	memcpy(&bits, &v, sizeof bits);
	atomic_store_explicit(&c->value, bits, memory_order_relaxed);
}

void kveil_histogram_observe_ns(struct kveil_histogram *h, uint64_t ns); /* one writer */

#endif
