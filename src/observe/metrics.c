/* SPDX-License-Identifier: Apache-2.0 */
/* Counters and gauges, and their text. */
#include "observe/metrics.h"

#include "base/text.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum metric_type { COUNTER, GAUGE, HISTOGRAM };
enum {
	LABELS_MAX = 2,
	LABEL_SIZE = 128,
	/* Series with labels: of one family, so that none starves the others, and of all. What has no labels, and
	 * the "other" of each family, comes on top: all in all under 2,000 samples. */
	FAMILY_SERIES_MAX = 1200,
	TOPIC_RECORDS_MAX = 400, /* of 200 topics: a regex may take thousands, whose lag needs the room */
	SERIES_MAX = 1900,
};

static const struct {
	const char *name;
	enum metric_type type;
	const char *labels, *help;
} families[KVEIL_METRIC_COUNT] = {
#define X(id, name, type, labels, help) {name, type, labels, help},
    KVEIL_METRIC_TABLE(X)
#undef X
};

static const char *const type_names[] = {"counter", "gauge", "histogram"};

/* Upper bounds; the last bucket is +Inf. A small record takes about a microsecond, a large one milliseconds, a
 * stalled machine more. */
static const struct {
	uint64_t ns;
	const char *le, *text;
} bounds[KVEIL_HISTOGRAM_BUCKETS - 1] = {
    {200, "2e-07", "0.2 µs"},     {500, "5e-07", "0.5 µs"},     {1000, "1e-06", "1 µs"},    {2000, "2e-06", "2 µs"},
    {5000, "5e-06", "5 µs"},      {10000, "1e-05", "10 µs"},    {20000, "2e-05", "20 µs"},  {50000, "5e-05", "50 µs"},
    {100000, "0.0001", "0.1 ms"}, {500000, "0.0005", "0.5 ms"}, {1000000, "0.001", "1 ms"}, {5000000, "0.005", "5 ms"},
    {10000000, "0.01", "10 ms"},  {100000000, "0.1", "0.1 s"},  {1000000000, "1.0", "1 s"},
};

static size_t most_series(enum kveil_metric id)
{
	return id == KVEIL_M_TOPIC_RECORDS ? TOPIC_RECORDS_MAX : FAMILY_SERIES_MAX;
}

struct series;

/* Cells of several threads never share a cache line. */
struct slot {
	_Alignas(64) struct kveil_cell cell;
	struct series *series;
	struct slot *next;
};

struct histogram {
	_Alignas(64) struct kveil_histogram h;
	struct histogram *next;
};

struct series {
	enum kveil_metric id;
	char labels[LABELS_MAX][LABEL_SIZE];
	struct slot *slots;
	uint64_t released; /* what counters had when their cells were released */
	struct series *next;
};

struct family {
	struct series *first, **end;
	struct histogram *histograms;
	size_t count;
	struct series *other;
};

struct kveil_metrics {
	pthread_mutex_t lock;
	struct family families[KVEIL_METRIC_COUNT];
	size_t series_count; /* those with labels */
	/* Handed out when memory is out; never rendered. */
	struct kveil_cell lost_cell;
	struct kveil_histogram lost_histogram;
	struct kveil_cell *events[KVEIL_EVENT_COUNT];
};

struct kveil_metrics *kveil_metrics_new(void)
{
	struct kveil_metrics *m = calloc(1, sizeof *m);

	if (!m)
		return NULL;
	pthread_mutex_init(&m->lock, NULL);
	for (size_t i = 0; i < KVEIL_METRIC_COUNT; i++)
		m->families[i].end = &m->families[i].first;
	kveil_cell_set(kveil_metrics_cell(m, KVEIL_M_BUILD_INFO, KVEIL_VERSION, NULL), 1);
	for (int s = 0; s < KVEIL_STATUS_COUNT; s++) {
		enum kveil_class class = kveil_status_class((enum kveil_status)s);
		if (class == KVEIL_CLASS_RECORD)
			kveil_metrics_cell(m, KVEIL_M_RECORDS_FAILED, kveil_status_code((enum kveil_status)s), NULL);
		else if (class == KVEIL_CLASS_RETRY)
			kveil_metrics_cell(m, KVEIL_M_RETRIES, kveil_status_code((enum kveil_status)s), NULL);
	}
	kveil_metrics_cell(m, KVEIL_M_FETCH_ERRORS, kveil_status_code(KVEIL_E_UNREADABLE_BATCH), NULL);
	kveil_metrics_cell(m, KVEIL_M_FETCH_ERRORS, kveil_status_code(KVEIL_E_KAFKA_UNAVAILABLE), NULL);
	for (int e = 0; e < KVEIL_EVENT_COUNT; e++)
		m->events[e] = kveil_metrics_cell(m, KVEIL_M_EVENTS, kveil_event_name((enum kveil_event_kind)e), NULL);
	return m;
}

void kveil_metrics_take_event(void *user, const struct kveil_event *e)
{
	const struct kveil_metrics *m = user;

	/* Unlike other cells it has many writers. */
	atomic_fetch_add_explicit(&m->events[e->kind]->value, 1, memory_order_relaxed);
}

static void free_series(struct series *s)
{
	for (struct slot *c = s->slots, *next; c; c = next) {
		next = c->next;
		free(c);
	}
	free(s);
}

void kveil_metrics_free(struct kveil_metrics *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < KVEIL_METRIC_COUNT; i++) {
		for (struct series *s = m->families[i].first, *next; s; s = next) {
			next = s->next;
			free_series(s);
		}
		for (struct histogram *h = m->families[i].histograms, *next; h; h = next) {
			next = h->next;
			free(h);
		}
	}
	pthread_mutex_destroy(&m->lock);
	free(m);
}

static size_t label_count(enum kveil_metric id)
{
	const char *labels = families[id].labels;

	return *labels == 0 ? 0 : strchr(labels, ',') ? 2 : 1;
}

static struct series *add_series(struct kveil_metrics *m, enum kveil_metric id,
				 const char labels[LABELS_MAX][LABEL_SIZE])
{
	struct family *f = &m->families[id];
	struct series *s = calloc(1, sizeof *s);

	if (!s)
		return NULL;
	s->id = id;
	memcpy(s->labels, labels, sizeof s->labels);
	*f->end = s;
	f->end = &s->next;
	return s;
}

/* Prometheus refuses a page that is not UTF-8: a label ends before the first byte that is not, or that was cut. label
 * is zeroed; NULL leaves it empty. */
static void set_label(char label[LABEL_SIZE], const char *value)
{
	if (value)
		memcpy(label, value, kveil_utf8_valid_prefix((const uint8_t *)value, strnlen(value, LABEL_SIZE - 1)));
}

static struct series *find_series(struct kveil_metrics *m, enum kveil_metric id, const char *label1, const char *label2)
{
	struct family *f = &m->families[id];
	size_t labels = label_count(id);
	char wanted[LABELS_MAX][LABEL_SIZE] = {0};

	if (labels > 0)
		set_label(wanted[0], label1);
	if (labels > 1)
		set_label(wanted[1], label2);
	for (struct series *s = f->first; s; s = s->next)
		if (strcmp(s->labels[0], wanted[0]) == 0 && strcmp(s->labels[1], wanted[1]) == 0)
			return s;
	if (labels > 0 && (f->count >= most_series(id) || m->series_count >= SERIES_MAX)) {
		if (!f->other) {
			const char other[LABELS_MAX][LABEL_SIZE] = {"other", "other"};
			f->other = add_series(m, id, other);
		}
		return f->other;
	}
	struct series *s = add_series(m, id, wanted);
	if (s && labels > 0) {
		f->count++;
		m->series_count++;
	}
	return s;
}

struct kveil_cell *kveil_metrics_cell(struct kveil_metrics *m, enum kveil_metric id, const char *label1,
				      const char *label2)
{
	struct kveil_cell *cell = &m->lost_cell;
	struct slot *slot = aligned_alloc(_Alignof(struct slot), sizeof *slot);

	if (!slot)
		return cell;
	pthread_mutex_lock(&m->lock);
	struct series *s = find_series(m, id, label1, label2);
	if (s) {
		*slot = (struct slot){.series = s, .next = s->slots};
		s->slots = slot;
		cell = &slot->cell;
	} else
		free(slot);
	pthread_mutex_unlock(&m->lock);
	return cell;
}

static void drop_series(struct kveil_metrics *m, struct series *s)
{
	struct family *f = &m->families[s->id];
	struct series **at = &f->first;

	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	if (f->end == &s->next)
		f->end = at;
	if (s == f->other)
		f->other = NULL;
	else if (label_count(s->id) > 0) {
		f->count--;
		m->series_count--;
	}
	free_series(s);
}

void kveil_metrics_release(struct kveil_metrics *m, struct kveil_cell *cell)
{
	if (!cell || cell == &m->lost_cell)
		return;
	pthread_mutex_lock(&m->lock);
	struct slot *slot = (struct slot *)(void *)((char *)cell - offsetof(struct slot, cell));
	struct series *s = slot->series;
	struct slot **at = &s->slots;
	while (*at != slot)
		at = &(*at)->next;
	*at = slot->next;
	if (families[s->id].type == COUNTER)
		s->released += atomic_load_explicit(&cell->value, memory_order_relaxed);
	else if (!s->slots)
		drop_series(m, s);
	free(slot);
	pthread_mutex_unlock(&m->lock);
}

struct kveil_histogram *kveil_metrics_histogram(struct kveil_metrics *m, enum kveil_metric id)
{
	struct histogram *h = aligned_alloc(_Alignof(struct histogram), sizeof *h);

	if (!h)
		return &m->lost_histogram;
	memset(h, 0, sizeof *h);
	pthread_mutex_lock(&m->lock);
	h->next = m->families[id].histograms;
	m->families[id].histograms = h;
	pthread_mutex_unlock(&m->lock);
	return &h->h;
}

static void add_relaxed(_Atomic uint64_t *to, uint64_t n)
{
	atomic_store_explicit(to, atomic_load_explicit(to, memory_order_relaxed) + n, memory_order_relaxed);
}

void kveil_histogram_observe_ns(struct kveil_histogram *h, uint64_t ns)
{
	size_t i = 0;

	while (i < KVEIL_HISTOGRAM_BUCKETS - 1 && ns > bounds[i].ns)
		i++;
	add_relaxed(&h->buckets[i], 1);
	add_relaxed(&h->sum_ns, ns);
}

/* A counter as an integer in *ret_count, a gauge as a double in *ret_value. */
static void sum_series(const struct series *s, uint64_t *ret_count, double *ret_value)
{
	*ret_count = s->released;
	*ret_value = 0;
	for (const struct slot *slot = s->slots; slot; slot = slot->next) {
		uint64_t bits = atomic_load_explicit(&slot->cell.value, memory_order_relaxed);
		double value;
		memcpy(&value, &bits, sizeof value);
		*ret_count += bits;
		*ret_value += value;
	}
}

struct histogram_sum {
	uint64_t buckets[KVEIL_HISTOGRAM_BUCKETS], count, sum_ns;
};

static struct histogram_sum sum_histograms(const struct family *f)
{
	struct histogram_sum sum = {0};

	for (const struct histogram *h = f->histograms; h; h = h->next) {
		for (size_t i = 0; i < KVEIL_HISTOGRAM_BUCKETS; i++) {
			uint64_t n = atomic_load_explicit(&h->h.buckets[i], memory_order_relaxed);
			sum.buckets[i] += n;
			sum.count += n;
		}
		sum.sum_ns += atomic_load_explicit(&h->h.sum_ns, memory_order_relaxed);
	}
	return sum;
}

/* The number of a counter or gauge, in a form that both Prometheus and JSON read. */
static void append_number(struct kveil_buf *out, const struct series *s)
{
	uint64_t count;
	double value;

	sum_series(s, &count, &value);
	if (families[s->id].type == COUNTER)
		kveil_buf_printf(out, "%llu", (unsigned long long)count);
	else
		kveil_buf_printf(out, "%.15g", value);
}

/* Quoted, with the escapes that the exposition format and JSON have in common; other control characters as '?'. */
static void append_quoted(struct kveil_buf *out, const char *s)
{
	kveil_buf_append_byte(out, '"');
	for (; *s; s++) {
		if (*s == '\\' || *s == '"')
			kveil_buf_append_byte(out, '\\');
		if (*s == '\n')
			kveil_buf_append_str(out, "\\n");
		else
			kveil_buf_append_byte(out, (unsigned char)*s < 0x20 || *s == 0x7f ? '?' : (uint8_t)*s);
	}
	kveil_buf_append_byte(out, '"');
}

/* The i-th of "topic,partition". */
static struct kveil_span label_name(enum kveil_metric id, size_t i)
{
	const char *name = families[id].labels;

	if (i > 0)
		name = strchr(name, ',') + 1;
	return kveil_span_of(name, strcspn(name, ","));
}

static void render_series(struct kveil_buf *out, const struct series *s)
{
	size_t labels = label_count(s->id);

	kveil_buf_append_str(out, families[s->id].name);
	for (size_t i = 0; i < labels; i++) {
		kveil_buf_append_byte(out, i == 0 ? '{' : ',');
		kveil_buf_append_span(out, label_name(s->id, i));
		kveil_buf_append_byte(out, '=');
		append_quoted(out, s->labels[i]);
	}
	kveil_buf_append_str(out, labels > 0 ? "} " : " ");
	append_number(out, s);
	kveil_buf_append_byte(out, '\n');
}

static void render_histogram(struct kveil_buf *out, enum kveil_metric id, const struct histogram_sum *sum)
{
	const char *name = families[id].name;
	uint64_t below = 0;

	for (size_t i = 0; i < KVEIL_HISTOGRAM_BUCKETS; i++) {
		below += sum->buckets[i];
		kveil_buf_printf(out, "%s_bucket{le=\"%s\"} %llu\n", name,
				 i < KVEIL_HISTOGRAM_BUCKETS - 1 ? bounds[i].le : "+Inf", (unsigned long long)below);
	}
	kveil_buf_printf(out, "%s_sum %.9g\n%s_count %llu\n", name, (double)sum->sum_ns / 1e9, name,
			 (unsigned long long)sum->count);
}

/* A counter without labels stands at 0 even if nobody has taken a cell; a gauge that nobody sets would be a lie. */
static bool is_empty(const struct kveil_metrics *m, size_t id)
{
	return !m->families[id].first &&
	       (families[id].type == GAUGE || (families[id].type == COUNTER && *families[id].labels));
}

void kveil_metrics_render(struct kveil_metrics *m, struct kveil_buf *out)
{
	pthread_mutex_lock(&m->lock);
	for (size_t i = 0; i < KVEIL_METRIC_COUNT; i++) {
		const struct family *f = &m->families[i];
		if (is_empty(m, i))
			continue;
		kveil_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", families[i].name, families[i].help,
				 families[i].name, type_names[families[i].type]);
		if (families[i].type == HISTOGRAM) {
			struct histogram_sum sum = sum_histograms(f);
			render_histogram(out, (enum kveil_metric)i, &sum);
		} else if (!f->first)
			kveil_buf_printf(out, "%s 0\n", families[i].name);
		for (const struct series *s = f->first; s; s = s->next)
			render_series(out, s);
	}
	pthread_mutex_unlock(&m->lock);
}

static void render_json_series(struct kveil_buf *out, const struct series *s)
{
	kveil_buf_append_byte(out, '{');
	for (size_t i = 0; i < label_count(s->id); i++) {
		kveil_buf_append_byte(out, '"');
		kveil_buf_append_span(out, label_name(s->id, i));
		kveil_buf_append_str(out, "\": ");
		append_quoted(out, s->labels[i]);
		kveil_buf_append_str(out, ", ");
	}
	kveil_buf_append_str(out, "\"value\": ");
	append_number(out, s);
	kveil_buf_append_byte(out, '}');
}

void kveil_metrics_render_json(struct kveil_metrics *m, struct kveil_buf *out)
{
	const char *separator = "{";

	pthread_mutex_lock(&m->lock);
	for (size_t i = 0; i < KVEIL_METRIC_COUNT; i++) {
		const struct family *f = &m->families[i];
		if (is_empty(m, i))
			continue;
		kveil_buf_printf(out, "%s\"%s\": ", separator, families[i].name);
		separator = ", ";
		if (families[i].type == HISTOGRAM) {
			struct histogram_sum sum = sum_histograms(f);
			kveil_buf_printf(out, "{\"count\": %llu, \"sum\": %.9g}", (unsigned long long)sum.count,
					 (double)sum.sum_ns / 1e9);
		} else if (*families[i].labels) {
			for (const struct series *s = f->first; s; s = s->next) {
				kveil_buf_append_str(out, s == f->first ? "[" : ", ");
				render_json_series(out, s);
			}
			kveil_buf_append_byte(out, ']');
		} else if (f->first)
			append_number(out, f->first);
		else
			kveil_buf_append_byte(out, '0');
	}
	kveil_buf_append_byte(out, '}');
	pthread_mutex_unlock(&m->lock);
}

void kveil_metrics_write_markdown(struct kveil_buf *out)
{
	kveil_buf_append_str(out, "# Metrics\n"
				  "\n"
				  "Generated from the table in `src/observe/metrics.h`, in base units. No label "
				  "contains data from a record or an offset.\n"
				  "A process has under 2,000 series; beyond that, further label values of a metric are "
				  "counted as `other`.\n"
				  "\n"
				  "| metric | type | labels | meaning |\n"
				  "|---|---|---|---|\n");
	for (size_t i = 0; i < KVEIL_METRIC_COUNT; i++) {
		kveil_buf_printf(out, "| `%s` | %s | ", families[i].name, type_names[families[i].type]);
		for (size_t l = 0; l < label_count((enum kveil_metric)i); l++) {
			kveil_buf_append_str(out, l == 0 ? "`" : ", `");
			kveil_buf_append_span(out, label_name((enum kveil_metric)i, l));
			kveil_buf_append_byte(out, '`');
		}
		kveil_buf_printf(out, " | %s |\n", families[i].help);
	}
	kveil_buf_append_str(out, "\nThe standard process metrics are there too: `process_cpu_seconds_total`, "
				  "`process_resident_memory_bytes`, "
				  "`process_virtual_memory_bytes` and `process_start_time_seconds`.\n");
	kveil_buf_append_str(out, "\n"
				  "`kveil dead-letters list --metrics` prints one more, for a textfile collector, "
				  "because it must read the letters to count them:\n"
				  "\n"
				  "| metric | type | labels | meaning |\n"
				  "|---|---|---|---|\n"
				  "| `kveil_dead_letters_waiting` | gauge | `topic`, `code`, `rule` | Dead letters of "
				  "this input topic that were neither replayed nor discarded. |\n");
	kveil_buf_append_str(out, "\nBuckets of histograms (`le`): ");
	for (size_t i = 0; i < KVEIL_HISTOGRAM_BUCKETS - 1; i++)
		kveil_buf_printf(out, "%s, ", bounds[i].text);
	kveil_buf_append_str(out, "+Inf.\n");
}

double kveil_metrics_sum(struct kveil_metrics *m, enum kveil_metric id)
{
	double sum = 0;

	pthread_mutex_lock(&m->lock);
	if (families[id].type == HISTOGRAM)
		sum = (double)sum_histograms(&m->families[id]).count;
	for (const struct series *s = m->families[id].first; s; s = s->next) {
		uint64_t count;
		double value;
		sum_series(s, &count, &value);
		sum += families[id].type == COUNTER ? (double)count : value;
	}
	pthread_mutex_unlock(&m->lock);
	return sum;
}
