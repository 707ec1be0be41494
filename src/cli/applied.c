/* SPDX-License-Identifier: Apache-2.0 */
/* An engine for one command, and what it did to a record as text. */
#include "cli/applied.h"

#include "base/clock.h"
#include "base/secret.h"
#include "config/config.h"
#include "kafka/kafka.h"
#include "keys/keystore.h"

#include <stdio.h>
#include <time.h>

static const char banner[] = "*** DEMO KEYS: made in memory for this command and gone when it ends. ***\n*** "
			     "Nothing encrypted here can be opened afterwards.                  ***\n";

static bool needs_keys(const struct kveil_plan *p)
{
	for (size_t i = 0; i < p->rule_count; i++)
		if (p->rules[i].key || p->rules[i].key2)
			return true;
	return false;
}

static int open_keys(const struct kveil_apply_source *source, const struct kveil_command *cmd,
		     struct kveil_apply_session *s)
{
	struct kveil_report report = {0};
	struct kveil_error err;
	enum kveil_status status;

	if (source->config) {
		s->config = kveil_config_load(source->config, &report);
		kveil_report_print(&report, stderr);
		kveil_report_clear(&report);
		if (!s->config)
			return KVEIL_EXIT_USAGE;
		s->limits = kveil_kafka_limits(s->config);
		status = kveil_keystore_open(&s->config->keys, &s->keys, &err);
	} else {
		status = kveil_keystore_new_demo(&s->keys, &err);
	}
	return status == KVEIL_OK ? KVEIL_EXIT_OK : kveil_failed(cmd, &err, KVEIL_EXIT_FAILED);
}

int kveil_apply_open(const struct kveil_apply_source *source, const struct kveil_command *cmd,
		     struct kveil_apply_session *s)
{
	struct kveil_report report = {0};
	struct kveil_error err;

	*s = (struct kveil_apply_session){.limits = {8 << 20, 128, 0}};
	int code = open_keys(source, cmd, s);
	if (code == KVEIL_EXIT_OK) {
		s->plan = kveil_plan_load(source->rules, source->config ? s->keys : NULL, &report);
		if (report.errors) {
			kveil_report_print(&report, stderr);
			code = KVEIL_EXIT_USAGE;
		}
		kveil_report_clear(&report);
	}
	if (s->plan && needs_keys(s->plan) && !source->config && !source->demo_keys && !source->only_plan) {
		fprintf(stderr, "kveil %s: these rules need keys: --demo-keys for a try, -c kveil.yaml for real ones\n",
			cmd->name);
		code = KVEIL_EXIT_USAGE;
	}
	if (code == KVEIL_EXIT_OK && source->demo_keys)
		fputs(banner, stderr);
	if (code == KVEIL_EXIT_OK && kveil_keyring_new(s->keys, &s->ring, &err) != KVEIL_OK)
		code = kveil_failed(cmd, &err, KVEIL_EXIT_FAILED);
	if (code == KVEIL_EXIT_OK && kveil_engine_new(s->plan, s->ring, &s->limits, &s->engine, &err) != KVEIL_OK)
		code = kveil_failed(cmd, &err, KVEIL_EXIT_FAILED);
	if (code != KVEIL_EXIT_OK)
		kveil_apply_close(s);
	return code;
}

void kveil_apply_close(struct kveil_apply_session *s)
{
	kveil_engine_free(s->engine);
	kveil_keyring_free(s->ring);
	kveil_keystore_unref(s->keys);
	kveil_plan_unref(s->plan);
	kveil_config_free(s->config);
	*s = (struct kveil_apply_session){0};
}

static void run_once(struct kveil_apply_session *s, const struct kveil_record *record, struct kveil_result *ret)
{
	if (s->story) {
		kveil_story_reset(s->story);
		kveil_engine_set_trace(s->engine, kveil_story_event, s->story);
	}
	kveil_engine_run(s->engine, record, ret);
}

void kveil_apply_ask(struct kveil_apply_session *s, const struct kveil_record *record)
{
	struct kveil_result ignored;

	kveil_engine_set_trace(s->engine, NULL, NULL);
	do
		kveil_engine_run(s->engine, record, &ignored);
	while (kveil_engine_look_again(s->engine, &ignored));
}

void kveil_apply_run(struct kveil_apply_session *s, const struct kveil_record *record, struct kveil_result *ret)
{
	enum { TICK_RECORDS = 1000, WAIT_MS = 5000, STEP_MS = 50 };
	struct kveil_error err, why = {0};

	for (int64_t waited = 0;; waited += STEP_MS) {
		enum kveil_status status = KVEIL_OK;
		if (waited || s->records % TICK_RECORDS == 0)
			status = kveil_keyring_tick(s->ring, kveil_clock_wall_ms(), &err);
		if (status == KVEIL_OK)
			do
				run_once(s, record, ret);
			while (kveil_engine_look_again(s->engine, ret));
		else
			*ret = (struct kveil_result){.verdict = KVEIL_RETRY, .error = err};
		if (ret->verdict != KVEIL_RETRY || waited >= WAIT_MS)
			break;
		bool pending = ret->error.status == KVEIL_E_KEY_PENDING;
		if (pending && !waited && s->look_ahead)
			s->look_ahead(s->user);
		if (s->config && pending && !kveil_keystore_make_asked(s->keys, kveil_clock_wall_ms(), &why))
			continue;
		if (s->config && !pending)
			(void)!kveil_keystore_tend(s->keys, kveil_clock_wall_ms(), &err);
		nanosleep(&(struct timespec){.tv_nsec = STEP_MS * 1000000}, NULL);
	}
	/* What it waited for says less than what was in the way. */
	if (ret->verdict == KVEIL_RETRY && ret->error.status == KVEIL_E_KEY_PENDING && why.status)
		ret->error = why;
	s->records++;
}

/* --- the story of a record --- */

/* What a terminal would act on is spelled out. */
static void tell(struct kveil_buf *out, struct kveil_span s)
{
	for (size_t i = 0; i < s.len; i++) {
		bool c1 = s.data[i] == 0xC2 && i + 1 < s.len && s.data[i + 1] >= 0x80 && s.data[i + 1] < 0xA0;
		if (c1)
			kveil_buf_printf(out, "\\u%04x", s.data[++i]);
		else if ((s.data[i] < 0x20 && s.data[i] != '\t') || s.data[i] == 0x7F)
			kveil_buf_printf(out, "\\u%04x", s.data[i]);
		else
			kveil_buf_append_byte(out, s.data[i]);
	}
}

static void tell_line(struct kveil_story *s, char sign, const char *color, struct kveil_span value)
{
	if (s->color)
		kveil_buf_append_str(&s->text, color);
	kveil_buf_printf(&s->text, "  %c ", sign);
	tell(&s->text, value);
	kveil_buf_append_str(&s->text, s->color ? "\033[0m\n" : "\n");
}

static void tell_rule(struct kveil_buf *out, const struct kveil_trace_event *e)
{
	kveil_buf_printf(out, "  %s%s%s%s%s  rule ", e->action, e->key_name ? " " : "", e->key_name ? e->key_name : "",
			 e->key2_name ? " to " : "", e->key2_name ? e->key2_name : "");
	tell(out, kveil_span_str(e->rule_id));
}

/* As an argument for a shell. */
static void tell_ad(struct kveil_buf *out, const struct kveil_trace_event *e)
{
	if (e->ad_template)
		kveil_buf_printf(out, "  associated data by template %s", e->ad_template);
	if (!e->ad.data)
		return;
	KVEIL_CLEANUP_BUF struct kveil_buf quoted = KVEIL_BUF_INIT;
	for (size_t i = 0; i < e->ad.len; i++) {
		if (memchr("\"\\$`", e->ad.data[i], 4))
			kveil_buf_append_byte(&quoted, '\\');
		kveil_buf_append_byte(&quoted, e->ad.data[i]);
	}
	kveil_buf_append_str(out, "  associated data \"");
	tell(out, kveil_buf_span(&quoted));
	kveil_buf_append_byte(out, '"');
}

void kveil_story_event(void *user, const struct kveil_trace_event *e)
{
	static const char value_prefix[] = "value:";
	struct kveil_story *s = user;
	struct kveil_span path = e->path;
	bool changes = !e->rule_id || strcmp(e->outcome, "applied") == 0;

	if ((s->view != SIZE_MAX && e->view != s->view) || (s->with_values && !changes))
		return;
	if (path.len > sizeof value_prefix - 1 && memcmp(path.data, value_prefix, sizeof value_prefix - 1) == 0)
		path = kveil_span_of(path.data + sizeof value_prefix - 1, path.len - (sizeof value_prefix - 1));
	kveil_buf_append_str(&s->text, "  ");
	if (s->view == SIZE_MAX && s->plan->view_count > 1)
		kveil_buf_printf(&s->text, "%s: ", s->plan->views[e->view].name);
	tell(&s->text, path);
	if (e->rule_id)
		tell_rule(&s->text, e);
	if (!s->with_values || !e->rule_id)
		kveil_buf_printf(&s->text, "  %s", e->outcome);
	if (!s->with_values) {
		tell_ad(&s->text, e);
		kveil_buf_append_byte(&s->text, '\n');
		return;
	}
	kveil_buf_append_byte(&s->text, '\n');
	tell_line(s, '-', "\033[31m", e->before);
	tell_line(s, '+', "\033[32m", e->after.data ? e->after : KVEIL_SPAN("(removed)"));
}

void kveil_story_reset(struct kveil_story *s)
{
	if (s->text.data)
		kveil_secret_wipe(s->text.data, s->text.len);
	kveil_buf_reset(&s->text);
}
