/* SPDX-License-Identifier: Apache-2.0 */
/* `keys:` of kveil.yaml. */
#include "keys/internal.h"

#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>

struct top {
	char *registry, *registry_id;
	const struct kveil_yaml *keks, *data;
};

struct entry {
	char *algorithm, *kek, *also, *join;
	int64_t rotate_every_ms;
	bool exportable;
	char *owner, *description;
	struct kveil_string_map labels;
	uint64_t new_per_second, new_per_topic, most_names;
};

static const struct kveil_option entry_options[] = {
    {"algorithm", KVEIL_OPT_STRING, offsetof(struct entry, algorithm), .required = true,
     .help = "what the key does; `kveil version` lists them"},
    {"kek", KVEIL_OPT_STRING, offsetof(struct entry, kek),
     .help = "the KEK of keys.keks that wraps it; required if there are several"},
    {"also", KVEIL_OPT_STRING, offsetof(struct entry, also),
     .help = "a second KEK that also wraps every version, in case the first is lost; either "
	     "opens. Here its public half is enough"},
    {"rotate_every", KVEIL_OPT_DURATION, offsetof(struct entry, rotate_every_ms), .min = 1000,
     .max = UINT64_C(366) * 24 * 3600 * 1000,
     .help = "a new version each period, published half a period ahead; ciphers with a nonce only"},
    {"join", KVEIL_OPT_STRING, offsetof(struct entry, join),
     .help = "deterministic keys: used as the associated data, so that equal values have equal "
	     "ciphertexts in all fields"},
    {"exportable", KVEIL_OPT_BOOL, offsetof(struct entry, exportable), .def = "true",
     .help = "false: `kveil keys export --clear` refuses this key"},
    {"owner", KVEIL_OPT_STRING, offsetof(struct entry, owner),
     .help = "whose key it is; shown by `kveil keys list --json`"},
    {"description", KVEIL_OPT_STRING, offsetof(struct entry, description), .help = "what it is for; shown there too"},
    {"labels", KVEIL_OPT_STRING_MAP, offsetof(struct entry, labels), .help = "anything else; shown there too"},
    {"new_per_second", KVEIL_OPT_UINT, offsetof(struct entry, new_per_second), .def = "200", .min = 1, .max = 100000,
     .help = "patterns such as `tenant-{}`: how many new names one process accepts on average, in "
	     "bursts of up to ten seconds' worth. Others wait"},
    {"new_per_topic", KVEIL_OPT_UINT, offsetof(struct entry, new_per_topic), .def = "0", .max = 100000,
     .help = "patterns: how many of these may come from one topic; 0 = all. Others wait"},
    {"most_names", KVEIL_OPT_UINT, offsetof(struct entry, most_names), .def = "100000", .min = 1, .max = 100000000,
     .help = "patterns: the highest number of names. A record with a new name beyond it fails "
	     "(`key_limit`)"},
    {0},
};

static void write_keks_schema(struct kveil_buf *out)
{
	kveil_buf_append_str(out, "{\"type\": \"object\", \"additionalProperties\": {\"oneOf\": [");
	for (size_t i = 0; kveil_providers[i]; i++) {
		kveil_buf_printf(
		    out, "%s{\"type\": \"object\", \"additionalProperties\": false, \"required\": [\"provider\"",
		    i ? ", " : "");
		for (const struct kveil_option *o = kveil_providers[i]->options; o->name; o++)
			if (o->required)
				kveil_buf_printf(out, ", \"%s\"", o->name);
		kveil_buf_printf(out, "], \"properties\": {\"provider\": {\"const\": \"%s\"}, ",
				 kveil_providers[i]->name);
		kveil_options_write_schema(kveil_providers[i]->options, out);
		kveil_buf_append_str(out, "}}");
	}
	kveil_buf_append_str(out, "]}}");
}

static void write_data_schema(struct kveil_buf *out)
{
	kveil_buf_append_str(out, "{\"type\": \"object\", \"additionalProperties\": ");
	kveil_options_write_schema_object(entry_options, out);
	kveil_buf_append_byte(out, '}');
}

static const struct kveil_option top_options[] = {
    {"registry", KVEIL_OPT_STRING, offsetof(struct top, registry), .required = true,
     .help = "where the wrapped keys are kept: kafka:TOPIC, a compacted topic that the whole group shares, or "
	     "file:PATH, for the "
	     "processes of one host"},
    {"registry_id", KVEIL_OPT_STRING, offsetof(struct top, registry_id),
     .help = "the registry's id, as `kveil keys init` prints it: kveil then accepts no other "
	     "registry in that topic. With a suffix .N it accepts no secret older than number N"},
    {"keks", KVEIL_OPT_CUSTOM, offsetof(struct top, keks), .required = true, .write_schema = write_keks_schema,
     .help = "key-encryption keys by name, each with its provider and that provider's options"},
    {"data", KVEIL_OPT_CUSTOM, offsetof(struct top, data), .write_schema = write_data_schema,
     .help = "the keys that rules name"},
    {0},
};

const struct kveil_option *kveil_keys_options(void)
{
	return top_options;
}

const struct kveil_option *kveil_keys_data_options(void)
{
	return entry_options;
}

/* --- keks --- */

static const char *provider_names[16];

static const char *const *all_providers(void)
{
	for (size_t i = 0; i < 15 && kveil_providers[i]; i++)
		provider_names[i] = kveil_providers[i]->name;
	return provider_names;
}

static void hint_all(struct kveil_error *e)
{
	char list[160] = "";

	for (size_t i = 0; kveil_providers[i]; i++) {
		size_t n = strlen(list);
		snprintf(list + n, sizeof list - n, "%s%s", i ? ", " : "", kveil_providers[i]->name);
	}
	kveil_error_hint(e, "there are: %s", list);
}

/* The provider's own table does not know `provider`: its mapping without that line. */
static bool parse_params(const struct kveil_provider *p, const struct kveil_yaml *node, const char *file, void *params,
			 struct kveil_report *report)
{
	struct kveil_yaml own = *node;
	bool ok = false;

	own.keys = calloc(node->count + 1, sizeof(struct kveil_yaml *));
	own.items = calloc(node->count + 1, sizeof(struct kveil_yaml *));
	own.count = 0;
	if (own.keys && own.items) {
		for (size_t i = 0; i < node->count; i++) {
			if (strcmp(node->keys[i]->text, "provider") == 0)
				continue;
			own.keys[own.count] = node->keys[i];
			own.items[own.count++] = node->items[i];
		}
		ok = kveil_options_parse(p->options, &own, file, NULL, params, report);
	}
	free(own.keys);
	free(own.items);
	return ok;
}

static void parse_kek(const char *name, const struct kveil_yaml *key, const struct kveil_yaml *node, const char *file,
		      struct kveil_keys_config *c, struct kveil_report *report)
{
	const struct kveil_yaml *provider = node->kind == KVEIL_YAML_MAP ? kveil_yaml_get(node, "provider") : NULL;

	if (!kveil_key_name_valid(kveil_span_str(name), false) || strlen(name) > KVEIL_KEK_NAME_MAX) {
		kveil_report_at(report, file, key->line, key->column,
				"a KEK's name is 1 to %d letters, digits, '.', '_' or '-'", KVEIL_KEK_NAME_MAX);
		return;
	}
	if (!provider || provider->kind != KVEIL_YAML_SCALAR) {
		kveil_error_hint(
		    kveil_report_at(report, file, node->line, node->column, "KEK '%s' has no provider", name),
		    "%s: {provider: file, path: /etc/kveil/kek}", name);
		return;
	}
	const struct kveil_provider *p = kveil_provider_by_name(provider->text);
	if (!p) {
		struct kveil_error *e = kveil_report_at(report, file, provider->line, provider->column,
							"this kveil has no provider '%s'", provider->text);
		const char *near = kveil_text_nearest(provider->text, all_providers());
		if (near)
			kveil_error_hint(e, "did you mean '%s'?", near);
		else
			hint_all(e);
		return;
	}
	struct kveil_kek_config *k = &c->custodians[c->custodian_count];
	*k = (struct kveil_kek_config){
	    .name = strdup(name), .provider = strdup(p->name), .params = calloc(1, p->params_size)};
	c->custodian_count++;
	if (!k->name || !k->provider || !k->params)
		kveil_report_no_memory(report, file);
	else if (parse_params(p, node, file, k->params, report) && p->check)
		p->check(name, k->params, node, file, report);
}

/* --- data --- */

static void check_name(const char *name, const struct kveil_yaml *key, const char *file, struct kveil_report *report)
{
	const char *braces = strstr(name, "{}");
	struct kveil_error *e;

	if (!kveil_key_name_valid(kveil_span_str(name), true)) {
		e = kveil_report_at(report, file, key->line, key->column,
				    "a key's name is 1 to %d letters, digits, '.', '_' or '-', and may hold one {}",
				    KVEIL_KEY_NAME_MAX);
		if (strchr(name, '{'))
			kveil_error_hint(
			    e, "a pattern is written \"tenant-{}\"; the rule fills it: \"tenant-{$.tenant}\"");
	} else if (braces == name) {
		e = kveil_report_at(report, file, key->line, key->column,
				    "a pattern begins with letters of its own: '%s'", name);
		kveil_error_hint(e, "such as \"tenant-{}\": else every name would fit it");
	}
}

static void check_known(const char *kek, const char *option, const struct kveil_keys_config *c,
			const struct kveil_yaml *node, const char *file, struct kveil_report *report)
{
	const struct kveil_yaml *at = kveil_yaml_get(node, option);
	const char *names[65] = {NULL}, *near;

	for (size_t i = 0; i < c->custodian_count; i++) {
		if (strcmp(c->custodians[i].name, kek) == 0)
			return;
		if (i < 64)
			names[i] = c->custodians[i].name;
	}
	struct kveil_error *e =
	    kveil_report_at(report, file, at ? at->line : node->line, at ? at->column : node->column,
			    "there is no KEK '%s' under keys.keks", kek);
	near = kveil_text_nearest(kek, names);
	if (near)
		kveil_error_hint(e, "did you mean '%s'?", near);
}

static void check_also(const struct kveil_data_key_config *d, const struct kveil_keys_config *c,
		       const struct kveil_yaml *node, const char *file, struct kveil_report *report)
{
	const struct kveil_yaml *at = kveil_yaml_get(node, "also");

	check_known(d->also, "also", c, node, file, report);
	if (strcmp(d->kek, d->also) == 0)
		kveil_report_at(report, file, at->line, at->column, "`also` of key '%s' is another KEK than `kek`",
				d->name);
	if (strlen(d->kek) + 1 + strlen(d->also) > KVEIL_KEK_NAME_MAX)
		kveil_report_at(report, file, at->line, at->column,
				"the names of the two KEKs of key '%s' have more than %d characters together", d->name,
				KVEIL_KEK_NAME_MAX - 1);
}

static void check_kek(struct kveil_data_key_config *d, const struct kveil_keys_config *c, const struct kveil_yaml *node,
		      const char *file, struct kveil_report *report)
{
	char keks[2 * KVEIL_KEK_NAME_MAX + 2];

	if (!d->kek && c->custodian_count == 1)
		d->kek = strdup(c->custodians[0].name);
	else if (d->kek)
		check_known(d->kek, "kek", c, node, file, report);
	else if (c->custodian_count)
		kveil_report_at(report, file, node->line, node->column, "key '%s' does not say which KEK wraps it",
				d->name);
	if (!d->kek)
		return;
	if (d->also)
		check_also(d, c, node, file, report);
	snprintf(keks, sizeof keks, "%s%s%s", d->kek, d->also ? "+" : "", d->also ? d->also : "");
	d->keks = strdup(keks);
	if (!d->keks)
		kveil_report_no_memory(report, file);
}

/* Does the configuration hold only the half of this KEK that locks? */
static bool locks_only(const struct kveil_keys_config *c, const char *kek)
{
	for (size_t i = 0; kek && i < c->custodian_count; i++) {
		const struct kveil_provider *p = kveil_provider_by_name(c->custodians[i].provider);
		if (strcmp(c->custodians[i].name, kek) == 0)
			return p->locks_only && c->custodians[i].params && p->locks_only(c->custodians[i].params);
	}
	return false;
}

static void check_join(const struct kveil_data_key_config *d, const struct kveil_yaml *at, const char *file,
		       struct kveil_report *report)
{
	if (d->algorithm->kind != KVEIL_ALG_DAEAD && d->algorithm->kind != KVEIL_ALG_FPE) {
		kveil_report_at(report, file, at->line, at->column, "`join` is for deterministic keys, and %s is none",
				d->algorithm_name);
	} else if (!*d->join) {
		kveil_error_hint(kveil_report_at(report, file, at->line, at->column, "`join` is never empty"),
				 "a word for the fields that shall be equal, such as join: customer");
	}
}

static void check_algorithm(struct kveil_data_key_config *d, const struct kveil_keys_config *c,
			    const struct kveil_yaml *node, const char *file, struct kveil_report *report)
{
	const struct kveil_yaml *at = kveil_yaml_get(node, "algorithm");
	const char *names[64] = {NULL}, *near;
	struct kveil_error *e;

	if (!d->algorithm_name || !at)
		return;
	d->algorithm = kveil_algorithm_by_name(kveil_span_str(d->algorithm_name));
	if (!d->algorithm) {
		for (size_t i = 0; i < 63 && kveil_algorithms[i]; i++)
			names[i] = kveil_algorithms[i]->name;
		e = kveil_report_at(report, file, at->line, at->column, "this kveil has no algorithm '%s'",
				    d->algorithm_name);
		near = kveil_text_nearest(d->algorithm_name, names);
		if (near)
			kveil_error_hint(e, "did you mean '%s'?", near);
		else
			kveil_error_hint(e, "`kveil version` lists them");
		return;
	}
	if (!d->algorithm->library()) {
		e = kveil_report_at(report, file, at->line, at->column, "the libraries of this machine have no %s",
				    d->algorithm_name);
		kveil_error_hint(e, "`kveil version` lists what is there");
	}
	if (d->rotate_every_ms && d->algorithm->kind != KVEIL_ALG_AEAD) {
		e = kveil_report_at(report, file, at->line, at->column,
				    "key '%s' (%s) cannot rotate by itself: equal values would stop being equal",
				    d->name, d->algorithm_name);
		kveil_error_hint(e, "leave rotate_every out; `kveil keys rotate %s` does it when everybody is ready",
				 d->name);
	}
	if (d->algorithm->kind != KVEIL_ALG_AEAD && locks_only(c, d->kek)) {
		e = kveil_report_at(
		    report, file, at->line, at->column,
		    "key '%s' (%s) cannot be under KEK '%s', which only locks here: no two workers would agree",
		    d->name, d->algorithm_name, d->kek);
		kveil_error_hint(
		    e, "a worker without the private key makes ciphers with a nonce of its own, and no other key");
	}
	if (d->join)
		check_join(d, kveil_yaml_get(node, "join"), file, report);
}

/* A name of the registry stands where a record's own would, so there is less room. */
enum { PATTERN_MAX = KVEIL_KEK_NAME_MAX };

static void check_pattern(const struct kveil_data_key_config *d, const struct kveil_keys_config *c,
			  const struct kveil_yaml *at, const char *file, struct kveil_report *report)
{
	const struct kveil_algorithm *wraps = kveil_pattern_algorithm(d);
	struct kveil_error *e;

	if (strlen(d->name) > PATTERN_MAX)
		kveil_report_at(report, file, at->line, at->column, "a pattern has at most %d characters", PATTERN_MAX);
	if (d->algorithm->kind != KVEIL_ALG_AEAD) {
		e = kveil_report_at(report, file, at->line, at->column,
				    "keys named from the record are ciphers with a nonce, and %s is none",
				    d->algorithm->name);
		kveil_error_hint(e, "two workers could make different keys for one name");
	} else if (!wraps || !wraps->library()) {
		kveil_report_at(report, file, at->line, at->column,
				"the libraries of this machine have no %s, which wraps "
				"the keys of '%s'",
				wraps ? wraps->name : "cipher", d->name);
	}
	if (locks_only(c, d->kek)) {
		e = kveil_report_at(
		    report, file, at->line, at->column,
		    "the keys of '%s' cannot be under KEK '%s', which only locks here: each of them needs the "
		    "pattern's own key",
		    d->name, d->kek);
		kveil_error_hint(e, "an edge worker seals with one key: name one");
	}
}

static void check_no_pattern(const char *name, const struct kveil_yaml *key, const struct kveil_yaml *node,
			     const char *file, struct kveil_report *report)
{
	static const char *const words[] = {"new_per_second", "new_per_topic", "most_names"};

	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (kveil_yaml_get(node, words[i]))
			kveil_report_at(report, file, key->line, key->column,
					"`%s` is for patterns, and '%s' is a single name", words[i], name);
}

static void parse_data(const char *name, const struct kveil_yaml *key, const struct kveil_yaml *node, const char *file,
		       struct kveil_keys_config *c, struct kveil_report *report)
{
	struct kveil_data_key_config *d = &c->data[c->data_count];
	struct entry e = {0};

	if (node->kind != KVEIL_YAML_MAP) {
		kveil_error_hint(
		    kveil_report_at(report, file, node->line, node->column, "key '%s' needs an algorithm", name),
		    "%s: {algorithm: aes-256-gcm}", name);
		return;
	}
	check_name(name, key, file, report);
	kveil_options_parse(entry_options, node, file, NULL, &e, report);
	*d = (struct kveil_data_key_config){.name = strdup(name),
					    .algorithm_name = e.algorithm,
					    .kek = e.kek,
					    .also = e.also,
					    .join = e.join,
					    .rotate_every_ms = e.rotate_every_ms,
					    .exportable = e.exportable,
					    .owner = e.owner,
					    .description = e.description,
					    .labels = e.labels,
					    .new_per_second = e.new_per_second,
					    .new_per_topic = e.new_per_topic,
					    .most_names = e.most_names,
					    .line = key->line};
	c->data_count++;
	if (!d->name)
		kveil_report_no_memory(report, file);
	check_kek(d, c, node, file, report);
	check_algorithm(d, c, node, file, report);
	if (strchr(name, '{') && d->algorithm)
		check_pattern(d, c, key, file, report);
	else
		check_no_pattern(name, key, node, file, report);
}

/* One name, one key: for those who seal and for those who destroy. */
static void check_patterns(const struct kveil_keys_config *c, const char *file, struct kveil_report *report)
{
	struct kveil_span filling;
	struct kveil_error *e;

	for (size_t i = 0; i < c->data_count; i++)
		if (!c->data[i].name) /* no memory, as was said */
			return;
	for (size_t i = 0; i < c->data_count; i++) {
		const char *a = c->data[i].name, *a_end = strstr(a, "{}");
		const struct kveil_data_key_config *pattern =
		    a_end ? NULL : kveil_keys_config_pattern(c, kveil_span_str(a), &filling);
		if (pattern) {
			e = kveil_report_at(report, file, c->data[i].line, 1,
					    "key '%s' fills the pattern '%s': a record could name it too", a,
					    pattern->name);
			kveil_error_hint(e, "`kveil keys destroy %s` must mean one key: begin one of them otherwise",
					 a);
		}
		for (size_t k = 0; a_end && k < i; k++) {
			const char *b = c->data[k].name, *b_end = strstr(b, "{}");
			if (!b_end)
				continue;
			size_t n =
			    (size_t)(a_end - a) < (size_t)(b_end - b) ? (size_t)(a_end - a) : (size_t)(b_end - b);
			if (strncmp(a, b, n) == 0)
				kveil_report_at(report, file, c->data[i].line, 1,
						"the patterns '%s' and '%s' begin alike: a name could fill both", b, a);
		}
	}
}

typedef void each_fn(const char *name, const struct kveil_yaml *key, const struct kveil_yaml *node, const char *file,
		     struct kveil_keys_config *c, struct kveil_report *report);

static void each(const struct kveil_yaml *map, const char *what, each_fn *fn, const char *file,
		 struct kveil_keys_config *c, struct kveil_report *report)
{
	if (!map || kveil_yaml_is_null(map))
		return;
	if (map->kind != KVEIL_YAML_MAP) {
		kveil_report_at(report, file, map->line, map->column, "'%s' is a mapping from names", what);
		return;
	}
	for (size_t i = 0; i < map->count; i++)
		fn(map->keys[i]->text, map->keys[i], map->items[i], file, c, report);
}

static size_t pairs(const struct kveil_yaml *map)
{
	return map && map->kind == KVEIL_YAML_MAP ? map->count : 0;
}

static char *folder_of(const char *file)
{
	const char *slash = file ? strrchr(file, '/') : NULL;

	if (!slash)
		return strdup("");
	return strndup(file, slash == file ? 1 : (size_t)(slash - file));
}

static void check_registry_id(const struct kveil_keys_config *c, const struct kveil_yaml *map, const char *file,
			      struct kveil_report *report)
{
	const struct kveil_yaml *at = map ? kveil_yaml_get(map, "registry_id") : NULL;
	uint8_t id[KVEIL_REGISTRY_ID_BYTES];
	uint32_t number;

	if (c->registry_id && !kveil_registry_id_parse(c->registry_id, id, &number))
		kveil_report_at(
		    report, file, at ? at->line : 0, at ? at->column : 0,
		    "`registry_id` is 32 hex digits, and after them perhaps .N, as `kveil keys init` prints them");
}

bool kveil_keys_config_parse(const struct kveil_yaml *map, const char *file, struct kveil_keys_config *ret,
			     struct kveil_report *report)
{
	struct kveil_keys_config c = {.file = file};
	size_t errors = report->errors;
	struct top top = {0};
	struct kveil_error err;
	const struct kveil_registry_driver *driver;
	const char *where;

	kveil_options_parse(top_options, map, file, "KVEIL_KEYS", &top, report);
	c.registry = top.registry;
	c.registry_id = top.registry_id;
	check_registry_id(&c, map, file, report);
	c.base_dir = folder_of(file);
	c.custodians = calloc(pairs(top.keks) + 1, sizeof *c.custodians);
	c.data = calloc(pairs(top.data) + 1, sizeof *c.data);
	if (!c.base_dir || !c.custodians || !c.data) {
		kveil_report_no_memory(report, file);
	} else {
		if (c.registry && kveil_registry_driver_of(c.registry, &driver, &where, &err)) {
			const struct kveil_yaml *at = map ? kveil_yaml_get(map, "registry") : NULL;
			kveil_error_where(&err, file, at ? at->line : 0, at ? at->column : 0);
			kveil_report_add(report, &err);
		}
		if (top.keks && top.keks->kind == KVEIL_YAML_MAP && top.keks->count == 0)
			kveil_error_hint(
			    kveil_report_at(report, file, top.keks->line, top.keks->column, "'keks' is empty"),
			    "local: {provider: file, path: /etc/kveil/kek}");
		each(top.keks, "keks", parse_kek, file, &c, report);
		each(top.data, "data", parse_data, file, &c, report);
		check_patterns(&c, file, report);
	}
	*ret = c;
	return report->errors == errors;
}

void kveil_keys_config_clear(struct kveil_keys_config *c)
{
	for (size_t i = 0; c->custodians && i < c->custodian_count; i++) {
		const struct kveil_provider *p =
		    c->custodians[i].provider ? kveil_provider_by_name(c->custodians[i].provider) : NULL;
		if (p && c->custodians[i].params)
			kveil_options_clear(p->options, c->custodians[i].params);
		free(c->custodians[i].params);
		free(c->custodians[i].provider);
		free(c->custodians[i].name);
	}
	for (size_t i = 0; c->data && i < c->data_count; i++) {
		free(c->data[i].name);
		free(c->data[i].algorithm_name);
		free(c->data[i].kek);
		free(c->data[i].also);
		free(c->data[i].keks);
		free(c->data[i].join);
		free(c->data[i].owner);
		free(c->data[i].description);
		kveil_string_map_clear(&c->data[i].labels);
	}
	free(c->custodians);
	free(c->data);
	free(c->registry);
	free(c->registry_id);
	free(c->base_dir);
	*c = (struct kveil_keys_config){0};
}

/* --- looking names up --- */

enum kveil_hash kveil_keys_config_hash(const struct kveil_keys_config *c)
{
	for (size_t i = 0; i < c->data_count; i++)
		if (!c->data[i].algorithm->is_sm)
			return KVEIL_SHA_256;
	return c->data_count ? KVEIL_SM3 : KVEIL_SHA_256;
}

const struct kveil_data_key_config *kveil_keys_config_find(const struct kveil_keys_config *c, struct kveil_span name)
{
	for (size_t i = 0; i < c->data_count; i++)
		if (kveil_span_eq(kveil_span_str(c->data[i].name), name))
			return &c->data[i];
	return NULL;
}

const struct kveil_data_key_config *kveil_keys_config_meant(const struct kveil_keys_config *c, struct kveil_span name)
{
	const uint8_t *at = name.len ? memchr(name.data, '@', name.len) : NULL;
	struct kveil_span filling;

	/* A name that a record fills in never meets one that is configured for itself. */
	if (name.len && memchr(name.data, '{', name.len))
		return kveil_keys_config_pattern(c, name, &filling);
	if (at)
		name.len = (size_t)(at - name.data);
	return kveil_keys_config_find(c, name);
}

enum kveil_status kveil_keys_config_check(const struct kveil_keys_config *c, struct kveil_span name, unsigned use,
					  struct kveil_error *err)
{
	const uint8_t *at = name.len ? memchr(name.data, '@', name.len) : NULL;
	bool is_template = name.len && memchr(name.data, '{', name.len);
	const char *names[257] = {NULL}, *near;
	char asked[KVEIL_KEY_NAME_MAX + 1];
	struct kveil_span filling;

	if (c->any_name)
		return KVEIL_OK;
	if (at && !is_template)
		name.len = (size_t)(at - name.data);
	const struct kveil_data_key_config *found = kveil_keys_config_meant(c, name);
	if (is_template && at) {
		kveil_fail(err, KVEIL_E_CONFIG, "a key named from the record takes no version");
		kveil_error_hint(err, "what was sealed opens with its own version by itself");
		return KVEIL_E_CONFIG;
	}
	if (found && use & KVEIL_USE_OPEN && locks_only(c, found->kek)) {
		kveil_fail(err, KVEIL_E_CONFIG,
			   "key '%s' is under KEK '%s', of which this configuration has only what locks", found->name,
			   found->kek);
		kveil_error_hint(err, "open where the private key is; here it can only be sealed");
		return KVEIL_E_CONFIG;
	}
	if (found)
		return kveil_key_use_check(found->algorithm, name, use, err);
	snprintf(asked, sizeof asked, "%.*s", (int)name.len, (const char *)name.data);
	for (size_t i = 0; i < c->data_count && i < 256; i++)
		names[i] = c->data[i].name;
	kveil_fail(err, KVEIL_E_NOT_FOUND, "there is no key '%s' under keys.data", asked);
	near = kveil_text_nearest(asked, names);
	if (kveil_keys_config_pattern(c, name, &filling))
		kveil_error_hint(err, "it fills a pattern, which only records do: write \"tenant-{$.tenant}\"");
	else if (near)
		kveil_error_hint(err, "did you mean '%s'?", near);
	else if (is_template)
		kveil_error_hint(err, "a name with a template needs a pattern there, such as \"tenant-{}\"");
	return KVEIL_E_NOT_FOUND;
}
