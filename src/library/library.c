/* SPDX-License-Identifier: Apache-2.0 */
/* kveil/library.h: configuration, rules and keys of one kveil.yaml, for programs that embed the engine. */
#include "kveil/library.h"

#include "config/config.h"
#include "kafka/kafka.h"
#include "keys/keystore.h"
#include "keytopic/registry_kafka.h"
#include "rules/plan.h"

#include <pthread.h>
#include <stdlib.h>

struct kveil_library {
	struct kveil_config *config;
	struct kveil_keystore *keys;
	struct kveil_plan_set *plans;
	struct kveil_limits limits;
};

static void add_driver(void)
{
	kveil_registry_driver_add(&kveil_registry_kafka);
}

const char *kveil_library_version(void)
{
	return KVEIL_VERSION;
}

/* Tells all problems; the first error among them is kept. */
static void tell(const struct kveil_report *report, kveil_problem_fn *problem, void *user, struct kveil_error *err)
{
	char line[1024];
	bool kept = false;

	for (size_t i = 0; i < report->count; i++) {
		const struct kveil_problem *p = &report->problems[i];
		if (!p->warning && !kept)
			*err = p->error;
		kept |= !p->warning;
		if (problem)
			problem(user,
				kveil_error_format(&p->error, p->warning ? "warning" : "error", line, sizeof line));
	}
}

static enum kveil_status fill(struct kveil_library *lib, const char *path, struct kveil_report *report,
			      struct kveil_error *err)
{
	lib->config = kveil_config_load(path, report);
	if (!lib->config)
		return kveil_fail(err, KVEIL_E_CONFIG, "the configuration cannot be read");
	const struct kveil_config *c = lib->config;
	lib->limits = kveil_kafka_limits(c);
	enum kveil_status status = kveil_keystore_open(&c->keys, &lib->keys, err);
	if (status)
		return status;
	lib->plans = kveil_plan_set_load((const char *const *)c->rules, c->dead_letter.topic, lib->keys, report);
	return lib->plans ? KVEIL_OK : kveil_fail(err, KVEIL_E_RULES, "the rules cannot be read");
}

enum kveil_status kveil_library_open(const char *config, kveil_problem_fn *problem, void *user,
				     struct kveil_library **ret, struct kveil_error *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct kveil_report report = {0};
	struct kveil_error unwanted;

	*ret = NULL;
	err = err ? err : &unwanted;
	pthread_once(&once, add_driver);
	struct kveil_library *lib = calloc(1, sizeof *lib);
	if (!lib)
		return kveil_no_memory(err, NULL);
	enum kveil_status status = fill(lib, config, &report, err);
	tell(&report, problem, user, err);
	kveil_report_clear(&report);
	if (status == KVEIL_OK) {
		*ret = lib;
		return KVEIL_OK;
	}
	err->status = status;
	kveil_library_close(lib);
	return status;
}

void kveil_library_close(struct kveil_library *lib)
{
	if (!lib)
		return;
	kveil_plan_set_unref(lib->plans);
	kveil_keystore_unref(lib->keys);
	kveil_config_free(lib->config);
	free(lib);
}

struct kveil_plan *kveil_library_plan(const struct kveil_library *lib, const char *topic)
{
	return kveil_plan_set_for_topic(lib->plans, topic);
}

struct kveil_keystore *kveil_library_keys(const struct kveil_library *lib)
{
	return lib->keys;
}

const struct kveil_limits *kveil_library_limits(const struct kveil_library *lib)
{
	return &lib->limits;
}

enum kveil_status kveil_library_topic(const struct kveil_plan *plan, size_t view, const char *input_topic, char *dst,
				      size_t size, struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf name = KVEIL_BUF_INIT;

	if (size)
		dst[0] = 0;
	if (view >= plan->view_count)
		return kveil_fail(err, KVEIL_E_NOT_FOUND, "the rules have no view %zu", view);
	kveil_plan_expand_topic(plan->views[view].topic, input_topic, &name);
	const char *text = kveil_buf_cstr(&name);
	if (!text)
		return kveil_no_memory(err, NULL);
	if (strlen(text) >= size)
		return kveil_fail(err, KVEIL_E_NOT_FOUND, "the topic's name takes %zu bytes", strlen(text) + 1);
	memcpy(dst, text, strlen(text) + 1);
	return KVEIL_OK;
}

enum kveil_status kveil_library_tend(struct kveil_library *lib, int64_t now_wall_ms, struct kveil_error *err)
{
	struct kveil_error pending;
	enum kveil_status made = kveil_keystore_make_asked(lib->keys, now_wall_ms, &pending);
	enum kveil_status status = kveil_keystore_tend(lib->keys, now_wall_ms, err);

	if (status == KVEIL_OK && made != KVEIL_OK && made != KVEIL_E_KEY_PENDING) {
		*err = pending;
		status = made;
	}
	return status;
}
