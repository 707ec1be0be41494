/* SPDX-License-Identifier: Apache-2.0 */
/* Brokers of the demo, and a worker between two topics. */
#include "cli/demo_stage.h"

#include <stdio.h>

static void fail_from_report(struct kveil_report *report, struct kveil_error *err)
{
	if (report->count)
		*err = report->problems[0].error;
	else
		kveil_no_memory(err, NULL);
	kveil_report_clear(report);
}

/* What a kveil.yaml for this would say; the rest is as it is by default. A mock cluster lets a rebalance take as long
 * as a session, but for the first. */
static enum kveil_status configure(struct kveil_demo_stage *s, const struct kveil_demo_stage_params *params,
				   struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;
	struct kveil_report report = {0};

	kveil_buf_printf(&text,
			 "kafka:\n"
			 "  bootstrap_servers: '%s'\n"
			 "  group_id: kveil-demo\n"
			 "  consumer: {session.timeout.ms: 5000, heartbeat.interval.ms: 1000, fetch.wait.max.ms: 50}\n"
			 "workers: %llu\n"
			 "commit_interval: 250ms\n"
			 "rules: ['%s']\n"
			 "keys: {}\n",
			 kveil_mock_bootstrap_servers(s->mock), (unsigned long long)params->workers, params->file);
	struct kveil_yaml *yaml = kveil_yaml_parse(kveil_buf_span(&text), "demo", &report);
	bool ok = yaml && kveil_options_parse(kveil_config_options, yaml, "demo", NULL, &s->config, &report);
	kveil_yaml_free(yaml);
	if (!ok)
		fail_from_report(&report, err);
	kveil_report_clear(&report);
	return ok ? KVEIL_OK : err->status;
}

static enum kveil_status load_rules(struct kveil_demo_stage *s, const struct kveil_demo_stage_params *params,
				    struct kveil_error *err)
{
	struct kveil_report report = {0};
	KVEIL_CLEANUP_BUF struct kveil_buf name = KVEIL_BUF_INIT;
	struct kveil_plan *plan = kveil_plan_parse(params->rules, params->file, s->keys, &report);

	if (!plan) {
		fail_from_report(&report, err);
		return err->status;
	}
	kveil_report_clear(&report);
	s->plans = kveil_plan_set_of(plan, s->config.dead_letter.topic);
	if (!s->plans)
		return kveil_no_memory(err, NULL);
	snprintf(s->input, sizeof s->input, "%s", params->topic ? params->topic : plan->topics[0]);
	kveil_plan_expand_topic(plan->views[0].topic, s->input, &name);
	snprintf(s->output, sizeof s->output, "%s", kveil_buf_cstr(&name));
	kveil_buf_reset(&name);
	kveil_plan_expand_topic(s->config.dead_letter.topic, s->input, &name);
	snprintf(s->dead, sizeof s->dead, "%s", kveil_buf_cstr(&name));
	return KVEIL_OK;
}

static enum kveil_status make_cluster(struct kveil_demo_stage *s, int partitions, struct kveil_error *err)
{
	const char *const topics[] = {s->input, s->output, s->dead, NULL};
	enum kveil_status status = KVEIL_OK;

	for (size_t i = 0; topics[i] && status == KVEIL_OK; i++)
		status = kveil_mock_create_topic(s->mock, topics[i], partitions, err);
	if (status == KVEIL_OK)
		status = kveil_mock_writer_new(s->mock, &s->writer, err);
	if (status == KVEIL_OK)
		status = kveil_mock_reader_new(s->mock, topics + 1, partitions, &s->reader, err);
	return status;
}

enum kveil_status kveil_demo_stage_set(struct kveil_demo_stage *s, const struct kveil_demo_stage_params *params,
				       struct kveil_error *err)
{
	enum kveil_status status = kveil_keystore_new_demo(&s->keys, err);

	if (status == KVEIL_OK)
		status = kveil_mock_new(1, &s->mock, err);
	if (status == KVEIL_OK)
		status = configure(s, params, err);
	if (status == KVEIL_OK)
		status = load_rules(s, params, err);
	if (status == KVEIL_OK)
		status = make_cluster(s, params->partitions, err);
	if (status == KVEIL_OK && !((s->metrics = kveil_metrics_new()) && (s->health = kveil_health_new())))
		status = kveil_no_memory(err, NULL);
	return status;
}

enum kveil_status kveil_demo_stage_run(struct kveil_demo_stage *s, struct kveil_error *err)
{
	const struct kveil_service_params params = {
	    .config = &s->config, .keys = s->keys, .plans = s->plans, .metrics = s->metrics, .health = s->health};

	return kveil_service_start(&params, &s->service, err);
}

enum kveil_status kveil_demo_stage_stop(struct kveil_demo_stage *s, struct kveil_error *err)
{
	struct kveil_service *service = s->service;

	s->service = NULL;
	return service ? kveil_service_stop(service, err) : KVEIL_OK;
}

void kveil_demo_stage_clear(struct kveil_demo_stage *s)
{
	kveil_mock_writer_free(s->writer);
	kveil_mock_reader_free(s->reader);
	kveil_mock_free(s->mock);
	kveil_plan_set_unref(s->plans);
	kveil_keystore_unref(s->keys);
	kveil_options_clear(kveil_config_options, &s->config);
	kveil_metrics_free(s->metrics);
	kveil_health_free(s->health);
}
