/* SPDX-License-Identifier: Apache-2.0 */
/* kveil keys verify: whether a backup or a certificate is what it says; and the certificates that it is about. */
#include "cli/cmd_keys.h"

#include "base/buf.h"
#include "custody/files.h"
#include "keyadmin/admin.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

enum { CERTIFICATE_MAX = 64 << 20 };

/* --- certificates: a JSON array, an event of the registry in each line --- */

struct certifying {
	struct kveil_keystore *ks;
	struct kveil_document registry;
	uint32_t version; /* 0 = all */
	size_t alive;     /* destroyed elsewhere, and not here: no certificate says so of this registry */
	json_t *orders;   /* by id: the line by which a version is scheduled to be destroyed */
	struct kveil_buf text;
	size_t count;
};

/* A worker destroys what is due: who wanted that, and why, is in the event before. */
static void add_destroyed(struct certifying *c, const char *id, const char *line, const json_t *event)
{
	const char *detail = json_string_value(json_object_get(event, "detail"));
	const char *order = json_string_value(json_object_get(c->orders, id));

	kveil_buf_printf(&c->text, "%s\n  %s", c->count++ ? "," : "[", line);
	if (order && detail && strcmp(detail, "as scheduled") == 0)
		kveil_buf_printf(&c->text, ",\n  %s", order);
}

static void add_event(void *user, const char *line, const json_t *event)
{
	struct certifying *c = user;
	const char *kind = json_string_value(json_object_get(event, "event"));
	json_int_t version = json_integer_value(json_object_get(event, "version"));
	char id[24];

	if (!kind || (c->version && version != c->version))
		return;
	snprintf(id, sizeof id, "%lld", (long long)json_integer_value(json_object_get(event, "id")));
	if (strcmp(kind, "key_destroy_scheduled") == 0)
		json_object_set_new(c->orders, id, json_string(line));
	else if (strcmp(kind, "key_destroy_cancelled") == 0)
		json_object_del(c->orders, id);
	else if (strcmp(kind, "key_destroyed") != 0)
		return;
	else if (kveil_keys_prove_destroyed(c->ks, &c->registry, line) == KVEIL_PROOF_ALIVE)
		c->alive++;
	else
		add_destroyed(c, id, line, event);
}

static enum kveil_status check_certified(const struct certifying *c, const char *name, struct kveil_error *err)
{
	if (c->alive)
		return kveil_fail(err, KVEIL_E_KEY_EXISTS,
				  "%zu of the versions of '%s' that the history calls destroyed %s in use in this "
				  "registry: that was done elsewhere, and came with a backup",
				  c->alive, name, c->alive == 1 ? "is" : "are");
	if (c->count)
		return KVEIL_OK;
	kveil_fail(err, KVEIL_E_NOT_FOUND, "the registry has no record that '%s' was destroyed", name);
	if (json_object_size(c->orders))
		kveil_error_hint(err,
				 "it is scheduled: wait until a worker has destroyed it, or use `kveil keys "
				 "destroy %.60s --now`",
				 name);
	return KVEIL_E_NOT_FOUND;
}

/* Before anything is destroyed. */
static enum kveil_status check_folder(const char *path, struct kveil_error *err)
{
	const char *slash = strrchr(path, '/');
	char folder[PATH_MAX] = ".";

	if (slash)
		snprintf(folder, sizeof folder, "%.*s", slash == path ? 1 : (int)(slash - path), path);
	if (access(folder, W_OK | X_OK) == 0)
		return KVEIL_OK;
	return kveil_fail(err, KVEIL_E_IO, "cannot write a certificate into %s: %s", folder, strerror(errno));
}

enum kveil_status keys_check_certificate(const char *path, struct kveil_error *err)
{
	static const char *const certificate[] = {"[\n  {\"event\":\"key_destroyed\"", NULL};

	enum kveil_status status = kveil_files_check_replaced(path, certificate, "certificate", err);
	return status ? status : check_folder(path, err);
}

int keys_write_certificate(struct kveil_keystore *ks, const char *name, uint32_t version, const char *path)
{
	struct certifying c = {.ks = ks, .version = version, .orders = json_object(), .text = KVEIL_BUF_INIT};
	struct kveil_error err;
	size_t missing;

	enum kveil_status status = keys_check_certificate(path, &err);
	if (!status)
		status = kveil_keys_snapshot(ks, &c.registry, &err);
	if (!status)
		status = kveil_keys_history(ks, name, add_event, &c, &missing, &err);
	if (!status)
		status = check_certified(&c, name, &err);
	kveil_buf_append_str(&c.text, "\n]\n");
	if (!status && !kveil_buf_ok(&c.text))
		status = kveil_no_memory(&err, "a certificate");
	if (!status)
		status = kveil_files_write_whole(path, kveil_buf_span(&c.text), &err);
	kveil_buf_clear(&c.text);
	kveil_document_clear(&c.registry);
	json_decref(c.orders);
	return status ? keys_failed(&err) : KVEIL_EXIT_OK;
}

static const char *text_of(const json_t *event, const char *member)
{
	const char *text = json_string_value(json_object_get(event, member));
	return text ? text : "-";
}

static void print_row(const char *line, enum kveil_keys_proof proof)
{
	json_t *e = json_loads(line, 0, NULL);

	printf("%s  %s  %s@%lld (id %lld)  by %s@%s, %s", text_of(e, "at"), text_of(e, "event"), text_of(e, "key"),
	       (long long)json_integer_value(json_object_get(e, "version")),
	       (long long)json_integer_value(json_object_get(e, "id")), text_of(e, "user"), text_of(e, "host"),
	       text_of(e, "command"));
	if (proof == KVEIL_PROOF_ORDER)
		printf("  from %s on", text_of(e, "due"));
	else
		printf("  wrapped bytes had sha256 %s", text_of(e, "fingerprint"));
	if (json_object_get(e, "reason"))
		printf("  reason: %s", text_of(e, "reason"));
	printf("%s\n", proof == KVEIL_PROOF_ALIVE ? "; IN USE HERE" : "");
	json_decref(e);
}

static int verify_certificate(const struct keys_options *o, struct kveil_keystore *ks,
			      const struct kveil_document *registry, struct kveil_buf *text)
{
	char *at = (char *)text->data, *rest = NULL;
	size_t good = 0, bad = 0, alive = 0;

	for (char *line = strtok_r(at, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		line += strspn(line, " ");
		size_t n = strlen(line);
		if (*line != '{')
			continue;
		if (line[n - 1] == ',')
			line[--n] = 0;
		enum kveil_keys_proof proof = kveil_keys_prove_destroyed(ks, registry, line);
		good += proof == KVEIL_PROOF_HOLDS || proof == KVEIL_PROOF_ALIVE;
		bad += proof == KVEIL_PROOF_ALTERED;
		alive += proof == KVEIL_PROOF_ALIVE;
		if (proof != KVEIL_PROOF_ALTERED && !o->json)
			print_row(line, proof);
	}
	if (o->json)
		printf("{\"certificate\": true, \"authentic\": %zu, \"altered\": %zu, \"in_use_here\": %zu}\n", good,
		       bad, alive);
	else if (bad || !good)
		printf("%s: %zu of %zu are not authentic under this registry\n", o->operands[0], bad, good + bad);
	if (alive)
		fprintf(stderr,
			"kveil keys: %zu of them %s in use in this registry: what was destroyed elsewhere opens here\n",
			alive, alive == 1 ? "is" : "are");
	return bad || !good || alive ? KVEIL_EXIT_FAILED : KVEIL_EXIT_OK;
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
		    "%zu disabled, %zu scheduled to be destroyed (%zu overdue; a restore brings those in disabled)\n",
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
	struct kveil_document registry = {0};
	int code =
	    kveil_keys_snapshot(ks, &registry, &err) ? keys_failed(&err) : verify_certificate(o, ks, &registry, &text);
	kveil_document_clear(&registry);
	kveil_keystore_unref(ks);
	return code;
}
