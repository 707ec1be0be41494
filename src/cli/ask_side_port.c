/* SPDX-License-Identifier: Apache-2.0 */
/* Where a worker's side port is, by its configuration. */
#include "cli/ask_side_port.h"

#include "config/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* NULL: it has none. */
static char *place_of(const struct kveil_config *c)
{
	char *place = NULL;

	if (c->http.socket && *c->http.socket)
		return asprintf(&place, "unix:%s", c->http.socket) < 0 ? NULL : place;
	return c->http.listen && *c->http.listen ? strdup(c->http.listen) : NULL;
}

char *kveil_side_port_here(void)
{
	struct kveil_report report = {0};
	struct kveil_config *c = access("kveil.yaml", R_OK) == 0 ? kveil_config_load("kveil.yaml", &report) : NULL;
	char *place = c ? place_of(c) : NULL;

	kveil_report_clear(&report);
	kveil_config_free(c);
	return place ? place : strdup("http://127.0.0.1:9819");
}

int kveil_side_port_of(const struct kveil_command *cmd, const char *config, char **ret)
{
	struct kveil_report report = {0};
	struct kveil_config *c = kveil_config_load(config, &report);

	*ret = NULL;
	if (!c)
		kveil_report_print(&report, stderr);
	else if (!(*ret = place_of(c)))
		fprintf(stderr, "kveil %s: %s has no side port (http.listen and http.socket are empty)\n", cmd->name,
			config);
	kveil_report_clear(&report);
	kveil_config_free(c);
	return *ret ? KVEIL_EXIT_OK : KVEIL_EXIT_USAGE;
}
