/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/yaml.h: YAML files as trees that remember where everything stood. The one owner of libyaml.
 *
 * Strict: UTF-8, one document, no duplicate keys, no merge keys, bounded depth, size and aliases; tags are
 * refused. Scalars keep their spelling and whether they were quoted, so that a type is decided by who reads
 * them (YAML 1.2 core: `no` is a string). The usual traps (an unquoted `{topic}.secure`, `@`, `*`, `%`, tabs, a
 * missing space after a colon, `[*]` unquoted in a flow list) are answered with the line as it should be.
 */
#ifndef KVEIL_BASE_YAML_H
#define KVEIL_BASE_YAML_H

#include "base/report.h"
#include "kveil/base.h"

enum kveil_yaml_kind { KVEIL_YAML_SCALAR, KVEIL_YAML_LIST, KVEIL_YAML_MAP };

struct kveil_yaml {
	enum kveil_yaml_kind kind;
	uint32_t line, column;     /* 1-based; column in characters */
	bool quoted;               /* SCALAR: '…', "…" or a block */
	char *text;                /* SCALAR: NUL-terminated UTF-8 without inner NULs; never NULL */
	size_t count;              /* LIST: items; MAP: pairs */
	struct kveil_yaml **keys;  /* MAP: scalars */
	struct kveil_yaml **items; /* LIST and MAP */
};

/* file is only for messages. All problems go into report; NULL when there is any error. */
struct kveil_yaml *kveil_yaml_parse(struct kveil_span text, const char *file, struct kveil_report *report);
struct kveil_yaml *kveil_yaml_load(const char *path, struct kveil_report *report);
void kveil_yaml_free(struct kveil_yaml *y);
/* The value of a key, or NULL. */
const struct kveil_yaml *kveil_yaml_get(const struct kveil_yaml *map, const char *key);
const char *kveil_yaml_library_version(void); /* "0.2.5" */
/* An unquoted null, ~ or nothing. */
bool kveil_yaml_is_null(const struct kveil_yaml *y);

#endif
