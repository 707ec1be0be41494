/* SPDX-License-Identifier: Apache-2.0 */
/* http/exposition.h: reads what a side port says at /metrics: the Prometheus text format, 0.0.4. Any thread. */
#ifndef KVEIL_HTTP_EXPOSITION_H
#define KVEIL_HTTP_EXPOSITION_H

#include "kveil/base.h"

enum { KVEIL_EXPOSED_LABELS = 8 };

struct kveil_exposed {
	char name[128];
	struct {
		char name[64], value[128];
	} labels[KVEIL_EXPOSED_LABELS]; /* more are left out */
	size_t label_count;
	double value;
};

/* Its value, or "". */
const char *kveil_exposed_label(const struct kveil_exposed *e, const char *name);

/* Calls fn for each sample. Lines that are not samples are passed over; any bytes. */
void kveil_exposition_read(const char *text, void (*fn)(void *user, const struct kveil_exposed *e), void *user);

#endif
