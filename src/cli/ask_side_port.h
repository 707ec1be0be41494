/* SPDX-License-Identifier: Apache-2.0 */
/* cli/ask_side_port.h: where a configuration puts the side port, for those who ask it. */
#ifndef KVEIL_CLI_ASK_SIDE_PORT_H
#define KVEIL_CLI_ASK_SIDE_PORT_H

#include "cli/command.h"

/* http.socket as "unix:PATH", or without one http.listen; *ret is the caller's to free. Otherwise says what is wrong
 * and returns an exit code. Warnings are left to `check` and `run`. */
int kveil_side_port_of(const struct kveil_command *cmd, const char *config, char **ret);

/* The same of ./kveil.yaml, where there is one that can be read; else where the side port is by default. The caller's
 * to free; NULL: no memory. */
char *kveil_side_port_here(void);

#endif
