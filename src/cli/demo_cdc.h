/* SPDX-License-Identifier: Apache-2.0 */
/* cli/demo_cdc.h: `kveil demo --cdc`: rows of invented people through their life, each record before and after. */
#ifndef KVEIL_CLI_DEMO_CDC_H
#define KVEIL_CLI_DEMO_CDC_H

#include "kveil/base.h"

/* Prints the story to stdout, and holds every record against its original. *ret_well: all is as it should be. Fails
 * where there is nothing to tell: no memory, a worker that stopped. */
enum kveil_status kveil_demo_cdc(bool color, bool *ret_well, struct kveil_error *err) KVEIL_MUST_CHECK;

#endif
