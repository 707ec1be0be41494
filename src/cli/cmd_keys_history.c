/* SPDX-License-Identifier: Apache-2.0 */
/* kveil keys history: what was done to keys, by whom and why. */
#include "cli/cmd_keys.h"

#include "keyadmin/admin.h"

#include <jansson.h>
#include <stdio.h>

struct telling {
	bool json;
	size_t count;
};

static const char *text_of(const json_t *event, const char *member)
{
	const char *text = json_string_value(json_object_get(event, member));
	return text ? text : "";
}

static void print_row(const json_t *e)
{
	char key[KVEIL_KEY_NAME_MAX + 40] = "-";
	json_int_t version = json_integer_value(json_object_get(e, "version"));
	json_int_t count = json_integer_value(json_object_get(e, "count"));

	if (version)
		snprintf(key, sizeof key, "%s@%lld (id %lld)", text_of(e, "key"), (long long)version,
			 (long long)json_integer_value(json_object_get(e, "id")));
	else if (*text_of(e, "key"))
		snprintf(key, sizeof key, "%s", text_of(e, "key"));
	printf("%s  %-21s  %-26s  %s@%s  %s", text_of(e, "at"), text_of(e, "event"), key, text_of(e, "user"),
	       text_of(e, "host"), text_of(e, "command"));
	if (count)
		printf("  count: %lld", (long long)count);
	for (const char *const *m = (const char *const[]){"detail", "due", "reason", NULL}; *m; m++)
		if (*text_of(e, *m))
			printf("  %s: %s", *m, text_of(e, *m));
	printf("\n");
}

static void print_event(void *user, const char *line, const json_t *event)
{
	struct telling *t = user;

	if (t->json)
		printf("%s\n  %s", t->count ? "," : "[", line);
	else
		print_row(event);
	t->count++;
}

int keys_run_history(const struct keys_options *o, const struct kveil_keys_config *cfg)
{
	const char *asked = o->operands[0];
	struct telling t = {.json = o->json};
	struct kveil_keystore *ks;
	struct kveil_error err;
	size_t missing = 0;

	if (asked && strchr(asked, '@'))
		return kveil_usage_error(&kveil_command_keys, "history takes a name without a version: %.*s",
					 (int)strcspn(asked, "@"), asked);
	if (kveil_keystore_open_reachable(cfg, &ks, &err))
		return keys_failed(&err);
	enum kveil_status status = kveil_keys_history(ks, asked, print_event, &t, &missing, &err);
	int code = KVEIL_EXIT_OK;
	if (!status && o->certificate)
		code = asked ? keys_write_certificate(ks, asked, 0, o->certificate)
			     : kveil_usage_error(&kveil_command_keys, "--certificate is about one key: name it");
	kveil_keystore_unref(ks);
	if (status)
		return keys_failed(&err);
	if (code)
		return code;
	if (t.json)
		printf("%s]\n", t.count ? "\n" : "[");
	if (missing)
		fprintf(stderr, "kveil keys: %zu event%s %s missing: somebody removed or altered %s\n", missing,
			missing == 1 ? "" : "s", missing == 1 ? "is" : "are", missing == 1 ? "it" : "them");
	return missing ? KVEIL_EXIT_FAILED : KVEIL_EXIT_OK;
}
