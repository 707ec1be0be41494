/* SPDX-License-Identifier: Apache-2.0 */
/* What a client of a schema registry makes of answers, of references, and of ids that nobody knows: without a registry.
 */
#include "base/clock.h"
#include "format/avro_schema.h"
#include "schemas/answer.h"
#include "schemas/ask.h"
#include "schemas/fetch.h"
#include "schemas/inline.h"
#include "schemas/known.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define REC(name, type) "{\"type\":\"record\",\"name\":\"" name "\",\"fields\":[{\"name\":\"f\",\"type\":" type "}]}"

/* --- references --- */

static const struct {
	const char *text, *references[4], *out; /* out NULL: an error, with error in it */
	const char *error;
} inlined[] = {
    {"\"A\"",
     {REC("A", "\"int\"")},
     "{\"type\":\"record\",\"name\":\"A\",\"fields\":[{\"name\":\"f\",\"type\":\"int\"}],\"namespace\":\"\"}",
     NULL},
    /* at its first place; by name at the others */
    {"[\"A\",{\"type\":\"map\",\"values\":\"A\"}]",
     {"{\"type\":\"fixed\",\"name\":\"A\",\"size\":2}"},
     "[{\"type\":\"fixed\",\"name\":\"A\",\"size\":2,\"namespace\":\"\"},{\"type\":\"map\",\"values\":\"A\"}]",
     NULL},
    /* the namespace that it stood in, not the one around; a name without a namespace is found from within one */
    {"{\"type\":\"record\",\"name\":\"R\",\"namespace\":\"n\",\"fields\":[{\"name\":\"f\",\"type\":\"B\"}]}",
     {"{\"type\":\"enum\",\"name\":\"B\",\"symbols\":[\"X\"]}"},
     "{\"type\":\"record\",\"name\":\"R\",\"namespace\":\"n\",\"fields\":[{\"name\":\"f\",\"type\":{\"type\":\"enum\","
     "\"name\":\"B\",\"symbols\":[\"X\"],\"namespace\":\"\"}}]}",
     NULL},
    {"\"x.y.C\"",
     {"{\"type\":\"fixed\",\"name\":\"x.y.C\",\"size\":1}"},
     "{\"type\":\"fixed\",\"name\":\"C\",\"size\":1,\"namespace\":\"x.y\"}",
     NULL},
    /* of a union, of {"type": name}, with its own properties */
    {"{\"type\":\"array\",\"items\":{\"type\":\"B\",\"doc\":\"d\"}}",
     {"[\"null\",{\"type\":\"fixed\",\"name\":\"B\",\"size\":1}]"},
     "{\"type\":\"array\",\"items\":{\"type\":{\"type\":\"fixed\",\"name\":\"B\",\"size\":1,\"namespace\":\"\"},"
     "\"doc\":\"d\"}}",
     NULL},
    /* the inner one is wanted first: then the outer one names it */
    {"[\"I\",\"O\"]",
     {REC("O", "{\"type\":\"fixed\",\"name\":\"I\",\"size\":1}")},
     "[{\"type\":\"fixed\",\"name\":\"I\",\"size\":1,\"namespace\":\"\"},{\"type\":\"record\",\"name\":\"O\","
     "\"fields\":"
     "[{\"name\":\"f\",\"type\":\"I\"}],\"namespace\":\"\"}]",
     NULL},
    /* what nobody defines is the parser's business */
    {"\"Z\"", {0}, "\"Z\"", NULL},
    {"\"A\"", {REC("A", "\"int\""), REC("A", "\"long\"")}, NULL, "references define A"},
    {"[\"A\"," REC("A", "\"long\"") "]", {REC("A", "\"int\"")}, NULL, "define A"},
    {"\"A\"", {"{"}, NULL, "not JSON"},
    {"nope", {0}, NULL, "not JSON"},
};

static void test_inline(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof inlined / sizeof *inlined; i++) {
		KVEIL_CLEANUP_BUF struct kveil_buf out = KVEIL_BUF_INIT;
		struct kveil_span references[4];
		struct kveil_error err = {0};
		size_t count = 0;
		for (; inlined[i].references[count]; count++)
			references[count] = kveil_span_str(inlined[i].references[count]);
		enum kveil_status s =
		    kveil_schemas_inline(kveil_span_str(inlined[i].text), references, count, &out, &err);
		if (inlined[i].out) {
			assert_int_equal(s, KVEIL_OK);
			assert_string_equal(kveil_buf_cstr(&out), inlined[i].out);
		} else {
			assert_int_equal(s, KVEIL_E_AVRO_SCHEMA);
			assert_non_null(strstr(err.message, inlined[i].error));
		}
	}
}

/* A type that holds itself, by way of another text. */
static void test_inline_recursive(void **state)
{
	(void)state;
	KVEIL_CLEANUP_BUF struct kveil_buf out = KVEIL_BUF_INIT;
	const struct kveil_span reference = KVEIL_SPAN(REC("T", "[\"null\",\"T\"]"));
	struct kveil_avro_schema *s;

	assert_int_equal(kveil_schemas_inline(KVEIL_SPAN("[\"null\",\"T\"]"), &reference, 1, &out, NULL), KVEIL_OK);
	assert_int_equal(kveil_avro_schema_parse(kveil_buf_span(&out), &s, NULL), KVEIL_OK);
	kveil_avro_schema_free(s);
}

/* --- answers --- */

static json_t *parse(const char *text)
{
	json_t *j = kveil_schemas_parse_answer(kveil_span_str(text));

	assert_non_null(j);
	return j;
}

static void test_rule_sets(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		unsigned rules;
		const char *encrypt;
	} cases[] = {
	    {"{\"schema\":\"1\"}", 0, NULL},
	    {"{\"schema\":\"1\",\"ruleSet\":null}", 0, NULL},
	    {"{\"schema\":\"1\",\"ruleSet\":{\"domainRules\":[],\"migrationRules\":null}}", 0, NULL},
	    {"{\"schema\":\"1\",\"ruleSet\":{\"migrationRules\":[{}]}}", KVEIL_SCHEMAS_RULES_MIGRATION, NULL},
	    {"{\"schema\":\"1\",\"ruleSet\":{\"domainRules\":[{\"type\":\"CEL\"},{\"type\":\"encrypt\",\"name\":\"e\"}]"
	     "}}",
	     KVEIL_SCHEMAS_RULES_DOMAIN | KVEIL_SCHEMAS_RULES_ENCRYPT, "e"},
	    {"{\"schema\":\"1\",\"ruleSet\":{\"encodingRules\":[{\"type\":\"ENCRYPT_PAYLOAD\",\"disabled\":true}]}}",
	     KVEIL_SCHEMAS_RULES_ENCODING | KVEIL_SCHEMAS_RULES_ENCRYPT, "without a name"},
	    {"{\"schema\":\"1\",\"ruleSet\":{\"domainRules\":{}}}", KVEIL_SCHEMAS_RULES_DOMAIN, NULL},
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		json_t *j = parse(cases[i].text);
		struct kveil_schemas_answer a;
		assert_true(kveil_schemas_read_schema(j, &a));
		assert_int_equal(a.rules, cases[i].rules);
		assert_true(cases[i].encrypt ? strcmp(a.encrypt, cases[i].encrypt) == 0 : !a.encrypt);
		json_decref(j);
	}
}

static void test_words_are_one_line(void **state)
{
	(void)state;
	json_t *j = parse("{\"message\":\"a\\nb\\u001b[31m \u00e4\u00e4\"}");
	char says[13]; /* the second letter is cut in its middle, and goes whole */

	kveil_schemas_says(j, says, sizeof says);
	assert_string_equal(says, "a b [31m \u00e4");
	json_decref(j);
	j = parse("{\"message\":7}");
	assert_string_equal(kveil_schemas_says(j, says, sizeof says), "no reason gi");
	json_decref(j);
}

static void test_ids(void **state)
{
	(void)state;
	static const char *const bad[] = {"{}", "{\"id\":-1}", "{\"id\":\"7\"}", "{\"id\":7.5}", "{\"id\":2147483648}"};
	struct kveil_schemas_id id;
	json_t *j = parse("{\"id\":2147483647,\"guid\":\"g\"}");

	assert_true(kveil_schemas_read_id(j, &id));
	assert_int_equal(id.id, INT32_MAX);
	assert_string_equal(id.guid, "g");
	json_decref(j);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		j = parse(bad[i]);
		assert_false(kveil_schemas_read_id(j, &id));
		json_decref(j);
	}
}

static void test_names_in_a_way(void **state)
{
	(void)state;
	static const struct {
		const char *context, *subject, *way;
	} cases[] = {
	    {"", "orders-value", "orders-value"},
	    {"", "a/b?c=d e%ü", "a%2Fb%3Fc%3Dd%20e%25%C3%BC"},
	    {"st", "x", "%3A.st%3Ax"},
	    {"st", ":.other:x", "%3A.other%3Ax"},
	    {"st", "", "%3A.st%3A"},
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		KVEIL_CLEANUP_BUF struct kveil_buf way = KVEIL_BUF_INIT;
		kveil_schemas_append_subject(&way, cases[i].context, cases[i].subject);
		assert_string_equal(kveil_buf_cstr(&way), cases[i].way);
	}
}

/* --- what is known --- */

static const struct kveil_schemas_schema *make(size_t bytes)
{
	char *text = calloc(1, bytes);
	const struct kveil_schemas_content content = {.text = kveil_span_of(text, bytes),
						      .tags = KVEIL_SPAN("p\0t"),
						      .tag_count = 1,
						      .guid = "g",
						      .encrypt = "e"};
	const struct kveil_schemas_schema *s = kveil_schemas_schema_make(&content);

	free(text);
	assert_non_null(s);
	return s;
}

static struct kveil_schemas_key key_of(uint32_t id)
{
	return (struct kveil_schemas_key){.id = id, .context = "c"};
}

static bool is_known(struct kveil_schemas_cache *c, uint32_t id)
{
	const struct kveil_schemas_key key = key_of(id);
	const struct kveil_schemas_schema *s = kveil_schemas_cache_get(c, &key);

	kveil_schemas_schema_unref(s);
	return s != NULL;
}

static void put(struct kveil_schemas_cache *c, uint32_t id, size_t bytes)
{
	const struct kveil_schemas_schema *s = make(bytes);
	const struct kveil_schemas_key key = key_of(id);

	kveil_schemas_cache_put(c, &key, s);
	kveil_schemas_schema_unref(s);
}

static void test_cache_is_bounded(void **state)
{
	(void)state;
	struct kveil_schemas_cache *c = kveil_schemas_cache_new();
	const struct kveil_schemas_key other = {.id = 0, .context = "d"};

	for (uint32_t id = 0; id < KVEIL_SCHEMAS_CACHE_COUNT; id++)
		put(c, id, 10);
	assert_null(kveil_schemas_cache_get(c, &other));
	assert_true(is_known(c, 0)); /* used last: 1 goes first */
	put(c, 10000, 10);
	assert_true(is_known(c, 0) && !is_known(c, 1) && is_known(c, 10000));
	const struct kveil_schemas_key zero = key_of(0);
	const struct kveil_schemas_schema *held = kveil_schemas_cache_get(c, &zero);
	for (uint32_t id = 20000; id < 20030; id++)
		put(c, id, 1 << 20);
	assert_false(is_known(c, 0) || is_known(c, 20000));
	assert_true(is_known(c, 20029) && is_known(c, 20020));
	kveil_schemas_cache_free(c);
	assert_string_equal(held->tags[0].path, "p"); /* whoever has it keeps it */
	assert_string_equal(held->tags[0].tag, "t");
	assert_string_equal(held->encrypt, "e");
	assert_int_equal(held->text.len, 10);
	kveil_schemas_schema_unref(held);
}

/* --- what is not --- */

enum { WINDOW = 10000, LONG = 60000 };

static void test_unknown_for_a_window(void **state)
{
	(void)state;
	struct kveil_schemas_unknown *u = kveil_schemas_unknown_new(WINDOW, LONG);
	const struct kveil_schemas_key key = key_of(7);
	int64_t now = 5000;

	assert_int_equal(kveil_schemas_unknown_look(u, &key, now), KVEIL_OK);
	assert_int_equal(kveil_schemas_unknown_note(u, &key, true, now), KVEIL_E_SCHEMA_PENDING);
	assert_int_equal(kveil_schemas_unknown_look(u, &key, now + WINDOW / 4 - 1),
			 KVEIL_E_SCHEMA_PENDING); /* not asked */
	for (now += WINDOW / 4; now < 5000 + WINDOW; now += WINDOW / 4) {
		assert_int_equal(kveil_schemas_unknown_look(u, &key, now), KVEIL_OK);
		assert_int_equal(kveil_schemas_unknown_note(u, &key, true, now), KVEIL_E_SCHEMA_PENDING);
	}
	assert_int_equal(kveil_schemas_unknown_note(u, &key, true, now), KVEIL_E_UNKNOWN_SCHEMA);
	assert_int_equal(kveil_schemas_unknown_look(u, &key, now + LONG - 1), KVEIL_E_UNKNOWN_SCHEMA);
	now += LONG;
	assert_int_equal(kveil_schemas_unknown_look(u, &key, now), KVEIL_OK);
	assert_int_equal(kveil_schemas_unknown_note(u, &key, true, now), KVEIL_E_UNKNOWN_SCHEMA);
	kveil_schemas_unknown_forget(u, &key); /* it came after all */
	assert_int_equal(kveil_schemas_unknown_note(u, &key, true, now), KVEIL_E_SCHEMA_PENDING);
	kveil_schemas_unknown_free(u);
}

/* While one URL does not answer, no id is known to be unknown. */
static void test_not_everywhere_is_not_unknown(void **state)
{
	(void)state;
	struct kveil_schemas_unknown *u = kveil_schemas_unknown_new(WINDOW, LONG);
	const struct kveil_schemas_key key = key_of(7);
	int64_t now = 1;

	for (int i = 0; i < 20; i++, now += WINDOW)
		assert_int_equal(kveil_schemas_unknown_note(u, &key, false, now), KVEIL_E_SCHEMA_PENDING);
	assert_int_equal(kveil_schemas_unknown_note(u, &key, true, now), KVEIL_E_SCHEMA_PENDING);
	assert_int_equal(kveil_schemas_unknown_note(u, &key, false, now + WINDOW), KVEIL_E_SCHEMA_PENDING);
	assert_int_equal(kveil_schemas_unknown_note(u, &key, true, now + 2 * WINDOW), KVEIL_E_SCHEMA_PENDING);
	assert_int_equal(kveil_schemas_unknown_note(u, &key, true, now + 3 * WINDOW), KVEIL_E_UNKNOWN_SCHEMA);
	kveil_schemas_unknown_free(u);
}

/* Of a flood of invented ids only so many are asked about in a window, and one that is real gets its turn. */
static void test_invented_ids_are_paid_for(void **state)
{
	(void)state;
	struct kveil_schemas_unknown *u = kveil_schemas_unknown_new(WINDOW, LONG);
	size_t asked = 0;

	for (uint32_t id = 0; id < 20 * WINDOW; id++) { /* 20 a millisecond, for a window */
		const struct kveil_schemas_key key = key_of(id);
		int64_t now = 1 + id / 20;
		if (kveil_schemas_unknown_look(u, &key, now))
			continue;
		asked++;
		(void)!kveil_schemas_unknown_note(u, &key, true, now);
	}
	assert_in_range(asked, 2 * KVEIL_SCHEMAS_UNKNOWN_IDS - 20, 2 * KVEIL_SCHEMAS_UNKNOWN_IDS + 20);
	const struct kveil_schemas_key real = key_of(UINT32_MAX);
	assert_int_equal(kveil_schemas_unknown_look(u, &real, WINDOW + 100), KVEIL_OK);
	kveil_schemas_unknown_free(u);
}

/* --- a registry on this host --- */

struct registry {
	int fd;
	char url[64];
	struct kveil_schemas_config config;
	struct kveil_schemas *client;
	char *urls[3];
};

/* Bound, and not listening yet. */
static void registry_init(struct registry *r, int64_t timeout_ms)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof address;

	*r = (struct registry){.fd = socket(AF_INET, SOCK_STREAM, 0), .config = {.timeout_ms = timeout_ms}};
	assert_int_equal(bind(r->fd, (struct sockaddr *)&address, size), 0);
	assert_int_equal(getsockname(r->fd, (struct sockaddr *)&address, &size), 0);
	snprintf(r->url, sizeof r->url, "http://127.0.0.1:%u", ntohs(address.sin_port));
	r->urls[0] = r->url;
	r->config.urls = r->urls;
	assert_int_equal(kveil_schemas_open(&r->config, &r->client, NULL), KVEIL_OK);
}

static void registry_clear(struct registry *r)
{
	kveil_schemas_close(r->client);
	close(r->fd);
}

static void *answer_once(void *registry)
{
	static const char text[] =
	    "HTTP/1.1 200 OK\r\nContent-Length: 20\r\nConnection: close\r\n\r\n{\"schema\":\"\\\"int\\\"\"}";
	const struct registry *r = registry;
	char request[4096];
	int fd = accept(r->fd, NULL, NULL);

	assert_true(read(fd, request, sizeof request) > 0);
	assert_int_equal(write(fd, text, sizeof text - 1), sizeof text - 1);
	close(fd);
	return NULL;
}

/* The only one: however often it failed, it is asked again within about a second of its return. */
static void test_the_only_registry_comes_back(void **state)
{
	(void)state;
	const struct kveil_schemas_schema *schema;
	struct registry r;
	pthread_t thread;

	registry_init(&r, 30 * 1000);
	for (int i = 0; i < 3; i++, usleep(1050 * 1000))
		assert_int_equal(kveil_schemas_by_id(r.client, "", 7, &schema, NULL),
				 KVEIL_E_SCHEMA_REGISTRY_UNAVAILABLE);
	assert_int_equal(listen(r.fd, 8), 0);
	assert_int_equal(pthread_create(&thread, NULL, answer_once, &r), 0);
	assert_int_equal(kveil_schemas_by_id(r.client, "", 7, &schema, NULL), KVEIL_OK);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_true(kveil_span_eq(schema->text, KVEIL_SPAN("\"int\"")));
	kveil_schemas_schema_unref(schema);
	registry_clear(&r);
}

static void *interrupt_soon(void *client)
{
	usleep(200 * 1000);
	kveil_schemas_interrupt(client);
	return NULL;
}

/* A registry that takes connections and says nothing. */
static void test_interrupt(void **state)
{
	(void)state;
	const struct kveil_schemas_schema *schema;
	struct registry r;
	struct kveil_error err;
	pthread_t thread;

	registry_init(&r, 60 * 1000);
	assert_int_equal(listen(r.fd, 8), 0);
	int64_t start = kveil_clock_mono_ms();
	assert_int_equal(pthread_create(&thread, NULL, interrupt_soon, r.client), 0);
	assert_int_equal(kveil_schemas_by_id(r.client, "", 7, &schema, &err), KVEIL_E_SCHEMA_REGISTRY_UNAVAILABLE);
	assert_non_null(strstr(err.message, "kveil is stopping"));
	assert_null(schema);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(kveil_schemas_by_id(r.client, "", 8, &schema, &err), KVEIL_E_SCHEMA_REGISTRY_UNAVAILABLE);
	assert_in_range(kveil_clock_mono_ms() - start, 0, 30 * 1000);
	registry_clear(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_inline),
	    cmocka_unit_test(test_inline_recursive),
	    cmocka_unit_test(test_rule_sets),
	    cmocka_unit_test(test_words_are_one_line),
	    cmocka_unit_test(test_ids),
	    cmocka_unit_test(test_names_in_a_way),
	    cmocka_unit_test(test_cache_is_bounded),
	    cmocka_unit_test(test_unknown_for_a_window),
	    cmocka_unit_test(test_not_everywhere_is_not_unknown),
	    cmocka_unit_test(test_invented_ids_are_paid_for),
	    cmocka_unit_test(test_the_only_registry_comes_back),
	    cmocka_unit_test(test_interrupt),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
