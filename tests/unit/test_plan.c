/* SPDX-License-Identifier: Apache-2.0 */
/* Rule files to plans: every file of tests/rules/ has exactly the problems that its own "#!" lines name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>

#include "base/text.h"
#include "rules/plan.h"
#include "rules/schema.h"

enum { MOST = 64 };

static char *read_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	char *text = NULL;
	size_t cap = 0;

	if (!f)
		fail_msg("%s is not there", path);
	ssize_t n = getdelim(&text, &cap, 0, f);
	fclose(f);
	assert_true(n > 0);
	return text;
}

/* "#! 7:5: error: text": a problem at line 7, column 5 whose message begins with text. */
static size_t expectations(char *text, char *lines[MOST])
{
	size_t n = 0;

	for (char *p = text; (p = strstr(p, "\n#! "));) {
		lines[n++] = p += 4;
		assert_true(n < MOST);
	}
	for (size_t i = 0; i < n; i++)
		lines[i][strcspn(lines[i], "\n")] = 0;
	return n;
}

static bool check_file(const char *folder, const char *name)
{
	char path[1400], got[512], *lines[MOST];
	struct kveil_report report = {0};
	bool ok = true, used[MOST] = {false};

	snprintf(path, sizeof path, "%s/%s", folder, name);
	char *text = read_file(path);
	struct kveil_plan *p = kveil_plan_parse(kveil_span_str(text), name, NULL, &report);
	assert_int_equal(p == NULL, report.errors > 0);
	size_t n = expectations(text, lines);
	for (size_t i = 0; i < report.count; i++) {
		const struct kveil_error *e = &report.problems[i].error;
		size_t k = 0;
		snprintf(got, sizeof got, "%u:%u: %s: %s", e->line, e->column,
			 report.problems[i].warning ? "warning" : "error", e->message);
		while (k < n && (used[k] || strncmp(got, lines[k], strlen(lines[k])) != 0))
			k++;
		if (k < n) {
			used[k] = true;
			continue;
		}
		print_error("%s: not expected:\n#! %s (%s)\n", name, got, e->hint);
		ok = false;
	}
	for (size_t k = 0; k < n; k++)
		if (!used[k]) {
			print_error("%s: missing:\n#! %s\n", name, lines[k]);
			ok = false;
		}
	kveil_plan_unref(p);
	kveil_report_clear(&report);
	free(text);
	return ok;
}

static void test_files(void **state)
{
	(void)state;
	char folder[1024];
	size_t good = 0, bad = 0;
	bool ok = true;

	snprintf(folder, sizeof folder, "%s/tests/rules", getenv("KVEIL_SOURCE_DIR"));
	DIR *dir = opendir(folder);
	assert_non_null(dir);
	for (struct dirent *e; (e = readdir(dir));) {
		if (!strstr(e->d_name, ".yaml"))
			continue;
		ok &= check_file(folder, e->d_name);
		good += strncmp(e->d_name, "good", 4) == 0;
		bad += strncmp(e->d_name, "bad", 3) == 0;
	}
	closedir(dir);
	assert_true(ok);
	assert_true(good >= 2 && bad >= 5);
}

static struct kveil_plan *parse(const char *text)
{
	struct kveil_report report = {0};
	struct kveil_plan *p = kveil_plan_parse(kveil_span_str(text), "f.yaml", NULL, &report);

	if (!p)
		kveil_report_print(&report, stderr);
	kveil_report_clear(&report);
	assert_non_null(p);
	return p;
}

static void test_plan(void **state)
{
	(void)state;
	struct kveil_plan *p =
	    parse("name: pay\ntopics: etl.pay\n"
		  "outputs:\n"
		  "  - name: a\n    topic: '{topic}.a'\n    unmatched: remove\n    fields:\n"
		  "      - {path: $.card, mask: {keep_last: 4}}\n"
		  "  - name: b\n    topic: '{topic}.b'\n    clear: ['$.iban', 'key:$']\n    fields:\n"
		  "      - {path: $.card, when: '$.x == 1', remove: true}\n"
		  "      - {path: $.card, encrypt: {key: 'tenant-{$.tenant}', associated_data: 'a{$.id}b'}}\n"
		  "fields:\n"
		  "  - {path: $.a.id, encrypt: {key: pii}, to: $.a.id2, keep_source: true, required: true}\n"
		  "  - {path: 'header:h', remove: true, on_null: transform}\n"
		  "clear: [$.c, $.a.id]\n");

	assert_string_equal(p->name, "pay");
	assert_string_equal(p->topics[0], "etl.pay");
	assert_null(p->topics[1]);
	assert_int_equal(p->view_count, 2);
	assert_int_equal(p->rule_count, 5);
	assert_int_equal(p->views[0].rule_count, 3);
	assert_int_equal(p->views[1].rule_count, 4);
	assert_int_equal(p->views[0].unmatched, KVEIL_UNMATCHED_REMOVE);
	assert_int_equal(p->views[1].unmatched, KVEIL_UNMATCHED_KEEP);
	assert_int_equal(p->views[0].clear_count, 2);
	assert_int_equal(p->views[1].clear_count, 3);
	assert_int_equal(p->views[1].clear_place_count, 4);
	for (size_t i = 0; i < p->rule_count; i++)
		assert_int_equal(p->rules[i].index, i);
	const struct kveil_rule *r = p->views[1].rules[0];
	assert_string_equal(r->id, "pay/$.a.id");
	assert_int_equal(r->view, -1);
	assert_true(r->keep_source && r->required && !r->on_null_transform);
	assert_true(kveil_span_eq(r->to_name, KVEIL_SPAN("id2")));
	assert_non_null(r->key);
	assert_true(r->key->is_constant && kveil_span_eq(r->key->pieces[0].text, KVEIL_SPAN("pii")));
	assert_null(r->ad);
	assert_int_equal(r->line, 16);
	r = p->views[1].rules[1];
	assert_int_equal(r->part, KVEIL_PART_HEADER);
	assert_string_equal(r->header_name, "h");
	assert_true(r->on_null_transform);
	r = p->views[1].rules[2];
	assert_string_equal(r->id, "pay@b/$.card");
	assert_non_null(r->when);
	r = p->views[1].rules[3];
	assert_string_equal(r->id, "pay@b/$.card#2");
	assert_int_equal(r->key->count, 2);
	assert_true(kveil_span_eq(r->key->pieces[0].text, KVEIL_SPAN("tenant-")));
	assert_non_null(r->key->pieces[0].path);
	assert_int_equal(r->ad->count, 2);
	assert_true(kveil_span_eq(r->ad->pieces[1].text, KVEIL_SPAN("b")));
	assert_null(r->ad->pieces[1].path);
	assert_string_equal(r->action->name, "encrypt");
	kveil_plan_unref(p);
}

static void test_long_ids(void **state)
{
	(void)state;
	char text[4096], path[300] = "$.";

	for (size_t i = 0; i < 80; i++)
		strcat(path, "卡");
	snprintf(text, sizeof text,
		 "topics: t\noutput: s\nfields:\n  - {path: %s, when: '$.a == 1', remove: true}\n"
		 "  - {path: %s, remove: true}\n",
		 path, path);
	struct kveil_plan *p = parse(text);
	assert_string_not_equal(p->rules[0].id, p->rules[1].id);
	assert_string_equal(p->rules[1].id + strlen(p->rules[0].id), "#2");
	for (size_t i = 0; i < 2; i++) {
		size_t n = strlen(p->rules[i].id);
		assert_int_equal(kveil_utf8_valid_prefix((const uint8_t *)p->rules[i].id, n), n);
	}
	kveil_plan_unref(p);
}

static void test_topics(void **state)
{
	(void)state;
	struct kveil_buf b = KVEIL_BUF_INIT;

	kveil_plan_expand_topic("a-{topic}.b-{topic}", "x", &b);
	assert_string_equal((const char *)b.data, "a-x.b-x");
	kveil_buf_clear(&b);
	assert_true(kveil_plan_topic_fits("{topic}.secure", "a.secure"));
	assert_false(kveil_plan_topic_fits("{topic}.secure", ".secure"));
	assert_false(kveil_plan_topic_fits("{topic}.secure", "a.secured"));
	assert_true(kveil_plan_topic_fits("s.{topic}.{topic}", "s.ab.ab"));
	assert_false(kveil_plan_topic_fits("s.{topic}.{topic}", "s.ab.ac"));
	assert_false(kveil_plan_topic_fits("s.{topic}.{topic}", "s.ab.a"));
	assert_true(kveil_plan_topic_fits("dead", "dead"));
	assert_false(kveil_plan_topic_fits("dead", "deadly"));
}

/* --- sets --- */

static char dir[] = "/tmp/kveil-plan-XXXXXX";

static int make_dir(void **state)
{
	(void)state;
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	(void)state;
	char command[64];

	snprintf(command, sizeof command, "rm -r %s", dir);
	return system(command);
}

static void write_rules(const char *name, const char *text)
{
	char path[256];

	snprintf(path, sizeof path, "%s/%s", dir, name);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void remove_rules(const char *name)
{
	char path[256];

	snprintf(path, sizeof path, "%s/%s", dir, name);
	assert_int_equal(remove(path), 0);
}

static struct kveil_plan_set *load(struct kveil_report *report)
{
	const char *const sources[] = {dir, NULL};

	*report = (struct kveil_report){0};
	return kveil_plan_set_load(sources, "{topic}.dead", NULL, report);
}

static void refused(const char *message)
{
	struct kveil_report report;

	assert_null(load(&report));
	bool found = false;
	for (size_t i = 0; i < report.count; i++)
		found |= strstr(report.problems[i].error.message, message) != NULL;
	if (!found) {
		kveil_report_print(&report, stderr);
		fail_msg("no problem says '%s'", message);
	}
	kveil_report_clear(&report);
}

#define A_FILE "topics: [etl.a, '^etl[.]x[.].*']\noutput: '{topic}.secure'\nfields:\n  - {path: $.a, remove: true}\n"

static void test_sets(void **state)
{
	(void)state;
	struct kveil_report report;
	struct kveil_error why;

	refused("no rule file");
	write_rules("a.yaml", A_FILE);
	write_rules("a.examples.yaml", "not rules at all");
	write_rules(".hidden.yaml", "not rules at all");
	write_rules("b.yaml", "topics: etl.b\noutput: all.secure\nfields: [{path: $.b, remove: true}]\n");
	struct kveil_plan_set *s = load(&report);
	assert_non_null(s);
	assert_int_equal(s->count, 2);
	assert_ptr_equal(kveil_plan_set_for_topic(s, "etl.a"), s->plans[0]);
	assert_ptr_equal(kveil_plan_set_for_topic(s, "etl.b"), s->plans[1]);
	assert_ptr_equal(kveil_plan_set_for_topic(s, "etl.x.1"), s->plans[0]);
	assert_null(kveil_plan_set_for_topic(s, "etl.c"));
	assert_false(kveil_plan_set_refuses(s, "etl.c", &why));
	/* A regex takes the whole name, and never what was written. */
	assert_null(kveil_plan_set_for_topic(s, "my.etl.x.1"));
	assert_null(kveil_plan_set_for_topic(s, "etl.x.1.secure"));
	assert_true(kveil_plan_set_refuses(s, "etl.x.1.secure", &why));
	assert_null(kveil_plan_set_for_topic(s, "etl.x.1.dead"));
	assert_true(kveil_plan_set_refuses(s, "etl.x.1.dead", &why));
	kveil_plan_set_unref(s);

	write_rules("c.yaml", "topics: etl.a\noutput: c\nfields: [{path: $.b, remove: true}]\n");
	refused("the topic etl.a has rules in");
	write_rules("c.yaml", "topics: etl.x.7\noutput: c\nfields: [{path: $.b, remove: true}]\n");
	refused("the topic etl.x.7 has rules in");
	write_rules("c.yaml", "topics: etl.a.secure\noutput: c\nfields: [{path: $.b, remove: true}]\n");
	refused("the input etl.a.secure is an output");
	write_rules("c.yaml", "topics: etl.a.dead\noutput: c\nfields: [{path: $.b, remove: true}]\n");
	refused("the input etl.a.dead is a dead-letter topic");
	write_rules("c.yaml", "topics: etl.c\noutput: etl.x.c\nfields: [{path: $.b, remove: true}]\n");
	refused("the output etl.x.c is an input");
	write_rules("c.yaml", "topics: etl.c\noutput: '{topic}.dead'\nfields: [{path: $.b, remove: true}]\n");
	refused("is a dead-letter topic");
	/* Every file's problems at once. */
	write_rules("b.yaml", "topics: etl.b\noutput: b\nfields: [{path: b, remove: true}]\n");
	write_rules("c.yaml", "topics: etl.c\noutput: c\nfields: [{path: c, remove: true}]\n");
	assert_null(load(&report));
	assert_int_equal(report.errors, 2);
	kveil_report_clear(&report);
	remove_rules("b.yaml");
	remove_rules("c.yaml");
}

/* Two files that may only be compared: is the second one weaker? */
static struct kveil_report losses; /* of the last comparison */

static bool less(const char *before, const char *now)
{
	struct kveil_report report;

	write_rules("a.yaml", before);
	struct kveil_plan_set *a = load(&report);
	kveil_report_print(&report, stderr);
	assert_non_null(a);
	kveil_report_clear(&report);
	write_rules("a.yaml", now);
	struct kveil_plan_set *b = load(&report);
	kveil_report_print(&report, stderr);
	assert_non_null(b);
	kveil_report_clear(&report);
	kveil_report_clear(&losses);
	bool yes = kveil_plan_set_protects_less(a, b, &losses);
	assert_int_equal(yes, losses.warnings > 0);
	kveil_plan_set_unref(a);
	kveil_plan_set_unref(b);
	return yes;
}

#define HEAD   "name: n\ntopics: etl.a\noutput: '{topic}.secure'\nfields:\n"
#define RULE_A "  - {path: $.a, mask: {keep_last: 4, keep_first: 1}}\n"
#define RULE_B "  - {path: $.b.c, encrypt: {key: pii}, to: $.b.d}\n"

static void test_protects_less(void **state)
{
	(void)state;
	assert_false(less(HEAD RULE_A RULE_B, HEAD RULE_A RULE_B));
	assert_false(less(HEAD RULE_A RULE_B, HEAD RULE_B RULE_A));
	assert_false(less(HEAD RULE_A, HEAD RULE_A RULE_B));
	assert_false(less(HEAD RULE_A, HEAD "  - {path: $.a, mask: {keep_first: 1, keep_last: 4}}\n"));
	assert_false(less(HEAD RULE_A, HEAD "  - {path: $.a, remove: true}\n"));
	assert_false(less(HEAD RULE_A, HEAD "  - {path: $..a, mask: {keep_first: 1, keep_last: 4}}\n"));
	/* As if the file had been cut off. */
	assert_true(less(HEAD RULE_A RULE_B, HEAD RULE_A));
	assert_true(less(HEAD RULE_A, HEAD "  - {path: $.a, mask: {keep_first: 1, keep_last: 5}}\n"));
	assert_true(less(HEAD RULE_A, HEAD "  - {path: $.a, hash: {key: pepper}}\n"));
	assert_true(less(HEAD RULE_A, HEAD "  - {path: $.a, when: '$.x == 1', mask: {keep_first: 1, keep_last: 4}}\n"));
	assert_true(less(HEAD RULE_A, HEAD "  - {path: $.a, when: '$.x == 1', mask: {keep_last: 9}}\n" RULE_A));
	assert_true(less(HEAD RULE_A, HEAD "  - {path: '$..*', when: '$.x == 1', mask: {keep_last: 9}}\n" RULE_A));
	assert_false(less(HEAD RULE_A, HEAD "  - {path: $.z, when: '$.x == 1', mask: {keep_last: 9}}\n" RULE_A));
	assert_true(less(HEAD RULE_B, HEAD "  - {path: $.b.c, encrypt: {key: pii}, to: $.b.d, keep_source: true}\n"));
	assert_true(less(HEAD RULE_A, HEAD RULE_A "  - {path: $.s, decrypt: {key: pii}}\n"));
	assert_true(less(HEAD RULE_A, HEAD RULE_A "clear: [$.q]\n"));
	assert_false(less(HEAD RULE_A "clear: [$.q]\n", HEAD RULE_A "clear: [$.q]\n"));
	assert_false(less(HEAD RULE_A "clear: [$.q]\n", HEAD RULE_A));
	assert_true(less(HEAD RULE_A "unmatched: remove\n", HEAD RULE_A));
	assert_true(less(HEAD RULE_A "unmatched: remove\n", HEAD RULE_A RULE_B "unmatched: remove\n"));
	assert_false(less(HEAD RULE_A, HEAD RULE_A "unmatched: remove\n"));
	assert_true(less(HEAD RULE_A, HEAD RULE_A "on_error: drop\n"));
	assert_false(less(HEAD RULE_A, HEAD RULE_A "on_error: stop\n"));
	assert_true(
	    less(HEAD "  - {path: $.a, required: true, remove: true}\n", HEAD "  - {path: $.a, nullify: true}\n"));
	/* A topic gone, a topic that another spelling still takes, an output more. */
	assert_true(less(HEAD RULE_A, "topics: etl.b\nfields:\n" RULE_A));
	assert_false(less(HEAD RULE_A, "topics: '^etl[.].*'\nfields:\n" RULE_A));
#define TWO(second)                                                                                                    \
	"topics: etl.a\noutputs: [{name: x, topic: etl.a.secure, fields: [{path: $.a, remove: true}]}," second "]\n"
	assert_true(less(HEAD "  - {path: $.a, remove: true}\n",
			 TWO("{name: y, topic: y, fields: [{path: $.a, remove: true}]}")));
	assert_false(less(TWO("{name: y, topic: y, clear: [$.a]}"), HEAD "  - {path: $.a, remove: true}\n"));
	assert_true(less(HEAD "  - {path: $.a, remove: true}\n", TWO("{name: y, topic: y, clear: [$.a]}")));
	/* One path for two names, and two paths. */
#define BOTH       HEAD "  - {path: \"$['a','b']\", mask: {}}\n"
#define ONE_BY_ONE HEAD "  - {path: $.b, mask: {}}\n  - {path: $.a, mask: {}}\n"
	assert_false(less(BOTH, ONE_BY_ONE));
	assert_false(less(ONE_BY_ONE, BOTH));
	assert_true(less(BOTH, HEAD "  - {path: $.b, mask: {}}\n"));
	/* Values of one record type only. */
#define OF_RECORD(words) "name: n\ntopics: etl.a\nformat: avro\nfields:\n  - {path: $.a, " words "mask: {}}\n"
	assert_true(less(OF_RECORD(""), OF_RECORD("record: User, ")));
	assert_true(less(OF_RECORD("record: User, "), OF_RECORD("record: Order, ")));
	assert_false(less(OF_RECORD("record: User, "), OF_RECORD("record: User, ")));
	assert_false(less(OF_RECORD("record: User, "), OF_RECORD("")));
	/* The same words about another value. */
	assert_true(less(HEAD "  - {path: $.a.b, when: '@ > 5', remove: true}\n",
			 HEAD "  - {path: $.a, when: '@ > 5', remove: true}\n"));
	kveil_report_clear(&losses);
	write_rules("a.yaml", A_FILE);
}

/* A rule behind the old one, which still holds, and more comes out than did. */
static void test_protects_less_beside(void **state)
{
	(void)state;
#define MOVED     "  - {path: $.a, to: $.b, mask: {}}\n"
#define ANYWHERE  "  - {path: $..p, mask: {}}\n"
#define WHOLE(to) "  - {path: $.a, " to "encrypt: {key: k, type: json}}\n"
	assert_true(less(HEAD RULE_A, HEAD RULE_A "  - {path: $.a, to: $.c, mask: {mask_first: 1}}\n"));
	assert_true(less(HEAD MOVED, HEAD MOVED "  - {path: $.a, mask: {mask_first: 1}}\n"));
	assert_true(
	    less(HEAD MOVED, HEAD MOVED "  - {path: $.a, to: $.c, keep_source: true, mask: {mask_first: 1}}\n"));
	assert_false(less(HEAD MOVED, HEAD MOVED "  - {path: $.a, nullify: true}\n"));
	assert_false(less(HEAD MOVED, HEAD MOVED "  - {path: $.c, to: $.d, mask: {mask_first: 1}}\n"));
	assert_true(less(HEAD ANYWHERE, HEAD ANYWHERE WHOLE("")));
	assert_true(less(HEAD ANYWHERE, HEAD ANYWHERE WHOLE("to: $.b, keep_source: true, ")));
	assert_false(less(HEAD ANYWHERE, HEAD ANYWHERE "  - {path: $..q, mask: {}}\n"));
	/* Where its condition is false the field comes out. */
	assert_true(less(HEAD RULE_A "unmatched: remove\n",
			 HEAD RULE_A "  - {path: $.s, when: '$.x == 1', remove: true}\nunmatched: remove\n"));
	assert_false(
	    less(HEAD RULE_A "unmatched: remove\n", HEAD RULE_A "  - {path: $.s, remove: true}\nunmatched: remove\n"));
	kveil_report_clear(&losses);
	write_rules("a.yaml", A_FILE);
}

/* An envelope's own rule is for the event, not for a column of that name; and what is read as what. */
static void test_protects_less_in_events(void **state)
{
	(void)state;
#define EVENT(envelope) "topics: etl.a\nenvelope: " envelope "\nfields:\n"
	assert_true(less(EVENT("maxwell") RULE_A "  - {path: $.query, nullify: true}\n", EVENT("maxwell") RULE_A));
	assert_true(less(EVENT("canal") RULE_A "  - {path: $.sql, replace: {with: ''}}\n", EVENT("canal") RULE_A));
	assert_true(
	    less(EVENT("debezium") RULE_A "  - {path: $.source.query, remove: true}\n", EVENT("debezium") RULE_A));
	assert_true(less("format: {value: json, key: json}\n" EVENT("{kind: ogg, key: $.id}") RULE_A,
			 "format: {value: json, key: text}\n" EVENT("{kind: ogg, key: $.id}") RULE_A));
	assert_true(
	    less(EVENT("ogg") "  - {path: $.a, mask: {}}\n", EVENT("ogg") "  - {path: $.a, on_key: any, mask: {}}\n"));
	kveil_report_clear(&losses);
	write_rules("a.yaml", A_FILE);
}

static bool lost(const char *what)
{
	for (size_t i = 0; i < losses.count; i++)
		if (strcmp(losses.problems[i].error.message, what) == 0)
			return true;
	return false;
}

/* Where values go is protection, and everything that is lost is told. */
static void test_losses(void **state)
{
	(void)state;
#define VIEWS(one, two, left)                                                                                          \
	"topics: [etl.a, etl.b]\noutputs:\n"                                                                           \
	"  - {name: analytics, topic: '" one "', fields: [{path: $.phone, mask: {}}]}\n"                               \
	"  - {name: ops, topic: '" two "', clear: [" left "]}\n"
	assert_false(less(VIEWS("{topic}.x", "{topic}.y", "$.phone"), VIEWS("{topic}.x", "{topic}.y", "$.phone")));
	assert_true(less(VIEWS("{topic}.x", "{topic}.y", "$.phone"), VIEWS("{topic}.y", "{topic}.x", "$.phone")));
	assert_int_equal(losses.warnings, 1);
	assert_true(lost("protects less than before: output ops: the rule for $.phone is gone, and `clear` names it"));
	assert_true(less(HEAD RULE_A, "topics: etl.a\noutput: public\nfields:\n" RULE_A));
	assert_true(lost("protects less than before: goes to another topic: public"));
	assert_false(less(HEAD RULE_A, "topics: etl.a\noutput: etl.a.secure\nfields:\n" RULE_A));
	assert_true(less("topics: '^etl[.].*'\noutput: '{topic}.secure'\nfields:\n" RULE_A,
			 "topics: '^etl[.].*'\noutput: all\nfields:\n" RULE_A));
	assert_true(less(HEAD RULE_A RULE_B "  - {path: $.c, remove: true}\non_error: stop\nunmatched: remove\n",
			 "topics: etl.b\nfields:\n" RULE_A));
	assert_int_equal(losses.warnings, 1);
	assert_true(less(HEAD RULE_A RULE_B "  - {path: $.c, remove: true}\non_error: stop\nunmatched: remove\n",
			 HEAD RULE_A "on_error: drop\nclear: [$.c]\n"));
	assert_int_equal(losses.warnings, 4);
	kveil_report_clear(&losses);
	write_rules("a.yaml", A_FILE);
}

/* Whoever changed one rule reads one line. */
static void test_one_loss_a_rule(void **state)
{
	(void)state;
	assert_true(less(HEAD RULE_A, HEAD "  - {path: $.a, mask: {keep_first: 9}}\n"));
	assert_int_equal(losses.warnings, 1);
	assert_true(lost("protects less than before: the rule for $.a has changed"));
	assert_true(less(HEAD RULE_A, HEAD "  - {path: $.a, to: $.x, replace: {with: ''}}\n"));
	assert_int_equal(losses.warnings, 1);
	assert_true(lost("protects less than before: the rule for $.a has changed (mask, now replace)"));
	assert_true(less(HEAD RULE_A, HEAD RULE_A "  - {path: $.a, to: $.c, mask: {mask_first: 1}}\n"));
	assert_int_equal(losses.warnings, 1);
	assert_true(lost("protects less than before: there is a new rule for $.a"));
	/* One that all outputs have, and one that only some have now. */
#define SHARED(top, one, two)                                                                                          \
	"topics: etl.a\nfields: [" top "]\noutputs:\n"                                                                 \
	"  - {name: one, topic: x, fields: [{path: $.p, mask: {}}" one "]}\n"                                          \
	"  - {name: two, topic: y, fields: [{path: $.p, mask: {}}" two "]}\n"
#define MASKED "{path: $.q, mask: {}}"
#define WEAKER "{path: $.q, mask: {keep_first: 9}}"
	assert_true(less(SHARED(MASKED, "", ""), SHARED(WEAKER, "", "")));
	assert_int_equal(losses.warnings, 1);
	assert_true(lost("protects less than before: the rule for $.q has changed"));
	assert_true(less(SHARED(MASKED, "", ""), SHARED("", "", "")));
	assert_int_equal(losses.warnings, 1);
	assert_true(lost("protects less than before: the rule for $.q is gone"));
	assert_true(less(SHARED(MASKED, "", ""), SHARED("", ", " MASKED, ", " WEAKER)));
	assert_int_equal(losses.warnings, 1);
	assert_true(lost("protects less than before: output two: the rule for $.q has changed"));
	kveil_report_clear(&losses);
	write_rules("a.yaml", A_FILE);
}

/* A set that is kept as text is the same one when it is read again. */
static void kept_and_read(const struct kveil_plan_set *s)
{
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;
	KVEIL_CLEANUP_BUF struct kveil_buf again = KVEIL_BUF_INIT;

	kveil_plan_set_write(s, &text);
	assert_true(kveil_buf_ok(&text));
	struct kveil_plan_set *read = kveil_plan_set_parse(kveil_buf_span(&text));
	assert_non_null(read);
	kveil_plan_set_write(read, &again);
	assert_string_equal(kveil_buf_cstr(&again), kveil_buf_cstr(&text));
	assert_false(kveil_plan_set_protects_less(read, s, NULL));
	assert_false(kveil_plan_set_protects_less(s, read, NULL));
	kveil_plan_set_unref(read);
}

static void test_kept_text(void **state)
{
	(void)state;
	struct kveil_report report;

	assert_null(kveil_plan_set_parse(KVEIL_SPAN("")));
	assert_null(kveil_plan_set_parse(KVEIL_SPAN("{\"kveil-rules\": 2, \"files\": []}")));
	assert_null(kveil_plan_set_parse(KVEIL_SPAN("{\"kveil-rules\": 1, \"files\": [1]}")));
	assert_null(
	    kveil_plan_set_parse(KVEIL_SPAN("{\"kveil-rules\": 1, \"files\": [{\"file\": x, \"rules\": []}]}")));
	/* Quotes and their absence, comments, blocks, what YAML and JSON escape. */
	write_rules("a.yaml",
		    "topics: [etl.a] # comment\nfields:\n"
		    "  - {path: \"$.a\", replace: {with: \"1\"}}\n"
		    "  - path: >-\n      $['a\\'b','卡']\n    replace:\n      with: \"\\t\\u0007\\\"{~}: #\"\n"
		    "  - {path: $.n, replace: {with: null}}\n"
		    "  - {path: $.s, replace: {with: 'null'}}\n"
		    "  - {path: $.m, replace: {with: -1.5e+3}}\n"
		    "  - {path: '$.items[*].x', when: \"@ == '*' && $.y\", mask: {char: '*'}}\n");
	struct kveil_plan_set *s = load(&report);
	kveil_report_print(&report, stderr);
	kveil_report_clear(&report);
	assert_non_null(s);
	kept_and_read(s);
	kveil_plan_set_unref(s);
	assert_true(less("topics: t\nfields: [{path: $.a, replace: {with: 1}}]\n",
			 "topics: t\nfields: [{path: $.a, replace: {with: '1'}}]\n"));
	kveil_report_clear(&losses);
	write_rules("a.yaml", A_FILE);
}

/* What the repository ships loads as one set, and without a warning but where clear values are the purpose. */
static void test_shipped(void **state)
{
	(void)state;
	static const struct {
		const char *folder;
		size_t files;
		bool reveals;
	} sets[] = {{"rules", 5, false}, {"rules/inverse", 1, true}};

	for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
		char folder[1024];
		struct kveil_report report = {0};
		snprintf(folder, sizeof folder, "%s/%s", getenv("KVEIL_SOURCE_DIR"), sets[i].folder);
		const char *const sources[] = {folder, NULL};
		struct kveil_plan_set *s = kveil_plan_set_load(sources, "{topic}.dead", NULL, &report);
		if (!s || (report.warnings && !sets[i].reveals))
			kveil_report_print(&report, stderr);
		assert_non_null(s);
		assert_true(s->count >= sets[i].files);
		assert_int_equal(report.warnings > 0, sets[i].reveals);
		assert_false(kveil_plan_set_protects_less(s, s, NULL));
		kept_and_read(s);
		kveil_report_clear(&report);
		kveil_plan_set_unref(s);
	}
}

static void test_schema(void **state)
{
	(void)state;
	struct kveil_buf b = KVEIL_BUF_INIT;

	kveil_rules_write_schema(&b);
	assert_true(kveil_buf_ok(&b));
	assert_non_null(strstr(kveil_buf_cstr(&b), "\"mask\""));
	kveil_buf_clear(&b);
	kveil_rules_write_markdown(&b);
	assert_non_null(strstr(kveil_buf_cstr(&b), "`keep_source`"));
	kveil_buf_clear(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_files),
	    cmocka_unit_test(test_plan),
	    cmocka_unit_test(test_long_ids),
	    cmocka_unit_test(test_topics),
	    cmocka_unit_test(test_sets),
	    cmocka_unit_test(test_protects_less),
	    cmocka_unit_test(test_protects_less_beside),
	    cmocka_unit_test(test_protects_less_in_events),
	    cmocka_unit_test(test_losses),
	    cmocka_unit_test(test_one_loss_a_rule),
	    cmocka_unit_test(test_kept_text),
	    cmocka_unit_test(test_schema),
	    cmocka_unit_test(test_shipped),
	};
	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
