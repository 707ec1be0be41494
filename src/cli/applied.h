/* SPDX-License-Identifier: Apache-2.0 */
/* cli/applied.h: an engine with its plan and keys for one command, and what it did to a record as text for a person. */
#ifndef KVEIL_CLI_APPLIED_H
#define KVEIL_CLI_APPLIED_H

#include "base/arena.h"
#include "base/buf.h"
#include "cli/command.h"
#include "kveil/engine.h"
#include "rules/plan.h"

struct kveil_config;
struct kveil_story;

struct kveil_apply_source {
	const char *rules;  /* the rule file */
	const char *config; /* kveil.yaml whose keys are taken; NULL = none */
	bool demo_keys;
	bool only_plan; /* no value will be seen: any keys do, and nobody is told */
};

struct kveil_apply_session {
	struct kveil_plan *plan;
	struct kveil_config *config;
	struct kveil_keystore *keys;
	struct kveil_keyring *ring;
	struct kveil_engine *engine;
	struct kveil_limits limits;
	struct kveil_arena scratch;
	uint64_t records;
	struct kveil_story *story; /* told of each record, begun anew with each try; NULL = none */
	/* Called when a record waits for a key that it names: to kveil_apply_ask for those of the records behind it, so
	 * that one write to the registry makes all of them. May be NULL. */
	void (*look_ahead)(void *user);
	void *user;
};

/* Prints what is wrong and returns an exit code; KVEIL_EXIT_OK = ready. */
int kveil_apply_open(const struct kveil_apply_source *source, const struct kveil_command *cmd,
		     struct kveil_apply_session *s);
void kveil_apply_close(struct kveil_apply_session *s);
/* As kveil_engine_run, but waits a while (5 s) for keys that are on their way. */
void kveil_apply_run(struct kveil_apply_session *s, const struct kveil_record *record, struct kveil_result *ret);
/* Lets a record ask for its keys; nothing else comes of it. */
void kveil_apply_ask(struct kveil_apply_session *s, const struct kveil_record *record);

/* The fields of one record as they are told, one event after the other. */
struct kveil_story {
	const struct kveil_plan *plan;
	size_t view;      /* only this one; SIZE_MAX = all */
	bool with_values; /* --diff; else --explain */
	bool color;
	struct kveil_buf text;
};
void kveil_story_event(void *story, const struct kveil_trace_event *event);
void kveil_story_reset(struct kveil_story *s);

#endif
