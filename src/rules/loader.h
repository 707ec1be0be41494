/* SPDX-License-Identifier: Apache-2.0 */
/* rules/loader.h: what the files that compile a rule file share. Private to rules/. */
#ifndef KVEIL_RULES_LOADER_H
#define KVEIL_RULES_LOADER_H

#include "base/arena.h"
#include "rules/plan.h"
#include "rules/schema.h"

enum {
	KVEIL_MOST_RULES = 2000, /* a file; the checks compare them in pairs */
	KVEIL_MOST_VIEWS = 64,
	KVEIL_MOST_STEPS = 3, /* into texts; KVEIL_MOST_TEXTS of the engine is one more, for a row that is one itself */
};

struct kveil_loader {
	struct kveil_plan *plan;
	const char *file;
	struct kveil_keystore *keys; /* NULL = names are not checked */
	struct kveil_report *report;
	char stem[64];                         /* first part of rule ids */
	struct kveil_option *rule_table;       /* kveil_rule_table and a row for each action */
	const struct kveil_yaml *envelope_sql; /* NULL = blank */
	bool keeps_messages;                   /* messages: keep */
	uint32_t envelope_line;
	bool no_memory;
};

/* --- plan.c: everything a plan points to is freed with it --- */
struct kveil_plan *kveil_plan_new(void);
void *kveil_plan_alloc(struct kveil_plan *p, size_t n); /* zeroed; NULL when memory is out */
char *kveil_plan_strndup(struct kveil_plan *p, const void *s, size_t n);
char *kveil_plan_strdup(struct kveil_plan *p, const char *s);
/* Hand an object over, also when the answer is false (memory is out: it is freed at once). */
bool kveil_plan_own_path(struct kveil_plan *p, struct kveil_path *path);
bool kveil_plan_own_expr(struct kveil_plan *p, struct kveil_expr *expr);
void kveil_plan_set_tag_property(struct kveil_plan *p, const char *name);

/* --- load.c --- */
/* As kveil_plan_parse, from a tree. */
struct kveil_plan *kveil_plan_compile(const struct kveil_yaml *root, const char *file, struct kveil_keystore *keys,
				      struct kveil_report *report);

/* --- lookup.c --- */
/* A template of the set that a topic fits, and whose; NULL: none. */
const char *kveil_plan_set_template(const struct kveil_plan_set *s, const char *topic, const char **ret_file);

/* --- flow.c --- */
/* In one line, members in the order of their names. */
void kveil_rules_write_flow(const struct kveil_yaml *y, struct kveil_buf *out);
/* A scalar that means something else in quotes, maybe: a number, true, null, a name. */
bool kveil_rules_is_plain_word(const char *text);

/* --- topics.c --- */
/* NULL: the pattern is wrong, err says how (err->byte: where in the text). */
struct kveil_topic_regex *kveil_topic_regex_new(const char *text, struct kveil_error *err);
/* r NULL (a pattern that was wrong): takes nothing. */
void kveil_topic_regex_free(struct kveil_topic_regex *r);
bool kveil_topic_regex_matches(const struct kveil_topic_regex *r, const char *topic);
bool kveil_plan_takes_topic(const struct kveil_plan *p, const char *topic);
/* Checks a topic name or, with is_template, one with {topic} in it. Reports at node and says false. */
bool kveil_topic_check(struct kveil_loader *l, const struct kveil_yaml *node, const char *text, bool is_template);

/* --- names.c --- */
/* Warns of names in rules and under clear that look like another one, and of names that are not NFC. */
void kveil_loader_check_names(struct kveil_loader *l);

/* --- rule.c --- */
/* Adds err at the place of its byte inside the scalar; skip: bytes of the scalar in front of what was parsed. */
void kveil_loader_add(struct kveil_loader *l, const struct kveil_yaml *node, size_t skip,
		      const struct kveil_error *err);
/* "$.a", "key:$", "header:NAME", ["$.a", "$.b"]. */
bool kveil_loader_read_place(struct kveil_loader *l, const struct kveil_yaml *node, struct kveil_place *ret);
bool kveil_loader_make_rule_table(struct kveil_loader *l);
void kveil_loader_free_rule_table(struct kveil_loader *l);
/* Fills *r from one entry of fields:. false when it added an error; r is then safe to free with the plan. */
bool kveil_loader_read_rule(struct kveil_loader *l, const struct kveil_yaml *node, int view, struct kveil_rule *r);
void kveil_rule_clear(struct kveil_rule *r);
/* Has the key an algorithm for this use? true as well where no configuration says, and for NULL. */
bool kveil_loader_is_key_for(struct kveil_loader *l, const struct kveil_template *key, unsigned use);

/* Reads the one action in a mapping. */
bool kveil_loader_read_action(struct kveil_loader *l, const struct kveil_yaml *node, struct kveil_rule *r);

/* --- tables.c --- */
bool kveil_loader_read_tables(struct kveil_loader *l, const struct kveil_yaml *at, char **globs, struct kveil_rule *r);
bool kveil_rule_same_tables(const struct kveil_rule *a, const struct kveil_rule *b);
/* Is there no row that both are for, whatever its table is? In doubt both may be. */
bool kveil_rule_other_tables(const struct kveil_rule *a, const struct kveil_rule *b);
/* The same of records. */
bool kveil_rule_other_records(const struct kveil_rule *a, const struct kveil_rule *b);

/* --- tags.c --- */
bool kveil_loader_read_tags(struct kveil_loader *l, const struct kveil_yaml *at, char **tags, struct kveil_rule *r);

/* --- envelope.c --- */
void kveil_loader_read_envelope(struct kveil_loader *l, const struct kveil_yaml *at);
/* Rules of the envelope's own, behind the file's; there is room for the count in plan->rules. */
size_t kveil_loader_count_clauses(const struct kveil_loader *l);
void kveil_loader_add_clauses(struct kveil_loader *l);

/* --- columns.c --- */
void kveil_loader_check_envelope(struct kveil_loader *l);

/* --- typed.c --- */
void kveil_loader_check_typed(struct kveil_loader *l, const struct kveil_yaml *root);

/* --- check.c: what can be told without a record --- */
/* whole: nothing was wrong so far, so that what is missing is missing indeed. */
void kveil_loader_check(struct kveil_loader *l, bool whole);

/* --- relations of two rules, for check.c and compare.c --- */
bool kveil_place_same_part(enum kveil_part a, const char *a_header, enum kveil_part b, const char *b_header);
static inline bool kveil_rule_same_part(const struct kveil_rule *a, const struct kveil_rule *b)
{
	return kveil_place_same_part(a->part, a->header_name, b->part, b->header_name);
}
/* Does q hold in every row that r holds in? An envelope's own rule holds in the event alone. */
static inline bool kveil_rule_same_rows(const struct kveil_rule *q, const struct kveil_rule *r)
{
	return kveil_rule_same_part(q, r) && (!q->is_of_event || r->is_of_event);
}
/* Could they find one place in some record, or one an ancestor of the other's? Never says no wrongly. */
bool kveil_path_may_meet(const struct kveil_path *a, const struct kveil_path *b);
/* Is it for every row, whatever that holds? */
static inline bool kveil_rule_is_unconditional(const struct kveil_rule *r)
{
	return !r->when && !r->tables && !r->record;
}
/* Do q's `when`, `table` and `record` hold wherever r's do? Told by the text; @ is the same value in both only on one
 * path. */
bool kveil_rule_same_condition(const struct kveil_rule *q, const struct kveil_rule *r);
/* remove, nullify: whatever stood there, nothing tells. */
bool kveil_rule_leaves_nothing(const struct kveil_rule *r);
/* Is fn true of the path, or of each that it stands for? $['a','b'] is $.a and $.b. */
bool kveil_path_all_parts(const struct kveil_path *p, bool (*fn)(const void *user, const struct kveil_path *),
			  const void *user);

#endif
