/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/log.h: one line an event on stderr, as text or JSON. Only the outermost layers (cli, worker, http)
 * log; everything below returns an error. Never a field's value, never a key byte. Any thread.
 *
 * A reader of stderr that stands still holds nobody up: lines it does not take wait, up to 64 KiB of them, and go
 * with the next line or kveil_log_drain; past that they are dropped, counted, and told of once it reads again. At exit
 * what waits has two seconds.
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

/* Writes the lines that wait, for at most timeout_ms; true: none is left. Now and then, by whoever has time. */
bool kveil_log_drain(int timeout_ms);
/* Lines that were lost since the start. */
uint64_t kveil_log_dropped(void);

#endif
