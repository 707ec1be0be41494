/* SPDX-License-Identifier: Apache-2.0 */
/* kveil keys history: what was done to keys, by whom and why. */
#include "cli/cmd_keys.h"

#include "keys/admin.h"

#include <jansson.h>
#include <stdio.h>

struct telling {
	const char *name, *asked; /* NULL: of all keys */
	bool json;
	size_t count;
};

static const char *text_of(json_t *event, const char *member)
{
	const char *text = json_string_value(json_object_get(event, member));
	return text ? text : "";
}

static void print_row(json_t *e)
{
	char key[KVEIL_KEY_NAME_MAX + 16] = "-";
	json_int_t version = json_integer_value(json_object_get(e, "version"));
	json_int_t count = json_integer_value(json_object_get(e, "count"));

	if (version)
		snprintf(key, sizeof key, "%s@%lld", text_of(e, "key"), (long long)version);
	else if (*text_of(e, "key"))
		snprintf(key, sizeof key, "%s", text_of(e, "key"));
	printf("%s  %-21s  %-20s  %s@%s  %s", text_of(e, "at"), text_of(e, "event"), key, text_of(e, "user"),
	       text_of(e, "host"), text_of(e, "command"));
	if (count)
		printf("  %lld", (long long)count);
	for (const char *const *m = (const char *const[]){"detail", "due", "reason", NULL}; *m; m++)
		if (*text_of(e, *m))
			printf("  %s: %s", *m, text_of(e, *m));
	printf("\n");
}

static void print_event(void *user, const char *line)
{
	struct telling *t = user;
	json_t *e = json_loads(line, 0, NULL);
	const char *key = text_of(e, "key");

	if (!t->name || strcmp(key, t->name) == 0 || strcmp(key, t->asked) == 0) {
		if (t->json)
			printf("%s\n  %s", t->count ? "," : "[", line);
		else
			print_row(e);
		t->count++;
	}
	json_decref(e);
}

int keys_run_history(const struct keys_options *o, const struct kveil_keys_config *cfg)
{
	char name[KVEIL_KEY_NAME_MAX + 1];
	struct telling t = {.asked = o->operands[0], .json = o->json};
	struct kveil_keystore *ks;
	struct kveil_error err;
	size_t missing = 0;

	if (kveil_keystore_open_reachable(cfg, &ks, &err))
		return keys_failed(&err);
	if (t.asked) {
		kveil_keys_registry_name(ks, t.asked, name);
		t.name = name;
	}
	enum kveil_status status = kveil_keys_history(ks, print_event, &t, &missing, &err);
	int code = KVEIL_EXIT_OK;
	if (!status && o->certificate)
		code = t.asked ? keys_write_certificate(ks, t.asked, 0, o->certificate)
			       : kveil_usage_error(&kveil_command_keys, "--certificate is about one key: name it");
	kveil_keystore_unref(ks);
	if (status)
		return keys_failed(&err);
	if (code)
		return code;
	if (t.json)
		printf("%s]\n", t.count ? "\n" : "[");
	if (missing)
		fprintf(stderr,
			"kveil keys: %zu event%s before some of these %s not there any more: somebody took %s away\n",
			missing, missing == 1 ? "" : "s", missing == 1 ? "is" : "are", missing == 1 ? "it" : "them");
	return missing ? KVEIL_EXIT_FAILED : KVEIL_EXIT_OK;
}
