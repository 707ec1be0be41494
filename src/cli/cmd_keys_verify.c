/* SPDX-License-Identifier: Apache-2.0 */
/* kveil keys verify: whether a backup or a certificate is what it says; and the certificates that it is about. */
#include "cli/cmd_keys.h"

#include "base/buf.h"
#include "custody/files.h"
#include "keyadmin/admin.h"

#include <jansson.h>
#include <stdio.h>

enum { CERTIFICATE_MAX = 64 << 20 };

/* --- certificates: a JSON array, an event of the registry in each line --- */

struct certifying {
	uint32_t version; /* 0 = all */
	struct kveil_buf text;
	size_t count;
};

static void add_event(void *user, const char *line, const json_t *event)
{
	struct certifying *c = user;
	const char *kind = json_string_value(json_object_get(event, "event"));
	json_int_t version = json_integer_value(json_object_get(event, "version"));

	if (kind && strcmp(kind, "key_destroyed") == 0 && (!c->version || version == c->version))
		kveil_buf_printf(&c->text, "%s\n  %s", c->count++ ? "," : "[", line);
}

enum kveil_status keys_check_certificate(const char *path, struct kveil_error *err)
{
	static const char *const certificate[] = {"[\n  {\"event\":\"key_destroyed\"", NULL};

	return kveil_files_check_replaced(path, certificate, "certificate", err);
}

int keys_write_certificate(struct kveil_keystore *ks, const char *name, uint32_t version, const char *path)
{
	struct certifying c = {.version = version, .text = KVEIL_BUF_INIT};
	struct kveil_error err;
	size_t missing;

	enum kveil_status status = keys_check_certificate(path, &err);
	if (!status)
		status = kveil_keys_history(ks, name, add_event, &c, &missing, &err);
	if (!status && !c.count)
		status =
		    kveil_fail(&err, KVEIL_E_NOT_FOUND, "the registry has no record that '%s' was destroyed", name);
	kveil_buf_append_str(&c.text, "\n]\n");
	if (!status && !kveil_buf_ok(&c.text))
		status = kveil_no_memory(&err, "a certificate");
	if (!status)
		status = kveil_files_write_whole(path, kveil_buf_span(&c.text), &err);
	kveil_buf_clear(&c.text);
	return status ? keys_failed(&err) : KVEIL_EXIT_OK;
}

static void print_row(const char *line)
{
	json_t *e = json_loads(line, 0, NULL);
	const char *const names[] = {"at", "event", "key", "user", "host", "fingerprint"};
	const char *texts[6];

	for (int i = 0; i < 6; i++) {
		texts[i] = json_string_value(json_object_get(e, names[i]));
		texts[i] = texts[i] ? texts[i] : "-";
	}
	printf("%s  %s  %s@%lld (id %lld)  by %s@%s  wrapped bytes had sha256 %s\n", texts[0], texts[1], texts[2],
	       (long long)json_integer_value(json_object_get(e, "version")),
	       (long long)json_integer_value(json_object_get(e, "id")), texts[3], texts[4], texts[5]);
	json_decref(e);
}

static int verify_certificate(const struct keys_options *o, struct kveil_keystore *ks, struct kveil_buf *text)
{
	char *at = (char *)text->data, *rest = NULL;
	size_t good = 0, bad = 0;

	for (char *line = strtok_r(at, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		line += strspn(line, " ");
		size_t n = strlen(line);
		if (*line != '{')
			continue;
		if (line[n - 1] == ',')
			line[--n] = 0;
		bool is_good = kveil_keys_event_is_authentic(ks, line);
		good += is_good;
		bad += !is_good;
		if (is_good && !o->json)
			print_row(line);
	}
	if (o->json)
		printf("{\"certificate\": true, \"authentic\": %zu, \"altered\": %zu}\n", good, bad);
	else if (bad || !good)
		printf("%s: %zu of %zu are not authentic under this registry\n", o->operands[0], bad, good + bad);
	return bad || !good ? KVEIL_EXIT_FAILED : KVEIL_EXIT_OK;
}

/* --- backups --- */

static int verify_backup(const struct keys_options *o, const struct kveil_keys_config *cfg)
{
	struct kveil_backup_state s;
	struct kveil_error err;

	if (kveil_keys_verify_backup(cfg, o->operands[0], &s, &err))
		return keys_failed(&err);
	if (o->json)
		printf("{\"registry\": \"%s\", \"versions\": %zu, \"opened\": %zu, \"unreachable\": %zu, "
		       "\"destroyed\": %zu, \"disabled\": %zu, \"scheduled\": %zu, \"overdue\": %zu, "
		       "\"events\": %zu, \"events_missing\": %zu}\n",
		       s.id, s.versions, s.opened, s.unreachable, s.destroyed, s.disabled, s.scheduled, s.overdue,
		       s.events, s.missing);
	else
		printf("%s: authentic, of registry %s: %zu version%s, %zu of them opened here, %zu destroyed; %zu "
		       "events\n",
		       o->operands[0], s.id, s.versions, s.versions == 1 ? "" : "s", s.opened, s.destroyed, s.events);
	if (!o->json && s.disabled + s.scheduled)
		printf(
		    "of these %zu disabled, %zu to be destroyed, %zu of them since a time that has passed: a restore "
		    "disables those instead\n",
		    s.disabled, s.scheduled, s.overdue);
	if (s.missing)
		fprintf(stderr, "kveil keys: %zu events before some of these were taken away\n", s.missing);
	if (!s.unreachable)
		return s.missing ? KVEIL_EXIT_FAILED : KVEIL_EXIT_OK;
	fprintf(stderr, "kveil keys: %zu version%s cannot be opened with the KEKs of this configuration\n",
		s.unreachable, s.unreachable == 1 ? "" : "s");
	return keys_failed(&s.why);
}

int keys_run_verify(const struct keys_options *o, const struct kveil_keys_config *cfg)
{
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;
	struct kveil_keystore *ks;
	struct kveil_error err;

	if (kveil_files_read_private(o->operands[0], "the file", CERTIFICATE_MAX, &text, NULL, NULL, &err))
		return keys_failed(&err);
	const char *begin = kveil_buf_cstr(&text);
	if (!begin || begin[strspn(begin, " \r\n\t")] != '[')
		return verify_backup(o, cfg);
	if (kveil_keystore_open_reachable(cfg, &ks, &err))
		return keys_failed(&err);
	int code = verify_certificate(o, ks, &text);
	kveil_keystore_unref(ks);
	return code;
}
