/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http/side_port.h: what kveil answers on its side port.
 *
 *   /livez /readyz /healthz /metrics   to anyone: they hold nothing secret
 *   /stats /                           on loopback and on the unix socket only
 *
 * 503 with a reason a line when not live or not ready. Any thread may start and stop it.
 */
#ifndef KVEIL_HTTP_SIDE_PORT_H
#define KVEIL_HTTP_SIDE_PORT_H

#include "http/http.h"
#include "observe/health.h"
#include "observe/metrics.h"

struct kveil_side_port;

/* health and metrics are borrowed; places is read at once. Errors as kveil_http_start. */
enum kveil_status kveil_side_port_start(const struct kveil_http_places *places, struct kveil_health *health,
					struct kveil_metrics *metrics, struct kveil_side_port **ret,
					struct kveil_error *err) KVEIL_MUST_CHECK;
/* After everything that health speaks of has ended: while draining the port still says so. NULL is fine. */
void kveil_side_port_stop(struct kveil_side_port *p);
const char *kveil_side_port_address(const struct kveil_side_port *p); /* "127.0.0.1:9819" */

#endif
