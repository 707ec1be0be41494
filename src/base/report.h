/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/report.h: every problem at once. A loader goes on after a problem and collects them here;
 * `kveil check` prints them all. One thread at a time.
 */
#ifndef KVEIL_BASE_REPORT_H
#define KVEIL_BASE_REPORT_H

#include "kveil/base.h"

#include <stdio.h>

struct kveil_problem {
	bool warning;
	struct kveil_error error;
};

struct kveil_report {
	struct kveil_problem *problems;
	size_t count, cap;
	size_t errors, warnings;
};

void kveil_report_clear(struct kveil_report *r);
/* Copies err. Past 200 problems only the counts go on. */
void kveil_report_add(struct kveil_report *r, const struct kveil_error *err);
void kveil_report_warn(struct kveil_report *r, const struct kveil_error *err);
/* Shorthand: an error at file:line:col with a message; returns the stored problem's error so that a hint can
 * be added (never NULL: past the limit a scratch one). */
struct kveil_error *kveil_report_at(struct kveil_report *r, const char *file, uint32_t line, uint32_t column,
				    const char *fmt, ...) KVEIL_PRINTF(5, 6);
struct kveil_error *kveil_report_warn_at(struct kveil_report *r, const char *file, uint32_t line, uint32_t column,
					 const char *fmt, ...) KVEIL_PRINTF(5, 6);
/* Nothing of the file's is at fault. */
void kveil_report_no_memory(struct kveil_report *r, const char *file);
/* One line a problem, in file and line order: "file:line:col: error: …" with the hint behind. */
void kveil_report_print(const struct kveil_report *r, FILE *to);

#endif
