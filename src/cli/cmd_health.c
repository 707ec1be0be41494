/* SPDX-License-Identifier: Apache-2.0 */
/* cli/cmd_health.c: `kveil health`, a probe for containers and scripts. */
#include "cli/ask_side_port.h"
#include "http/http_client.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TIMEOUT_MS = 2000 };

static int run_health(int argc, char **argv);

static const struct kveil_flag flags[] = {
    {'c', "config", "FILE",
     "use http.socket, or else http.listen, of this kveil.yaml (default kveil.yaml, if it "
     "exists)"},
    {0, "url", "URL", "the side port (default without a kveil.yaml: http://127.0.0.1:9819)"},
    {0, "socket", "PATH", "the side port's unix socket, which answers however busy the port is"},
    {0, "ready", NULL, "ask whether it is ready, not only alive"},
    {0, "json", NULL, "as JSON: {\"ready\": false, \"reasons\": [...], \"remarks\": [...]}, \"alive\" without --ready"},
    {0},
};

const struct kveil_command kveil_command_health = {
    .name = "health",
    .usage = "[--ready] [--json] [-c kveil.yaml | --url URL | --socket PATH]",
    .help = "ask a running kveil whether it is alive or ready: a probe for containers",
    .flags = flags,
    .run = run_health,
};

struct question {
	bool ready, json;
};

static const char *asked(struct question q)
{
	return q.ready ? "ready" : "alive";
}

/* The next line of the side port's answer but its "ok", cut out in place; NULL: there is none. */
static char *next_line(char **rest)
{
	char *line;

	while ((line = strsep(rest, "\n")) && (!*line || strcmp(line, "ok") == 0))
		;
	return line;
}

/* lines: of a yes they are remarks, of a no reasons. */
static int say_json(struct question q, bool yes, char *lines)
{
	json_t *root = json_object(), *list = json_array();

	for (char *line; (line = next_line(&lines));)
		json_array_append_new(list, json_string(line));
	json_object_set_new(root, asked(q), json_boolean(yes));
	json_object_set_new(root, "reasons", yes ? json_array() : json_incref(list));
	json_object_set_new(root, "remarks", yes ? json_incref(list) : json_array());
	json_decref(list);
	bool said = json_dumpf(root, stdout, JSON_PRESERVE_ORDER) == 0;
	json_decref(root);
	putchar('\n');
	return yes && said ? KVEIL_EXIT_OK : KVEIL_EXIT_FAILED;
}

static int say_failure(struct question q, char *message)
{
	if (q.json)
		return say_json(q, false, message);
	fprintf(stderr, "kveil health: %s\n", message);
	return KVEIL_EXIT_FAILED;
}

static int say_answer(struct question q, bool yes, char *lines)
{
	if (q.json)
		return say_json(q, yes, lines);
	if (!yes)
		fprintf(stderr, "not %s:\n%s", asked(q), lines);
	else
		puts(asked(q));
	for (char *line; yes && (line = next_line(&lines));)
		puts(line);
	return yes ? KVEIL_EXIT_OK : KVEIL_EXIT_FAILED;
}

static int ask(const char *url, struct question q)
{
	KVEIL_CLEANUP_BUF struct kveil_buf body = KVEIL_BUF_INIT;
	struct kveil_error err = {0};
	unsigned http_status;
	enum kveil_status status =
	    kveil_http_get(url, q.ready ? "/readyz" : "/livez", TIMEOUT_MS, &http_status, &body, &err);

	if (status == KVEIL_E_USAGE)
		return kveil_usage_error(&kveil_command_health, "%s", err.message);
	if (status != KVEIL_OK)
		return say_failure(q, err.message);
	if (http_status != 200 && http_status != 503) {
		status = kveil_fail(&err, KVEIL_E_USAGE, "%s answered %u: is this a kveil?", url, http_status);
		return say_failure(q, err.message);
	}
	return say_answer(q, http_status == 200, (char *)kveil_buf_cstr(&body));
}

static int ask_socket(const char *path, struct question q)
{
	char url[300];

	snprintf(url, sizeof url, "unix:%s", path);
	return ask(url, q);
}

static int ask_configured(const char *file, struct question q)
{
	char *place;
	int code = kveil_side_port_of(&kveil_command_health, file, &place);

	if (!code)
		code = ask(place, q);
	free(place);
	return code;
}

static int ask_here(struct question q)
{
	char *place = kveil_side_port_here();
	int code = place ? ask(place, q) : KVEIL_EXIT_FAILED;

	free(place);
	return code;
}

static int run_health(int argc, char **argv)
{
	const char *config = NULL, *url = NULL, *socket = NULL, *value;
	struct question q = {0};
	int index = 1;

	for (const struct kveil_flag *f; (f = kveil_flag_next(&kveil_command_health, argc, argv, &index, &value));) {
		if (f == &kveil_flag_help)
			return KVEIL_EXIT_OK;
		if (f == &kveil_flag_error)
			return KVEIL_EXIT_USAGE;
		if (f->short_name == 'c')
			config = value;
		else if (f->argument && strcmp(f->long_name, "url") == 0)
			url = value;
		else if (f->argument)
			socket = value;
		else if (strcmp(f->long_name, "json") == 0)
			q.json = true;
		else
			q.ready = true;
	}
	if (index < argc)
		return kveil_usage_error(&kveil_command_health, "unexpected '%s'", argv[index]);
	if (!!config + !!url + !!socket > 1)
		return kveil_usage_error(&kveil_command_health, "--config, --url, --socket: which of them?");
	if (socket)
		return ask_socket(socket, q);
	return config ? ask_configured(config, q) : url ? ask(url, q) : ask_here(q);
}
