/* SPDX-License-Identifier: Apache-2.0 */
/* Statuses, and errors with their place and hint. */
#include "kveil/base.h"

#include <stdarg.h>
#include <stdio.h>

static const struct {
	const char *code, *text;
	enum kveil_class class;
} statuses[] = {
#define X(name, code, class, text) {code, text, KVEIL_CLASS_##class},
    KVEIL_STATUS_TABLE(X)
#undef X
};

const char *kveil_status_code(enum kveil_status status)
{
	return (unsigned)status < KVEIL_STATUS_COUNT ? statuses[status].code : "internal";
}

const char *kveil_status_text(enum kveil_status status)
{
	return (unsigned)status < KVEIL_STATUS_COUNT ? statuses[status].text : "a bug in kveil";
}

enum kveil_class kveil_status_class(enum kveil_status status)
{
	return (unsigned)status < KVEIL_STATUS_COUNT ? statuses[status].class : KVEIL_CLASS_STOP;
}

static KVEIL_PRINTF(4, 0) enum kveil_status
    fail(struct kveil_error *err, enum kveil_status status, size_t byte, const char *fmt, va_list args)
{
	if (err) {
		*err = (struct kveil_error){.status = status, .byte = byte};
		vsnprintf(err->message, sizeof err->message, fmt, args);
	}
	return status;
}

enum kveil_status kveil_fail(struct kveil_error *err, enum kveil_status status, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	fail(err, status, KVEIL_NO_BYTE, fmt, args);
	va_end(args);
	return status;
}

enum kveil_status kveil_fail_at(struct kveil_error *err, enum kveil_status status, size_t byte, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	fail(err, status, byte, fmt, args);
	va_end(args);
	return status;
}

enum kveil_status kveil_no_memory(struct kveil_error *err, const char *what)
{
	return kveil_fail(err, KVEIL_E_NO_MEMORY, "out of memory%s%s", what ? " for " : "", what ? what : "");
}

void kveil_error_hint(struct kveil_error *err, const char *fmt, ...)
{
	if (!err)
		return;
	va_list args;
	va_start(args, fmt);
	vsnprintf(err->hint, sizeof err->hint, fmt, args);
	va_end(args);
}

void kveil_error_where(struct kveil_error *err, const char *file, uint32_t line, uint32_t column)
{
	if (!err)
		return;
	snprintf(err->file, sizeof err->file, "%s", file ? file : "");
	err->line = line;
	err->column = column;
}

void kveil_error_rule(struct kveil_error *err, const char *rule)
{
	if (err)
		snprintf(err->rule, sizeof err->rule, "%s", rule ? rule : "");
}

const char *kveil_error_format(const struct kveil_error *err, const char *severity, char *dst, size_t size)
{
	char place[224] = "", byte[40] = "", rule[112] = "";

	if (err->file[0] && err->line && err->column)
		snprintf(place, sizeof place, "%s:%u:%u: ", err->file, err->line, err->column);
	else if (err->file[0] && err->line)
		snprintf(place, sizeof place, "%s:%u: ", err->file, err->line);
	else if (err->file[0])
		snprintf(place, sizeof place, "%s: ", err->file);
	if (err->byte != KVEIL_NO_BYTE)
		snprintf(byte, sizeof byte, "byte %zu: ", err->byte);
	if (err->rule[0])
		snprintf(rule, sizeof rule, "rule %s: ", err->rule);
	snprintf(dst, size, "%s%s%s%s%s%s%s%s%s", place, severity ? severity : "", severity ? ": " : "", byte, rule,
		 err->message, err->hint[0] ? " (" : "", err->hint, err->hint[0] ? ")" : "");
	return dst;
}
