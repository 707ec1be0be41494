/* SPDX-License-Identifier: Apache-2.0 */
/* Where a worker's side port is, by its configuration. */
#include "cli/ask_side_port.h"

#include "config/config.h"

#include <stdio.h>

int kveil_side_port_of(const struct kveil_command *cmd, const char *config, char **ret)
{
	struct kveil_report report = {0};
	struct kveil_config *c = kveil_config_load(config, &report);

	*ret = NULL;
	if (!c)
		kveil_report_print(&report, stderr);
	else if (c->http.socket && *c->http.socket) {
		if (asprintf(ret, "unix:%s", c->http.socket) < 0)
			*ret = NULL;
	} else if (c->http.listen && *c->http.listen)
		*ret = strdup(c->http.listen);
	else
		fprintf(stderr, "kveil %s: %s has no side port (http.listen and http.socket are empty)\n", cmd->name,
			config);
	kveil_report_clear(&report);
	kveil_config_free(c);
	return *ret ? KVEIL_EXIT_OK : KVEIL_EXIT_USAGE;
}
