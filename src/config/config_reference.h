/* SPDX-License-Identifier: Apache-2.0 */
/* config/config_reference.h: docs/configuration.md and the JSON Schema of kveil.yaml, out of the option tables. */
#ifndef KVEIL_CONFIG_CONFIG_REFERENCE_H
#define KVEIL_CONFIG_CONFIG_REFERENCE_H

#include "base/buf.h"

void kveil_config_write_markdown(struct kveil_buf *out);
void kveil_config_write_schema(struct kveil_buf *out);

#endif
