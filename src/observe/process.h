/* SPDX-License-Identifier: Apache-2.0 */
/* observe/process.h: the process_* metrics that Prometheus' own clients have: CPU, memory, start. Any thread. */
#ifndef KVEIL_OBSERVE_PROCESS_H
#define KVEIL_OBSERVE_PROCESS_H

#include "base/buf.h"

/* Text in the exposition format. What the kernel does not tell is left out. */
void kveil_process_render(struct kveil_buf *out);

#endif
