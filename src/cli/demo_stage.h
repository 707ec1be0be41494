/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/demo_stage.h: what a demo runs on: a mock cluster with three topics, keys in memory, and the same service as
 * `kveil run` between them. The stage is used from the thread that started it, writer and reader from one each.
 */
#ifndef KVEIL_CLI_DEMO_STAGE_H
#define KVEIL_CLI_DEMO_STAGE_H

#include "kafka/mock.h"
#include "keys/keystore.h"
#include "worker/worker.h"

struct kveil_demo_stage {
	struct kveil_keystore *keys;
	struct kveil_plan_set *plans; /* of one plan */
	struct kveil_config config;
	struct kveil_metrics *metrics;
	struct kveil_health *health;
	struct kveil_mock *mock;
	struct kveil_mock_writer *writer;
	struct kveil_mock_reader *reader;     /* of output and dead */
	struct kveil_service *service;        /* NULL until it runs */
	char input[64], output[64], dead[64]; /* topics */
};

struct kveil_demo_stage_params {
	struct kveil_span rules;
	const char *file;  /* their name in messages */
	const char *topic; /* the input; NULL = the first of the rules */
	int partitions;
	uint64_t workers;
};

/* All but the service. *s begins as zeros; whatever is returned, it is cleared with kveil_demo_stage_clear. */
enum kveil_status kveil_demo_stage_set(struct kveil_demo_stage *s, const struct kveil_demo_stage_params *params,
				       struct kveil_error *err) KVEIL_MUST_CHECK;
enum kveil_status kveil_demo_stage_run(struct kveil_demo_stage *s, struct kveil_error *err) KVEIL_MUST_CHECK;
/* Ends the service. OK, or why a worker had stopped. */
enum kveil_status kveil_demo_stage_stop(struct kveil_demo_stage *s, struct kveil_error *err) KVEIL_MUST_CHECK;
void kveil_demo_stage_clear(struct kveil_demo_stage *s); /* the service has ended */

#endif
