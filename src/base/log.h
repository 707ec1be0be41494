/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/log.h: one line an event on stderr, as text or JSON. Only the outermost layers (cli, worker, http)
 * log; everything below returns an error. Never a field's value, never a key byte. Any thread.
 *
 *   2026-01-02T03:04:05.678Z info  worker 1: assigned partition=etl.orders[3] offset=42
 */
#ifndef KVEIL_BASE_LOG_H
#define KVEIL_BASE_LOG_H

#include "kveil/base.h"

enum kveil_log_level { KVEIL_LOG_ERROR, KVEIL_LOG_WARN, KVEIL_LOG_INFO, KVEIL_LOG_DEBUG };

void kveil_log_setup(enum kveil_log_level level, bool json);
/* component: "worker 1", "keys", "http". Control characters in the message are escaped. */
void kveil_log(enum kveil_log_level level, const char *component, const char *fmt, ...) KVEIL_PRINTF(3, 4);
/* An error with its place and hint. */
void kveil_log_error(enum kveil_log_level level, const char *component, const struct kveil_error *err);

#endif
