/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/side_port.h"
#include "http/client.h"

#include <stdio.h>
#include <stdlib.h>

enum { TIMEOUT_MS = 2000 };

static int run_health(int argc, char **argv);

static const struct kveil_flag flags[] = {
    {'c', "config", "FILE", "ask where this kveil.yaml says: at http.socket, or without one at http.listen"},
    {0, "url", "URL", "the side port (default http://127.0.0.1:9819)"},
    {0, "socket", "PATH", "the side port's unix socket: it answers however busy the port is"},
    {0, "ready", NULL, "ask whether it is ready, not only alive"},
    {0},
};

const struct kveil_command kveil_command_health = {
    .name = "health",
    .usage = "[--ready] [-c kveil.yaml | --url URL | --socket PATH]",
    .help = "ask a running kveil how it is: a probe for containers",
    .flags = flags,
    .run = run_health,
};

static int ask(const char *url, bool ready)
{
	KVEIL_CLEANUP_BUF struct kveil_buf body = KVEIL_BUF_INIT;
	struct kveil_error err = {0};
	unsigned http_status;
	enum kveil_status status =
	    kveil_http_get(url, ready ? "/readyz" : "/livez", TIMEOUT_MS, &http_status, &body, &err);

	if (status == KVEIL_E_USAGE)
		return kveil_usage_error(&kveil_command_health, "%s", err.message);
	if (status != KVEIL_OK) {
		fprintf(stderr, "kveil health: %s\n", err.message);
		return KVEIL_EXIT_FAILED;
	}
	if (http_status == 200) {
		puts(ready ? "ready" : "alive");
		return KVEIL_EXIT_OK;
	}
	if (http_status == 503)
		fprintf(stderr, "not %s:\n%s", ready ? "ready" : "alive", kveil_buf_cstr(&body));
	else
		fprintf(stderr, "kveil health: %s answered %u: is this a kveil?\n", url, http_status);
	return KVEIL_EXIT_FAILED;
}

static int ask_socket(const char *path, bool ready)
{
	char url[300];

	snprintf(url, sizeof url, "unix:%s", path);
	return ask(url, ready);
}

static int ask_configured(const char *file, bool ready)
{
	char *place;
	int code = kveil_side_port_of(&kveil_command_health, file, &place);

	if (!code)
		code = ask(place, ready);
	free(place);
	return code;
}

static int run_health(int argc, char **argv)
{
	const char *config = NULL, *url = NULL, *socket = NULL, *value;
	bool ready = false;
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
		else
			ready = true;
	}
	if (index < argc)
		return kveil_usage_error(&kveil_command_health, "unexpected '%s'", argv[index]);
	if (!!config + !!url + !!socket > 1)
		return kveil_usage_error(&kveil_command_health, "--config, --url, --socket: which of them?");
	if (socket)
		return ask_socket(socket, ready);
	return config ? ask_configured(config, ready) : ask(url ? url : "http://127.0.0.1:9819", ready);
}
