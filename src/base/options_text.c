/* SPDX-License-Identifier: Apache-2.0 */
/* Values of options as text: sizes, durations, numbers. */
#include "base/options_text.h"

#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LARGEST_SECRET = 64 * 1024 };

/* --- numbers with units --- */

/* The digits at the start of text; false when there are none, too many, or a zero in front. */
static bool read_digits(const char *text, uint64_t *ret, const char **ret_rest)
{
	uint64_t n = 0;
	const char *p = text;

	for (; *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(n, 10u, &n) || __builtin_add_overflow(n, (uint64_t)(*p - '0'), &n))
			return false;
	if (p == text || (*text == '0' && p > text + 1))
		return false;
	*ret = n;
	*ret_rest = p;
	return true;
}

enum kveil_status kveil_options_uint(const char *text, uint64_t *ret, struct kveil_error *err)
{
	const char *rest;

	if (!read_digits(text, ret, &rest) || *rest)
		return kveil_fail(err, KVEIL_E_CONFIG, "'%.40s' is not a whole number", text);
	return KVEIL_OK;
}

struct unit {
	const char *name;
	uint64_t factor;
};

static enum kveil_status with_unit(const char *text, const struct unit *units, uint64_t *ret, struct kveil_error *err)
{
	const char *rest;

	if (!read_digits(text, ret, &rest))
		return kveil_fail(err, KVEIL_E_CONFIG, "'%.40s' does not begin with a whole number", text);
	for (const struct unit *u = units; u->name; u++)
		if (strcmp(rest, u->name) == 0) {
			if (__builtin_mul_overflow(*ret, u->factor, ret) || *ret > INT64_MAX)
				return kveil_fail(err, KVEIL_E_CONFIG, "'%.40s' is too large", text);
			return KVEIL_OK;
		}
	if (*rest)
		return kveil_fail(err, KVEIL_E_CONFIG, "unknown unit '%.20s'", rest);
	return kveil_fail(err, KVEIL_E_CONFIG, "'%.40s' needs a unit", text);
}

/* Largest last. */
static const struct unit durations[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}, {0}};
static const struct unit sizes[] = {{"", 1}, {"B", 1}, {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {0}};

enum kveil_status kveil_options_duration(const char *text, int64_t *ret_ms, struct kveil_error *err)
{
	uint64_t n = 0;
	enum kveil_status s = with_unit(text, durations, &n, err);

	if (s)
		kveil_error_hint(err, "a duration is written 500ms, 10s, 5m, 24h or 7d");
	*ret_ms = (int64_t)n;
	return s;
}

enum kveil_status kveil_options_bytes(const char *text, uint64_t *ret, struct kveil_error *err)
{
	enum kveil_status s = with_unit(text, sizes, ret, err);

	if (s)
		kveil_error_hint(err, "a size is written 100, 512KiB, 8MiB or 1GiB");
	return s;
}

const char *kveil_options_spell(enum kveil_option_type type, uint64_t n, char dst[KVEIL_OPTIONS_SPELLED])
{
	static const struct unit none[] = {{"", 1}, {0}};
	const struct unit *units = type == KVEIL_OPT_BYTES ? sizes : type == KVEIL_OPT_DURATION ? durations : none;
	const struct unit *best = units;

	for (const struct unit *u = units; u->name; u++)
		if (n % u->factor == 0 && u->factor > best->factor)
			best = u;
	snprintf(dst, KVEIL_OPTIONS_SPELLED, "%llu%s", (unsigned long long)(n / best->factor), best->name);
	return dst;
}

/* --- texts from elsewhere --- */

char *kveil_options_resolve_path(const char *path, const char *file)
{
	const char *slash = file ? strrchr(file, '/') : NULL;
	char *ret;

	if (*path == '/' || !slash)
		return strdup(path);
	return asprintf(&ret, "%.*s/%s", (int)(slash - file), file, path) < 0 ? NULL : ret;
}

/* A secret that Kubernetes or Docker mounts has mode 0644 or 0444, and nobody else lives in its container. */
static bool is_mounted(const char *path)
{
	const char *slash = strrchr(path, '/');
	struct stat st;
	char *data;

	if (strncmp(path, "/run/secrets/", 13) == 0 || strncmp(path, "/var/run/secrets/", 17) == 0)
		return true;
	if (asprintf(&data, "%.*s..data", slash ? (int)(slash - path) + 1 : 0, path) < 0)
		return false;
	bool yes = lstat(data, &st) == 0 && S_ISLNK(st.st_mode);
	free(data);
	return yes;
}

static enum kveil_status look_at_mode(int fd, const char *path, unsigned *how, struct kveil_error *err)
{
	struct stat st;

	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
		return KVEIL_OK;
	if (st.st_mode & S_IWOTH) {
		kveil_fail(err, KVEIL_E_CONFIG, "%.150s can be written by every user of this host", path);
		kveil_error_hint(err, "chmod o-w %.100s", path);
		return KVEIL_E_CONFIG;
	}
	if (st.st_mode & S_IROTH && !is_mounted(path))
		*how |= KVEIL_SUBSTITUTED_SHARED;
	return KVEIL_OK;
}

static enum kveil_status append_file(const char *name, const char *file, struct kveil_buf *out, unsigned *how,
				     struct kveil_error *err)
{
	size_t start = out->len;
	char *path = kveil_options_resolve_path(name, file);

	if (!path)
		return kveil_no_memory(err, NULL);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : 1;
	while (n > 0 && out->len - start <= LARGEST_SECRET) {
		uint8_t *room = kveil_buf_reserve(out, 4096);
		n = room ? read(fd, room, 4096) : -1;
		if (n > 0)
			out->len += (size_t)n;
		else if (n < 0 && errno == EINTR)
			n = 1;
	}
	int error = errno;
	enum kveil_status s = fd >= 0 ? look_at_mode(fd, path, how, err) : KVEIL_OK;
	if (fd >= 0)
		close(fd);
	if (s)
		;
	else if (n < 0)
		s = kveil_fail(err, KVEIL_E_CONFIG, "cannot read %.150s: %s", path, strerror(error));
	else if (out->len - start > LARGEST_SECRET)
		s = kveil_fail(err, KVEIL_E_CONFIG, "%.150s is larger than 64 KiB", path);
	else if (out->len > start && memchr(out->data + start, 0, out->len - start))
		s = kveil_fail(err, KVEIL_E_CONFIG, "%.150s holds a NUL byte", path);
	free(path);
	if (out->len > start && out->data[out->len - 1] == '\n')
		out->len--;
	if (out->len > start && out->data[out->len - 1] == '\r')
		out->len--;
	return s;
}

enum kveil_status kveil_options_substitute(const char *text, const char *file, char **ret, unsigned *ret_how,
					   struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf out = KVEIL_BUF_INIT;
	enum kveil_status s = KVEIL_OK;

	*ret_how = 0;
	while (*text && !s) {
		bool env = strncmp(text, "${env:", 6) == 0, from_file = strncmp(text, "${file:", 7) == 0;
		if (!env && !from_file) {
			kveil_buf_append_byte(&out, (uint8_t)*text++);
			continue;
		}
		const char *name = text + (env ? 6 : 7), *end = strchr(name, '}');
		if (!end || end == name) {
			s = kveil_fail(err, KVEIL_E_CONFIG, "${%s is not closed or empty", env ? "env:" : "file:");
			break;
		}
		char *copy = strndup(name, (size_t)(end - name));
		if (!copy)
			return kveil_no_memory(err, NULL);
		const char *value = env ? getenv(copy) : NULL;
		if (value)
			kveil_buf_append_str(&out, value);
		else if (env)
			s = kveil_fail(err, KVEIL_E_CONFIG, "the environment has no %.100s", copy);
		else
			s = append_file(copy, file, &out, ret_how, err);
		free(copy);
		*ret_how |= KVEIL_SUBSTITUTED;
		text = end + 1;
	}
	if (s)
		return s;
	const char *c = kveil_buf_cstr(&out);
	*ret = c ? strdup(c) : NULL;
	return *ret ? KVEIL_OK : kveil_no_memory(err, NULL);
}

enum kveil_status kveil_options_read_again(const char *source, const char *file, char **ret, struct kveil_error *err)
{
	unsigned how;

	return kveil_options_substitute(source, file, ret, &how, err);
}

/* --- did you mean --- */

void kveil_options_suggest(struct kveil_error *err, const char *word, const char *const *candidates)
{
	const char *near = kveil_text_nearest(word, candidates);
	char list[180];
	size_t n = 0;

	if (near) {
		kveil_error_hint(err, "did you mean '%s'?", near);
		return;
	}
	for (size_t i = 0; candidates[i]; i++) {
		int k = snprintf(list + n, sizeof list - n, "%s%s", i ? ", " : "", candidates[i]);
		if (k < 0 || (size_t)k >= sizeof list - n - sizeof ", …") {
			snprintf(list + n, sizeof list - n, ", …");
			break;
		}
		n += (size_t)k;
	}
	if (candidates[0])
		kveil_error_hint(err, "known: %s", list);
}
