/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kveil/library.h: kveil in a program of your own: one kveil.yaml, opened.
 *
 *   kveil_library_open("kveil.yaml") ─► library (one a process; any thread)
 *        │ plan of a topic, keys, limits
 *        ▼
 *   keyring ─► engine (one each a thread) ─ kveil_engine_run ─► bytes and a verdict
 *
 * Of kveil.yaml it takes `rules`, `keys` and `limits`; `kafka` where the key registry is a topic. Nothing is consumed
 * or produced: records come from you and go where you send them. An engine does no I/O. examples/embed.c is a whole
 * program.
 *
 * Keys do not survive a fork: in a child everything refuses but a library opened there.
 *
 * The promise is then yours to keep: pass on nothing but the outputs of KVEIL_PRODUCE.
 */
#ifndef KVEIL_LIBRARY_H
#define KVEIL_LIBRARY_H

#include "kveil/base.h"
#include "kveil/engine.h"
#include "kveil/keys.h"

struct kveil_library;

/* "0.1.0" */
KVEIL_API const char *kveil_library_version(void);

/* One problem of the configuration or a rule file, as "file:line:column: error: …" or "… warning: …". line is borrowed
 * for the call. */
typedef void kveil_problem_fn(void *user, const char *line);

/* Reads the configuration and its rule files and opens the key registry, which `kveil keys init` made. Every problem of
 * the files goes to problem (NULL = not asked for); err holds the first error. Class CONFIG: mend it. Class RETRY (a
 * custodian or the registry does not answer): call again later. Call it once at a time. */
KVEIL_API enum kveil_status kveil_library_open(const char *config, kveil_problem_fn *problem, void *user,
					       struct kveil_library **ret, struct kveil_error *err) KVEIL_MUST_CHECK;
/* After every keyring and engine made of it was freed. NULL is fine. */
KVEIL_API void kveil_library_close(struct kveil_library *lib);

/* The rules for records of this input topic, for kveil_engine_new; NULL: no rule file names the topic, so nothing may
 * be passed on. Borrowed from the library. Any thread. */
KVEIL_API struct kveil_plan *kveil_library_plan(const struct kveil_library *lib, const char *topic);
/* For kveil_keyring_new. Borrowed. Any thread. */
KVEIL_API struct kveil_keystore *kveil_library_keys(const struct kveil_library *lib);
/* For kveil_engine_new: what the configuration allows a record. Borrowed. Any thread. */
KVEIL_API const struct kveil_limits *kveil_library_limits(const struct kveil_library *lib);

/* The name of an output topic: the template of the plan's view (kveil_output.view) with the input topic in it. Always
 * terminated. KVEIL_E_NOT_FOUND: no such view, or no room in size bytes. Any thread. */
KVEIL_API enum kveil_status kveil_library_topic(const struct kveil_plan *plan, size_t view, const char *input_topic,
						char *dst, size_t size, struct kveil_error *err) KVEIL_MUST_CHECK;

/* About once a second from one thread: makes keys named from records that engines wait for (KVEIL_E_KEY_PENDING), makes
 * next versions half a period ahead, follows the registry. May block for some 10 s where the registry does not answer.
 * A class RETRY error: keys at hand go on. Then kveil_keyring_tick takes it over in each thread. now_wall_ms:
 * milliseconds since 1970. */
KVEIL_API enum kveil_status kveil_library_tend(struct kveil_library *lib, int64_t now_wall_ms,
					       struct kveil_error *err) KVEIL_MUST_CHECK;

#endif
