/* SPDX-License-Identifier: Apache-2.0 */
/* base/failpoint.h: faults that a test asks for by KVEIL_FAILPOINT=NAME, in builds with -Dfailpoints=true only. */
#ifndef KVEIL_BASE_FAILPOINT_H
#define KVEIL_BASE_FAILPOINT_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Is this fault asked for? In test builds only. */
static inline bool kveil_failpoint(const char *name)
{
#ifdef KVEIL_FAILPOINTS
	const char *asked = getenv("KVEIL_FAILPOINT");
	return asked && strcmp(asked, name) == 0;
#else
	(void)name;
	return false;
#endif
}

#endif
