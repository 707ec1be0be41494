/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/yaml_trap.h: what was meant by a line that YAML reads otherwise. Looks at one line as a person would and says
 * how it should be written. Only for messages: nothing here decides what a file means. Any thread.
 *
 *   output: {topic}.secure   ->   "a value that begins with '{' needs quotes", write: output: "{topic}.secure"
 */
#ifndef KVEIL_BASE_YAML_TRAP_H
#define KVEIL_BASE_YAML_TRAP_H

#include "kveil/base.h"

struct kveil_yaml_trap {
	size_t at;        /* byte of the line where the trouble begins */
	char message[96]; /* what YAML makes of it */
	char hint[192]; /* "write: …"; the line without indentation and comment. Never a secret: a line that names one
			   is not shown */
};

/* line: without its line break. false = nothing to say. */
bool kveil_yaml_trap(struct kveil_span line, struct kveil_yaml_trap *ret);

#endif
