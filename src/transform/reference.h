/* SPDX-License-Identifier: Apache-2.0 */
/* transform/reference.h: docs/actions.md out of the table of actions. */
#ifndef KVEIL_TRANSFORM_REFERENCE_H
#define KVEIL_TRANSFORM_REFERENCE_H

#include "base/buf.h"

void kveil_actions_write_markdown(struct kveil_buf *out);

#endif
