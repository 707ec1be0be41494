/* SPDX-License-Identifier: Apache-2.0 */
/* Problems of files, collected and told in their order. */
#include "base/report.h"

#include <stdarg.h>
#include <stdlib.h>

enum { MOST = 200 };

void kveil_report_clear(struct kveil_report *r)
{
	free(r->problems);
	*r = (struct kveil_report){0};
}

static struct kveil_error *store(struct kveil_report *r, const struct kveil_error *err, bool warning)
{
	static _Thread_local struct kveil_error scratch;

	if (warning)
		r->warnings++;
	else
		r->errors++;
	if (r->count == r->cap && r->count < MOST) {
		size_t cap = r->cap ? r->cap * 2 : 8;
		struct kveil_problem *grown = realloc(r->problems, cap * sizeof *grown);
		if (grown) {
			r->problems = grown;
			r->cap = cap;
		}
	}
	if (r->count == r->cap || r->count >= MOST) {
		scratch = *err;
		return &scratch;
	}
	r->problems[r->count] = (struct kveil_problem){warning, *err};
	return &r->problems[r->count++].error;
}

void kveil_report_add(struct kveil_report *r, const struct kveil_error *err)
{
	store(r, err, false);
}

void kveil_report_warn(struct kveil_report *r, const struct kveil_error *err)
{
	store(r, err, true);
}

static KVEIL_PRINTF(6, 0) struct kveil_error *report_at(struct kveil_report *r, const char *file, uint32_t line,
							uint32_t column, bool warning, const char *fmt, va_list args)
{
	struct kveil_error err = {.status = KVEIL_E_CONFIG, .byte = KVEIL_NO_BYTE};

	vsnprintf(err.message, sizeof err.message, fmt, args);
	kveil_error_where(&err, file, line, column);
	return store(r, &err, warning);
}

struct kveil_error *kveil_report_at(struct kveil_report *r, const char *file, uint32_t line, uint32_t column,
				    const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	struct kveil_error *e = report_at(r, file, line, column, false, fmt, args);
	va_end(args);
	return e;
}

struct kveil_error *kveil_report_warn_at(struct kveil_report *r, const char *file, uint32_t line, uint32_t column,
					 const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	struct kveil_error *e = report_at(r, file, line, column, true, fmt, args);
	va_end(args);
	return e;
}

void kveil_report_no_memory(struct kveil_report *r, const char *file)
{
	kveil_report_at(r, file, 0, 0, "out of memory")->status = KVEIL_E_NO_MEMORY;
}

static int by_place(const void *a, const void *b)
{
	const struct kveil_error *x = &((const struct kveil_problem *)a)->error;
	const struct kveil_error *y = &((const struct kveil_problem *)b)->error;
	int c = strcmp(x->file, y->file);

	if (c)
		return c;
	if (x->line != y->line)
		return x->line < y->line ? -1 : 1;
	return x->column == y->column ? 0 : x->column < y->column ? -1 : 1;
}

void kveil_report_print(const struct kveil_report *r, FILE *to)
{
	char line[1024];

	if (r->count == 0)
		return;
	struct kveil_problem *sorted = malloc(r->count * sizeof *sorted);
	const struct kveil_problem *p = r->problems;
	if (sorted) {
		memcpy(sorted, r->problems, r->count * sizeof *sorted);
		qsort(sorted, r->count, sizeof *sorted, by_place);
		p = sorted;
	}
	for (size_t i = 0; i < r->count; i++)
		fprintf(to, "%s\n",
			kveil_error_format(&p[i].error, p[i].warning ? "warning" : "error", line, sizeof line));
	if (r->errors + r->warnings > r->count)
		fprintf(to, "and %zu more\n", r->errors + r->warnings - r->count);
	free(sorted);
}
