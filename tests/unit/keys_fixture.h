/* SPDX-License-Identifier: Apache-2.0 */
/* A folder with a KEK, a configuration and room for a registry: shared by the tests of keys/. */
#ifndef KVEIL_TESTS_KEYS_FIXTURE_H
#define KVEIL_TESTS_KEYS_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/yaml.h"
#include "keyadmin/admin.h"
#include "keys/keyring.h"
#include "keys/keystore.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct fixture {
	char dir[64];
	struct kveil_yaml *yaml;
	struct kveil_keys_config config;
	char file[128];
};

static struct kveil_error err; /* of the last call that took it */

#define assert_ok(call)                                                                                                \
	do {                                                                                                           \
		enum kveil_status status_ = (call);                                                                    \
		if (status_)                                                                                           \
			fail_msg("%s: %s: %s", #call, kveil_status_code(status_), err.message);                        \
	} while (0)

static inline const char *at(const struct fixture *f, const char *name)
{
	static char paths[8][160];
	static unsigned next;
	char *path = paths[next++ % 8];

	snprintf(path, sizeof paths[0], "%s/%s", f->dir, name);
	return path;
}

static inline void put_file(const char *path, const void *data, size_t n, mode_t mode)
{
	unlink(path);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, n), n);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static inline uint8_t *get_file(const char *path, size_t *n)
{
	FILE *f = fopen(path, "rb");
	assert_non_null(f);
	uint8_t *data = malloc(1 << 22);
	*n = fread(data, 1, 1 << 22, f);
	data[*n] = 0;
	fclose(f);
	return data;
}

static const char fixture_yaml[] = "registry: file:keys.json\n"
				   "keks:\n"
				   "  local: {provider: file, path: kek}\n"
				   "data:\n"
				   "  pii: {algorithm: aes-256-gcm, kek: local, rotate_every: 24h}\n"
				   "  still: {algorithm: aes-256-gcm}\n"
				   "  pepper: {algorithm: hmac-sha-256}\n";

static inline void fixture_parse(struct fixture *f, const char *text)
{
	struct kveil_report report = {0};

	snprintf(f->file, sizeof f->file, "%s/kveil.yaml", f->dir);
	f->yaml = kveil_yaml_parse(kveil_span_str(text), f->file, &report);
	if (!f->yaml || !kveil_keys_config_parse(f->yaml, f->file, &f->config, &report)) {
		kveil_report_print(&report, stderr);
		fail_msg("the configuration does not parse");
	}
	kveil_report_clear(&report);
}

static inline void fixture_forget(struct fixture *f)
{
	kveil_keys_config_clear(&f->config);
	kveil_yaml_free(f->yaml);
	f->yaml = NULL;
}

static inline void fixture_set_up(struct fixture *f, const char *text)
{
	uint8_t kek[32];

	*f = (struct fixture){0};
	snprintf(f->dir, sizeof f->dir, "/tmp/kveil-keys-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	for (int i = 0; i < 32; i++)
		kek[i] = (uint8_t)(i * 7 + 1);
	put_file(at(f, "kek"), kek, sizeof kek, 0600);
	fixture_parse(f, text ? text : fixture_yaml);
}

static inline void fixture_tear_down(struct fixture *f)
{
	char command[128];

	fixture_forget(f);
	snprintf(command, sizeof command, "rm -rf '%s'", f->dir);
	assert_int_equal(system(command), 0);
}

/* As a worker does: what is not here is looked for, and then tried again. */
static inline enum kveil_status open_or_look(struct kveil_key *key, struct kveil_span ad, struct kveil_span sealed,
					     uint8_t *out, size_t *ret_len, struct kveil_error *why)
{
	enum kveil_status status = kveil_key_open(key, ad, sealed, out, ret_len, why);

	if (status == KVEIL_E_KEY_PENDING && kveil_key_look(key))
		status = kveil_key_open(key, ad, sealed, out, ret_len, why);
	if (status != KVEIL_E_KEY_PENDING)
		return status;
	(void)!kveil_keystore_refresh(key->ring->ks, why);
	(void)kveil_key_look(key);
	return kveil_key_open(key, ad, sealed, out, ret_len, why);
}

static inline struct kveil_keystore *fixture_init(const struct fixture *f)
{
	struct kveil_keys_init_result result;
	struct kveil_keystore *ks = NULL;

	assert_ok(kveil_keys_init(&f->config, &result, &err));
	assert_ok(kveil_keystore_open(&f->config, &ks, &err));
	return ks;
}

static inline enum kveil_status restore_it(const struct kveil_keys_config *config, const char *path)
{
	struct kveil_keys_restored ignored;
	enum kveil_status status = kveil_keys_restore(config, path, false, &ignored, &err);

	kveil_keys_restored_clear(&ignored);
	return status;
}

static inline enum kveil_status fixture_open_status(const struct fixture *f)
{
	struct kveil_keystore *ks = NULL;
	enum kveil_status status = kveil_keystore_open(&f->config, &ks, &err);

	if (!status)
		kveil_keystore_unref(ks);
	return status;
}

#endif
