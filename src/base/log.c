/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include "base/clock.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

static _Atomic int level_max = KVEIL_LOG_INFO;
static _Atomic bool as_json;

void kveil_log_setup(enum kveil_log_level level, bool json)
{
	level_max = (int)level;
	as_json = json;
}

/* Appends s with control characters (and, in JSON, quotes and backslashes) escaped. */
static size_t escape(char *dst, size_t size, const char *s, bool json)
{
	size_t n = 0;

	for (; *s && n + 7 < size; s++) {
		unsigned char c = (unsigned char)*s;
		if (c < 0x20 || c == 0x7f)
			n += (size_t)snprintf(dst + n, size - n, "\\u%04x", c);
		else if (json && (c == '"' || c == '\\')) {
			dst[n++] = '\\';
			dst[n++] = (char)c;
		} else
			dst[n++] = (char)c;
	}
	dst[n] = 0;
	return n;
}

void kveil_log(enum kveil_log_level level, const char *component, const char *fmt, ...)
{
	static const char *const names[] = {"error", "warn", "info", "debug"};
	char message[1100], safe[2400], line[2700], when[40];
	va_list args;

	if ((int)level > level_max)
		return;
	va_start(args, fmt);
	vsnprintf(message, sizeof message, fmt, args);
	va_end(args);
	int64_t ms = kveil_clock_wall_ms();
	time_t s = (time_t)(ms / 1000);
	struct tm tm;
	gmtime_r(&s, &tm);
	size_t n = strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(when + n, sizeof when - n, ".%03dZ", (int)(ms % 1000));
	bool json = as_json;
	escape(safe, sizeof safe, message, json);
	int len = json ? snprintf(line, sizeof line,
				  "{\"time\":\"%s\",\"level\":\"%s\",\"component\":\"%s\",\"message\":\"%s\"}\n", when,
				  names[level], component, safe)
		       : snprintf(line, sizeof line, "%s %-5s %s: %s\n", when, names[level], component, safe);
	if (len < 0)
		return;
	if ((size_t)len >= sizeof line) {
		len = (int)sizeof line - 1;
		line[len - 1] = '\n';
	}
	/* One write a line, so that lines of several threads do not mix. */
	ssize_t ignored = write(STDERR_FILENO, line, (size_t)len);
	(void)ignored;
}

void kveil_log_error(enum kveil_log_level level, const char *component, const struct kveil_error *err)
{
	char text[1024];

	kveil_log(level, component, "%s: %s", kveil_status_code(err->status),
		  kveil_error_format(err, NULL, text, sizeof text));
}
